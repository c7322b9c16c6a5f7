"""What is put to a model: the right frames, at their true times, in the right turns."""

from __future__ import annotations

import re
from fractions import Fraction
from types import ModuleType

import pytest

from schemas.description import Caption
from schemas.rollout import ToolCall
from transforms.annotate.conversation import (
    Conversation,
    as_images,
    compose,
    conversation_version,
    shown_as_video,
    texts,
)
from transforms.annotate.prompts import Templates, load_templates
from transforms.annotate.seeing import Frames, Looker
from transforms.annotate.teacher import Family, Purpose, Request, TeacherSettings
from transforms.memo import MemoStore

TEMPLATES = load_templates()


def composed(request: Request, settings: TeacherSettings, store: MemoStore) -> Conversation:
    return compose(request, TEMPLATES, settings, Looker(store, settings, 4).look)


def ask(scenes: ModuleType, store: MemoStore, fps: Fraction = Fraction(8)) -> Request:
    scene = scenes.make_scene(store, 7, num_frames=40, fps=fps)
    return Request(scene=scene, task=scenes.make_task(scene, "What of seven?"))


@pytest.mark.parametrize("fps", [Fraction(8), Fraction(25), Fraction(30000, 1001)])
def test_the_times_in_the_text_are_those_of_the_pictures(
    scenes: ModuleType, clip_store: MemoStore, fps: Fraction
) -> None:
    request = ask(scenes, clip_store, fps)
    asked = composed(request, TeacherSettings(fps=2.0), clip_store)
    [turn] = asked.turns
    [frames] = asked.videos
    assert turn.role == "user" and turn.parts[0] is frames, "the video stands before the text"
    numbers = [scenes.read_board(pixels)[1] for pixels in frames.pixels]
    listed = re.findall(r"(\d+\.\d\d) s", texts(turn.parts).split("their times are:\n")[1])
    true = [f"{float(number / fps):.2f}" for number in numbers]
    assert listed[: len(true)] == true
    for (said, pixels), time in zip(as_images(frames), true, strict=True):
        number = scenes.read_board(pixels)[1]
        assert said == f"Frame at {time} s:" and f"{float(number / fps):.2f}" == time


def test_a_closer_look_adds_two_turns_with_its_own_frames(
    scenes: ModuleType, clip_store: MemoStore
) -> None:
    settings = TeacherSettings(fps=1.0, tool_calls=2)
    first = ask(scenes, clip_store)
    before = composed(first, settings, clip_store)
    calls = (
        ToolCall(text='{"tool_call": <|1|>}', start_s=1.0, end_s=2.0,
                 frame_times_s=(1.0, 1.25, 1.5, 1.75)),
        ToolCall(text="again", start_s=3.0, end_s=3.5, frame_times_s=(3.0, 3.125)),
    )  # fmt: skip
    once = composed(first.model_copy(update={"tool_calls": calls[:1]}), settings, clip_store)
    twice = composed(first.model_copy(update={"tool_calls": calls}), settings, clip_store)
    roles = [turn.role for turn in twice.turns]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    # What was said before stays as it was, so that an engine can go on from what it has computed.
    assert texts(twice.turns[0].parts) == texts(before.turns[0].parts)
    assert (twice.videos[0].pixels == before.videos[0].pixels).all()
    assert texts(twice.turns[1].parts) == '{"tool_call": < |1| >}'
    numbers = [
        [scenes.read_board(pixels) for pixels in frames.pixels] for frames in twice.videos[1:]
    ]
    assert numbers == [[(7, 8), (7, 10), (7, 12), (7, 14)], [(7, 24), (7, 25)]]
    assert "their times are: 1.00 s, 1.25 s, 1.50 s, 1.75 s." in texts(twice.turns[2].parts)
    assert "give your answer" not in texts(once.turns[-1].parts), "it may look once more"
    assert "you can't look again" in texts(twice.turns[-1].parts)
    assert len({one.prompt_sha256 for one in (before, once, twice)}) == 3
    assert once.schema is not None and "anyOf" in once.schema
    assert twice.schema is not None and "anyOf" not in twice.schema


def test_summing_up_shows_nothing(clip_store: MemoStore) -> None:
    captions = (Caption(start_s=0.0, end_s=1.0, text="It rains."),)
    asked = composed(Request(captions=captions), TeacherSettings(), clip_store)
    assert asked.videos == () and len(asked.turns) == 1
    assert "It rains." in texts(asked.turns[0].parts)


def test_a_family_is_shown_a_video_only_if_it_learns_the_true_times(
    scenes: ModuleType, clip_store: MemoStore
) -> None:
    scene = scenes.make_scene(clip_store, 7, num_frames=40)
    looker = Looker(clip_store, TeacherSettings(fps=2.0), 4)
    even = looker.look(scene)
    crop = looker.look(scene, (1.0, 1.25, 1.5))
    uneven = looker.look(scene, (0.0, 0.5, 4.0))
    assert isinstance(even, Frames) and even.is_even and not uneven.is_even
    assert not crop.is_even, "it begins at 1 s: seconds per step would say 0"
    expected = {Family.QWEN3_VL: [True, True, True], Family.QWEN2_5_VL: [True, False, False],
                Family.IMAGES: [False, False, False]}  # fmt: skip
    for family, shown in expected.items():
        assert [shown_as_video(frames, family) for frames in (even, crop, uneven)] == shown


def test_the_version_changes_with_every_template() -> None:
    versions = {
        conversation_version(Templates({**TEMPLATES.texts, purpose: "x"})) for purpose in Purpose
    }
    assert len(versions | {conversation_version(TEMPLATES)}) == len(Purpose) + 1
