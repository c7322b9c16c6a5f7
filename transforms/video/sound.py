"""Loudness of a video's sound (ITU-R BS.1770, EBU R 128): measured every 100 ms, gated per clip.

What is measured is what clips carry: two channels at 48 kHz. So a clip's loudness is that of its
mp4, not that of the five channels that its source may have.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import ffmpeg
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.clip import SILENCE_LUFS
from schemas.video import Decoded, Probe, Video
from transforms.memo import MemoStore
from transforms.video import probe as probing
from transforms.video.fetching import opened_source
from transforms.video.measures import write_table
from transforms.video.media_process import (
    ALLOWED_DEMUXERS,
    ALLOWED_PROTOCOLS,
    MediaProcess,
    ffmpeg_exe,
    ffmpeg_version,
    time_limit_s,
)

VERSION = "2"
LOUDNESS_FILE = "loudness.arrow"
RATE_HZ = 48_000
STEP_SAMPLES = RATE_HZ // 10
"""From block to block; each is four steps long, so blocks overlap by three quarters."""
BLOCK_S = 0.4
RELATIVE_GATE_LU = -10.0

LOUDNESS_SCHEMA = pa.schema([("end_s", pa.float64()), ("lufs", pa.float32())])

_PTS = re.compile(r"frame:\d+ +pts:(\d+) ")
_MOMENTARY = re.compile(r"lavfi\.r128\.M=(-?\d+\.\d+|-?nan|-?inf)")


@dataclass(frozen=True)
class LoudnessTable:
    """Loudness (LUFS, at least -70) of blocks of 400 ms, one every 100 ms, by when they end."""

    ends_s: npt.NDArray[np.float64]
    lufs: npt.NDArray[np.float64]

    def between(self, start_s: float, end_s: float) -> npt.NDArray[np.float64]:
        """Loudness of the blocks that lie within a span of source time."""
        starts_s = self.ends_s - BLOCK_S
        return self.lufs[(starts_s >= start_s - 1e-6) & (self.ends_s <= end_s + 1e-6)]


NO_SOUND = LoudnessTable(np.empty(0), np.empty(0))


def measure_loudness(video: Video, decoded: Decoded, store: MemoStore) -> str:
    """Reference of the loudness table of a video, measured once; "" if it has no sound.

    Sound that can't be decoded is no reason to lose the pictures: it counts as none. But what may
    be the machine's fault must not look like silence.
    Raises Rejected (not_found, unreadable, decode_timeout, decoder_crashed).
    """
    probe = video.probe
    if probe.audio is None:
        return ""
    end_s = decoded.first_pts_s + decoded.duration_s
    made_of = [video.sha256, probing.VERSION, ffmpeg_version(), probe.audio.index, end_s]
    entry = store.entry("loudness", VERSION, made_of)
    if entry.get() is None:
        blocks = _measure(video, probe.audio.index, end_s)
        with entry.building() as folder:
            _write(blocks, folder / LOUDNESS_FILE)
            entry.finish(folder, {})
    return entry.ref(LOUDNESS_FILE)


def _measure(video: Video, audio_index: int, end_s: float) -> dict[int, float]:
    """Loudness by the block's last step; empty if the sound can't be decoded."""
    timeout_s = time_limit_s(video.size_bytes, min(video.probe.container_duration_s, end_s))
    with opened_source(video) as (source, descriptor):
        command = loudness_command(source, video.probe, audio_index, end_s)
        with MediaProcess(command, timeout_s=timeout_s, pass_fds=[descriptor]) as process:
            pipe = io.BufferedReader(cast(io.RawIOBase, process.stdout), 1 << 16)
            with io.TextIOWrapper(pipe, "ascii", "replace") as lines:
                blocks = read_blocks(lines)
                code = process.wait()
            process.raise_if_killed()
    return blocks if code == 0 else {}


def loudness_command(path: str, probe: Probe, audio_index: int, end_s: float) -> list[str]:
    """The ffmpeg command that prints the loudness of each block up to `end_s` of source time."""
    source = ffmpeg.input(
        path,
        protocol_whitelist=ALLOWED_PROTOCOLS,
        format_whitelist=ALLOWED_DEMUXERS,
        copyts=None,
    )
    sound = (
        source[str(audio_index)]
        .filter("asetpts", f"PTS-{probe.start_time_s:.6f}/TB")
        # What lies beyond the pictures must not arrive behind a gap that would be filled.
        .filter("atrim", end=f"{end_s:.6f}")
        # Sample n is source time n / 48000: silence where the sound begins late or has a gap.
        .filter("aresample", RATE_HZ, first_pts=0, **{"async": 1})
        # Whole numbers, as clips get them: channels are put together so that none can overflow.
        .filter("aformat", "s16", RATE_HZ, "stereo")
        .filter("apad")
        .filter("ebur128", metadata=1, framelog="quiet")
        .filter("ametadata", "print", key="lavfi.r128.M", file="pipe:1")
    )
    output = ffmpeg.output(sound, "-", format="null", t=f"{end_s:.6f}").global_args(
        "-nostdin", "-hide_banner", "-loglevel", "error", "-nostats"
    )
    return list(output.compile(cmd=ffmpeg_exe()))


def read_blocks(lines: Iterable[str]) -> dict[int, float]:
    """What ffmpeg prints: loudness by the number of the block's last step.

    Sound that changes its form in mid-stream starts the filters anew, with silence up to there; so
    of several values for one block the loudest is the one that was heard.
    """
    blocks: dict[int, float] = {}
    step = -1
    for line in lines:
        place = _PTS.match(line)
        if place is not None:
            step = int(place[1]) // STEP_SAMPLES
            continue
        value = _MOMENTARY.match(line)
        if value is not None and step >= 0:
            # Where silence follows sound, what is left of the sums can fall below nought: NaN.
            # Against that, `max` keeps its first argument.
            blocks[step] = max(blocks.get(step, SILENCE_LUFS), float(value[1]))
    return blocks


def _write(blocks: dict[int, float], path: Path) -> None:
    steps = np.array(sorted(blocks), np.int64)
    table = pa.Table.from_arrays(
        [
            pa.array((steps + 1) * STEP_SAMPLES / RATE_HZ, pa.float64()),
            pa.array([blocks[step] for step in steps.tolist()], pa.float32()),
        ],
        schema=LOUDNESS_SCHEMA,
    )
    write_table(table, path)


def read_loudness(path: Path) -> LoudnessTable:
    """The loudness table that `measure_loudness` made."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        return LoudnessTable(
            table["end_s"].to_numpy().astype(np.float64),
            table["lufs"].to_numpy().astype(np.float64),
        )


def integrated_lufs(blocks: npt.NDArray[np.float64]) -> float:
    """Integrated loudness of blocks of 400 ms (ITU-R BS.1770-4, annex 1): gated twice.

    Blocks at or below -70 LUFS are left out, then those more than 10 LU below the mean of the rest.
    -70 if nothing is left.
    """
    heard = blocks[blocks > SILENCE_LUFS]
    if not len(heard):
        return SILENCE_LUFS
    gate = max(_mean_lufs(heard) + RELATIVE_GATE_LU, SILENCE_LUFS)
    return _mean_lufs(heard[heard > gate])


def sound_share(blocks: npt.NDArray[np.float64]) -> float:
    """Share of the blocks that are not silent; 0 if there are none."""
    return float((blocks > SILENCE_LUFS).mean()) if len(blocks) else 0.0


def _mean_lufs(blocks: npt.NDArray[np.float64]) -> float:
    """Loudness is logarithmic: what is averaged is the power behind it."""
    return float(10.0 * np.log10(np.mean(10.0 ** (blocks / 10.0))))
