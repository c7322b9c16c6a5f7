"""What the tests of the trainers share: the library, the exports, the small model."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXPORTS_VARIABLE = "PROOFREEL_TRAINER_EXPORTS"
"""The folder that make_exports.py made. Where it is set, nothing may be skipped (conftest.py)."""

REASON = "needs an environment of its own: make test-trainers"

CHECKPOINT = Path(__file__).parents[2] / "bench" / "tiny_vlm" / "checkpoint"


def made() -> Path:
    """The folder that make_exports.py made."""
    if EXPORTS_VARIABLE not in os.environ:
        pytest.skip(REASON)
    return Path(os.environ[EXPORTS_VARIABLE])


def export_of(name: str) -> Path:
    """The folder of an export."""
    return made() / "exports" / name


def graded() -> dict[str, list[tuple[str, float]]]:
    """By id of a sample: (reply, what the verifier gave its answer)."""
    text = (made() / "graded.json").read_text("utf-8")
    return {
        key: [(reply, score) for reply, score in pairs] for key, pairs in json.loads(text).items()
    }


def rows(path: Path) -> list[dict[str, Any]]:
    """Of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def commands(folder: Path) -> list[list[str]]:
    """The commands in the README of an export, as lists of words."""
    text = (folder / "README.md").read_text("utf-8")
    return [shlex.split(line) for line in re.findall(r"^Train: +`(.*)`", text, re.MULTILINE)]


def rewards_of(folder: Path) -> ModuleType:
    """The rewards.py that lies in an export, as a trainer that is started there imports it."""
    path = folder / "rewards.py"
    spec = importlib.util.spec_from_file_location("exported_rewards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
