"""What the measuring teacher says of a clip: all of it was measured, and none of it is more."""

from __future__ import annotations

import json
import re

import pytest
from plain_scene import even, observed, plain_scene, shot

from schemas.description import Caption
from transforms.annotate.measure_captions import MAX_CAPTIONS, describe, summarize
from transforms.annotate.measure_teacher import MeasureTeacher
from transforms.annotate.observe import ShotFacts
from transforms.annotate.replies import DescribeReply, SummaryReply, read_reply
from transforms.annotate.teacher import Request, TeacherSettings, answers_by_id
from transforms.memo import MemoStore
from transforms.video.measures import COLOR_NAMES
from transforms.video.shots import ShotSettings

EVERY_COLOR = {name: 0.082 for name in COLOR_NAMES if name != "gray"}


def caption(one: ShotFacts, bars_share: float = 0.0) -> str:
    [said] = describe(observed(one), bars_share).captions
    assert (said.start_s, said.end_s) == (one.start_s, one.end_s)
    return said.text


def test_each_shot_has_its_caption_and_says_how_it_began() -> None:
    said = describe(even(3, 2.5), 0.0).captions
    assert [(one.start_s, one.end_s) for one in said] == [(0.0, 2.5), (2.5, 5.0), (5.0, 7.5)]
    assert [one.text.split(" of ")[0] for one in said] == ["A shot", *["After a cut, a shot"] * 2]
    assert all("of 2.50 seconds" in one.text for one in said)


@pytest.mark.parametrize(
    ("colors", "words"),
    [
        ({"blue": 0.6, "white": 0.38}, "mostly blue (60% of the picture) and white (38%),"),
        ({"red": 0.44, "green": 0.4}, "above all red (44% of the picture), green (40%) and gray"),
        ({"green": 0.95}, "mostly green (95% of the picture),"),
        (EVERY_COLOR | {"red": 0.096}, "above all red (10% of the picture),"),
    ],
)
def test_it_names_the_colours_that_fill_the_picture(colors: dict[str, float], words: str) -> None:
    text = caption(shot(0.0, 5.0, colors=colors))
    assert words in text
    named = re.findall(r"(\w+) \((\d+)%", text)
    assert len(named) <= 3
    facts = shot(0.0, 5.0, colors=colors)
    for name, share in named:
        assert abs(facts.share(name) - int(share) / 100) <= 0.005


def test_bars_are_no_black_of_the_picture() -> None:
    """A quarter of the picture is bars, and as much of it is black."""
    dark = shot(0.0, 5.0, colors={"black": 0.5, "blue": 0.38})
    assert "mostly black (50% of the picture), blue (38%)" in caption(dark)
    assert (
        "5.00 seconds, with bars over 25% of the picture: mostly blue (38% of the picture), "
        "black (25%) and gray (12%)," in caption(dark, 0.25)
    )
    # Bars of another colour than black take no black away that is not there.
    assert "mostly red (90%" in caption(shot(0.0, 5.0, colors={"red": 0.9}), 0.25)
    assert "bars" not in caption(dark, 0.005)


@pytest.mark.parametrize(
    ("brightness", "words"),
    [(0.02, "very dark"), (0.2, "dark"), (0.45, "of medium brightness"), (0.8, "bright")],
)
def test_it_says_how_bright_it_is(brightness: float, words: str) -> None:
    assert f", {words} (mean {brightness:.2f})" in caption(shot(0.0, 5.0, brightness=brightness))


@pytest.mark.parametrize(
    ("motion", "steadiness", "words"),
    [
        ((-0.3, 0.0), 1.0, "moves to the left by 30% of its width a second"),
        ((0.3, 0.1), 0.8, "moves to the right by 30% of its width a second"),
        ((0.0, -0.2), 0.9, "moves upwards by 20% of its height a second"),
        ((0.02, 0.2), 0.9, "moves downwards by 20% of its height a second"),
        ((0.01, 0.01), 0.9, "hardly moves"),
        ((0.0, 0.0), 0.0, "hardly moves"),
    ],
)
def test_it_says_how_the_picture_moves(
    motion: tuple[float, float], steadiness: float, words: str
) -> None:
    text = caption(shot(0.0, 5.0, motion=motion, steadiness=steadiness))
    assert f"; the picture as a whole {words}." in text


@pytest.mark.parametrize(
    ("duration_s", "motion", "steadiness"),
    [
        # Here and there: the mean says little, the way is long.
        (5.0, (-0.03, 0.0), 0.2),
        (5.0, (0.2, 0.2), 1.0),
        (5.0, (-0.3, 0.0), 0.5),
        (5.0, (-0.09, 0.0), 1.0),
        # Motion is measured four times a second: one outlier decides over a short shot.
        (1.9, (-0.3, 0.0), 1.0),
        (0.7, (0.0, 0.0), 0.0),
    ],
)
def test_of_a_doubtful_motion_it_says_nothing(
    duration_s: float, motion: tuple[float, float], steadiness: float
) -> None:
    assert "moves" not in caption(shot(0.0, duration_s, motion=motion, steadiness=steadiness))


def test_a_clip_of_very_many_shots_has_a_readable_reply() -> None:
    reply = describe(even(MAX_CAPTIONS + 40, 0.5), 0.0)
    assert len(reply.captions) == MAX_CAPTIONS
    assert read_reply(reply.model_dump_json(), DescribeReply) == reply


def test_a_summary_counts_and_quotes() -> None:
    captions = [
        Caption(start_s=2.0, end_s=9.0, text="Red."),
        Caption(start_s=3.0, end_s=4.0, text="Green."),
        Caption(start_s=5.0, end_s=8.5, text="Blue."),
    ]
    assert summarize(captions).summary == (
        "3 captions, 2.00 s to 9.00 s. It begins (2.00 s to 9.00 s): [Red.] "
        "It ends (5.00 s to 8.50 s): [Blue.]"
    )
    assert summarize(captions[:1]).summary == "1 caption, 2.00 s to 9.00 s: [Red.]"


def test_summaries_of_summaries_stay_short() -> None:
    text = "word " * 300
    for _ in range(8):
        text = summarize([Caption(start_s=n, end_s=n + 1.0, text=text) for n in range(9)]).summary
    assert len(text) < 1_500
    read_reply(json.dumps({"summary": text}), SummaryReply)


def test_the_teacher_tells_apart_what_it_is_asked() -> None:
    """A summary needs no clip and no store."""
    teacher = MeasureTeacher(TeacherSettings(), MemoStore("nowhere"), ShotSettings())
    one = Request(captions=(Caption(start_s=0.0, end_s=1.0, text="Red."),))
    two = Request(captions=(Caption(start_s=0.0, end_s=1.0, text="Blue."),))
    replies = {reply.request_id: reply for reply in answers_by_id(teacher, [one, two])}
    assert "Red." in replies[one.id].text
    assert "Blue." in replies[two.id].text
    assert {reply.params_json for reply in replies.values()} == {"{}"}
    with pytest.raises(FileNotFoundError):
        list(teacher.ask([Request(scene=plain_scene())]))
