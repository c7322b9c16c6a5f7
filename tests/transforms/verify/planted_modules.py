"""The planted errors of bench/, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

import verifier
from planted import films, items, reader, sight, words

__all__ = ["films", "items", "reader", "sight", "verifier", "words"]
