"""One decode pass over a video: every frame small, a few frames larger, all with their times.

ffmpeg decodes once and splits: one branch gives every frame at 96x54 for shots and measures, the
other gives `sample_fps` frames a second with a short side of 224 pixels for features. Times are
the frames' presentation timestamps (PTS) as ffmpeg's showinfo filter reports them, in ticks of
the stream's time base: exact, never index / fps.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import ffmpeg
import numpy as np
import numpy.typing as npt

from schemas.rejection import Reason, Rejected
from schemas.video import Probe
from transforms.video.media_process import (
    ALLOWED_DEMUXERS,
    ALLOWED_PROTOCOLS,
    MediaProcess,
    ffmpeg_exe,
    opened,
    read_frames,
    widen_pipe,
    without_addresses,
)
from transforms.video.timeline import Timeline, leaves_out_torn

FRAME_WIDTH_PX = 96
FRAME_HEIGHT_PX = 54
"""Size of the small frames; half of it is the 48x27 that TransNetV2 takes."""
SAMPLE_SHORT_SIDE_PX = 224
"""Short side of the sampled frames: the input size of most CLIP models."""
BATCH_FRAMES = 64
SCALE_EXACT = "accurate_rnd+bitexact"
"""The same pixels on every processor: without these, its vector units decide about roundings."""
DECODER_THREADS = 2
"""Enough to overlap parsing with decoding; more videos at once use more cores."""

Frames = npt.NDArray[np.uint8]

_INFO = re.compile(
    r"\[Parsed_showinfo_\d+ @ [^\]]+\] n: *\d+ pts: *(-?\d+|NOPTS) .*? duration: *(\d+) "
    r".* s:(\d+x\d+) "
)
_TIME_BASE = re.compile(r"\[Parsed_showinfo_\d+ @ [^\]]+\] config in time_base: (\d+)/(\d+)")
_TRUNCATION = re.compile(
    r"\[[^\]]*\].*(partial file|ended prematurely|truncated|Truncating)", re.IGNORECASE
)
"""In messages, which begin with the name of who speaks; not in what a file says of itself."""
_STARVED = re.compile(r"Cannot allocate memory|Resource temporarily unavailable")
"""What ffmpeg says without memory, or without memory for a thread."""
_DAMAGE = re.compile(r"\[vist#.*corrupt decoded frame")
"""One line for each frame of which the decoder had to patch up a part."""


@dataclass(frozen=True)
class Batch:
    """Neighbouring frames: `times_s` (n,) and `frames` (n, 54, 96, 3) in BGR."""

    times_s: npt.NDArray[np.float64]
    frames: Frames


@dataclass
class PtsLog:
    """The PTS that showinfo reports on stderr, waited for by the readers of the pixels."""

    small_size: str
    time_base: Fraction = Fraction(0)
    truncation: str = ""
    damaged: int = 0
    starved: bool = False
    """The process got no memory."""
    last_duration: int = 0
    """Of the last small frame, in ticks; 0 where the file does not say."""
    closed: bool = False
    _small: list[int | None] = field(default_factory=list)
    _samples: list[int | None] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def read_line(self, line: str) -> None:
        """Take in one line of ffmpeg's stderr."""
        found = _INFO.match(line)
        if found is None:
            base = _TIME_BASE.match(line)
            if base is not None:
                self.time_base = Fraction(int(base[1]), int(base[2]))
            elif _DAMAGE.match(line):
                self.damaged += 1
            elif _STARVED.search(line):
                self.starved = True
            elif not self.truncation and _TRUNCATION.match(line):
                self.truncation = without_addresses(line)[-200:]
            return
        pts = None if found[1] == "NOPTS" else int(found[1])
        with self._changed:
            if found[3] == self.small_size:
                self._small.append(pts)
                self.last_duration = int(found[2])
            else:
                self._samples.append(pts)
            self._changed.notify_all()

    def close(self) -> None:
        """No more lines will come; wakes whoever still waits."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def small(self, index: int) -> Fraction | None:
        """Time of small frame `index` in seconds; None if the frame has none."""
        return self._wait(self._small, index)

    def sample(self, index: int) -> Fraction | None:
        """Time of sampled frame `index` in seconds; None if the frame has none."""
        return self._wait(self._samples, index)

    def _wait(self, log: list[int | None], index: int) -> Fraction | None:
        with self._changed:
            self._changed.wait_for(lambda: len(log) > index or self.closed)
            if len(log) <= index:
                raise Rejected(Reason.DECODER_CRASHED, f"no time for frame {index}", lasting=False)
            pts = log[index]
        return None if pts is None else pts * self.time_base


def sample_size_px(probe: Probe) -> tuple[int, int]:
    """Width and height of the sampled frames, both even, the short side 224."""
    width, height = max(probe.width_px, 1), max(probe.height_px, 1)
    scale = SAMPLE_SHORT_SIDE_PX / min(width, height)
    return _even(min(width * scale, 2_000)), _even(min(height * scale, 2_000))


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)


def decode_command(path: str, probe: Probe, sample_fps: float, samples_fd: int) -> list[str]:
    """The ffmpeg command of the pass: small frames on stdout, samples on `samples_fd`."""
    torn = {"fflags": "+discardcorrupt"} if leaves_out_torn(probe.container) else {}
    source = ffmpeg.input(
        path,
        protocol_whitelist=ALLOWED_PROTOCOLS,
        format_whitelist=ALLOWED_DEMUXERS,
        threads=DECODER_THREADS,
        copyts=None,
        **torn,
    )
    split = source[str(probe.video_index)].filter_multi_output("split")
    small, large = split.stream(0), split.stream(1)
    small = (
        small.filter("scale", FRAME_WIDTH_PX, FRAME_HEIGHT_PX, flags=f"area+{SCALE_EXACT}")
        .filter("format", "bgr24")
        .filter("showinfo", checksum=0)
    )
    width_px, height_px = sample_size_px(probe)
    step = f"floor(t*{sample_fps}+0.001)-floor(prev_selected_t*{sample_fps}+0.001)"
    large = (
        large.filter("select", f"isnan(prev_selected_t)+gte({step},1)")
        .filter("scale", width_px, height_px, flags=f"bicubic+{SCALE_EXACT}")
        .filter("format", "rgb24")
        .filter("showinfo", checksum=0)
    )
    raw = {"format": "rawvideo", "fps_mode": "passthrough"}
    both = ffmpeg.merge_outputs(
        ffmpeg.output(small, "pipe:1", **raw), ffmpeg.output(large, f"pipe:{samples_fd}", **raw)
    ).global_args("-nostdin", "-hide_banner", "-loglevel", "repeat+info", "-nostats")
    return list(both.compile(cmd=ffmpeg_exe()))


class DecodePass:
    """Runs the pass: iterate `batches()`; samples go to `on_sample(time_s, rgb)` meanwhile.

    `on_sample` is called on another thread, in order of time. After the last batch, `truncation`
    holds what ffmpeg said about a missing end, if it did, `left_out` the number of frames whose
    time lay before that of a frame before them, `broken_at` how many frames came before these
    (`Timeline`), `damaged` how many frames the decoder had to patch up, and
    `last_duration_s` how long the last frame stands, 0 where the file does not say.
    """

    def __init__(
        self,
        path: str,
        probe: Probe,
        *,
        sample_fps: float,
        timeout_s: float,
        on_sample: Callable[[float, Frames], None],
    ) -> None:
        self._path = path
        self._probe = probe
        self._sample_fps = sample_fps
        self._timeout_s = timeout_s
        self._on_sample = on_sample
        self._log = PtsLog(small_size=f"{FRAME_WIDTH_PX}x{FRAME_HEIGHT_PX}")
        self._timeline = Timeline(probe.start_time_s)
        self._sample_error: BaseException | None = None
        self.failed = False
        """Whether ffmpeg said so by its exit code, after the last batch."""

    @property
    def truncation(self) -> str:
        return self._log.truncation

    @property
    def damaged(self) -> int:
        return self._log.damaged

    @property
    def left_out(self) -> int:
        return self._timeline.left_out

    @property
    def broken_at(self) -> int:
        return self._timeline.broken_at

    @property
    def last_duration_s(self) -> float:
        return float(self._log.last_duration * self._log.time_base)

    def batches(self) -> Iterator[Batch]:
        """Small frames in order of time. Raises Rejected on time-out or crash of the decoder."""
        with opened(self._path) as (source, descriptor):
            yield from self._run(source, descriptor)

    def _run(self, source: str, descriptor: int) -> Iterator[Batch]:
        read_fd, write_fd = os.pipe()
        command = decode_command(source, self._probe, self._sample_fps, write_fd)
        samples = os.fdopen(read_fd, "rb", buffering=0)
        reader = threading.Thread(target=self._read_samples, args=[samples], daemon=True)
        try:
            process = MediaProcess(
                command,
                timeout_s=self._timeout_s,
                stderr_line=self._log.read_line,
                stderr_end=self._log.close,
                pass_fds=[write_fd, descriptor],
            )
            with process:
                os.close(write_fd)
                write_fd = -1
                widen_pipe(process.stdout)
                reader.start()
                try:
                    yield from self._read_small(process)
                except Rejected:
                    # It ended in mid-word: its end says better why.
                    process.wait()
                    process.raise_if_killed()
                    raise
                code = process.wait()
                reader.join()
                process.raise_if_killed()
                self.failed = code != 0
                if self.failed and self._log.starved:
                    # What came is no more than the memory sufficed for.
                    detail = f"out of memory: {process.complaint}"
                    raise Rejected(Reason.DECODER_CRASHED, detail, passing=True)
                if self._sample_error is not None:
                    raise self._sample_error
        finally:
            self._log.close()
            if write_fd >= 0:
                os.close(write_fd)
            if reader.is_alive():
                # The process is gone, so the pipe ends; closing it under the reader would not do.
                reader.join()
            samples.close()

    def _read_small(self, process: MediaProcess) -> Iterator[Batch]:
        shape = (FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3)
        times: list[float] = []
        frames: list[Frames] = []
        frame_bytes = FRAME_WIDTH_PX * FRAME_HEIGHT_PX * 3
        for index, buffer in enumerate(read_frames(process.stdout, frame_bytes)):
            time_s = self._timeline.accept(self._log.small(index))
            if time_s is None:
                continue
            times.append(time_s)
            frames.append(np.frombuffer(buffer, np.uint8).reshape(shape))
            if len(frames) == BATCH_FRAMES:
                yield Batch(np.array(times), np.stack(frames))
                times, frames = [], []
        if frames:
            yield Batch(np.array(times), np.stack(frames))

    def _read_samples(self, stream: object) -> None:
        width_px, height_px = sample_size_px(self._probe)
        timeline = Timeline(self._probe.start_time_s)
        try:
            frames = read_frames(stream, width_px * height_px * 3)  # type: ignore[arg-type]
            for index, buffer in enumerate(frames):
                time_s = timeline.accept(self._log.sample(index))
                if time_s is not None:
                    pixels = np.frombuffer(buffer, np.uint8)
                    self._on_sample(time_s, pixels.reshape(height_px, width_px, 3))
        except BaseException as error:  # noqa: BLE001 - it is raised again on the main thread
            self._sample_error = error
            # Read on, so that ffmpeg does not wait for us for ever.
            for _ in read_frames(stream, width_px * height_px * 3):  # type: ignore[arg-type]
                pass
