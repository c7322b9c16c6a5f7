"""Which clips are worth cutting: thresholds over measures. Only decides."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from schemas.clip import SILENCE_LUFS, Measures, ShotType
from schemas.rejection import Reason, Rejected


class SelectSettings(BaseModel):
    """Section `select` of the configuration: every threshold is inclusive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    near_duplicate_cosine: float = Field(
        0.97, ge=-1.0, le=1.0, description="clips as alike as this are one and the same"
    )
    reference: tuple[str, ...] = Field(
        (),
        description="outputs of `proofreel features`, such as of the videos of benchmarks; clips "
        "that are alike to one of them are rejected. It needs features, by the same model",
    )
    contamination_cosine: float = Field(
        0.97,
        ge=-1.0,
        le=1.0,
        description="clips as alike as this to a video of `reference` are of it",
    )
    min_brightness: float = Field(0.04, ge=0.0, le=1.0, description="mean luma of the clip")
    max_black_share: float = Field(0.5, ge=0.0, le=1.0, description="share of black frames")
    max_underexposed_share: float = Field(
        0.97, ge=0.0, le=1.0, description="share of the picture that is nearly black"
    )
    max_overexposed_share: float = Field(
        0.97, ge=0.0, le=1.0, description="share of the picture that is nearly white"
    )
    max_frozen_share: float = Field(
        0.95, ge=0.0, le=1.0, description="share of moments at which nothing moves or changes"
    )
    min_motion_speed: float = Field(
        0.0, ge=0.0, description="median speed of motion, picture widths per second; 0: off"
    )
    max_motion_speed_p90: float = Field(
        100.0,
        ge=0.0,
        description="90th percentile of the speed of motion, picture widths per second; 100: off",
    )
    min_sharpness: float = Field(
        0.00005, ge=0.0, description="median variance of the Laplacian of the sampled frames"
    )
    max_border_share: float = Field(
        0.75, ge=0.0, le=1.0, description="share of the picture that is bars at its edges"
    )
    max_text_share: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="share of the picture that text covers; below 1 it needs overlay_text.enabled",
    )
    min_sound_share: float = Field(
        0.0, ge=0.0, le=1.0, description="share of the time that is not silent; 0: off"
    )
    min_loudness_lufs: float = Field(
        SILENCE_LUFS,
        ge=SILENCE_LUFS,
        le=0.0,
        description="integrated loudness; -70, which silence has: off",
    )
    shot_types: tuple[ShotType, ...] = Field(
        tuple(ShotType),
        min_length=1,
        description="kept kinds of average shot length: montage (less than 2 s), edited, "
        "long_take (more than 10 s)",
    )


@dataclass(frozen=True)
class Limit:
    """A threshold on a measure; both ends are still good."""

    measure: str
    value: float
    reason: Reason
    low: float = -math.inf
    high: float = math.inf

    def check(self) -> None:
        """Raise Rejected if the value lies outside."""
        if self.value < self.low:
            raise Rejected(self.reason, f"{self.measure} {self.value:.6g} < {self.low:g}")
        if self.value > self.high:
            raise Rejected(self.reason, f"{self.measure} {self.value:.6g} > {self.high:g}")


def decide(measures: Measures, settings: SelectSettings) -> None:
    """Raise Rejected if the clip's measures miss a threshold; the first that is missed counts."""
    for limit in limits(measures, settings):
        limit.check()
    if measures.shot_type not in settings.shot_types:
        kept = ", ".join(settings.shot_types)
        raise Rejected(
            Reason.SHOT_TYPE,
            f"{measures.shot_type}, {measures.average_shot_s:g} s a shot; kept are {kept}",
        )


def limits(measures: Measures, settings: SelectSettings) -> Iterator[Limit]:
    """Every threshold, beside what it is applied to."""
    m, s = measures, settings
    yield Limit("brightness", m.brightness, Reason.TOO_DARK, low=s.min_brightness)
    yield Limit("black share", m.black_share, Reason.TOO_DARK, high=s.max_black_share)
    yield Limit(
        "underexposed share", m.underexposed_share, Reason.TOO_DARK, high=s.max_underexposed_share
    )
    yield Limit(
        "overexposed share", m.overexposed_share, Reason.OVEREXPOSED, high=s.max_overexposed_share
    )
    yield Limit("frozen share", m.frozen_share, Reason.FROZEN, high=s.max_frozen_share)
    yield Limit("motion speed", m.motion_speed, Reason.TOO_STILL, low=s.min_motion_speed)
    yield Limit(
        "motion speed, 90th percentile",
        m.motion_speed_p90,
        Reason.TOO_FAST,
        high=s.max_motion_speed_p90,
    )
    yield Limit("sharpness", m.sharpness, Reason.BLURRED, low=s.min_sharpness)
    yield Limit("border share", m.border_share, Reason.BORDERS, high=s.max_border_share)
    yield Limit("text share", m.text_share, Reason.TEXT_OVERLAY, high=s.max_text_share)
    yield Limit("sound share", m.sound_share, Reason.SILENT, low=s.min_sound_share)
    yield Limit("loudness (LUFS)", m.loudness_lufs, Reason.TOO_QUIET, low=s.min_loudness_lufs)
