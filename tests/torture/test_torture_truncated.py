"""Videos of which a part is missing: rejected, or kept and marked, as `input.truncated` says."""

from __future__ import annotations

import io
import itertools
import time
from pathlib import Path

import av
import pytest
from clock_video import run_ffmpeg
from pipeline_helpers import FAST, bikes, run_here, samples
from torture_damage import DAMAGED
from torture_kind import Kind, Make
from torture_making import Shop, box, cut_in_pictures
from torture_streams import times
from torture_work import LIMITS, work

from schemas.rejection import Reason
from transforms.memo import MemoStore
from transforms.publish.check import check_dataset
from transforms.video.container_end import ends_early
from transforms.video.measures import read_rows
from transforms.video.samples import read_samples

KEEP = LIMITS.model_copy(update={"truncated": "keep"})
WHOLE_FRAMES = {
    "cut at 30.mp4": 20,
    "cut at 60.mp4": 53,
    "cut at 95.mp4": 93,
    "cut.mkv": 50,
    "cut.webm": 56,
    "cut.avi": 50,
    "cut.flv": 53,
    "cut.wmv": 74,
    "cut fragments.mp4": 35,
    "half zeros.mp4": 43,
}
"""How many frames there are before the one in which the file is cut."""
CUT_OFF = [kind for kind in DAMAGED if kind.name in WHOLE_FRAMES]
NUMBERS = itertools.count()


def made(make: Make, name: str, shop: Shop) -> Path:
    path = shop.folder / f"part-{next(NUMBERS)}" / name
    path.parent.mkdir()
    make(shop, path)
    return path


@pytest.mark.parametrize("kind", CUT_OFF, ids=lambda kind: kind.name)
def test_what_decodes_is_kept_and_marked(kind: Kind, shop: Shop, store: MemoStore) -> None:
    path = made(kind.make, kind.name, shop)
    [rejected] = work([path], store)
    assert [one.reason for one in rejected.lost] == [Reason.TRUNCATED]
    assert "input.truncated=keep" in rejected.lost[0].detail
    [kept] = work([path], store, KEEP)
    assert kept.lost == []
    assert kept.truncated != ""
    assert rejected.lost[0].detail.startswith(kept.truncated)
    whole = WHOLE_FRAMES[kind.name]
    assert kept.shown[:whole] == list(range(whole))
    # Where a container does not tell that its last packet is torn, so is the last picture.
    assert len(kept.shown) - whole in (0, 1)
    assert kept.spans == [pytest.approx((0.0, len(kept.shown) / 25), abs=0.01)]


def test_a_cut_that_costs_the_sound_only_is_said_too(shop: Shop, store: MemoStore) -> None:
    # In a fragment all sound comes after all pictures.
    pictures = shop.clock("pictures.mp4", options={"bf": "0", "g": "250"})
    path = shop.folder / "one fragment.mp4"
    run_ffmpeg(
        *("-i", str(pictures), "-i", str(shop.beeps), "-c:v", "copy"),
        *("-movflags", "frag_keyframe+empty_moov", str(path)),
    )
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos is not None]
        end = max(packet.pos + packet.size for packet in packets)
    path.write_bytes(path.read_bytes()[: end + 10])
    [rejected] = work([path], store)
    assert [one.reason for one in rejected.lost] == [Reason.TRUNCATED]
    [kept] = work([path], store, KEEP)
    # ffmpeg makes room for the start of the sound by showing the first picture longer.
    assert kept.shown == [0, *range(50)]
    assert kept.audio == [False]


@pytest.mark.parametrize(
    ("starts_s", "frames"),
    [(("0", "0"), 50), (("0", "1"), 50), (("0", "0.05"), 50), (("0", "2", "1"), 100)],
)
def test_what_comes_after_a_break_in_the_time_stamps_is_left_out(
    starts_s: tuple[str, ...], frames: int, shop: Shop, store: MemoStore
) -> None:
    path = made(times(*starts_s), "joined.ts", shop)
    total = 50 * len(starts_s)
    [rejected] = work([path], store)
    assert [one.reason for one in rejected.lost] == [Reason.TRUNCATED]
    [kept] = work([path], store, KEEP)
    words = f"{total - frames} of {total} frames come after a break in the time stamps"
    assert kept.truncated == words
    assert kept.shown == [number % 50 for number in range(frames)]
    assert kept.spans == [pytest.approx((0.0, frames / 25), abs=0.001)]
    assert kept.decoded is not None
    rows = read_rows(store.path(kept.decoded.frames_ref), 0, 1_000)
    sampled = read_samples(store.path(kept.decoded.samples_ref))
    assert len(rows["time_s"]) == frames
    assert max(sampled.times_s) <= max(rows["time_s"]) < frames / 25


