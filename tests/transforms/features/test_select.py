"""Thresholds on measures: each inclusive, each with its reason; changing one decodes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.case import PlannedClip
from schemas.clip import Measures, ShotType
from schemas.rejection import Reason, Rejected
from schemas.source import Source, location
from transforms.features.select import SelectSettings, decide, limits
from transforms.features.stage import QualityGate
from transforms.memo import MemoStore
from transforms.video.analyse import Analyser, InputSettings
from transforms.video.ingest import Ingester
from transforms.video.segment import Segmenter
from transforms.video.shots import ShotSettings

FINE = Measures(
    brightness=0.5, contrast=0.2, underexposed_share=0.1, overexposed_share=0.1, sharpness=0.01,
    motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
    crop_box=(0.0, 0.0, 1.0, 1.0), text_share=0.1, loudness_lufs=-20.0, sound_share=1.0,
    average_shot_s=2.5, shot_type=ShotType.EDITED,
)  # fmt: skip
DEFAULT = SelectSettings()
ALL = SelectSettings(
    min_motion_speed=0.01,
    max_motion_speed_p90=0.5,
    max_text_share=0.2,
    min_sound_share=0.3,
    min_loudness_lufs=-40.0,
)
"""With every threshold switched on."""


@pytest.mark.parametrize(
    ("name", "threshold", "reason"),
    [
        ("brightness", "min_brightness", Reason.TOO_DARK),
        ("black_share", "max_black_share", Reason.TOO_DARK),
        ("underexposed_share", "max_underexposed_share", Reason.TOO_DARK),
        ("overexposed_share", "max_overexposed_share", Reason.OVEREXPOSED),
        ("frozen_share", "max_frozen_share", Reason.FROZEN),
        ("motion_speed", "min_motion_speed", Reason.TOO_STILL),
        ("motion_speed_p90", "max_motion_speed_p90", Reason.TOO_FAST),
        ("sharpness", "min_sharpness", Reason.BLURRED),
        ("text_share", "max_text_share", Reason.TEXT_OVERLAY),
        ("sound_share", "min_sound_share", Reason.SILENT),
        ("loudness_lufs", "min_loudness_lufs", Reason.TOO_QUIET),
    ],
)
def test_each_threshold_is_inclusive(name: str, threshold: str, reason: Reason) -> None:
    edge = getattr(ALL, threshold)
    beyond = edge + (-1e-4 if threshold.startswith("min") else 1e-4) * max(abs(edge), 0.01)
    decide(FINE.model_copy(update={name: edge}), ALL)
    with pytest.raises(Rejected) as caught:
        decide(FINE.model_copy(update={name: beyond}), ALL)
    assert caught.value.reason is reason
    assert f"{beyond:.6g}" in caught.value.detail
    assert f"{edge:g}" in caught.value.detail
    assert name.split("_")[0] in caught.value.detail


def test_a_picture_that_is_mostly_bars_is_rejected() -> None:
    decide(FINE.model_copy(update={"crop_box": (0.0, 0.25, 1.0, 0.5)}), ALL)
    with pytest.raises(Rejected, match=r"border share 0\.7505 > 0\.75") as caught:
        decide(FINE.model_copy(update={"crop_box": (0.0, 0.25, 0.998, 0.5)}), ALL)
    assert caught.value.reason is Reason.BORDERS


@pytest.mark.parametrize("kept", [("edited",), ("montage", "edited"), ("long_take", "edited")])
def test_only_wanted_shot_types_are_kept(kept: tuple[str, ...]) -> None:
    chosen = SelectSettings(shot_types=kept)
    decide(FINE, chosen)
    for kind in set(ShotType) - {ShotType(one) for one in kept}:
        with pytest.raises(Rejected, match=kind) as caught:
            decide(FINE.model_copy(update={"shot_type": kind}), chosen)
        assert caught.value.reason is Reason.SHOT_TYPE
        assert caught.value.detail == f"{kind}, 2.5 s a shot; kept are {', '.join(kept)}"


@pytest.mark.parametrize(
    "measures",
    [
        {"motion_speed": 0.0, "motion_speed_p90": 3.0},
        {"loudness_lufs": -70.0, "sound_share": 0.0},
        {"text_share": 1.0},
        {"text_share": -1.0},
        {"shot_type": ShotType.MONTAGE},
        {"shot_type": ShotType.LONG_TAKE},
        {"crop_box": (0.0, 0.22, 1.0, 0.78)},
        {"underexposed_share": 0.9},
        {"overexposed_share": 0.9},
    ],
    ids=str,
)
def test_what_is_a_matter_of_taste_is_off_by_default(measures: dict[str, object]) -> None:
    decide(FINE.model_copy(update=measures), DEFAULT)


def test_every_limit_is_a_setting_and_has_a_reason_of_its_own_kind() -> None:
    found = list(limits(FINE, DEFAULT))
    thresholds = {name for name in SelectSettings.model_fields if name[:3] in ("min", "max")}
    assert len(found) == len(thresholds)
    assert all(math.isfinite(one.low) != math.isfinite(one.high) for one in found)
    assert len({one.measure for one in found}) == len(found)


def test_no_kind_of_shot_at_all_is_refused() -> None:
    with pytest.raises(ValidationError):
        SelectSettings(shot_types=())


def test_changing_a_threshold_decodes_nothing(
    bikes: Path, tmp_path: Path, count_processes: Callable[[], int]
) -> None:
    store = MemoStore(str(tmp_path))

    def gated(settings: SelectSettings) -> Callable[[], PlannedClip]:
        [video] = Ingester(store)(Source(uri=bikes.name, location=location(bikes))).outputs
        [footage] = Analyser(InputSettings(), "content", 2.0, store)(video).outputs
        [planned] = Segmenter(ShotSettings(), store)(footage).outputs
        return lambda: QualityGate(settings)(planned).outputs[0]

    first = gated(DEFAULT)()
    decoding = count_processes()
    assert decoding > 0
    measures = first.clip.measures
    assert measures.motion_speed > 0.03
    for settings, reason in (
        (SelectSettings(min_motion_speed=measures.motion_speed + 0.01), Reason.TOO_STILL),
        (SelectSettings(min_sound_share=0.5), Reason.SILENT),
        (SelectSettings(max_border_share=0.0), None),
        (SelectSettings(min_sharpness=1.0), Reason.BLURRED),
        (SelectSettings(shot_types=("long_take",)), Reason.SHOT_TYPE),
    ):
        gate = gated(settings)
        if reason is None:
            assert gate() == first
        else:
            with pytest.raises(Rejected) as caught:
                gate()
            assert caught.value.reason is reason
    assert count_processes() == decoding
