"""Files that were whole once: cut off, with flipped bits, without their index, with lies in it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from clock_video import run_ffmpeg
from torture_kind import (
    Kind,
    Make,
    clip,
    cut_off,
    lost,
    no_frame,
    not_a_video,
    too_long,
    writing,
)
from torture_making import (
    FOUR_SECONDS,
    Shop,
    Sub,
    bare,
    box,
    boxes,
    changed,
    cut_in_pictures,
    flipped,
    nal_type,
    nal_units,
    parameter_set,
    pictures_of,
    put,
)

from schemas.rejection import Reason, Stage


def cut(share: float) -> Make:
    return writing(lambda shop: cut_in_pictures(shop.long.read_bytes(), share))


def part(share: float, name: str, *options: str, codec: str = "", **how: object) -> Make:
    """The first part of a video in another container."""

    def content(shop: Shop) -> bytes:
        if codec:
            whole = shop.clock(name, FOUR_SECONDS, codec=codec, options=dict(how)).read_bytes()
        else:
            whole = shop.remuxed(shop.long, name, *options).read_bytes()
        return whole[: round(len(whole) * share)]

    return writing(content)


def first_bytes(name: str, count: int) -> Make:
    return writing(lambda shop: shop.remuxed(shop.plain, name).read_bytes()[:count])


def without_index(shop: Shop) -> bytes:
    content = shop.plain.read_bytes()
    return content[: content.index(b"moov") - 4]


def without_pictures(shop: Shop) -> bytes:
    content = shop.faststart.read_bytes()
    return content[: content.index(b"mdat") + 4]


def noise_for_pictures(shop: Shop) -> bytes:
    content = shop.faststart.read_bytes()
    start, end = pictures_of(content)
    return content[:start] + b"\x55" * (end - start)


def zeros_from_half(shop: Shop) -> bytes:
    content = shop.long.read_bytes()
    start, end = pictures_of(content)
    middle = (start + end) // 2
    return content[:middle] + bytes(len(content) - middle)


def flips(name: str, count: int, seed: int) -> Make:
    def content(shop: Shop) -> bytes:
        whole = shop.remuxed(shop.long, name).read_bytes()
        start, end = (len(whole) // 4, len(whole))
        if name.endswith("mp4"):
            start, end = pictures_of(whole)
        return flipped(whole, start, end, count, seed)

    return writing(content)


def in_index(**changes: Sub) -> Make:
    return writing(lambda shop: changed(shop.plain.read_bytes(), **changes))


def compressed_index(size: int | None) -> Make:
    """An index packed by zlib, as old QuickTime files have it; `size` is what it claims."""

    def content(shop: Shop) -> bytes:
        found = dict(boxes(shop.plain.read_bytes()))
        index = box(b"moov", found.pop(b"moov"))
        packed = struct.pack(">I", size or len(index)) + zlib.compress(index)
        method = box(b"dcom", b"zlib")
        whole = b"".join(box(name, payload) for name, payload in found.items())
        return whole + box(b"moov", box(b"cmov", method + box(b"cmvd", packed)))

    return writing(content)


def huge_pictures(shop: Shop) -> bytes:
    """A bare stream whose header claims pictures of 65,520 x 64."""
    units = nal_units(shop.raw.read_bytes())
    return bare([parameter_set(65_520, 64) if nal_type(one) == 7 else one for one in units])


def huge_pictures_in_index(shop: Shop) -> bytes:
    def stretch(payload: bytes) -> bytes:
        at = payload.index(b"avc1") + 4 + 24
        return payload[:at] + struct.pack(">HH", 65_535, 65_535) + payload[at + 4 :]

    return changed(shop.plain.read_bytes(), stsd=stretch, tkhd=put(76, ">II", 2**32 - 1, 2**32 - 1))


def matroska_duration(shop: Shop) -> bytes:
    content = shop.remuxed(shop.plain, "long.mkv").read_bytes()
    at = content.index(b"\x44\x89\x88") + 3
    return content[:at] + struct.pack(">d", 1e15) + content[at + 8 :]


def index_of_millions(shop: Shop) -> bytes:
    """One chunk that claims to hold 200 million frames of one byte each."""
    count = 200_000_000
    return changed(
        shop.plain.read_bytes(),
        stsz=lambda _: struct.pack(">III", 0, 1, count),
        stts=lambda _: struct.pack(">IIII", 0, 1, count, 1),
        stsc=lambda _: struct.pack(">IIIII", 0, 1, 1, count, 1),
        ctts=lambda _: struct.pack(">II", 0, 0),
    )


def slow(payload: bytes) -> bytes:
    """Frames that follow each other 100,000 times as slowly."""
    _, _, count, delta = struct.unpack(">IIII", payload)
    return struct.pack(">IIII", 0, 1, count, delta * 100_000)


def same_times(payload: bytes) -> bytes:
    return struct.pack(">IIII", 0, 1, 50, 0)


def bomb_of_pixels(shop: Shop, path: Path) -> None:
    options = ("-frames:v", "2", "-c:v", "gif", "-pix_fmt", "gray", "-f", "gif")
    run_ffmpeg("-f", "lavfi", "-i", "color=c=gray:s=6000x6000:r=1", *options, str(path))


def bomb_of_frames(shop: Shop, path: Path) -> None:
    source = "color=c=gray:s=16x16:r=2500:d=2"
    scale = ("-preset", "ultrafast", "-video_track_timescale", "2500")
    run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", *scale, str(path))


WEEKS = put(16, ">I", 2_000_000_000)

DAMAGED = (
    Kind("cut at 30.mp4", cut(0.3), cut_off("of 4.00 s"), "the index in front tells of it all"),
    Kind("cut at 60.mp4", cut(0.6), cut_off("of 4.00 s"), "the same, later"),
    Kind("cut at 95.mp4", cut(0.95), cut_off("before its mdat does"), "little is missing"),
    Kind("cut.mkv", part(0.6, "cut.mkv"), cut_off("of 4.00 s"), "the header says how long it was"),
    Kind("cut.webm", part(0.6, "c.webm", codec="libvpx"), cut_off("of 4.00 s"), "as Matroska"),
    Kind("cut.avi", part(0.6, "c.avi", codec="mpeg4"), cut_off("its movi"), "nothing complains"),
    Kind("cut.flv", part(0.6, "cut.flv"), cut_off("inside of a tag"), "nothing complains"),
    Kind("cut.wmv", part(0.6, "c.wmv", codec="wmv2"), cut_off("header says"), "nothing complains"),
    Kind(
        "cut.ts",
        part(0.6, "cut.ts"),
        clip(range(59), 0.0, 2.36),
        "a stream says nowhere how long it is: what is there is all there is",
    ),
    Kind(
        "cut fragments.mp4",
        part(0.5, "f.mp4", "-movflags", "frag_keyframe+empty_moov"),
        cut_off("before its mdat does"),
        "fragments, as live recorders write them",
    ),
    Kind(
        "half zeros.mp4",
        writing(zeros_from_half),
        cut_off("of 4.00 s"),
        "a download that reserved its space first",
    ),
    Kind("few flips.mp4", flips("f.mp4", 2, 1), clip(None, 0.0, 4.0), "the decoder patches them"),
    Kind("few flips.mkv", flips("f.mkv", 2, 2), clip(None, 0.0, 4.0), "the decoder patches them"),
    Kind("few flips.ts", flips("f.ts", 2, 3), clip(None, 0.0, 4.0), "the decoder patches them"),
    Kind(
        "many flips.mp4",
        flips("f.mp4", 60, 4),
        lost(Stage.DECODE, Reason.DAMAGED, "damaged frames in"),
        "most of what decodes is patched up",
    ),
    Kind(
        "header only.mp4",
        writing(lambda _: box(b"ftyp", b"isom\0\0\0\0isom")),
        not_a_video(),
        "a download that broke off at once",
    ),
    Kind("header only.mkv", first_bytes("h.mkv", 60), not_a_video(), "the same"),
    Kind(
        "header only.avi",
        writing(lambda shop: shop.clock("h.avi", codec="mpeg4").read_bytes()[:500]),
        not_a_video(),
        "the same",
    ),
    Kind("one packet.ts", first_bytes("p.ts", 188), not_a_video(), "the same"),
    Kind("no index.mp4", writing(without_index), not_a_video(), "a recorder that was killed"),
    Kind("no pictures.mp4", writing(without_pictures), no_frame(), "an index of nothing"),
    Kind("noise for pictures.mp4", writing(noise_for_pictures), no_frame(), "none decodes"),
    Kind(
        "claims weeks.mp4",
        in_index(mvhd=WEEKS, mdhd=WEEKS, tkhd=put(20, ">I", 2_000_000_000)),
        clip(),
        "the headers of the index lie about the length, its tables do not",
    ),
    Kind(
        "a picture an hour.mp4",
        in_index(stts=slow, mdhd=WEEKS, edts=lambda _: b""),
        too_long("claims"),
        "a length that would earn it hours of our time",
    ),
    Kind(
        "claims 30,000 years.mkv",
        writing(matroska_duration),
        too_long("claims"),
        "the same in Matroska",
    ),
    Kind(
        "huge pictures.mp4",
        writing(huge_pictures),
        no_frame("65520x64 pixels"),
        "a header that would cost memory",
    ),
    Kind(
        "huge in the index.mp4",
        writing(huge_pictures_in_index),
        clip(),
        "the index lies about the size, the stream does not",
    ),
    Kind(
        "200 million frames.mp4",
        writing(index_of_millions),
        no_frame(),
        "an index that would cost memory",
    ),
    Kind(
        "bomb of pixels.mp4",
        bomb_of_pixels,
        lost(Stage.SELECT, Reason.FROZEN),
        "36 million pixels a frame out of a small file",
    ),
    Kind(
        "bomb of frames.mp4",
        bomb_of_frames,
        lost(Stage.SELECT, Reason.FROZEN),
        "5,000 frames out of a small file",
    ),
    Kind(
        "all at once.mp4",
        in_index(stts=same_times),
        cut_off("come after a break in the time stamps"),
        "all frames have one time",
    ),
    Kind("packed index.mov", compressed_index(None), clip(), "old QuickTime"),
    Kind(
        "packed index of 4 GB.mov",
        compressed_index(2**32 - 1),
        lost(Stage.INGEST, Reason.DECODER_CRASHED, "out of memory"),
        "an index that would cost memory once unpacked",
    ),
    Kind(
        "garbage behind.mp4",
        writing(lambda shop: shop.plain.read_bytes() + b"\xa5" * 5_000),
        clip(),
        "blocks of a disk behind the end",
    ),
    Kind(
        "garbage before.mp4",
        writing(lambda shop: b"\xa5" * 5_000 + shop.plain.read_bytes()),
        not_a_video(),
        "an mp4 is known by its first bytes",
    ),
    Kind(
        "twice in a row.mp4",
        writing(lambda shop: shop.plain.read_bytes() * 2),
        clip(),
        "two files in one: the first counts",
    ),
)
