"""The decode pass with everything that hangs on it: frame table, sampled frames, true facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from schemas.case import Footage
from schemas.rejection import Reason, Rejected
from schemas.video import Decoded, Probe, Video
from transforms.memo import Entry, MemoStore
from transforms.needs import Needs
from transforms.outcome import Outcome
from transforms.video import probe as probing
from transforms.video.decode import DecodePass
from transforms.video.fetching import check_same, opened_source
from transforms.video.measures import FrameMeasurer, write_table
from transforms.video.media_process import ffmpeg_version, time_limit_s
from transforms.video.overlay_text import TextSettings, measure_text
from transforms.video.samples import SampleWriter, drop_after
from transforms.video.shots import Detector, make_scorer, scorer_version
from transforms.video.sound import measure_loudness
from transforms.video.subtitles import SubtitleSettings, read_subtitles
from transforms.video.timeline import Timeline

VERSION = "4"
FRAMES_FILE = "frames.arrow"
SAMPLES_FILE = "samples.arrow"
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


class InputSettings(BaseModel):
    """Section `input` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_duration_s: float = Field(1.0, ge=0.0, description="shorter videos are rejected")
    max_duration_s: float = Field(14_400.0, gt=0.0, description="longer videos are rejected")
    truncated: Literal["reject", "keep"] = Field(
        "reject",
        description="videos of which a part is missing, such as files cut off in the middle; keep: "
        "what decodes is used, and its samples say in `source_truncated` what is missing",
    )
    max_damaged_share: float = Field(
        0.1,
        ge=0.0,
        le=1.0,
        description="videos are rejected if the decoder has to patch up more of their frames",
    )
    exclude: tuple[str, ...] = Field(
        (),
        description="lists of videos that must not come in, such as those of benchmarks: text "
        "files with an id, a YouTube id, a name, an address or a SHA-256 in each line, or JSON "
        "lines",
    )


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

    Raises Rejected: no_decodable_frame, truncated, damaged, too_short, too_long,
    decode_timeout, decoder_crashed.
    """
    if max(video.probe.width_px, video.probe.height_px) > MAX_SIDE_PX:
        size = f"{video.probe.width_px}x{video.probe.height_px}"
        raise Rejected(Reason.NO_DECODABLE_FRAME, f"{size} pixels; at most {MAX_SIDE_PX} a side")
    claimed_s = max(video.probe.claimed_duration_s, video.probe.container_duration_s)
    if claimed_s > limits.max_duration_s:
        raise Rejected(
            Reason.TOO_LONG, f"claims {claimed_s:.1f} s, more than {limits.max_duration_s:g} s"
        )
    scores = [score_family, scorer_version(score_family)]
    made_of = [video.sha256, probing.VERSION, ffmpeg_version(), scores, sample_fps]
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
    measurer = FrameMeasurer(
        make_scorer(score_family), video.probe.height_px / max(video.probe.width_px, 1)
    )
    times: list[npt.NDArray[np.float64]] = []
    with (
        entry.building() as folder,
        SampleWriter(folder / SAMPLES_FILE) as samples,
        opened_source(video) as (_, descriptor),
    ):
        decoding = DecodePass(
            f"/dev/fd/{descriptor}",
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
            times_s = np.concatenate(times)
            facts = _facts(times_s, video.probe, decoding)
            kept = facts["num_frames"]
            write_table(measurer.table().slice(0, kept), folder / FRAMES_FILE)
            if kept < len(times_s):
                drop_after(folder / SAMPLES_FILE, float(times_s[kept - 1]))
        elif decoding.failed:
            # The video's fault or the machine's: the next run may see. Nothing is remembered.
            detail = f"codec {video.probe.codec}; ffmpeg failed"
            raise Rejected(Reason.NO_DECODABLE_FRAME, detail, lasting=False)
        check_same(descriptor, video)
        return entry.finish(folder, facts)


def _facts(times_s: npt.NDArray[np.float64], probe: Probe, decoding: DecodePass) -> dict[str, Any]:
    broken = _broken_off(times_s, decoding)
    if broken:
        # Behind a break nobody knows when a frame is shown: it is as if there were none.
        times_s = times_s[: decoding.broken_at]
    rate, vfr = fit_frame_rate(times_s)
    last_s = float(times_s[-1])
    end_s = last_s + float(1 / rate)
    if not broken:
        # The last picture of slides or of a screen recording stands for longer than the others. It
        # is believed as far as the stream's own claim goes.
        claimed_end_s = float(times_s[0]) + probe.claimed_duration_s
        said_s = min(last_s + decoding.last_duration_s, claimed_end_s)
        end_s = max(end_s, said_s)
    return {
        "num_frames": len(times_s),
        "first_pts_s": float(times_s[0]),
        "duration_s": round(end_s - float(times_s[0]), 6),
        "fps_num": rate.numerator,
        "fps_den": rate.denominator,
        "is_vfr": vfr,
        "truncated": broken or _missing_end(end_s, probe, decoding.truncation),
        "damaged_frames": decoding.damaged,
    }


def _broken_off(times_s: npt.NDArray[np.float64], decoding: DecodePass) -> str:
    """What a break in the time stamps loses, in words, or nothing.

    A few frames out of order are what a torn stream has where it was joined.
    """
    few = max(Timeline.FEW, 0.05 * len(times_s))
    if decoding.left_out <= few:
        return ""
    total = len(times_s) + decoding.left_out
    return f"{total - decoding.broken_at} of {total} frames come after a break in the time stamps"


def _missing_end(end_s: float, probe: Probe, complaint: str) -> str:
    """What is missing at the end, in words, or nothing.

    The video stream's own claim is believed. The container's claim may be that of a longer audio
    stream, so it counts only when the file is known to end early, or the demuxer complained.
    """
    signs = probe.ends_early or (complaint and f"ffmpeg: {complaint}")
    said = f"; {signs}" if signs else ""
    for claimed_s, believed in (
        (probe.claimed_duration_s, True),
        (probe.container_duration_s, bool(signs)),
    ):
        if believed and claimed_s - end_s > max(1.0, 0.05 * claimed_s):
            return f"decodes to {end_s:.2f} s of {claimed_s:.2f} s{said}"
    return f"decodes to {end_s:.2f} s{said}" if probe.ends_early else ""


def _decide(video: Video, entry: Entry, facts: Any, limits: InputSettings) -> Decoded:
    if facts["num_frames"] == 0:
        raise Rejected(Reason.NO_DECODABLE_FRAME, f"codec {video.probe.codec}")
    if facts["truncated"] and limits.truncated == "reject":
        detail = f"{facts['truncated']} (input.truncated=keep uses what decodes)"
        raise Rejected(Reason.TRUNCATED, detail)
    damaged, num_frames = facts["damaged_frames"], facts["num_frames"]
    if damaged > limits.max_damaged_share * num_frames:
        detail = f"{damaged} damaged frames in {num_frames}"
        raise Rejected(Reason.DAMAGED, detail)
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


@dataclass(frozen=True)
class Analyser:
    """Decodes one video. The leg's unit is the video."""

    limits: InputSettings
    score_family: str
    sample_fps: float
    store: MemoStore
    text: TextSettings = field(default_factory=TextSettings)
    subtitles: SubtitleSettings = field(default_factory=SubtitleSettings)

    @property
    def needs(self) -> Needs:
        return Needs(gpu=self.score_family == Detector.TRANSNETV2)

    def __call__(self, video: Video) -> Outcome[Footage]:
        decoded = analyse(
            video,
            self.store,
            self.limits,
            score_family=self.score_family,
            sample_fps=self.sample_fps,
        )
        more = {
            "loudness_ref": measure_loudness(video, decoded, self.store),
            "text_ref": measure_text(decoded, self.store, self.text),
        }
        footage = Footage(
            video=video,
            decoded=decoded.model_copy(update=more),
            subtitles=read_subtitles(video, self.store, self.subtitles),
        )
        return Outcome([footage])
