"""What is said or written during a clip, apart from its pictures."""

from __future__ import annotations

from typing import Literal

from schemas.base import Record


class TimedText(Record):
    """A line with the span of time in which it is said or shown."""

    start_s: float
    end_s: float
    text: str
    source: Literal["subtitle", "speech"]


class Subtitles(Record):
    """Where the subtitles of a video were found, and what could not be used."""

    ref: str = ""
    """JSON file in the memo store with the cues; "" if there are none."""
    origin: str = ""
    """The name of the file, or the number of the stream in the video."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""
