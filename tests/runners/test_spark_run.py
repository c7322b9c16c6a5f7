"""The whole way on Spark: the same bytes as on the local runner."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_runs import dataset_of

pytestmark = pytest.mark.slow


def test_spark_gives_the_same_bytes(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    assert dataset_of(engine_videos, tmp_path / "out", "--runner", "spark") == on_direct
