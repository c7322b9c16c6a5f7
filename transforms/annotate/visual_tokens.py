"""How many tokens frames take, by family, and how many frames of which size fit into a budget.

The numbers are those of the models' published configurations and processors:

- Qwen2-VL, Qwen2.5-VL: `patch_size` 14, `merge_size` 2, `temporal_patch_size` 2, frames of at
  least 56x56 pixels; `<|vision_start|>` and `<|vision_end|>` around the video.
- Qwen3-VL: `patch_size` 16, `merge_size` 2, `temporal_patch_size` 2, at least 4096 pixels; before
  each step `<12.5 seconds>`, and the two marks around each.
- Images: as Qwen2.5-VL counts one image, each with its marks and the text with its time.

The tokenizer of these models makes each digit a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from transforms.annotate.frame_times import count_frames
from transforms.annotate.teacher import Family, FramePolicy, TeacherKind, TeacherSettings

LEAST_CELLS = 4
"""Smaller frames are made larger by the models' processors, and so take more tokens."""
MOST_ASPECT = 8
"""Frames that are wider or higher are squeezed: processors refuse them from 200 on."""


@dataclass(frozen=True)
class Cost:
    """What frames take."""

    cell_px: int
    """Side of the square that becomes one token."""
    together: int
    """Frames that are merged into one step."""
    step_tokens: int
    """Text and marks with each step, for times below 10,000 s."""
    tokens: int
    """Marks around all."""


_VIDEO = Cost(cell_px=28, together=2, step_tokens=0, tokens=2)
COSTS: Mapping[Family, Cost] = MappingProxyType(
    {
        Family.AUTO: _VIDEO,
        Family.QWEN2_5_VL: _VIDEO,
        # "<", up to four digits, ".", one digit, " seconds", ">", and two marks.
        Family.QWEN3_VL: Cost(cell_px=32, together=2, step_tokens=11, tokens=2),
        # "Frame at ", up to four digits, ".", two digits, " s", ":", and two marks.
        Family.IMAGES: Cost(cell_px=28, together=1, step_tokens=14, tokens=0),
    }
)


def counted_as(settings: TeacherSettings) -> Family:
    """How frames reach a model with these settings: see `shown_as_video`.

    Servers take images. Else `auto` counts as Qwen2.5-VL; who knows better resolves it first.
    """
    if settings.kind is TeacherKind.OPENAI:
        return Family.IMAGES
    if settings.family in (Family.AUTO, Family.QWEN2_5_VL):
        # It is told only the seconds per step, so it gets frames that are not even as images.
        even = settings.frames is FramePolicy.UNIFORM
        return Family.QWEN2_5_VL if even else Family.IMAGES
    return settings.family


def visual_tokens(family: Family, num_frames: int, width_px: int, height_px: int) -> int:
    """Tokens that frames of this size take, with the text that tells their times: at most."""
    cost = COSTS[family]
    steps = -(-num_frames // cost.together)
    cells = -(-width_px // cost.cell_px) * -(-height_px // cost.cell_px)
    return cost.tokens + steps * (cells + cost.step_tokens)


def frame_size(width_px: int, height_px: int, to_height_px: int, family: Family) -> tuple[int, int]:
    """Width and height about `to_height_px` high, both whole cells of the family.

    So the model's processor leaves the frames as they are. The aspect is off by at most half a
    cell of the width, as it would be after the processor's own scaling.
    """
    cell_px = COSTS[family].cell_px
    aspect = min(max(width_px / height_px, 1 / MOST_ASPECT), MOST_ASPECT)
    rows = max(round(to_height_px / cell_px), 1)
    while True:
        columns = max(round(rows * aspect), 1)
        if rows * columns >= LEAST_CELLS:
            return columns * cell_px, rows * cell_px
        rows += 1


@dataclass(frozen=True)
class FramePlan:
    """How many frames are shown, and of which size."""

    number: int
    width_px: int
    height_px: int
    together: int
    """Frames that the model merges into one step."""


def plan_frames(
    settings: TeacherSettings,
    duration_s: float,
    total: int,
    width_px: int,
    height_px: int,
) -> FramePlan:
    """The most frames that the settings allow for a clip of `total` frames of this size.

    To meet `max_visual_tokens` there are fewer of them, down to 2, and then they are smaller.
    Raises ValueError if not even 2 frames of the smallest size meet it.
    """
    family = counted_as(settings)
    cost, budget = COSTS[family], settings.max_visual_tokens
    number = count_frames(duration_s, settings.fps, settings.max_frames, total, cost.together)
    size = frame_size(width_px, height_px, settings.frame_height_px, family)
    if budget:
        least = min(number, 2)
        cells = visual_tokens(family, cost.together, *size) - cost.tokens
        number = min(number, max((budget - cost.tokens) // cells * cost.together, least))
        to_height_px = size[1]
        while visual_tokens(family, number, *size) > budget:
            to_height_px -= cost.cell_px
            if to_height_px < cost.cell_px:
                least_tokens = visual_tokens(family, number, *size)
                raise ValueError(
                    f"teacher.max_visual_tokens is {budget}, but {number} frames of the smallest "
                    f"size, {size[0]}x{size[1]} pixels, take {least_tokens}"
                )
            size = frame_size(width_px, height_px, to_height_px, family)
    return FramePlan(number, *size, cost.together)
