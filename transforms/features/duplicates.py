"""Near-duplicates among any number of clips, block by block: no step holds all of them.

Clips stand in the order of video and time, and blocks are ranges of it. Pairs of blocks are
compared anywhere (`alike_in`), then it is decided in order who stays (`duplicates_of`). What comes
out is the same for any size of the blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.base import hash_place
from transforms.features.embed import Vectors

BLOCK_CLIPS = 20_000
"""Clips of a block, about: 40 MB of mean vectors. Fewer make one block."""
COMPARED_WITH = 64
"""A clip is compared with no more than so many of those before it that it is alike to. It bounds
what has to be remembered of a thousand clips of the same title."""

TILE_ROWS = 500
"""Rows that are multiplied at a time: 40 MB of cosines."""
CANDIDATES = 256
"""Clips of alike means whose frames are looked at before the next are sought."""
SLACK = 1e-4
"""More than rounding and the order of summation can make of a cosine."""
HELD_EDGES = 4_000_000
"""Pairs beyond which those that are not needed are dropped: some 100 MB."""
FRAME_CACHE_BYTES = 64 << 20

ALIKE = np.dtype(
    [("row", "<i4"), ("block", "<i4"), ("other", "<i4"), ("mean", "<f8"), ("worst", "<f8")]
)
"""A clip, as row of its block, and one before it that it is alike to: block, row, and the cosines
of their means and of the frame that has the worst partner."""
Alike = npt.NDArray[Any]

UNREAD = -1
"""Stands for the other's block, where a clip's own vectors can't be read."""

Frames = Callable[[int], Vectors | None]
"""From the row of a clip to the vectors of its frames, unit vectors (m, d); None if they can't be
read."""


@dataclass(frozen=True)
class Candidate:
    """A clip in the comparison."""

    clip_id: str
    video_id: str
    start_s: float
    feature_ref: str

    @property
    def order(self) -> tuple[str, float, str]:
        """Of clips that are alike, the first in this order is kept."""
        return self.video_id, self.start_s, self.clip_id


@dataclass(frozen=True)
class Duplicate:
    clip_id: str
    original_id: str
    cosine: float


@dataclass(frozen=True)
class Uncompared:
    """A clip whose vectors can't be read any more: it is neither kept nor named as an original."""

    clip_id: str


