"""What follows for a clip from all that was measured on its video. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.clip import NOT_MEASURED, Measures, ShotType
from schemas.video import Decoded
from transforms.memo import MemoStore
from transforms.video.measures import read_rows
from transforms.video.overlay_text import NO_TEXT, TextTable, read_text
from transforms.video.samples import SampleTable, read_samples, union_box
from transforms.video.sound import (
    NO_SOUND,
    LoudnessTable,
    integrated_lufs,
    read_loudness,
    sound_share,
)

BLACK_FRAME_SHARE = 0.98
"""A frame is black when so much of it is nearly black: what ffmpeg's blackdetect takes, too."""
MOMENT_S = 0.25
FROZEN_SPEED = 0.002
"""Picture widths per second. Stills have less, whatever the encoder does at its keyframes and even
under grain; a slow zoom into a still (1% a second) has more."""
FROZEN_DIFFERENCE = 0.006
"""More than encoders change in a still within an eighth of a second, less than a fade does."""
MONTAGE_S = 2.0
LONG_TAKE_S = 10.0

Floats = npt.NDArray[np.float64]
Rows = Mapping[str, Floats]


@dataclass(frozen=True)
class VideoTables:
    """All that was measured on a video, frame by frame, sample by sample, block by block."""

    rows: Rows
    samples: SampleTable
    loudness: LoudnessTable = NO_SOUND
    text: TextTable = NO_TEXT


def read_tables(decoded: Decoded, store: MemoStore) -> VideoTables:
    """The tables of a video. Raises OSError or ValueError if one is damaged."""
    sound, text = decoded.loudness_ref, decoded.text_ref
    return VideoTables(
        rows=read_rows(store.path(decoded.frames_ref), 0, decoded.num_frames),
        samples=read_samples(store.path(decoded.samples_ref)),
        loudness=read_loudness(store.path(sound)) if sound else NO_SOUND,
        text=read_text(store.path(text)) if text else NO_TEXT,
    )


def clip_measures(
    tables: VideoTables, rows: tuple[int, int], span_s: tuple[float, float], shots: Sequence[int]
) -> Measures:
    """The measures of the clip of frames [start, end) and source times [start_s, end_s).

    `shots` are the rows at which its shots begin, the clip's first row among them.
    """
    start, end = rows
    start_s, end_s = span_s
    frames = {name: column[start:end] for name, column in tables.rows.items()}
    starts = [row - start for row in shots]
    samples = tables.samples.between(start_s, end_s)
    x1, y1, x2, y2 = (_rounded(edge) for edge in union_box(samples.boxes))
    content = (x2 - x1) * (y2 - y1)
    pairs = _within_shots(frames, starts)
    speeds = frames["flow_speed"][pairs]
    steps = np.delete(frames["difference"], starts)
    blocks = tables.loudness.between(start_s, end_s)
    average_shot_s = (end_s - start_s) / len(shots)
    return Measures(
        brightness=_rounded(frames["luma"].mean()),
        contrast=_rounded(frames["luma_std"].mean()),
        underexposed_share=_rounded(_in_content(frames["dark_share"], content, 1 - content)),
        overexposed_share=_rounded(_in_content(frames["bright_share"], content, 0.0)),
        sharpness=_rounded(np.median(samples.sharpness) if len(samples.sharpness) else 0.0),
        motion=_rounded(steps.mean() if len(steps) else 0.0),
        motion_speed=_rounded(np.median(speeds) if len(speeds) else 0.0, 4),
        motion_speed_p90=_rounded(np.percentile(speeds, 90) if len(speeds) else 0.0, 4),
        black_share=_rounded((frames["dark_share"] >= BLACK_FRAME_SHARE).mean()),
        frozen_share=_rounded(_frozen_share(frames, pairs)),
        crop_box=(x1, y1, x2, y2),
        text_share=_rounded(_text_share(tables.text, start_s, end_s)),
        loudness_lufs=_rounded(integrated_lufs(blocks), 1),
        sound_share=_rounded(sound_share(blocks)),
        average_shot_s=_rounded(average_shot_s),
        shot_type=shot_type(average_shot_s),
    )


def shot_type(average_shot_s: float) -> ShotType:
    """The label of an average shot length."""
    if average_shot_s < MONTAGE_S:
        return ShotType.MONTAGE
    return ShotType.LONG_TAKE if average_shot_s > LONG_TAKE_S else ShotType.EDITED


def _within_shots(frames: Rows, starts: Sequence[int]) -> npt.NDArray[np.intp]:
    """Rows at which flow was measured from an earlier frame of the same shot of the clip."""
    times, from_s = frames["time_s"], frames["flow_from_s"]
    shot_starts_s = times[list(starts)]
    shot = np.searchsorted(shot_starts_s, times, side="right")
    shot_before = np.searchsorted(shot_starts_s, from_s, side="right")
    # Frames at which flow was not measured have no earlier one: NaN, which is sorted to the end.
    return np.flatnonzero(~np.isnan(from_s) & (shot == shot_before))


def _frozen_share(frames: Rows, pairs: npt.NDArray[np.intp]) -> float:
    """Share of moments at which nothing moves or changes; 1 if there is but one picture."""
    if not len(pairs):
        return 1.0
    elapsed_s = (frames["time_s"] - frames["flow_from_s"])[pairs]
    slow = frames["flow_speed"][pairs] < FROZEN_SPEED
    frozen = slow & (frames["flow_difference"][pairs] < FROZEN_DIFFERENCE)
    # A picture that stands for seconds before the next one comes is frozen all but a moment.
    moments = np.maximum(elapsed_s / MOMENT_S, 1.0)
    return float(np.where(frozen, moments, moments - 1.0).sum() / moments.sum())


def _in_content(shares: Floats, content: float, in_bars: float) -> float:
    """Mean share within the content, from shares of the whole picture and what bars add to them."""
    return min(max((float(shares.mean()) - in_bars) / content, 0.0), 1.0)


def _text_share(text: TextTable, start_s: float, end_s: float) -> float:
    """Mean over the looks within the clip; where there are none, the nearest."""
    if not len(text.times_s):
        return NOT_MEASURED
    here = (text.times_s >= start_s) & (text.times_s < end_s)
    if not here.any():
        middle_s = (start_s + end_s) / 2
        return float(text.shares[np.argmin(np.abs(text.times_s - middle_s))])
    return float(text.shares[here].mean())


def _rounded(value: float | np.floating, digits: int = 6) -> float:
    """Six digits: more would only carry the noise of the order of summation.

    Flow and loudness come from floating-point code that differs between processors: fewer.
    """
    return round(float(value), digits)
