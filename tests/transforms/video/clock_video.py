"""Clock videos: every frame shows its own number in a pattern that survives H.264 and scaling.

A frame is a board of 4x4 black and white fields: 16 bits, four copies of a parity check above
twelve bits of the frame's number, so that a torn or mixed picture is noticed and not misread.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from schemas.clip import Clip, Media
from schemas.source import Source, location
from schemas.video import Decoded, Video
from transforms.memo import MemoStore
from transforms.video.analyse import InputSettings, analyse
from transforms.video.cut import CutSettings, cut
from transforms.video.ingest import ingest
from transforms.video.media_process import ffmpeg_exe
from transforms.video.segment import segment
from transforms.video.shots import ShotSettings

FIELDS = 4
NUMBER_BITS = 12
DARK, LIGHT = 40, 215
BEEP_HZ = 1_000
BEEP_S = 0.06
AUDIO_HZ = 48_000
SAMPLE_FPS = 5.0
LIMITS = InputSettings(min_duration_s=0.0)
THIRDS = ShotSettings(detector="fixed", min_clip_s=0.03, max_clip_s=0.7)
"""Cuts two seconds into three clips."""

Pixels = NDArray[np.uint8]


def board(number: int, width_px: int, height_px: int) -> Pixels:
    """The picture of frame `number`: (h, w, 3)."""
    parity = number.bit_count() % 2
    word = number | sum((parity ^ copy % 2) << NUMBER_BITS + copy for copy in range(4))
    rows = np.arange(height_px) * FIELDS // height_px
    columns = np.arange(width_px) * FIELDS // width_px
    bits = word >> (rows[:, None] * FIELDS + columns[None, :]) & 1
    return np.repeat((bits * (LIGHT - DARK) + DARK).astype(np.uint8)[..., None], 3, axis=2)


def read_board(pixels: Pixels) -> int:
    """The number that a picture (h, w, 3) shows. AssertionError if it shows none clearly."""
    height, width = pixels.shape[:2]
    word = 0
    for bit in range(FIELDS * FIELDS):
        row, column = divmod(bit, FIELDS)
        y, x = int((row + 0.5) * height / FIELDS), int((column + 0.5) * width / FIELDS)
        level = float(pixels[y - 2 : y + 3, x - 2 : x + 3].mean())
        assert abs(level - 128) > 40, f"field {bit} is neither dark nor light: {level:.0f}"
        word |= int(level > 128) << bit
    number = word & ((1 << NUMBER_BITS) - 1)
    parity = number.bit_count() % 2
    copies = [word >> NUMBER_BITS + copy & 1 for copy in range(4)]
    assert copies == [parity ^ copy % 2 for copy in range(4)], f"torn picture, reads {number}"
    return number


@dataclass(frozen=True)
class Clock:
    """How a clock video is to be made."""

    name: str
    """File name; the suffix chooses the container."""
    ticks: Sequence[int] = tuple(range(50))
    """PTS of the frames, in units of `unit`."""
    unit: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    size: tuple[int, int] = (128, 96)
    options: dict[str, str] = field(default_factory=dict)
    quarter_turns: int = 0
    """The pictures lie on their side in the file by so many turns, and its metadata says so."""
    remux: tuple[str, ...] = ()
    """Options of ffmpeg with which the file is copied into its final form."""
    has_pts: bool = True
    """Whether the container stores the times at which frames are shown, or only their order."""

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Times as meant, from the first frame on."""
        return np.array([float((tick - self.ticks[0]) * self.unit) for tick in self.ticks])


def write_clock(folder: Path, clock: Clock) -> Path:
    """Write a clock video."""
    path = folder / clock.name
    picture: Callable[[int], Pixels] = lambda number: np.ascontiguousarray(  # noqa: E731
        np.rot90(board(number, *clock.size), -clock.quarter_turns)
    )
    turn = ("-display_rotation", str(90 * clock.quarter_turns)) if clock.quarter_turns else ()
    first = path.with_name(f"first-{path.stem}.mp4") if turn or clock.remux else path
    write_pictures(first, clock, map(picture, range(len(clock.ticks))))
    if first != path:
        run_ffmpeg(*turn, "-i", str(first), "-c", "copy", *clock.remux, str(path))
    return path


