"""Events and the story of a video: summed up in source time, in turns, without losing a clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from described_scenes import Talker, measured_video, told_scene, video_scene
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case import Scene
from schemas.description import Caption, Description
from transforms.annotate.asker import gather
from transforms.annotate.describe import (
    MAX_TEXT_CHARS,
    SPAN_CHARS,
    ClipDescriber,
    DescribeSettings,
    VideoNarrator,
    parted,
)
from transforms.annotate.prompts import load_templates, render_prompt
from transforms.annotate.teacher import Purpose, Request, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.memo import MemoStore
from transforms.video.shots import ShotSettings

TEMPLATES = load_templates()


TWO = [Caption(start_s=0.0, end_s=1.0, text=text) for text in ("a bird", "a nest")]


def summary(text: str) -> str:
    return json.dumps({"summary": text})


def digest(request: Request) -> str:
    """A summary that tells which texts it was made of."""
    return summary("(" + " ".join(caption.text for caption in request.captions) + ")")


def narrated(
    scenes: list[Scene], talker: Talker, **fields: Any
) -> tuple[dict[float, Description], list[list[Request]]]:
    """Descriptions by the start of the clip, and what was asked, turn by turn."""
    narrator = VideoNarrator(DescribeSettings(**fields), 7)
    [answered] = gather(narrator, [scenes], talker)
    outcome = narrator.read(scenes, answered.replies)
    # They have entered the stage already, one by one.
    assert outcome.entered == 0
    assert outcome.rejections == ()
    plain = [scene.model_copy(update={"description": Description()}) for scene in outcome.outputs]
    assert sorted(one.clip.id for one in plain) == sorted(one.clip.id for one in scenes)
    for one, scene in zip(plain, sorted(scenes, key=lambda s: s.clip.start_s), strict=True):
        assert one == scene.model_copy(update={"description": Description()})
    for one in outcome.outputs:
        [before] = [scene for scene in scenes if scene.clip.id == one.clip.id]
        assert one.description.captions == before.description.captions
    return {one.clip.start_s: one.description for one in outcome.outputs}, talker.turns


def test_the_clips_of_one_event_are_summed_up_in_source_time() -> None:
    found, turns = narrated(
        [told_scene(100.0, "a dog", video_s=30.0), told_scene(110.0, "a cat", video_s=30.0)],
        Talker(digest),
    )
    [[request]] = turns
    assert request.purpose is Purpose.SUMMARIZE
    assert request.seed == 7
    assert request.captions == (
        Caption(start_s=102.0, end_s=103.0, text="a dog"),
        Caption(start_s=112.0, end_s=113.0, text="a cat"),
    )
    # One event is the whole: it is not told twice.
    for description in found.values():
        assert (description.event, description.story) == ("(a dog a cat)", "")


def test_events_come_first_then_the_whole() -> None:
    scenes = [told_scene(100.0 + 10 * n, f"thing{n}") for n in range(60)]
    found, turns = narrated(scenes, Talker(digest), event_s=100.0)
    events, story = turns
    assert [len(one.captions) for one in events] == [10] * 6
    [whole] = story
    assert [(one.start_s, one.end_s) for one in whole.captions] == [
        (102.0 + 100 * n, 193.0 + 100 * n) for n in range(6)
    ]
    assert whole.captions[1].text == "(" + " ".join(f"thing{n}" for n in range(10, 20)) + ")"
    assert {one.story for one in found.values()} == {json.loads(digest(whole))["summary"]}
    assert found[200.0].event == found[290.0].event == whole.captions[1].text
    assert len({one.event for one in found.values()}) == 6


def test_the_order_of_the_scenes_is_of_no_matter() -> None:
    scenes = [told_scene(100.0 + 10 * n, f"thing{n}") for n in range(40)]
    one = narrated(scenes, Talker(digest))
    assert narrated(scenes[::-1], Talker(digest)) == one


@pytest.mark.parametrize(
    "scenes",
    [
        [told_scene(100.0)],
        [video_scene(100.0, captions=TWO)],
        [video_scene(100.0), video_scene(110.0)],
        # What the other clip shows is known from this one's own captions alone.
        [told_scene(100.0), video_scene(110.0)],
        [],
    ],
)
def test_where_nothing_is_to_be_joined_nothing_is_asked(scenes: list[Scene]) -> None:
    found, turns = narrated(scenes, Talker(digest))
    assert turns == []
    assert all((one.event, one.story, one.error) == ("", "", "") for one in found.values())


def test_a_clip_that_is_an_event_of_its_own_is_not_told_of_itself() -> None:
    scenes = [told_scene(100.0), told_scene(110.0), video_scene(500.0, captions=TWO)]
    found, turns = narrated(scenes, Talker(digest))
    assert found[500.0].event == ""
    assert found[100.0].event == "(a dog a dog)"
    [whole] = turns[1]
    assert [one.text for one in whole.captions] == ["(a dog a dog)", "(a bird a nest)"]
    assert found[500.0].story == found[100.0].story == "((a dog a dog) (a bird a nest))"


def test_an_event_with_one_caption_stands_for_itself_in_the_story() -> None:
    scenes = [told_scene(100.0), told_scene(110.0), told_scene(500.0, "a bird")]
    found, turns = narrated(scenes, Talker(digest))
    assert [len(turn) for turn in turns] == [1, 1]
    assert found[100.0].story == "((a dog a dog) a bird)"


def test_a_clip_without_captions_hears_of_its_event() -> None:
    error = Description(error="no words")
    mute = video_scene(110.0).model_copy(update={"description": error})
    found, _ = narrated([told_scene(100.0), mute, told_scene(120.0, "a cat")], Talker(digest))
    assert found[110.0].event == "(a dog a cat)"
    assert found[110.0].error == "no words"
    assert found[100.0].error == ""


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (RuntimeError("the server is tired"), "event: teacher_failed: the server is tired"),
        ("A dog.", "event: bad_reply"),
        (summary(" \n\u200b"), "event: bad_reply: the summary is empty"),
        (summary(""), "event: bad_reply: summary"),
        (json.dumps({"captions": []}), "event: bad_reply"),
    ],
)
def test_an_event_that_fails_costs_only_itself(bad: str | Exception, words: str) -> None:
    scenes = [told_scene(100.0 + 10 * n, "bad" if n < 10 else f"good{n}") for n in range(60)]
    talker = Talker(lambda one: bad if one.captions[0].text == "bad" else digest(one))
    found, turns = narrated(scenes, talker, event_s=100.0)
    assert words in found[100.0].error
    assert found[100.0].event == ""
    assert found[200.0].error == ""
    assert [one.start_s for one in turns[1][0].captions] == [202.0, 302.0, 402.0, 502.0, 602.0]
    assert found[100.0].story == found[690.0].story != ""


def test_a_story_that_fails_is_lacking_everywhere() -> None:
    scenes = [told_scene(100.0 + 10 * n, f"thing{n}") for n in range(60)]

    def rule(request: Request) -> str | Exception:
        is_whole = request.captions[0].text.startswith("(")
        return RuntimeError("tired") if is_whole else digest(request)

    found, _ = narrated(scenes, Talker(rule))
    for one in found.values():
        assert (one.story, one.error) == ("", "story: teacher_failed: tired")
        assert one.event != ""


def test_an_asker_asks_for_all_again_so_that_each_reply_is_kept() -> None:
    scenes = [told_scene(100.0 + 10 * n, f"thing{n}") for n in range(60)]
    narrator = VideoNarrator(DescribeSettings(event_s=100.0), 7)
    talker = Talker(digest)
    [answered] = gather(narrator, [scenes], talker)
    asked = [one.id for turn in talker.turns for one in turn]
    assert list(answered.replies) == asked
    assert [one.id for one in narrator.requests(scenes, answered.replies)] == asked


# Many and long captions

STARTS = st.lists(st.integers(0, 250), min_size=1, max_size=60, unique=True)


@given(STARTS, st.sampled_from([1.0, 30.0, 120.0, 400.0, 5_000.0]))
def test_a_video_is_parted_evenly_and_each_clip_keeps_its_place(
    starts: list[int], event_s: float
) -> None:
    scenes = [video_scene(100.0 + 10.0 * n, video_s=2_510.0) for n in starts]
    events = parted(scenes, event_s)
    flat = [scene.clip.start_s for event in events for scene in event]
    assert flat == sorted(scene.clip.start_s for scene in scenes)
    width_s = 2_510.0 / max(1, round(2_510.0 / event_s))
    assert 2 / 3 * event_s <= width_s <= 2 * event_s or width_s == 2_510.0
    for event in events:
        middles = [scene.clip.start_s + 5.0 for scene in event]
        assert max(middles) - min(middles) <= width_s
    # One clip less changes no event but its own.
    for scene in scenes[:3]:
        fewer = parted([one for one in scenes if one is not scene], event_s)
        untouched = [event for event in events if scene not in event]
        assert [event for event in fewer if event in untouched] == untouched


def test_a_video_without_length_is_one_event() -> None:
    scenes = [video_scene(100.0, video_s=0.0), video_scene(110.0, video_s=0.0)]
    assert parted(scenes, 120.0) == (tuple(scenes),)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 59), st.integers(1, 2_400), st.sampled_from("a<|\u0958")),
        min_size=2,
        max_size=120,
    ),
    st.sampled_from([5_000, 9_000, 60_000]),
)
def test_every_request_fits_and_every_caption_is_told(
    several: list[tuple[int, int, str]], max_chars: int
) -> None:
    """`<|` is written longer in a prompt, lest it be taken for a control token."""
    captions: dict[int, list[Caption]] = {}
    for place, length, letter in several:
        own = captions.setdefault(place, [])
        text = (letter * length)[:MAX_TEXT_CHARS]
        own.append(Caption(start_s=len(own) / 20, end_s=9.0, text=text))
    scenes = [video_scene(100.0 + 10 * n, captions=own) for n, own in captions.items()]
    talker = Talker(lambda one: summary("so: " + "<|" * 4_000))
    _, turns = narrated(scenes, talker, max_chars=max_chars)
    requests = [request for turn in turns for request in turn]
    for request in requests:
        assert len(request.captions) >= 2
        assert sum(len(one.text) + SPAN_CHARS for one in request.captions) <= max_chars
        prompt = render_prompt(request, TEMPLATES, TeacherSettings())
        assert len(prompt.text) <= 1.5 * max_chars + 1_000
    told = [one for request in requests for one in request.captions]
    first = [one for one in told if not one.text.startswith("so: ")]
    # A caption that was alone in its event or part stands in the level above.
    assert len(first) == sum(len(own) for own in captions.values()) or len(captions) < 2


def test_parts_are_summed_up_before_the_event() -> None:
    scenes = [told_scene(100.0 + 10 * n, f"t{n} {'x' * 900}", video_s=100.0) for n in range(10)]
    found, turns = narrated(
        scenes, Talker(lambda one: summary(one.captions[0].text[:3])), max_chars=5_000
    )
    assert [[len(one.captions) for one in turn] for turn in turns] == [[5, 5], [2]]
    assert [one.text for one in turns[1][0].captions] == ["t0", "t5"]
    assert [(one.start_s, one.end_s) for one in turns[1][0].captions] == [
        (102.0, 143.0),
        (152.0, 193.0),
    ]
    assert {one.event for one in found.values()} == {"t0"}


def test_the_whole_waits_for_every_part_of_every_event() -> None:
    """The last part of the long event is one caption and so is the short event: known at once."""
    long = [told_scene(100.0 + 10 * n, f"t{n} {'x' * 900}", video_s=240.0) for n in range(11)]
    scenes = [*long, told_scene(250.0, "a bird", video_s=240.0)]
    _, turns = narrated(
        scenes, Talker(lambda one: summary(one.captions[0].text[:3])), max_chars=5_000
    )
    assert [[len(one.captions) for one in turn] for turn in turns] == [[5, 5], [3], [2]]
    assert [one.start_s for one in turns[2][0].captions] == [102.0, 252.0]


def test_a_part_that_fails_leaves_a_summary_of_the_others() -> None:
    scenes = [told_scene(100.0 + 10 * n, f"t{n} {'x' * 900}", video_s=150.0) for n in range(15)]

    def rule(request: Request) -> str | Exception:
        return RuntimeError("tired") if request.captions[0].text[:3] == "t5 " else digest(request)

    found, turns = narrated(scenes, Talker(rule), max_chars=5_000, event_s=150.0)
    assert [len(turn) for turn in turns] == [3, 1]
    assert [one.start_s for one in turns[1][0].captions] == [102.0, 202.0]
    assert found[100.0].event != ""
    assert found[100.0].error == "event: teacher_failed: tired"


def test_a_summary_is_one_clean_line_of_a_moderate_length() -> None:
    scenes = [told_scene(100.0, video_s=30.0), told_scene(110.0, video_s=30.0)]
    found, _ = narrated(scenes, Talker(lambda _: summary("A dog\n\n\x07runs.\u202e")))
    assert found[100.0].event == "A dog runs."
    found, _ = narrated(scenes, Talker(lambda _: summary("犬" * 10_000)))
    assert found[100.0].event == "犬" * MAX_TEXT_CHARS + "…"


# The measuring teacher


def test_the_measuring_teacher_tells_a_whole_video(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path))
    asked: list[int] = []

    def ask(requests: Any) -> Any:
        asked.append(len(requests))
        return ask_stored(TeacherSettings(), store, ShotSettings(), requests)

    scenes = measured_video(store, clips=6, shots=2)
    describer = ClipDescriber(DescribeSettings(), 0)
    described = [
        describer.read(one.subject, one.replies).outputs[0]
        for one in gather(describer, scenes, ask)
    ]
    narrator = VideoNarrator(DescribeSettings(event_s=12.0), 0)
    [answered] = gather(narrator, [described], ask)
    told = narrator.read(described, answered.replies).outputs
    assert asked == [6, 2, 1]
    assert [one.description.error for one in told] == [""] * 6
    events = [one.description.event for one in told]
    assert events == [events[0]] * 3 + [events[3]] * 3
    assert events[0].startswith("6 captions, 100.00 s to 112.00 s. It begins (100.00 s to 102.00 s")
    assert "It ends (110.00 s to 112.00 s): [After a cut, a shot of 2.00 seconds" in events[0]
    [story] = {one.description.story for one in told}
    assert story.startswith(
        "2 captions, 100.00 s to 124.00 s. It begins (100.00 s to 112.00 s): [6"
    )
