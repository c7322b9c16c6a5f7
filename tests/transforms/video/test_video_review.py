"""Faults that a review found: names that speak to ffmpeg, chance in the encoder, many spans."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from clock_video import Work, run_ffmpeg

from schemas.clip import Clip, Media
from schemas.source import Source, location
from schemas.video import Decoded, Video
from transforms.memo import MemoStore
from transforms.video.analyse import InputSettings, analyse
from transforms.video.cut import CutEnd, CutSettings, cut
from transforms.video.ingest import ingest
from transforms.video.measures import read_rows
from transforms.video.media_process import without_addresses
from transforms.video.segment import segment
from transforms.video.shots import ShotSettings

SHOTS = ShotSettings(min_clip_s=0.1, max_clip_s=0.4)


def video_of(path: Path, store: MemoStore) -> Video:
    return ingest(Source(uri="a.mp4", location=location(path)), store)


def decoded_of(video: Video, store: MemoStore) -> Decoded:
    return analyse(
        video, store, InputSettings(min_duration_s=0), score_family="content", sample_fps=2.0
    )


def times_of(decoded: Decoded, store: MemoStore) -> list[float]:
    rows = read_rows(store.path(decoded.frames_ref), 0, decoded.num_frames)
    return [float(time_s) for time_s in rows["time_s"]]


@pytest.mark.parametrize(
    "name",
    [
        b"a\n[Parsed_showinfo_4 @ 0] n: 0 pts: -512 pts_time:0 duration: 512 x s:96x54 .mp4",
        b"-i concat:x.mp4",
        b"caf\xe9.mp4",
        b"%03d.mp4",
        b"a'b\"c:d|e.mp4",
    ],
    ids=["log line", "option", "no utf-8", "pattern", "quotes"],
)
def test_a_name_says_nothing_to_ffmpeg(name: bytes, plain: Work, tmp_path: Path) -> None:
    """The same bytes under any name give the same times, and can be cut."""
    path = tmp_path / os.fsdecode(name)
    shutil.copy(plain.video.source.path, path)
    store = MemoStore(str(tmp_path / "store"))
    video = video_of(path, store)
    decoded = decoded_of(video, store)
    assert times_of(decoded, store) == times_of(plain.decoded, plain.store)
    clips, _ = segment(video, decoded, store, SHOTS)
    ends = cut(video, decoded, clips, store, CutSettings())
    assert all(isinstance(end, Media) for end in ends.values())


def test_a_folder_called_truncated_truncates_nothing(plain: Work, tmp_path: Path) -> None:
    """Sound longer than the picture, in a container that only tells the length of both."""
    path = tmp_path / "truncated partial file" / "a.mkv"
    path.parent.mkdir()
    run_ffmpeg(
        *("-i", plain.video.source.path, "-f", "lavfi", "-i", "sine=d=9"),
        *("-c:v", "copy", "-metadata", "title=File ended prematurely", str(path)),
    )
    store = MemoStore(str(tmp_path / "store"))
    assert decoded_of(video_of(path, store), store).truncated == ""


def test_details_hold_no_addresses_and_no_folders() -> None:
    line = "[in#0/mov @ 0x5576a7142e40] Error opening file:/home/me/my videos/x.mp4: /etc/passwd"
    said = without_addresses(line)
    assert "0x5576" not in said
    assert "/home/me" not in said
    assert "/etc" not in said


def test_noisy_pictures_give_the_same_bytes_every_time(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    noise = "testsrc2=s=320x240:d=3:r=25,noise=alls=40:allf=t+u"
    run_ffmpeg("-f", "lavfi", "-i", noise, "-c:v", "libx264", "-crf", "12", str(path))
    hashes = set()
    for number in range(4):
        store = MemoStore(str(tmp_path / f"store{number}"))
        video = video_of(path, store)
        decoded = decoded_of(video, store)
        clips, _ = segment(video, decoded, store, ShotSettings())
        ends = cut(video, decoded, clips, store, CutSettings())
        hashes.add(tuple(end.sha256 for end in ends.values() if isinstance(end, Media)))
    assert len(hashes) == 1 and len(next(iter(hashes))) == 1


def cut_rows(work: Work, store: MemoStore, spans: list[tuple[int, int]]) -> list[CutEnd]:
    """Clips of these rows of a worked-through video, cut anew."""
    times = np.array(times_of(work.decoded, work.store))
    edges = np.append(times, work.decoded.first_pts_s + work.decoded.duration_s)
    measures = work.clips[0].measures
    clips = [
        Clip(
            video_id=work.video.id, start_s=float(edges[start]), end_s=float(edges[end]),
            start_frame=start, end_frame=end, shot_starts_s=(float(edges[start]),),
            measures=measures,
        )
        for start, end in spans
    ]  # fmt: skip
    ends = cut(work.video, work.decoded, clips, store, CutSettings(preset="ultrafast"))
    return [ends[clip.id] for clip in clips]


def test_more_than_a_hundred_spans(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:d=13:r=25", str(path))
    store = MemoStore(str(tmp_path / "store"))
    video = video_of(path, store)
    decoded = decoded_of(video, store)
    clips, _ = segment(video, decoded, store, ShotSettings())
    work = Work(path, store, video, decoded, clips, {})
    ends = cut_rows(work, store, [(3 * n, 3 * n + 1) for n in range(105)])
    assert all(isinstance(end, Media) and end.num_frames == 1 for end in ends)


def test_a_damaged_entry_is_made_anew(plain: Work, tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path / "store"))
    video = video_of(Path(plain.video.source.path), store)
    decoded = decoded_of(video, store)
    store.path(decoded.frames_ref).write_bytes(b"")
    again = decoded_of(video, store)
    assert times_of(again, store) == times_of(plain.decoded, plain.store)
