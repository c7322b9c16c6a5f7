"""What an entry of the torture corpus says: how an input is made, and how it has to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torture_making import Shop

from schemas.rejection import Reason, Stage

Span = tuple[float, float]
Loss = tuple[Stage, Reason, str]
"""At which stage, why, and words that the detail has to hold."""


@dataclass(frozen=True)
class End:
    """What comes of an input: clips, rejections, or nothing at all if it is not taken for one."""

    spans: tuple[Span, ...] = ()
    """Source spans of its clips in seconds."""
    shown: Sequence[int] | None = ()
    """Numbers on the clock that its clips show, in order; None if the pictures are no clock."""
    lost: tuple[Loss, ...] = ()
    has_audio: bool = False


Make = Callable[[Shop, Path], None]


@dataclass(frozen=True)
class Kind:
    """One bad or odd input."""

    name: str
    """Path below the input folder. A name that is no UTF-8 holds surrogates, as Python has it."""
    make: Make
    """Puts the input at the path."""
    end: End
    why: str
    named: bool = False
    """It is not found in its folder, but taken when it is named by itself."""
    together: bool = False
    """Its end hangs on other inputs or on the run, so that it is met in a run only."""


UNSEEN = End()


def clip(
    shown: Sequence[int] | None = range(50),
    start_s: float = 0.0,
    end_s: float = 2.0,
    *,
    has_audio: bool = False,
) -> End:
    """One clip of all that there is."""
    return End(spans=((start_s, end_s),), shown=shown, has_audio=has_audio)


def lost(stage: Stage, reason: Reason, words: str = "") -> End:
    """One rejection and nothing else."""
    return End(lost=((stage, reason, words),))


def not_a_video(words: str = "") -> End:
    return lost(Stage.INGEST, Reason.NOT_A_VIDEO, words)


def unreadable(words: str = "") -> End:
    return lost(Stage.INGEST, Reason.UNREADABLE, words)


def no_stream(words: str) -> End:
    return lost(Stage.INGEST, Reason.NO_VIDEO_STREAM, words)


def no_frame(words: str = "") -> End:
    return lost(Stage.DECODE, Reason.NO_DECODABLE_FRAME, words)


def cut_off(words: str) -> End:
    return lost(Stage.DECODE, Reason.TRUNCATED, words)


def too_short(words: str) -> End:
    return lost(Stage.DECODE, Reason.TOO_SHORT, words)


def too_long(words: str) -> End:
    return lost(Stage.DECODE, Reason.TOO_LONG, words)


def writing(content: Callable[[Shop], bytes]) -> Make:
    """Makes a file from its content."""

    def make(shop: Shop, path: Path) -> None:
        path.write_bytes(content(shop))

    return make
