"""Inputs with the same bytes meet without anybody holding all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from schemas.rejection import Reason, Stage
from schemas.source import GivenQuestion, Source
from schemas.video import Probe, Video
from transforms.legs import OUT, REJECTED, Leg
from transforms.progress import NOWHERE
from transforms.video.exclude import Exclusion, load_exclusion
from transforms.video.same_inputs import KeepOne, one_of_same_subject, with_same

INPUTS = 1_000
SHA256 = "ab" * 32
PROBE = Probe(
    container="mp4", video_index=0, codec="h264", pix_fmt="yuv420p", width_px=64, height_px=48,
    rotation_deg=0, start_time_s=0, claimed_duration_s=1, container_duration_s=1,
    color_range=0, color_space=2, color_primaries=2, color_transfer=2, audio=None,
)  # fmt: skip


def video(number: int) -> Video:
    """Its name sorts by its number; each asks something of its own, and what others ask."""
    name = f"{number:06d}.mp4"
    questions = tuple(GivenQuestion(question=one) for one in (f"even {number % 2}", name))
    source = Source(uri=name, location=f"/videos/{name}", questions=questions)
    return Video(sha256=SHA256, size_bytes=9, probe=PROBE, source=source)


class Grouped:
    """As runners hand over what they have grouped: it can be read again, and is made as it is read.
    Any order, the first one is in the middle."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[Video]:
        for number in range(INPUTS):
            self.read += 1
            yield video((number + INPUTS // 2) % INPUTS)


def test_they_are_gone_through_and_not_held() -> None:
    grouped = Grouped()
    found = with_same((SHA256, grouped))
    first = next(found)
    assert grouped.read == INPUTS + 1, "gone through once, and then one by one"
    ones = [first, *islice(found, INPUTS)]
    assert [one.video for one in ones] == list(Grouped())
    assert len({id(one.same) for one in ones}) == 1
    ends = [KeepOne()(one) for one in ones]
    assert {end.entered for end in ends} == {1}
    [kept] = [one for end in ends for one in end.outputs]
    # Everybody's questions in the order of the names, each where it was asked first.
    asked = [one.question for number in range(INPUTS) for one in video(number).source.questions]
    assert [one.question for one in kept.source.questions] == list(dict.fromkeys(asked))
    assert kept.source.uri == video(0).source.uri
    rejections = [one for end in ends for one in end.rejections]
    assert sorted(one.subject for one in rejections) == [
        video(number).source.uri for number in range(1, INPUTS)
    ]
    assert {(one.stage, one.reason, one.parent, one.detail) for one in rejections} == {
        (Stage.INGEST, Reason.DUPLICATE, kept.id, "same bytes as 000000.mp4")
    }


def test_one_of_two_that_can_not_be_told_apart_is_kept() -> None:
    ends = [KeepOne()(one) for one in with_same((SHA256, [video(1), video(1)]))]
    assert [(len(end.outputs), len(end.rejections)) for end in ends] == [(1, 0), (0, 1)]


@pytest.mark.parametrize("seed", range(3))
def test_if_one_is_excluded_all_are(seed: int, tmp_path: Any) -> None:
    path = tmp_path / "list.txt"
    path.write_text("000002.mp4\n000001.mp4\n", "utf-8")
    exclusion = load_exclusion([str(path)])
    videos = random.Random(seed).sample([video(number) for number in range(4)], 4)
    ends = [KeepOne(exclusion)(one) for one in with_same((SHA256, videos), exclusion)]
    assert not [one for end in ends for one in end.outputs]
    rejections = sorted((one for end in ends for one in end.rejections), key=lambda x: x.subject)
    assert rejections == exclusion.left_out(videos)
    first = "same bytes as 000001.mp4, which is '000001.mp4' of list.txt"
    own = [f"'00000{number}.mp4' of list.txt" for number in (1, 2)]
    assert [one.detail for one in rejections] == [first, *own, first]


def test_what_breaks_while_they_are_gone_through_costs_them_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Exclusion, one: Video) -> None:
        if one.source.uri == video(2).source.uri:
            raise KeyError("poison")

    monkeypatch.setattr(Exclusion, "match", broken)
    groups = [("a", [video(number) for number in (1, 2, 3)]), ("b", [video(5)])]
    with beam.Pipeline() as pipeline:
        found = (
            pipeline
            | beam.Create(groups)
            | beam.FlatMap(with_same)
            | Leg(Stage.INGEST, KeepOne(), one_of_same_subject, NOWHERE)
        )
        kept = found[OUT] | "Kept" >> beam.Map(lambda one: one.source.uri)
        lost = found[REJECTED] | "Lost" >> beam.Map(lambda one: (one.subject, one.reason))
        assert_that(kept, equal_to([video(5).source.uri]), label="kept")
        told = [(video(number).source.uri, Reason.INTERNAL_ERROR) for number in (1, 2, 3)]
        assert_that(lost, equal_to(told), label="lost")
