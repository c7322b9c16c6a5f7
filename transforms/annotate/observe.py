"""What was measured in a clip, shot by shot: the world of the `measure` teacher and its verifier.

The teacher observes the frame table of the source video, the verifier one that was measured anew
on the published mp4 (`transforms.verify.remeasure`). From there on both think alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transforms.video.measures import COLOR_NAMES

Rows = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class ShotFacts:
    """One shot, in clip time. Motion in picture widths and heights per second."""

    start_s: float
    end_s: float
    brightness: float
    colors: tuple[float, ...]
    """Shares of `COLOR_NAMES`."""
    motion_x: float
    motion_y: float
    motion_steadiness: float
    """Length of the mean motion over the mean length of motion: 1 = always the same way."""

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def main_color(self) -> str:
        return COLOR_NAMES[int(np.argmax(self.colors))]

    def share(self, color: str) -> float:
        """Share of the picture that has this colour."""
        return self.colors[COLOR_NAMES.index(color)]


@dataclass(frozen=True)
class Observation:
    """A clip as measured: its shots in order of time, without gaps."""

    duration_s: float
    shots: tuple[ShotFacts, ...]

    @property
    def cut_times_s(self) -> tuple[float, ...]:
        """When the picture changes to another shot."""
        return tuple(shot.start_s for shot in self.shots[1:])


@dataclass(frozen=True)
class Gaze:
    """How closely one looks: which part of each shot is taken into account.

    Different gazes on the same clip may come to different answers, as different samples of a
    model do; where they agree, the answer does not hang on the way of looking.
    """

    first: float
    last: float
    cut_factor: float
    """On the shot detector's threshold."""


GAZES = (
    Gaze(0.0, 1.0, 1.0),
    Gaze(0.25, 0.75, 0.75),
    Gaze(0.0, 0.5, 1.3),
    Gaze(0.5, 1.0, 0.6),
    Gaze(0.1, 0.9, 1.6),
    Gaze(0.4, 0.6, 0.9),
    Gaze(0.0, 0.25, 0.5),
    Gaze(0.75, 1.0, 2.0),
)


def observe(
    rows: Rows,
    times_s: npt.NDArray[np.float64],
    starts: Sequence[int],
    duration_s: float,
    gaze: Gaze = GAZES[0],
) -> Observation:
    """Facts of each shot; `times_s` are the rows' clip times, `starts` the shots' first rows."""
    ends = [*starts[1:], len(times_s)]
    shots = []
    for start, end in zip(starts, ends, strict=True):
        length = end - start
        first = start + int(length * gaze.first)
        last = max(first + 1, start + round(length * gaze.last))
        part = slice(first, last)
        motion_x, motion_y, steadiness = _motion(rows, part)
        shots.append(
            ShotFacts(
                start_s=round(float(times_s[start]), 3) if start else 0.0,
                end_s=round(float(times_s[end]), 3) if end < len(times_s) else duration_s,
                brightness=float(rows["luma"][part].mean()),
                colors=tuple(float(share) for share in rows["colors"][part].mean(axis=0)),
                motion_x=motion_x,
                motion_y=motion_y,
                motion_steadiness=steadiness,
            )
        )
    return Observation(duration_s=duration_s, shots=tuple(shots))


def _motion(rows: Rows, part: slice) -> tuple[float, float, float]:
    measured = ~np.isnan(rows["motion_x"][part])
    # The first measurement of a shot compares with a frame before the cut.
    where = np.flatnonzero(measured)[1:]
    if not len(where):
        return 0.0, 0.0, 0.0
    x, y = rows["motion_x"][part][where], rows["motion_y"][part][where]
    lengths = float(np.hypot(x, y).mean())
    mean_x, mean_y = float(x.mean()), float(y.mean())
    steadiness = float(np.hypot(mean_x, mean_y)) / lengths if lengths > 1e-9 else 0.0
    return mean_x, mean_y, steadiness