def write_pictures(path: Path, clock: Clock, pictures: Iterable[Pixels]) -> None:
    """Encode pictures (h, w, 3) RGB with the clock's times."""
    with ordinary_schedule(), av.open(str(path), "w") as container:
        stream = container.add_stream(clock.codec, rate=clock.rate, options=dict(clock.options))
        stream.pix_fmt = clock.pix_fmt
        stream.time_base = stream.codec_context.time_base = clock.unit
        for tick, picture in zip(clock.ticks, pictures, strict=True):
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, clock.unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@contextmanager
def ordinary_schedule() -> Iterator[None]:
    """Undo what SVT-AV1 does where it may: the thread that opens it, and all that this one starts
    later, would go before everything else on the machine."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def run_ffmpeg(*arguments: str) -> bytes:
    """Run ffmpeg and return what it prints to stdout."""
    command = [ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def write_beeps(path: Path, beeps_s: Iterable[float], length_s: float) -> Path:
    """A wav of silence with short beeps that begin at the given times."""
    sound = np.zeros(round(length_s * AUDIO_HZ))
    tone = np.sin(2 * np.pi * BEEP_HZ * np.arange(round(BEEP_S * AUDIO_HZ)) / AUDIO_HZ)
    for beep_s in beeps_s:
        start = round(beep_s * AUDIO_HZ)
        sound[start : start + len(tone)] = tone[: len(sound) - start]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, AUDIO_HZ, 0, "NONE", ""))
        file.writeframes((sound * 20_000).astype("<i2").tobytes())
    return path


def beep_onsets(path: Path) -> tuple[list[float], float]:
    """Times at which beeps begin in a file's sound, and the sound's length, in seconds."""
    raw = run_ffmpeg("-i", str(path), "-vn", "-f", "s16le", "-ac", "1", "-ar", "48000", "pipe:1")
    sound = np.abs(np.frombuffer(raw, "<i2").astype(float))
    loud = np.flatnonzero(sound > 4_000)
    # A beep begins where it was silent for at least its length before.
    firsts = loud[np.diff(loud, prepend=-AUDIO_HZ) > BEEP_S * AUDIO_HZ]
    return [float(first / AUDIO_HZ) for first in firsts], len(sound) / AUDIO_HZ


def decoded_clock(path: Path) -> list[tuple[float, int]]:
    """(PTS in seconds, number shown) of all frames of a file, upright."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24")
            upright = np.rot90(pixels, round(frame.rotation / 90) % 4)
            assert frame.time is not None
            found.append((frame.time, read_board(upright)))
    return found


@dataclass(frozen=True)
class Work:
    """A file that went through all media legs."""

    path: Path
    store: MemoStore
    video: Video
    decoded: Decoded
    clips: list[Clip]
    media: dict[str, Media]

    def mp4(self, clip: Clip) -> Path:
        return self.store.path(self.media[clip.id].ref)


def analysed(
    path: Path, store: MemoStore, limits: InputSettings = LIMITS, shots: ShotSettings = THIRDS
) -> tuple[Video, Decoded]:
    """A file after ingest and decode."""
    video = ingest(Source(uri=path.name, location=location(path)), store)
    decoded = analyse(video, store, limits, score_family=shots.score_family, sample_fps=SAMPLE_FPS)
    return video, decoded


def taken_for(video: Video, path: Path) -> Video:
    """The video of one file, as it would be if another file had been taken for it."""
    data = path.read_bytes()
    return video.model_copy(
        update={
            "source": video.source.model_copy(update={"location": location(path)}),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
        }
    )


def work_through(path: Path, store: MemoStore, shots: ShotSettings = THIRDS) -> Work:
    """A file after ingest, decode, segment and cut; fails if any clip was rejected."""
    video, decoded = analysed(path, store, shots=shots)
    clips, rejections = segment(video, decoded, store, shots)
    assert not rejections
    ends = cut(video, decoded, clips, store, CutSettings())
    media = {clip_id: end for clip_id, end in ends.items() if isinstance(end, Media)}
    assert len(media) == len(clips), ends
    return Work(path, store, video, decoded, clips, media)
