"""Tokens of frames: counted as the models' own processors count them, and held to a budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shown_clips import settings as settings_of
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLVideoProcessor,
)

from transforms.annotate.conversation import as_images
from transforms.annotate.seeing import Frames
from transforms.annotate.teacher import Family, FramePolicy
from transforms.annotate.visual_tokens import (
    COSTS,
    MOST_ASPECT,
    counted_as,
    frame_size,
    plan_frames,
    visual_tokens,
)

# The sizes in the published configurations of the models.
QWEN2_5 = {"min_pixels": 3136, "max_pixels": 12_845_056}
VIDEO: dict[Family, Any] = {
    Family.QWEN2_5_VL: Qwen2VLVideoProcessor(**QWEN2_5),
    Family.QWEN3_VL: Qwen3VLVideoProcessor(
        size={"shortest_edge": 4096, "longest_edge": 25_165_824}, patch_size=16
    ),
}
IMAGE = Qwen2VLImageProcessor(**QWEN2_5)

sides = st.integers(16, 4_000)
families = st.sampled_from([Family.QWEN2_5_VL, Family.QWEN3_VL, Family.IMAGES])


def vision_only(family: Family, num_frames: int, size_px: tuple[int, int]) -> int:
    """Without the text around, which the processors of videos do not see."""
    cost = COSTS[family]
    steps = -(-num_frames // cost.together)
    return visual_tokens(family, num_frames, *size_px) - steps * cost.step_tokens - cost.tokens


@pytest.mark.parametrize("family", VIDEO)
@pytest.mark.parametrize("num_frames", [2, 3, 8])
@pytest.mark.parametrize("clip_px", [(1280, 720), (720, 1280), (640, 272), (60, 44)])
@pytest.mark.parametrize("height_px", [28, 56, 100, 336])
def test_the_models_own_processor_makes_as_many_tokens_and_no_other_size(
    family: Family, num_frames: int, clip_px: tuple[int, int], height_px: int
) -> None:
    processor = VIDEO[family]
    width, height = frame_size(*clip_px, height_px, family)
    video = np.zeros((num_frames, height, width, 3), np.uint8)
    made = processor(
        videos=[video], do_sample_frames=False, input_data_format="channels_last",
        return_tensors="pt",
    )  # fmt: skip
    steps, rows, columns = made["video_grid_thw"][0].tolist()
    patch_px = processor.patch_size
    assert (rows * patch_px, columns * patch_px) == (height, width), "scaled once more"
    assert steps * rows * columns // 4 == vision_only(family, num_frames, (width, height))


def test_an_image_takes_as_many_tokens_as_its_processor_makes() -> None:
    width, height = frame_size(1280, 720, 336, Family.IMAGES)
    made = IMAGE(images=[np.zeros((height, width, 3), np.uint8)], return_tensors="pt")
    _, rows, columns = made["image_grid_thw"][0].tolist()
    assert (rows * 14, columns * 14) == (height, width)
    assert rows * columns // 4 == vision_only(Family.IMAGES, 1, (width, height))


def test_the_text_of_a_time_takes_no_more_tokens_than_counted() -> None:
    # The first cut of the real tokenizer, whose pieces here are words, digits and marks.
    pieces = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer.pre_tokenize_str
    frames = Frames(np.zeros((1, 4, 4, 3), np.uint8), (1234.567,), 25.0, 99_999, 4_000.0)
    ((text, _),) = as_images(frames)
    assert COSTS[Family.IMAGES].step_tokens == len(pieces(text)) + 2
    assert COSTS[Family.QWEN3_VL].step_tokens == len(pieces("<1234.5 seconds>")) + 2


@pytest.mark.parametrize(
    ("clip_px", "height_px", "family", "expected"),
    [
        ((1280, 720), 336, Family.QWEN2_5_VL, (588, 336)),
        ((1280, 720), 336, Family.QWEN3_VL, (576, 320)),
        ((1280, 720), 336, Family.IMAGES, (588, 336)),
        ((720, 1280), 336, Family.QWEN2_5_VL, (196, 336)),
        ((320, 240), 56, Family.QWEN2_5_VL, (84, 56)),
        ((64, 64), 28, Family.QWEN2_5_VL, (56, 56)),
        ((4000, 2), 336, Family.QWEN2_5_VL, (2688, 336)),
        ((2, 4000), 336, Family.QWEN3_VL, (32, 320)),
    ],
)
def test_sizes_are_whole_cells(
    clip_px: tuple[int, int], height_px: int, family: Family, expected: tuple[int, int]
) -> None:
    assert frame_size(*clip_px, height_px, family) == expected


@given(sides, sides, st.integers(28, 1_100), families)
def test_the_aspect_is_kept_to_half_a_cell(
    width_px: int, height_px: int, to_height_px: int, family: Family
) -> None:
    aspect = width_px / height_px
    assume(1 / MOST_ASPECT <= aspect <= MOST_ASPECT)
    cell_px = COSTS[family].cell_px
    width, height = frame_size(width_px, height_px, to_height_px, family)
    assert width % cell_px == 0 and height % cell_px == 0
    assert width == cell_px or abs(width - height * aspect) <= cell_px / 2
    if width * height > 14 * cell_px**2:
        # Not one that was made larger to be four cells at least.
        assert abs(height - to_height_px) <= cell_px / 2


def test_frames_that_are_not_even_count_as_images_for_who_is_told_only_steps() -> None:
    for family in (Family.AUTO, Family.QWEN2_5_VL):
        assert counted_as(settings_of(family=family)) is Family.QWEN2_5_VL
        for policy in (FramePolicy.SHOTS, FramePolicy.DETAIL):
            assert counted_as(settings_of(family=family, frames=policy)) is Family.IMAGES
            assert counted_as(settings_of(family="qwen3_vl", frames=policy)) is Family.QWEN3_VL


@pytest.mark.parametrize("family", Family)
def test_a_server_is_sent_images_whatever_its_model_is(family: Family) -> None:
    assert counted_as(settings_of(kind="openai", family=family)) is Family.IMAGES


@settings(max_examples=300)
@given(
    family=st.sampled_from(Family),
    policy=st.sampled_from(FramePolicy),
    budget=st.integers(56, 30_000),
    fps=st.floats(0.1, 30.0),
    max_frames=st.integers(2, 200),
    to_height_px=st.integers(28, 720),
    duration_s=st.floats(0.04, 600.0),
    clip_px=st.tuples(sides, sides),
)
def test_the_budget_is_held_and_used(
    family: Family,
    policy: FramePolicy,
    budget: int,
    fps: float,
    max_frames: int,
    to_height_px: int,
    duration_s: float,
    clip_px: tuple[int, int],
) -> None:
    wanted = settings_of(
        family=family, frames=policy, fps=fps, max_frames=max_frames, frame_height_px=to_height_px
    )
    total = max(round(duration_s * 25), 1)
    clip = (duration_s, total, *clip_px)
    free = plan_frames(wanted, *clip)
    held = plan_frames(wanted.model_copy(update={"max_visual_tokens": budget}), *clip)
    told = counted_as(wanted)
    tokens = visual_tokens(told, held.number, held.width_px, held.height_px)
    assert tokens <= budget
    least = min(2, free.number)
    assert least <= held.number <= free.number <= max_frames
    if held.number > least:
        # First fewer, then smaller; and no fewer than need be.
        assert (held.width_px, held.height_px) == (free.width_px, free.height_px)
    if held.number < free.number:
        more = held.number + held.together
        assert visual_tokens(told, more, free.width_px, free.height_px) > budget
    if visual_tokens(told, free.number, free.width_px, free.height_px) <= budget:
        assert held == free


def test_a_budget_too_small_for_two_frames_is_said() -> None:
    wanted = settings_of(family="images", max_visual_tokens=30)
    with pytest.raises(ValueError, match=r"max_visual_tokens is 30, but 2 frames .* take \d+"):
        plan_frames(wanted, 10.0, 250, 1280, 720)
