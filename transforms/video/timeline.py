"""From the times that a decoder reports to times that can be used. Imports nothing heavy."""

from __future__ import annotations

from fractions import Fraction

PARSED_STREAMS = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"})


def leaves_out_torn(container: str) -> bool:
    """Whether packets that the demuxer marks as damaged are left out, in the decode pass and again
    when clips are cut: what a file that was cut off holds of a packet makes a torn picture.

    In streams that are cut into packets by a parser, the mark is on pieces that are often whole.
    """
    return container not in PARSED_STREAMS


class Timeline:
    """Makes reported times usable: seconds from the container's start, strictly increasing.

    A frame without a time is put one typical step after the frame before. A frame that does not
    come after the one before it (broken files) is left out; `accept` says so, `left_out` counts.
    `broken_at` is how many frames were accepted before the time line broke: before the first run
    of more than a few left-out frames, or else before the first of them.
    """

    FEW = 5
    """So many frames out of order are what a torn stream has where it was joined."""

    def __init__(self, start_time_s: float) -> None:
        self._start = Fraction(round(start_time_s * 1_000_000), 1_000_000)
        self._last: Fraction | None = None
        self._step = Fraction(1, 25)
        self._accepted = 0
        self._run = 0
        self._long_run_at: int | None = None
        self._first_at = 0
        self.left_out = 0

    @property
    def broken_at(self) -> int:
        return self._first_at if self._long_run_at is None else self._long_run_at

    def accept(self, reported: Fraction | None) -> float | None:
        """The frame's source time in seconds, or None if the frame is to be left out."""
        if reported is None:
            time = self._start if self._last is None else self._last + self._step
        else:
            # As fine as times are told apart later.
            time = self._start + Fraction(round((reported - self._start) * 1_000_000), 1_000_000)
        if self._last is not None:
            if time <= self._last:
                self._leave_out()
                return None
            self._step = time - self._last
        self._last = time
        self._accepted += 1
        self._run = 0
        return float(round(time - self._start, 6))

    def _leave_out(self) -> None:
        if not self.left_out:
            self._first_at = self._accepted
        self.left_out += 1
        self._run += 1
        if self._run > self.FEW and self._long_run_at is None:
            self._long_run_at = self._accepted


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
