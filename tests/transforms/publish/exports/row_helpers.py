"""Reading exports back, and the reward hooks that they bring along."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from publish_helpers import Item

from schemas.rewards import format_response
from schemas.sample import Sample

Row = dict[str, Any]


def json_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def named(out: Path, pattern: str) -> list[Row]:
    """All rows of the files whose path matches."""
    return [row for path in sorted(out.glob(pattern)) for row in json_lines(path)]


def samples_of(items: list[Item]) -> dict[str, Sample]:
    return {item.sample.id: item.sample for item in items}


def shipped_rewards(out: Path) -> ModuleType:
    """rewards.py as it lies in the export, not as it is imported here."""
    spec = importlib.util.spec_from_file_location("shipped_rewards", out / "rewards.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def right_reply(sample: Sample) -> str:
    return format_response("It is so.", sample.answer.text)


def wrong_reply(sample: Sample) -> str:
    other = {"mcq": "D", "temporal_grounding": "1.2 to 1.4", "count": "7"}
    return format_response("It is so.", other[sample.answer.kind])


def question_of(sample: Sample) -> str:
    return next(part.text for part in sample.messages[0].parts if part.type == "text")
