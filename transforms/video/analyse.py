"""The decode pass with everything that hangs on it: frame table, sampled frames, true facts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from schemas.case import Footage
from schemas.rejection import Reason, Rejected
from schemas.video import Decoded, Probe, Video
from transforms.memo import Entry, MemoStore
from transforms.outcome import Outcome
from transforms.video import probe as probing
from transforms.video.decode import DecodePass, Frames
from transforms.video.measures import FrameMeasurer, sharpness, write_table
from transforms.video.media_process import ffmpeg_version, time_limit_s
from transforms.video.shots import make_scorer

VERSION = "3"
FRAMES_FILE = "frames.arrow"
SAMPLES_FILE = "samples.arrow"
JPEG_QUALITY = 92
MAX_FPS = 120
MAX_SIDE_PX = 16_384
"""What H.264 encoders take; a header that claims more would only cost memory."""

STANDARD_RATES = tuple(
    Fraction(*rate)
    for rate in (
        (10, 1), (12, 1), (12_500, 1_000), (15_000, 1_001), (15, 1), (20, 1), (24_000, 1_001),
        (24, 1), (25, 1), (30_000, 1_001), (30, 1), (48, 1), (50, 1), (60_000, 1_001), (60, 1),
        (120_000, 1_001), (120, 1),
    )
)  # fmt: skip

SAMPLE_SCHEMA = pa.schema(
    [("time_s", pa.float64()), ("sharpness", pa.float32()), ("jpeg", pa.binary())]
)


class InputSettings(BaseModel):
    """Section `input` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_duration_s: float = Field(1.0, ge=0.0, description="shorter videos are rejected")
    max_duration_s: float = Field(14_400.0, gt=0.0, description="longer videos are rejected")


def fit_frame_rate(times_s: npt.NDArray[np.float64]) -> tuple[Fraction, bool]:
    """The constant frame rate that fits the times best, and whether they vary too much for it.

    Steps near the median are averaged, which undoes the rounding to milliseconds of some
    containers; a standard rate within 0.2% is taken for meant.
    """
    if len(times_s) < 2:
        return Fraction(25), False
    steps = np.diff(times_s)
    median = float(np.median(steps))
    usual = steps[(steps > 0.5 * median) & (steps < 1.5 * median)]
    rate = 1.0 / (float(usual.mean()) if len(usual) else median)
    vfr = 1.0 - len(usual) / len(steps) > 0.02
    nearest = min(STANDARD_RATES, key=lambda standard: abs(float(standard) / rate - 1.0))
    if abs(float(nearest) / rate - 1.0) < 0.002:
        return nearest, vfr
    fitted = Fraction(min(max(rate, 1.0), MAX_FPS)).limit_denominator(1_001)
    return fitted, vfr


def analyse(
    video: Video, store: MemoStore, limits: InputSettings, *, score_family: str, sample_fps: float
) -> Decoded:
    """Decode the whole video once, or look up that it was done.

    Raises Rejected: no_decodable_frame, truncated, too_short, too_long, decode_timeout,
    decoder_crashed.
    """
    if max(video.probe.width_px, video.probe.height_px) > MAX_SIDE_PX:
        size = f"{video.probe.width_px}x{video.probe.height_px}"
        raise Rejected(Reason.NO_DECODABLE_FRAME, f"{size} pixels; at most {MAX_SIDE_PX} a side")
    claimed_s = max(video.probe.claimed_duration_s, video.probe.container_duration_s)
    if claimed_s > limits.max_duration_s:
        raise Rejected(
            Reason.TOO_LONG, f"claims {claimed_s:.1f} s, more than {limits.max_duration_s:g} s"
        )
    made_of = [video.sha256, probing.VERSION, ffmpeg_version(), score_family, sample_fps]
    entry = store.entry("decode", VERSION, made_of)
    facts = entry.get()
    if facts is None:
        # Where the pass stopped at the limit, only that is remembered: a higher one decodes again.
        too_long = store.entry("too_long", VERSION, video.sha256, limits.max_duration_s)
        if too_long.get() is None:
            facts = _decode(video, entry, score_family, sample_fps, limits.max_duration_s)
        if facts is None:
            too_long.put({})
            raise Rejected(Reason.TOO_LONG, f"more than {limits.max_duration_s:g} s decode")
    return _decide(video, entry, facts, limits)


def _decode(
    video: Video, entry: Entry, score_family: str, sample_fps: float, max_duration_s: float
) -> Any:
    """The stored facts; None if there is more to decode than `max_duration_s`."""
    measurer = FrameMeasurer(make_scorer(score_family))
    times: list[npt.NDArray[np.float64]] = []
    with entry.building() as folder, SampleWriter(folder / SAMPLES_FILE) as samples:
        decoding = DecodePass(
            video.source.path,
            video.probe,
            sample_fps=sample_fps,
            timeout_s=time_limit_s(
                video.size_bytes,
                min(video.probe.container_duration_s, max_duration_s),
            ),
            on_sample=samples.add,
        )
        for batch in decoding.batches():
            times.append(batch.times_s)
            measurer.add(batch)
            if batch.times_s[-1] - times[0][0] > max_duration_s:
                return None
        samples.close()
        facts: dict[str, Any] = {"num_frames": 0}
        if times:
            write_table(measurer.table(), folder / FRAMES_FILE)
            facts = _facts(np.concatenate(times), video.probe, decoding)
        elif decoding.failed:
            # The video's fault or the machine's: the next run may see. Nothing is remembered.
            detail = f"codec {video.probe.codec}; ffmpeg failed"
            raise Rejected(Reason.NO_DECODABLE_FRAME, detail, lasting=False)
        entry.finish(folder, facts)
    return facts


