"""How a clip is altered: which of its frames are shown, in which order, and what is laid over them.

Plain dataclasses without imports of weight, since the process that does the work starts with them.
All places in time are frames: of the clip where they say what is shown, of the altered clip where
they say when something is altered.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from transforms.video.cut_request import CutRequest


@dataclass(frozen=True)
class Stretch:
    """`count` frames of the clip from `first` on, every `step`-th, each shown `repeat` times."""

    first: int
    count: int
    step: int = 1
    repeat: int = 1

    def frames(self) -> Iterator[int]:
        for place in range(self.count):
            yield from (self.first + place * self.step for _ in range(self.repeat))


@dataclass(frozen=True)
class Effect:
    """A change of the whole picture (`transforms.video.alter_planes.EFFECTS`) on [start, end)."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Shape:
    """A filled shape over the pictures [start, end); its centre and radius in pixels."""

    kind: str
    yuv: tuple[int, int, int]
    """Colour in the encoder's own terms, limited range."""
    x_px: float
    y_px: float
    radius_px: float
    start: int
    end: int


@dataclass(frozen=True)
class Letter:
    """A letter in the top left corner of the pictures [start, end)."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Alteration:
    """All that is done to a clip."""

    stretches: tuple[Stretch, ...]
    effects: tuple[Effect, ...] = ()
    shapes: tuple[Shape, ...] = ()
    letters: tuple[Letter, ...] = ()

    def shown(self) -> list[int]:
        """For each frame of the altered clip the frame of the clip that it shows."""
        return [frame for stretch in self.stretches for frame in stretch.frames()]

    def shot_starts(self, cuts: Sequence[int]) -> list[int]:
        """Frames of the altered clip at which its shots begin, given the clip's own cuts.

        What was one shot and is no longer shown in one go is several: the picture jumps.
        """
        shown = self.shown()
        rising = sorted(cuts)
        shots = [bisect.bisect_right(rising, frame) for frame in shown]
        fastest = max(abs(stretch.step) for stretch in self.stretches)
        return [0] + [
            at
            for at in range(1, len(shown))
            if shots[at] != shots[at - 1] or abs(shown[at] - shown[at - 1]) > fastest
        ]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Alteration:
        return cls(
            stretches=tuple(Stretch(**one) for one in values["stretches"]),
            effects=tuple(Effect(**one) for one in values["effects"]),
            shapes=tuple(Shape(**{**one, "yuv": tuple(one["yuv"])}) for one in values["shapes"]),
            letters=tuple(Letter(**one) for one in values["letters"]),
        )


@dataclass(frozen=True)
class AlterRequest:
    """An altered clip to be made: the cutter's request for the clip's own mp4, and the changes."""

    cut: CutRequest
    alteration: Alteration
    held_frames: int
    """How many decoded frames may wait in memory."""

    def to_json(self) -> str:
        """One line."""
        values = {
            "cut": self.cut.to_json(),
            "alteration": self.alteration.to_dict(),
            "held_frames": self.held_frames,
        }
        return json.dumps(values) + "\n"

    @classmethod
    def from_json(cls, text: str) -> AlterRequest:
        values = json.loads(text)
        return cls(
            cut=CutRequest.from_json(values["cut"]),
            alteration=Alteration.from_dict(values["alteration"]),
            held_frames=values["held_frames"],
        )


def passes(shown: Sequence[int], held_frames: int) -> list[tuple[int, int]]:
    """Spans [start, end) of the altered clip, each made in one pass over the clip.

    Frames that are shown in the order of their decoding need not wait for each other, so such a
    run may be of any length; several runs in one pass have to wait together, in memory.
    """
    starts = [0, *(at for at, (one, two) in enumerate(pairwise(shown), 1) if two < one)]
    found: list[tuple[int, int]] = []
    for start, end in zip(starts, [*starts[1:], len(shown)], strict=True):
        if found and end - found[-1][0] <= held_frames:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
