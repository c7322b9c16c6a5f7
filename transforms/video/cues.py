"""From raw cues to lines: cleaned, without repetitions, and cut to the span of a clip."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from schemas.clip import Clip
from schemas.transcript import TimedText

GAP_S = 0.1
"""Captions that roll up repeat the line before as soon as it ends; people repeat more slowly."""
LEAST_OVERLAP_S = 0.1
"""Less of a cue within a clip is a cut that is not quite where the subtitle changes."""
MAX_ACTIVE = 16
"""So many cues on the screen at once are looked through for repetitions."""
CUT_OFF = "…"

_NOT_SHOWN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]")
"""Marks of direction, blanks without width, tags: what says one thing and shows another."""


@dataclass(frozen=True)
class Cue:
    """A text with its span in source time."""

    start_s: float
    end_s: float
    text: str


class CueTable:
    """The cues of a video in order of time."""

    def __init__(self, cues: Sequence[Cue]) -> None:
        self.starts_s: npt.NDArray[np.float64] = np.array([cue.start_s for cue in cues])
        self.ends_s: npt.NDArray[np.float64] = np.array([cue.end_s for cue in cues])
        self.texts = [cue.text for cue in cues]

    def lines(self, clip: Clip, duration_s: float, max_chars: int) -> tuple[TimedText, ...]:
        """What is written during a clip, in clip time, cut to the clip (`duration_s` of its mp4).

        After `max_chars` characters the rest is left out, and the last text ends in an ellipsis.
        """
        starts_s = np.maximum(self.starts_s, clip.start_s)
        ends_s = np.minimum(self.ends_s, min(clip.end_s, clip.start_s + duration_s))
        least_s = np.minimum(LEAST_OVERLAP_S, self.ends_s - self.starts_s)
        found: list[TimedText] = []
        chars = 0
        for row in np.flatnonzero(ends_s - starts_s >= least_s - 1e-9):
            line = timed_text(
                float(starts_s[row]) - clip.start_s,
                float(ends_s[row]) - clip.start_s,
                self.texts[row],
                "subtitle",
                duration_s,
            )
            if line is not None:
                found.append(line)
                chars += len(line.text)
            if chars > max_chars:
                break
        return shortened(in_order(found), max_chars)


def timed_text(
    start_s: float,
    end_s: float,
    text: str,
    source: Literal["subtitle", "speech"],
    duration_s: float,
) -> TimedText | None:
    """A line in clip time, to the millisecond and within the clip; None if nothing is left."""
    start_s = max(0.0, round(start_s, 3))
    end_s = min(round(end_s, 3), duration_s)
    if not (text and start_s < end_s):
        return None
    return TimedText(start_s=start_s, end_s=end_s, text=text, source=source)


def in_order(lines: Iterable[TimedText]) -> list[TimedText]:
    """Lines in order of time."""
    return sorted(lines, key=lambda line: (line.start_s, line.end_s, line.source, line.text))


def shortened(lines: Sequence[TimedText], max_chars: int) -> tuple[TimedText, ...]:
    """The first lines that hold no more than so many characters; the last may be cut off."""
    kept: list[TimedText] = []
    left = max_chars
    for line in lines:
        if len(line.text) > left:
            text = line.text[:left].rstrip() + CUT_OFF
            kept.append(line.model_copy(update={"text": text}))
            break
        kept.append(line)
        left -= len(line.text)
    return tuple(kept)


def clean(text: str) -> str:
    """One line of text: composed (NFC), no control characters, no marks that hide or turn it."""
    text = _NOT_SHOWN.sub("", unicodedata.normalize("NFC", text))
    shown = (" " if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") else one for one in text)
    return " ".join("".join(shown).split())


@dataclass
class _Shown:
    """A cue on its way out, and the lines that stood on the screen with it."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]
    screen: tuple[str, ...]


def tidy(raw: Iterable[tuple[float, float, str]]) -> list[Cue]:
    """Cues in order of time, cleaned. What has no text or no span within sensible times goes.

    Captions that roll up show each line again above the next one; cues that are drawn in layers or
    frame by frame come many times. Each text is kept once, from when it first appears.
    """
    cues = []
    for start_s, end_s, text in raw:
        lines = tuple(filter(None, (clean(line) for line in text.split("\n"))))
        start_s = max(start_s, 0.0)
        if lines and start_s < end_s < math.inf:
            cues.append((start_s, end_s, lines))
    kept: list[_Shown] = []
    active: list[_Shown] = []
    for start_s, end_s, lines in sorted(cues):
        active = [one for one in active if one.end_s >= start_s - GAP_S][-MAX_ACTIVE:]
        before, again = _repeated(active, lines)
        if before is not None and again == len(lines):
            before.end_s = max(before.end_s, end_s)
            before.screen = lines
            continue
        kept.append(_Shown(start_s, end_s, lines[again:], lines))
        active.append(kept[-1])
    return [Cue(one.start_s, one.end_s, " ".join(one.lines)) for one in kept]


def _repeated(active: Sequence[_Shown], lines: tuple[str, ...]) -> tuple[_Shown | None, int]:
    """Of which cue before, and how many of its last lines, are the first ones here."""
    for count in range(len(lines), 0, -1):
        for one in reversed(active):
            if one.screen[-count:] == lines[:count]:
                return one, count
    return None, 0
