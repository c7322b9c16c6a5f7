"""Captions of a clip: what is said of it stays within it, and no bad reply costs the clip."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from described_scenes import Talker, measured_video, video_scene
from hypothesis import given
from hypothesis import strategies as st
from plain_scene import plain_scene

from schemas.case import Scene
from schemas.description import Description
from schemas.source import GivenQuestion
from transforms.annotate.asker import gather
from transforms.annotate.describe import (
    MAX_TEXT_CHARS,
    SPAN_CHARS,
    ClipDescriber,
    DescribeSettings,
    Faults,
    faults_of,
    faults_together,
    placed,
)
from transforms.annotate.replies import TimedCaption
from transforms.annotate.teacher import Purpose, Request, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.memo import MemoStore
from transforms.video.shots import ShotSettings

DESCRIBER = ClipDescriber(DescribeSettings(), 7)
CAPTIONS = [
    {"start_s": 4.0, "end_s": 9.99, "text": " The dog\n runs\x00 away. "},
    {"start_s": 0.0, "end_s": 4.0, "text": "A dog sits."},
]


def said(*captions: dict[str, Any]) -> str:
    return json.dumps({"captions": captions})


def described(scene: Scene, text: str | Exception, **settings: Any) -> Description:
    describer = ClipDescriber(DescribeSettings(**settings), 7)
    [answered] = gather(describer, [scene], Talker(lambda _: text))
    outcome = describer.read(scene, answered.replies)
    assert outcome.entered == 1
    assert outcome.rejections == ()
    [made] = outcome.outputs
    assert made.model_copy(update={"description": Description()}) == scene
    return made.description


def test_the_teacher_is_asked_once_about_a_clip() -> None:
    talker = Talker(lambda _: said(*CAPTIONS))
    scenes = [video_scene(100.0), video_scene(110.0)]
    answered = gather(DESCRIBER, scenes, talker)
    assert talker.turns == [[Request(scene=scene, seed=7) for scene in scenes]]
    assert {one.purpose for one in talker.turns[0]} == {Purpose.DESCRIBE}
    for scene, one in zip(scenes, answered, strict=True):
        [made] = DESCRIBER.read(scene, one.replies).outputs
        assert made.clip == scene.clip
        assert len(made.description.captions) == 2


def test_captions_are_cleaned_and_in_order_of_time() -> None:
    found = described(plain_scene(), said(*CAPTIONS))
    assert [(one.start_s, one.end_s, one.text) for one in found.captions] == [
        (0.0, 4.0, "A dog sits."),
        (4.0, 9.99, "The dog runs away."),
    ]
    assert found.error == ""


@pytest.mark.parametrize(
    ("span", "duration_s", "found"),
    [
        ((0.0, 9.6), 9.6, (0.0, 9.6)),
        ((2.0, 9.6199), 9.6, (2.0, 9.6)),
        ((8.0, 10.0), 9.6, (8.0, 9.6)),
        ((8.0, 10.01), 9.6, None),
        ((8.0, 9.019), 9.0, (8.0, 9.0)),
        ((8.0, 9.03), 9.0, None),
        ((9.6, 10.0), 9.6, None),
        ((3.0, 3.0), 9.6, None),
        ((3.0, 3.0004), 9.6, None),
        ((5.0, 3.0), 9.6, None),
        ((20.0, 30.0), 9.6, None),
    ],
)
def test_a_caption_lies_in_the_clip(
    span: tuple[float, float], duration_s: float, found: tuple[float, float] | None
) -> None:
    """An end may be rounded up to a whole second, or lie half a frame (0.02 s) behind."""
    scene = plain_scene(duration_s=duration_s)
    good = {"start_s": 0.0, "end_s": 1.0, "text": "good"}
    description = described(
        scene, said(good, {"start_s": span[0], "end_s": span[1], "text": "seen"})
    )
    spans = [(one.start_s, one.end_s) for one in description.captions if one.text == "seen"]
    assert spans == ([] if found is None else [found])
    assert description.captions[0].text == "good" or found == (0.0, 9.6)
    assert (f"{span[0]:.2f} to {span[1]:.2f} s is no span" in description.error) is (found is None)


TIMES = st.floats(0.0, 40.0) | st.integers(0, 12).map(float)
ANY_CAPTION = st.builds(TimedCaption, start_s=TIMES, end_s=TIMES, text=st.text(min_size=1))


@given(st.lists(ANY_CAPTION, min_size=1, max_size=20), st.sampled_from([9.0, 9.6, 30.0]))
def test_whatever_is_said_what_stays_is_within_the_clip(
    several: list[TimedCaption], duration_s: float
) -> None:
    media = plain_scene(duration_s=duration_s).media
    captions, left_out = placed(several, media, 60_000)
    assert all(0.0 <= one.start_s < one.end_s <= media.duration_s for one in captions)
    assert all(one.text == " ".join(one.text.split()) != "" for one in captions)
    keys = [(one.start_s, one.end_s, one.text) for one in captions]
    assert keys == sorted(set(keys))
    # Each is kept, named as left out, or said twice.
    assert len(captions) + len(left_out) <= len(several)
    assert placed(several[::-1], media, 60_000)[0] == captions
    for one in several:
        well = one.start_s + 0.002 < one.end_s <= math.floor(duration_s) and one.text.isalnum()
        assert not well or round(one.start_s, 3) in [caption.start_s for caption in captions]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (RuntimeError("the server is tired"), "the server is tired"),
        ("I see a dog.", "bad_reply"),
        (said(), "captions"),
        (said({"start_s": -1.0, "end_s": 2.0, "text": "x"}), "captions.0.start_s"),
        ('{"captions": [{"start_s": NaN, "end_s": 1, "text": "x"}]}', "bad_reply"),
        (said({"start_s": 20.0, "end_s": 30.0, "text": "x"}), "no span within"),
        (said({"start_s": 0.0, "end_s": 1.0, "text": " \u200b\n"}), "is empty"),
        ('{"summary": "a dog"}', "captions"),
        ("x" * 300_000, "300000 characters"),
    ],
)
def test_a_bad_reply_costs_the_captions_and_not_the_clip(
    reply: str | Exception, words: str
) -> None:
    scene = plain_scene()
    description = described(scene, reply)
    assert description.captions == ()
    assert words in description.error
    assert len(description.error) <= 600
    [(_, faults)] = faults_of(scene.model_copy(update={"description": description}))
    assert faults == Faults(1, f"{scene.clip.id}: {description.error}")


def test_only_what_stands_in_the_prompt_makes_a_request_for_questions_another() -> None:
    """Why words are lacking may be said in other words next time."""

    def asked(**fields: Any) -> str:
        told = Description(**fields)
        return Request(scene=plain_scene().model_copy(update={"description": told}), wanted=3).id

    assert asked(error="HTTP 500") == asked(error="no connection") == asked()
    assert len({asked(), asked(event="a fair"), asked(story="a fair")}) == 3


def test_several_captions_that_are_left_out_are_counted() -> None:
    late = [{"start_s": 20.0 + n, "end_s": 30.0, "text": "x"} for n in range(200)]
    description = described(plain_scene(), said(*late, *CAPTIONS))
    assert len(description.captions) == 2
    assert description.error.startswith("200 captions are left out, such as: a caption of 20.00 ")


def test_what_a_clip_says_fits_into_a_prompt() -> None:
    long = [{"start_s": n / 30, "end_s": 10.0, "text": "word " * 390} for n in range(60)]
    description = described(plain_scene(), said(*reversed(long)), max_chars=5_000)
    assert [one.start_s for one in description.captions] == [0.0, 0.033]
    assert "58 captions" in description.error
    assert "beyond 5000 characters" in description.error


def test_a_text_that_grows_when_it_is_cleaned_stays_short() -> None:
    """Some characters are written with three once they are composed (NFC)."""
    grown = described(
        plain_scene(), said({"start_s": 0.0, "end_s": 1.0, "text": "\ufb2c" * 2_000})
    ).captions[0]
    assert MAX_TEXT_CHARS < len(grown.text) + SPAN_CHARS < 2_500


def test_a_video_with_questions_is_not_described() -> None:
    scene = plain_scene(questions=[GivenQuestion(question="How many?", answer="3")])
    talker = Talker(lambda _: said(*CAPTIONS))
    [answered] = gather(DESCRIBER, [scene], talker)
    assert talker.turns == []
    assert DESCRIBER.read(scene, answered.replies).outputs == (scene,)
    assert faults_of(scene) == []


def test_what_clips_lack_is_counted_in_any_order() -> None:
    several = [Faults(1, "c2: late"), Faults(3, "c1: bad"), Faults(1, "c9: x")]
    together = faults_together(several)
    assert together == faults_together([faults_together(several[1:]), several[0]])
    assert together.note("captions") == "5 clips lack captions, such as c1: bad"
    assert several[0].note("captions") == "1 clip lacks captions, such as c2: late"


def test_the_measuring_teacher_describes_each_shot_and_is_asked_once(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path))
    scenes = measured_video(store, clips=2, shots=3)

    def ask(requests: Any) -> Any:
        return ask_stored(TeacherSettings(), store, ShotSettings(), requests)

    first = gather(DESCRIBER, scenes, ask)
    [made] = DESCRIBER.read(scenes[1], first[1].replies).outputs
    spans = [(one.start_s, one.end_s) for one in made.description.captions]
    assert spans == [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
    for color, caption in zip(("white", "yellow", "red"), made.description.captions, strict=True):
        assert f"mostly {color} (100% of the picture)" in caption.text
    assert made.description.error == ""
    # The store answers: what was measured is not looked at again.
    store.path("frames.arrow").unlink()
    assert gather(DESCRIBER, scenes, ask) == first