def block_of(candidate: Candidate, clips: int, block_clips: int = BLOCK_CLIPS) -> int:
    """The block of one of `clips` clips: a range of the ids of videos, which are hashes. So blocks
    are about equally large, unless a single video has as many clips as a block."""
    blocks = -(-clips // block_clips)
    return 0 if blocks <= 1 else int(hash_place(candidate.video_id) * blocks)


# Comparing ---------------------------------------------------------------------------------------


@dataclass
class BlockVectors:
    """The clips of a block in order: mean vectors (n, d), and how to come by those of frames."""

    number: int
    means: Vectors
    read_frames: Frames
    unread: set[int] = field(default_factory=set)
    """Rows of clips whose vectors were wanted and could not be read."""
    _cache: OrderedDict[int, Vectors] = field(default_factory=OrderedDict)
    _cached_bytes: int = 0

    def frames(self, row: int) -> Vectors | None:
        """The vectors of a clip's frames; those used last are kept in memory."""
        if row in self._cache:
            self._cache.move_to_end(row)
            return self._cache[row]
        found = None if row in self.unread else self.read_frames(row)
        if found is None:
            self.unread.add(row)
            return None
        self._cache[row] = found
        self._cached_bytes += found.nbytes
        while self._cached_bytes > FRAME_CACHE_BYTES and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= dropped.nbytes
        return found

    def unread_edges(self) -> Alike:
        """What is to be handed over with the pairs that were found, so that these clips go."""
        # No pair outweighs it: the cosine of the means is what is compared.
        edges = [(row, UNREAD, UNREAD, np.inf, 0.0) for row in sorted(self.unread)]
        return np.array(edges, ALIKE)


def alike_in(later: BlockVectors, earlier: BlockVectors, threshold: float) -> Alike:
    """For each clip of a block those of an earlier one, or before it in the same one, that it is
    alike to: in order, no more than COMPARED_WITH.

    Two clips are alike when their means are, and every sampled frame of each has a frame alike in
    the other: means alone also agree for different shots of one place.
    """
    found = [np.zeros(0, ALIKE)]
    same = later.number == earlier.number
    for start in range(0, len(later.means), TILE_ROWS):
        tile = later.means[start : start + TILE_ROWS]
        before = earlier.means[: start + len(tile)] if same else earlier.means
        near = tile @ before.T >= threshold - SLACK
        for place in np.flatnonzero(near.any(axis=1)).tolist():
            row = start + place
            others = np.flatnonzero(near[place, : row if same else None])
            confirmed = _confirmed(later, row, earlier, others, threshold)
            found.append(np.array([(row, earlier.number, *one) for one in confirmed], ALIKE))
    return np.concatenate(found)


def _confirmed(
    later: BlockVectors,
    row: int,
    earlier: BlockVectors,
    others: npt.NDArray[np.int64],
    threshold: float,
) -> list[tuple[int, float, float]]:
    """Those of `others` that are alike indeed, with both cosines."""
    found: list[tuple[int, float, float]] = []
    for start in range(0, len(others), CANDIDATES):
        part = others[start : start + CANDIDATES]
        means = cosines(earlier.means[part], later.means[row])
        for other, mean in zip(part.tolist(), means.tolist(), strict=True):
            if mean < threshold:
                continue
            own, others_frames = later.frames(row), earlier.frames(other)
            if own is None:
                return []
            if others_frames is None:
                continue
            worst = worst_match(own, others_frames)
            if worst >= threshold:
                found.append((other, mean, worst))
                if len(found) == COMPARED_WITH:
                    return found
    return found


def cosines(vectors: Vectors, one: Vectors) -> npt.NDArray[np.float64]:
    """Cosines of unit vectors (n, d) and (d,): 5 digits, the same whatever they are computed among.

    Not by a BLAS, which sums in another order for another n.
    """
    found: npt.NDArray[np.float64] = np.round((vectors.astype(np.float64) * one).sum(axis=1), 5)
    return found


def worst_match(one: Vectors, other: Vectors) -> float:
    """Cosine to its best partner of the frame that has the worst, both ways; 5 digits.

    Rounded, so that the order of summation of a BLAS does not decide.
    """
    found = one @ other.T
    worst = min(found.max(axis=1).min(), found.max(axis=0).min())
    return round(float(worst), 5)


def first_alike(parts: Iterable[Alike]) -> Alike:
    """Of what was found for the clips of one block, for each clip the first COMPARED_WITH in order.

    `parts` come in any order; memory holds no more than what is given back and a few parts.
    """
    held: list[Alike] = [np.zeros(0, ALIKE)]
    for part in parts:
        held.append(part)
        if sum(map(len, held)) > HELD_EDGES:
            held = [_firsts(np.concatenate(held))]
    return _firsts(np.concatenate(held))


def _firsts(alike: Alike) -> Alike:
    ordered = alike[np.lexsort((alike["other"], alike["block"], alike["row"]))]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered["row"], ordered["row"])
    firsts: Alike = ordered[rank < COMPARED_WITH]
    return firsts


# Deciding ----------------------------------------------------------------------------------------


def duplicates_of(blocks: Iterable[tuple[int, Alike]]) -> Iterator[tuple[int, Alike]]:
    """Who goes, block by block: pairs of one that goes and the one it is named a duplicate of.

    A clip that could not be read goes, too, and none is named a duplicate of it. In order a clip is
    kept unless it is alike to one kept before it. So every duplicate names a clip that stays: of
    several, the most alike by its mean. `blocks` (number, what `first_alike` gave) come in order,
    those without any pair may be left out. Memory holds the pairs of one block, and four bytes per
    duplicate.
    """
    gone: dict[int, npt.NDArray[np.int32]] = {}
    for number, alike in blocks:
        chosen = _chosen(number, alike, gone)
        gone[number] = chosen["row"].copy()
        yield number, chosen


def _chosen(number: int, alike: Alike, gone: dict[int, npt.NDArray[np.int32]]) -> Alike:
    went = np.zeros(len(alike), bool)
    for block in np.unique(alike["block"]):
        if block != number and block in gone:
            there = alike["block"] == block
            went[there] = np.isin(alike["other"][there], gone[block])
    rows, blocks, others, means = (
        alike[name].tolist() for name in ("row", "block", "other", "mean")
    )
    best: dict[int, int] = {}
    """From the row of a clip that goes to the pair with the clip it is named a duplicate of."""
    for edge, row in enumerate(rows):
        # Rows rise: those before it in its own block are decided.
        gone_too = others[edge] in best if blocks[edge] == number else went[edge]
        if not gone_too and (row not in best or means[edge] > means[best[row]]):
            best[row] = edge
    chosen: Alike = alike[list(best.values())]
    return chosen
