"""Inputs as lists, for tests: a run does not hold them so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from schemas.rejection import Rejection
from schemas.source import Source
from transforms.video.sorted_inputs import sorted_inputs


def expand_inputs(inputs: Iterable[str], *ours: str | Path) -> tuple[list[Source], list[Rejection]]:
    """All sources, and what could not be taken."""
    with sorted_inputs(inputs, *ours) as found:
        return list(found.sources), list(found.refused)
