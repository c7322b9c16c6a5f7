"""From the times that a decoder reports to times that can be used. Imports nothing heavy."""

from __future__ import annotations

from fractions import Fraction


class Timeline:
    """Makes reported times usable: seconds from the container's start, strictly increasing.

    A frame without a time is put one typical step after the frame before. A frame that does not
    come after the one before it (broken files) is left out; `accept` says so, `left_out` counts.
    """

    def __init__(self, start_time_s: float) -> None:
        self._start = Fraction(round(start_time_s * 1_000_000), 1_000_000)
        self._last: Fraction | None = None
        self._step = Fraction(1, 25)
        self.left_out = 0

    def accept(self, reported: Fraction | None) -> float | None:
        """The frame's source time in seconds, or None if the frame is to be left out."""
        if reported is None:
            time = self._start if self._last is None else self._last + self._step
        else:
            time = reported
        if self._last is not None:
            if time <= self._last:
                self.left_out += 1
                return None
            self._step = time - self._last
        self._last = time
        return float(round(time - self._start, 6))


class BestEffort:
    """Chooses between a frame's PTS and its packet's DTS as libavcodec's best effort does.

    Some containers (AVI) store no PTS; others store wrong ones. Whichever of the two went backwards
    less often so far is believed.
    """

    def __init__(self) -> None:
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = 0
        self._faulty_dts = 0

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """The time to believe, in ticks; None if the frame has neither."""
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts):
            return pts
        return dts
