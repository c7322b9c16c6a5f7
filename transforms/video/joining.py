"""Over-segmentation repaired: a change of the picture after which it looks as before is no cut.

Detectors also report flashes, fast motion and shakes of the camera. The idea of Panda-70M (Chen et
al. 2024, "stitching"): compare the pictures on both sides by what they show. Here the pictures are
the sampled frames nearest to a border, one on either side; their embeddings are made once and
stored (`transforms.features.borders`), and which cuts to drop is decided from the stored vectors.

A border is judged only if both shots hold a sample of their own, outside of the change itself: not
in a flash, not in the frames of a dissolve. Where one holds none, nothing is known and the cut
stays. Samples every `shots.min_shot_s` or closer leave no such shot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.video.shots import Border, Row

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sides:
    """A border that can be judged: source times of the samples nearest to it, one in each shot."""

    start: Row
    before_s: float
    after_s: float


def sides_of_borders(
    times_s: npt.NDArray[np.float64],
    borders: Sequence[Border],
    sample_times_s: npt.NDArray[np.float64],
) -> list[Sides]:
    """The borders that can be judged, in order. `times_s` are those of all frames."""
    samples = np.searchsorted(times_s, sample_times_s)
    found = []
    for number in range(1, len(borders)):
        here = borders[number]
        end = borders[number + 1].first if number + 1 < len(borders) else len(times_s)
        before = _within(samples, borders[number - 1].settled, here.first)
        after = _within(samples, here.settled, end)
        if before and after:
            pair = float(sample_times_s[before[-1]]), float(sample_times_s[after[0]])
            found.append(Sides(here.start, *pair))
    return found


def _within(samples: npt.NDArray[np.int64], first: Row, end: Row) -> range:
    """Which samples, given by their rows in order of time, lie in rows [first, end)."""
    low, high = np.searchsorted(samples, [first, max(first, end)])
    return range(int(low), int(high))


def times_to_embed(sides: Sequence[Sides]) -> tuple[float, ...]:
    """Times of the samples whose embeddings the decision needs, each once, in order."""
    return tuple(sorted({time_s for one in sides for time_s in (one.before_s, one.after_s)}))


def joined_starts(
    times_s: npt.NDArray[np.float64],
    borders: Sequence[Border],
    sample_times_s: npt.NDArray[np.float64],
    vectors: Mapping[float, Vector],
    threshold: float,
) -> list[Row]:
    """Rows at which shots begin, without those after which it looks as before.

    `vectors` are unit vectors by the times of `times_to_embed`; pictures whose cosine is at least
    `threshold` are alike. Raises KeyError if a vector is missing.
    """
    alike = {
        one.start
        for one in sides_of_borders(times_s, borders, sample_times_s)
        # Rounded, so that the order of summation of a BLAS does not decide.
        if round(float(vectors[one.before_s] @ vectors[one.after_s]), 5) >= threshold
    }
    return [border.start for border in borders if border.start not in alike]


def read_vectors(path: Path) -> dict[float, Vector]:
    """Stored embeddings by the source time of their pictures."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        vectors = table["vector"].to_pylist()
        times = table["time_s"].to_pylist()
    return {t: np.array(one, np.float32) for t, one in zip(times, vectors, strict=True)}


def without_joined(
    times_s: npt.NDArray[np.float64],
    starts: Sequence[Row],
    detected: Sequence[Row],
    kept: Sequence[Row],
    min_shot_s: float,
) -> list[Row]:
    """`starts` of a detector with other thresholds, without those that were joined.

    `detected` are the starts by the configured thresholds, `kept` those that joining left. What was
    joined speaks for the moment after it too: another threshold may see a flash end, not begin.
    """
    joined = times_s[[row for row in detected if row not in set(kept)]]
    known = set(kept)

    def is_joined(row: Row) -> bool:
        after_s = times_s[row] - joined
        return row not in known and bool(((after_s >= 0) & (after_s < min_shot_s - 1e-9)).any())

    return [row for row in starts if row == 0 or not is_joined(row)]
