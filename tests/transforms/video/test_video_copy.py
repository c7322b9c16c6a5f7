"""Clips without encoding: what is published is what is in the mp4, and nothing is lost between."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from clock_video import (
    Clock,
    Work,
    analysed,
    beep_onsets,
    decoded_clock,
    run_ffmpeg,
    write_beeps,
    write_clock,
)
from hypothesis import given
from hypothesis import strategies as st

from schemas.clip import Media
from schemas.rejection import Rejected
from transforms.memo import MemoStore
from transforms.video.copying import clean_points, snapped
from transforms.video.cut import CutMode, CutSettings, cut
from transforms.video.cut_source import EndedEarlyError, Packets
from transforms.video.segment import segment
from transforms.video.shots import ShotSettings

COPY = CutSettings(mode=CutMode.COPY)
THIRDS = ShotSettings(detector="fixed", min_clip_s=0.05, max_clip_s=0.7)
CLOSED = {"bf": "2", "x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=0"}
OPEN = {"bf": "2", "x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=1"}


def copied(path: Path, store: MemoStore) -> Work:
    """A file through all media legs in copy mode; fails if any clip was rejected."""
    video, decoded = analysed(path, store)
    clips, rejections = segment(video, decoded, store, THIRDS, copy=True)
    assert not rejections
    ends = cut(video, decoded, clips, store, COPY)
    media = {clip_id: end for clip_id, end in ends.items() if isinstance(end, Media)}
    assert len(media) == len(clips), ends
    return Work(path, store, video, decoded, clips, media)


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ["closed.mp4", "closed.mkv", "late.mp4", "open.mp4"])
def test_copies_hold_the_pictures_of_the_source(
    name: str, tmp_path: Path, store: MemoStore
) -> None:
    first = 35 if name.startswith("late") else 0
    options = OPEN if name.startswith("open") else CLOSED
    clock = Clock(name, tuple(range(first, first + 50)), options=options)
    work = copied(write_clock(tmp_path, clock), store)
    source = pictures(work.path)
    assert len(work.clips) > 1
    shown = 0
    for clip in work.clips:
        media = work.media[clip.id]
        assert media.copied
        assert clip.start_frame == shown, "no frame between two clips is lost or doubled"
        found = decoded_clock(work.mp4(clip))
        assert [number for _, number in found] == list(range(clip.start_frame, clip.end_frame))
        np.testing.assert_allclose(
            [time_s for time_s, _ in found], np.arange(len(found)) / 25, atol=0.0011
        )
        assert media.duration_s == pytest.approx(clip.end_s - clip.start_s, abs=0.0011)
        own = pictures(work.mp4(clip))
        assert all(
            np.array_equal(one, other)
            for one, other in zip(own, source[clip.start_frame : clip.end_frame], strict=True)
        ), "encoded anew"
        shown = clip.end_frame
    assert shown == 50


UNCOPIED = [
    Clock("turned.mp4", options=CLOSED, quarter_turns=1),
    Clock("old.avi", codec="mpeg4"),
    Clock("stream.ts", options=CLOSED),
    Clock("jumps.mp4", (*range(20), *range(27, 50)), options=CLOSED),
]


@pytest.mark.parametrize("clock", UNCOPIED, ids=lambda clock: clock.name)
def test_what_cannot_be_copied_is_encoded(clock: Clock, tmp_path: Path, store: MemoStore) -> None:
    work = copied(write_clock(tmp_path, clock), store)
    assert not any(media.copied for media in work.media.values())
    shown = [number for clip in work.clips for _, number in decoded_clock(work.mp4(clip))]
    assert sorted(set(shown)) == list(range(len(clock.ticks)))


def test_an_edit_list_is_not_copied(tmp_path: Path, store: MemoStore) -> None:
    write_clock(tmp_path, Clock("whole.mp4", options=CLOSED))
    path = tmp_path / "edited.mp4"
    run_ffmpeg("-ss", "0.3", "-i", str(tmp_path / "whole.mp4"), "-c", "copy", str(path))
    work = copied(path, store)
    assert not any(media.copied for media in work.media.values())


def test_sound_stays_with_copied_pictures(tmp_path: Path, store: MemoStore) -> None:
    beeps = (0.0, 0.25, 0.9, 1.3, 1.7)
    picture = write_clock(tmp_path, Clock("picture.mp4", options=CLOSED))
    wav = write_beeps(tmp_path / "beeps.wav", beeps, 2.0)
    path = tmp_path / "both.mp4"
    run_ffmpeg("-i", str(picture), "-i", str(wav), "-c:v", "copy", "-c:a", "aac", str(path))
    work = copied(path, store)
    for clip in work.clips:
        onsets, length_s = beep_onsets(work.mp4(clip))
        assert work.media[clip.id].copied
        assert length_s == pytest.approx(work.media[clip.id].duration_s, abs=0.010)
        expected = [one - clip.start_s for one in beeps if clip.start_s <= one < clip.end_s - 0.07]
        assert onsets == pytest.approx(expected, abs=0.010)


groups = st.lists(st.tuples(st.permutations(range(4)), st.booleans()), min_size=1, max_size=6)


@given(groups)
def test_clean_points_split_both_orders(shapes: list[tuple[list[int], bool]]) -> None:
    """Groups of five in a made-up order of decoding; an open one leads into the one before."""
    times: list[int] = []
    keys: list[bool] = []
    for number, (order, is_open) in enumerate(shapes):
        start = number * 50
        key_time = start + (15 if is_open else 0)
        rest = [start + (10, 20, 30, 40)[place] for place in order]
        times += [key_time, *rest]
        keys += [True] + [False] * 4
    for point in clean_points(times, keys):
        assert keys[point]
        assert all(time < times[point] for time in times[:point])
        assert all(time > times[point] for time in times[point + 1 :])
    closed = [number * 5 for number, (_, is_open) in enumerate(shapes) if not is_open]
    assert clean_points(times, keys) == closed


@given(
    st.sets(st.integers(1, 99), max_size=8),
    st.sets(st.integers(1, 99), max_size=12),
)
def test_snapped_spans_cover_all_rows_once(cuts: set[int], clean: set[int]) -> None:
    points = [0, *sorted(clean)]
    spans = snapped(list(pairwise([0, *sorted(cuts), 100])), points)
    assert spans[0][0] == 0 and spans[-1][1] == 100
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert all(start < end and start in points for start, end in spans)
    for cut_row in cuts:
        before = max(point for point in points if point <= cut_row)
        assert before in {start for start, _ in spans}


def test_keyframes_that_are_no_whole_pictures_are_noticed(tmp_path: Path, store: MemoStore) -> None:
    """Intra refresh: what is marked as a keyframe begins a picture that takes ten frames."""
    options = {"bf": "0", "x264-params": "keyint=10:intra-refresh=1"}
    video, decoded = analysed(write_clock(tmp_path, Clock("ir.mp4", options=options)), store)
    clips, _ = segment(video, decoded, store, THIRDS, copy=True)
    first, *rest = (cut(video, decoded, clips, store, COPY)[clip.id] for clip in clips)
    assert isinstance(first, Media) and first.copied
    assert rest
    for end in rest:
        assert isinstance(end, Rejected)
        assert "copied frames decode; set cut.mode to exact" in end.detail


class Torn:
    """A container that can't be read to its end, as on a disk that fails."""

    def __init__(self, container: av.container.InputContainer, packets: int) -> None:
        self.streams = container.streams
        self._container = container
        self._packets = packets

    def demux(self, stream: av.VideoStream) -> Iterator[av.Packet]:
        yield from islice(self._container.demux(stream), self._packets)
        raise av.error.OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_source_that_cannot_be_read_to_its_end_has_ended(tmp_path: Path) -> None:
    """As when it is decoded: the clips before are cut, the others are lost, the run goes on."""
    path = write_clock(tmp_path, Clock("torn.mp4", options=CLOSED))
    request: Any = SimpleNamespace(
        video_index=0, times_us=range(0, 2_000_000, 40_000), start_time_s=0.0, copy_delay_us=0
    )
    with av.open(str(path)) as container:
        packets = Packets(Torn(container, 25), request)
        assert len(list(packets.rows(0, 20))) == 20
        with pytest.raises(EndedEarlyError):
            list(packets.rows(20, 30))


def test_rare_keyframes_are_no_reason_for_long_clips(tmp_path: Path, store: MemoStore) -> None:
    options = {"bf": "2", "x264-params": "keyint=infinite:scenecut=0"}
    clock = Clock("long.mp4", tuple(range(300)), options=options)
    work = copied(write_clock(tmp_path, clock), store)
    assert len(work.clips) > 10
    assert not any(media.copied for media in work.media.values())


def test_a_last_picture_that_stands_is_encoded(tmp_path: Path, store: MemoStore) -> None:
    raw = write_clock(tmp_path, Clock("raw.mp4", options=CLOSED))
    path = tmp_path / "recording.mp4"
    stretch = "setts=pts=PTS:dts=DTS:duration='if(eq(N,49),0.2/TB,DURATION)'"
    run_ffmpeg("-i", str(raw), "-c", "copy", "-bsf:v", stretch, str(path))
    work = copied(path, store)
    assert not any(media.copied for media in work.media.values())
    shown_s = sum(media.duration_s for media in work.media.values())
    assert shown_s == pytest.approx(1.96 + 0.2, abs=0.002)
