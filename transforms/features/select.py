"""Which clips are worth cutting: thresholds over measures, and near-duplicates. Only decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from schemas.clip import Measures
from schemas.rejection import Reason, Rejected
from transforms.features.embed import Vectors


class SelectSettings(BaseModel):
    """Section `select` of the configuration: every threshold is inclusive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    near_duplicate_cosine: float = Field(
        0.97, ge=-1.0, le=1.0, description="clips as alike as this are one and the same"
    )
    min_brightness: float = Field(0.04, ge=0.0, le=1.0, description="mean luma of the clip")
    max_black_share: float = Field(0.5, ge=0.0, le=1.0, description="share of black frames")
    max_frozen_share: float = Field(
        0.95, ge=0.0, le=1.0, description="share of frames that do not differ from the one before"
    )
    min_sharpness: float = Field(
        0.00005, ge=0.0, description="median variance of the Laplacian of the sampled frames"
    )


def decide(measures: Measures, settings: SelectSettings) -> None:
    """Raise Rejected (too_dark, frozen, blurred) if the clip's measures miss a threshold."""
    if measures.brightness < settings.min_brightness:
        raise Rejected(
            Reason.TOO_DARK, f"brightness {measures.brightness} < {settings.min_brightness}"
        )
    if measures.black_share > settings.max_black_share:
        raise Rejected(
            Reason.TOO_DARK, f"black share {measures.black_share} > {settings.max_black_share}"
        )
    if measures.frozen_share > settings.max_frozen_share:
        raise Rejected(
            Reason.FROZEN, f"frozen share {measures.frozen_share} > {settings.max_frozen_share}"
        )
    if measures.sharpness < settings.min_sharpness:
        raise Rejected(Reason.BLURRED, f"sharpness {measures.sharpness} < {settings.min_sharpness}")


@dataclass(frozen=True)
class Candidate:
    """A clip in the comparison: its order decides who is kept."""

    clip_id: str
    video_id: str
    start_s: float
    feature_ref: str


@dataclass(frozen=True)
class Duplicate:
    clip_id: str
    original_id: str
    cosine: float


def find_duplicates(
    candidates: Sequence[Candidate],
    means: Vectors,
    frames: Callable[[int], Vectors],
    threshold: float,
) -> list[Duplicate]:
    """Clips as alike as `threshold` to one that is kept.

    `means` (n, d) are the clips' mean embeddings, `frames(row)` (m, d) those of its frames, all
    unit vectors. Two clips are near-duplicates when their means are alike and every sampled frame
    of each has a frame alike in the other: means alone also agree for different shots of one place.

    In order of video id and time, a clip is kept unless it is alike to one kept before it. So the
    result does not depend on the order of arrival, and every duplicate names a clip that stays.
    """
    order = sorted(
        range(len(candidates)),
        key=lambda row: (candidates[row].video_id, candidates[row].start_s),
    )
    kept: list[int] = []
    found: list[Duplicate] = []
    for row in order:
        for other in _alike(means, kept, row, threshold):
            cosine = worst_match(frames(row), frames(other))
            if cosine >= threshold:
                found.append(Duplicate(candidates[row].clip_id, candidates[other].clip_id, cosine))
                break
        else:
            kept.append(row)
    return found


def _alike(means: Vectors, kept: Sequence[int], row: int, threshold: float) -> Iterator[int]:
    """Kept rows whose mean is as alike as the threshold, most alike first."""
    if not kept:
        return
    cosines = np.round((means[list(kept)] @ means[row]).astype(np.float64), 5)
    for place in np.argsort(-cosines, kind="stable"):
        if cosines[place] < threshold:
            return
        yield kept[int(place)]


def worst_match(one: Vectors, other: Vectors) -> float:
    """Cosine to its best partner of the frame that has the worst, both ways; 5 digits.

    Rounded, so that the order of summation of a BLAS does not decide.
    """
    cosines = one @ other.T
    worst = min(cosines.max(axis=1).min(), cosines.max(axis=0).min())
    return round(float(worst), 5)
