"""What the tests of reading share."""

from __future__ import annotations

from typing import Any

SAMPLES = 31
"""Of the sft split for training in the dataset `many`."""
KEYS = [f"s{n:02}" for n in range(SAMPLES)]


def keys(data: Any) -> list[str]:
    return [entry.key for entry in data]