def _facts(times_s: npt.NDArray[np.float64], probe: Probe, decoding: DecodePass) -> dict[str, Any]:
    rate, vfr = fit_frame_rate(times_s)
    last_s = float(times_s[-1])
    end_s = last_s + float(1 / rate)
    # The last picture of slides or of a screen recording stands for longer than the others. It
    # is believed as far as the stream's own claim goes.
    said_s = min(last_s + decoding.last_duration_s, probe.claimed_duration_s)
    end_s = max(end_s, said_s)
    return {
        "num_frames": len(times_s),
        "first_pts_s": float(times_s[0]),
        "duration_s": round(end_s - float(times_s[0]), 6),
        "fps_num": rate.numerator,
        "fps_den": rate.denominator,
        "is_vfr": vfr,
        "truncated": _broken_off(len(times_s), decoding.left_out)
        or _missing_end(end_s, probe, decoding.truncation),
    }


def _broken_off(num_frames: int, left_out: int) -> str:
    """What the frames after a break in the time stamps lose, in words, or nothing.

    A few frames out of order are what a torn stream has where it was joined.
    """
    if left_out <= max(5, 0.05 * num_frames):
        return ""
    return f"{left_out} of {num_frames + left_out} frames come after a break in the time stamps"


def _missing_end(end_s: float, probe: Probe, complaint: str) -> str:
    """What is missing at the end, in words, or nothing.

    The video stream's own claim is believed. The container's claim may be that of a longer audio
    stream, so it counts only when the demuxer complained too.
    """
    for claimed_s, believed in (
        (probe.claimed_duration_s, True),
        (probe.container_duration_s, bool(complaint)),
    ):
        if believed and claimed_s - end_s > max(1.0, 0.05 * claimed_s):
            said = f"; ffmpeg: {complaint}" if complaint else ""
            return f"decodes to {end_s:.2f} s of {claimed_s:.2f} s{said}"
    return ""


def _decide(video: Video, entry: Entry, facts: Any, limits: InputSettings) -> Decoded:
    if facts["num_frames"] == 0:
        raise Rejected(Reason.NO_DECODABLE_FRAME, f"codec {video.probe.codec}")
    if facts["truncated"]:
        raise Rejected(Reason.TRUNCATED, facts["truncated"])
    duration_s = facts["duration_s"]
    if duration_s < limits.min_duration_s:
        raise Rejected(
            Reason.TOO_SHORT,
            f"{facts['num_frames']} frames, {duration_s:.3f} s, "
            f"less than {limits.min_duration_s:g} s",
        )
    if duration_s > limits.max_duration_s:
        raise Rejected(Reason.TOO_LONG, f"more than {limits.max_duration_s:g} s decode")
    return Decoded(
        video_id=video.id,
        frames_ref=entry.ref(FRAMES_FILE),
        samples_ref=entry.ref(SAMPLES_FILE),
        **facts,
    )


class SampleWriter:
    """Writes sampled frames to an Arrow file as they come: JPEG, time, sharpness."""

    BATCH = 32

    def __init__(self, path: Path) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, SAMPLE_SCHEMA)
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, time_s: float, rgb: Frames) -> None:
        """Add one frame, (h, w, 3) RGB."""
        jpeg = io.BytesIO()
        Image.fromarray(rgb).save(jpeg, "JPEG", quality=JPEG_QUALITY)
        self._rows.append({"time_s": time_s, "sharpness": sharpness(rgb), "jpeg": jpeg.getvalue()})
        if len(self._rows) == self.BATCH:
            self._flush()

    def close(self) -> None:
        """Write what is left and close the file; more than once does no harm."""
        if self._sink.closed:
            return
        self._flush()
        self._writer.close()
        self._sink.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, SAMPLE_SCHEMA))
            self._rows = []


def sharpness_column(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Times and sharpness of all sampled frames; no picture is decoded."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all().select(["time_s", "sharpness"])
        return (
            table["time_s"].to_numpy().astype(np.float64),
            table["sharpness"].to_numpy().astype(np.float64),
        )


def sampled_frames(path: Path, start_s: float, end_s: float) -> Iterator[tuple[float, Frames]]:
    """Sampled frames with start_s <= time < end_s: source time and (h, w, 3) RGB."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            times = batch["time_s"].to_numpy()
            if times[-1] < start_s:
                continue
            if times[0] >= end_s:
                return
            for row, time_s in enumerate(times):
                if start_s <= time_s < end_s:
                    image = Image.open(io.BytesIO(batch["jpeg"][row].as_py()), formats=["JPEG"])
                    yield float(time_s), np.asarray(image.convert("RGB"))


@dataclass(frozen=True)
class Analyser:
    """Decodes one video. The leg's unit is the video."""

    limits: InputSettings
    score_family: str
    sample_fps: float
    store: MemoStore

    def __call__(self, video: Video) -> Outcome[Footage]:
        decoded = analyse(
            video,
            self.store,
            self.limits,
            score_family=self.score_family,
            sample_fps=self.sample_fps,
        )
        return Outcome([Footage(video=video, decoded=decoded)])
