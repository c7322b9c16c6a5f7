"""What the torture corpus is made from: clock videos, and tools to damage them byte by byte."""

from __future__ import annotations

import functools
import itertools
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from clock_video import Clock, run_ffmpeg, write_beeps, write_clock

BFRAMES = {"bf": "2", "g": "25"}
TWO_SECONDS = tuple(range(50))
FOUR_SECONDS = tuple(range(100))
TS_PACKET_BYTES = 188
CONTAINER_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf"}

Sub = Callable[[bytes], bytes]


class Shop:
    """Whole files to start from, each made when it is first asked for, and what not to touch."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        """Of a video on a server that nobody may ask for it."""
        self._number = itertools.count()

    def clock(self, name: str, ticks: tuple[int, ...] = TWO_SECONDS, **how: object) -> Path:
        """A clock video; `how` are fields of `Clock`."""
        folder = self.folder / f"{next(self._number)}"
        folder.mkdir()
        return write_clock(folder, Clock(name, ticks, **{"options": BFRAMES, **how}))  # type: ignore[arg-type]

    def remuxed(self, source: Path, name: str, *options: str) -> Path:
        """A file that ffmpeg makes of another, copying unless the options say otherwise."""
        folder = self.folder / f"{next(self._number)}"
        folder.mkdir()
        run_ffmpeg("-i", str(source), "-map", "0", "-c", "copy", *options, str(folder / name))
        return folder / name

    @functools.cached_property
    def canary(self) -> Path:
        """A good video outside of the input, which nobody may open."""
        path = self.folder / "canary.mp4"
        return self.clock("canary.mp4", size=(160, 96)).rename(path)

    @functools.cached_property
    def plain(self) -> Path:
        """2 s at 25 fps, H.264 with B-frames; the index at the end."""
        return self.clock("plain.mp4")

    @functools.cached_property
    def faststart(self) -> Path:
        """As `plain`, with the index in front."""
        return self.remuxed(self.plain, "faststart.mp4", "-movflags", "faststart")

    @functools.cached_property
    def long(self) -> Path:
        """4 s without B-frames, the index in front: frames lie in the order of their numbers."""
        raw = self.clock("raw.mp4", FOUR_SECONDS, options={"bf": "0", "g": "25"})
        return self.remuxed(raw, "long.mp4", "-movflags", "faststart")

    @functools.cached_property
    def beeps(self) -> Path:
        """2 s of silence with a beep each half second."""
        return write_beeps(self.folder / "beeps.wav", (0.25, 0.75, 1.25, 1.75), 2.0)

    @functools.cached_property
    def sound(self) -> Path:
        """`plain` with sound."""
        path = self.folder / "sound.mp4"
        run_ffmpeg("-i", str(self.plain), "-i", str(self.beeps), "-c:v", "copy", str(path))
        return path

    @functools.cached_property
    def stream(self) -> Path:
        """2 s of MPEG-TS without B-frames, so that another one can be joined to it."""
        return self.clock("stream.ts", options={"bf": "0", "g": "25"})

    @functools.cached_property
    def raw(self) -> Path:
        """`plain` as a bare H.264 stream."""
        return self.remuxed(self.plain, "raw.h264", "-f", "h264")


def pictures_of(content: bytes) -> tuple[int, int]:
    """Where the payload of `mdat` begins and ends."""
    at = content.index(b"mdat")
    (size,) = struct.unpack(">I", content[at - 4 : at])
    return at + 4, at - 4 + size


def cut_in_pictures(content: bytes, share: float) -> bytes:
    """An mp4 with the index in front, cut off after a share of its pictures."""
    start, end = pictures_of(content)
    return content[: start + round((end - start) * share)]


def flipped(content: bytes, start: int, end: int, flips: int, seed: int) -> bytes:
    """The bytes with single bits turned over between two offsets."""
    chance = random.Random(seed)
    damaged = bytearray(content)
    for _ in range(flips):
        damaged[chance.randrange(start, end)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def salted(content: bytes, salt: str) -> bytes:
    """The same video in other bytes: with a box at its end that nobody reads."""
    return content + box(b"free", salt.encode())


def box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and payloads of neighbouring boxes."""
    at = 0
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        yield name, content[at + 8 : at + size]
        at += size


def changed(content: bytes, **changes: Sub) -> bytes:
    """An mp4 (index at its end) in which the payloads of boxes of these names are changed."""
    out = b""
    for name, payload in boxes(content):
        if name in CONTAINER_BOXES:
            payload = changed(payload, **changes)
        change = changes.get(name.decode("latin-1"))
        out += box(name, payload if change is None else change(payload))
    return out


def put(offset: int, form: str, *values: int) -> Sub:
    """Writes numbers over the bytes at an offset."""

    def write(payload: bytes) -> bytes:
        data = struct.pack(form, *values)
        return payload[:offset] + data + payload[offset + len(data) :]

    return write


def nal_units(stream: bytes) -> list[bytes]:
    """NAL units of a bare H.264 stream, without start codes."""
    return [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1") if unit.rstrip(b"\0")]


def bare(units: list[bytes]) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def nal_type(unit: bytes) -> int:
    return unit[0] & 31


def parameter_set(width_px: int, height_px: int) -> bytes:
    """A sequence parameter set (H.264, 7.3.2.1) of the baseline profile for a size."""
    bits = f"{66:08b}{0:08b}{51:08b}"
    # id, frame number bits, order of output = order of decoding, references, no gaps.
    bits += _ue(0) + _ue(0) + _ue(2) + _ue(1) + "0"
    bits += _ue(width_px // 16 - 1) + _ue(height_px // 16 - 1)
    # Frames only, direct inference, no crop, no VUI, end.
    bits += "1" + "1" + "0" + "0" + "1"
    bits += "0" * (-len(bits) % 8)
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def _ue(value: int) -> str:
    """An unsigned Exp-Golomb code."""
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code