def test_a_few_frames_out_of_order_break_nothing(shop: Shop, store: MemoStore) -> None:
    [torn] = work([made(times("0", "1.84"), "torn.ts", shop)], store)
    assert (torn.truncated, torn.lost) == ("", [])
    assert torn.shown == [*range(50), *range(4, 50)]


def test_the_break_is_where_many_frames_are_out_of_order(shop: Shop, store: MemoStore) -> None:
    path = made(times("0", "1.84", "0"), "torn and broken.ts", shop)
    [kept] = work([path], store, KEEP)
    # The four that were out of order where the stream was torn count among what is lost.
    assert kept.truncated == "54 of 150 frames come after a break in the time stamps"
    assert kept.shown == [*range(50), *range(4, 50)]


def test_whole_videos_are_not_marked(shop: Shop, store: MemoStore) -> None:
    [kept] = work([shop.long], store, KEEP)
    assert (kept.truncated, len(kept.shown)) == ("", 100)


CONTAINERS = {
    "mp4": (),
    "mov": ("-movflags", "faststart"),
    "m4v": ("-movflags", "frag_keyframe+empty_moov"),
    "mkv": (),
    "webm": ("-c:v", "libvpx"),
    "avi": ("-c:v", "mpeg4"),
    "flv": (),
    "wmv": ("-c:v", "wmv2"),
    "ts": (),
    "mxf": ("-c:v", "mpeg2video"),
    "ogv": ("-c:v", "libtheora"),
    "nut": (),
}
SAYS_SIZES = frozenset({"mov", "m4v", "mkv", "webm", "avi", "flv", "wmv"})


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_containers_that_say_their_sizes_tell_when_they_end_early(suffix: str, shop: Shop) -> None:
    content = shop.remuxed(shop.long, f"whole.{suffix}", *CONTAINERS[suffix]).read_bytes()
    assert ends_early(io.BytesIO(content)) == ""
    if suffix in SAYS_SIZES:
        # An index at the end may be gone, no frame is lost with it.
        for share in (0.5, 0.7, 0.8, 0.9):
            assert ends_early(io.BytesIO(content[: round(len(content) * share)])) != "", share


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"FLV",
        b"RIFF\xff\xff\xff\xffAVI ",
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\x00",
        b"\x00\x00\x00\x08ftyp\x00\x00\x00\x01mdat",
        box(b"ftyp", b"") + b"\x00\x00\x00\x00mdat" + bytes(100),
        box(b"free", b"") * 1_000_000,
        b"RIFF\x00\x00\x00\x00AVI " * 500_000,
        b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * 4_000_000,
    ],
    ids=range(10),
)
def test_odd_containers_do_not_say_that_they_end_early(content: bytes) -> None:
    start = time.monotonic()
    assert ends_early(io.BytesIO(content)) in ("", "the file ends inside of a tag")
    assert time.monotonic() - start < 5


def test_samples_of_a_cut_off_video_say_so(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    whole = tmp_path / "whole.mp4"
    run_ffmpeg("-i", str(bikes()), "-c", "copy", "-movflags", "faststart", str(whole))
    (videos / "cut off.mp4").write_bytes(cut_in_pictures(whole.read_bytes(), 0.7))
    (videos / "whole.mkv").write_bytes(bikes().read_bytes())
    assert run_here(videos, "--out", out, *FAST, "--set", "input.truncated=keep") == 0
    media = [one["media"][0] for one in samples(out).values()]
    marks = {one["source_uri"]: one["source_truncated"] for one in media}
    assert marks["whole.mkv"] == ""
    assert "of 10.00 s" in marks["cut off.mp4"]
    assert check_dataset(out / "dataset") == []
    assert "of which a part is missing" in (out / "dataset" / "README.md").read_text("utf-8")
