"""What has been done so far, written down by all workers of a run as they go.

A file of JSON lines to which every process appends: short appends are whole on a local file
system. It only feeds the display; the funnel is counted from the records themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from schemas.rejection import Stage
from transforms.trouble import minding

REPLIES = "replies"


class Step(NamedTuple):
    """Elements that a stage has dealt with, in its unit."""

    stage: Stage
    entered: int
    rejected: int


class Replied(NamedTuple):
    """Replies of a model, teacher or verifier: asked for now, or found in the store."""

    asked: int
    reused: int
    prompt_tokens: int
    completion_tokens: int
    """Tokens of those asked for now."""
    cost: float
    """Of those tokens, at the prices of the model that was asked."""


@dataclass(frozen=True)
class ProgressLog:
    """Where progress is written down; an empty path = nowhere."""

    path: str = ""

    def add(self, stage: Stage, *, entered: int, rejected: int) -> None:
        """Note that a stage has dealt with so many more, in its unit."""
        self._write([str(stage), entered, rejected])

    def add_replies(
        self,
        *,
        asked: int = 0,
        reused: int = 0,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cost: float = 0.0,
    ) -> None:
        """Note that a model has given so many more replies."""
        if asked or reused:
            self._write([REPLIES, asked, reused, prompt_tokens, completion_tokens, cost])

    def _write(self, values: list[str | int | float]) -> None:
        if not self.path:
            return
        line = json.dumps(values) + "\n"
        # One write of a short line with O_APPEND: lines of several processes do not mix.
        with minding(Path(self.path).parent, "folder of the progress log"):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)

    def read_from(self, offset: int) -> tuple[list[Step | Replied], int]:
        """Lines after a byte offset, and the offset after them."""
        try:
            with open(self.path, "rb") as stream:  # noqa: PTH123 - paired with os.open above
                stream.seek(offset)
                data = stream.read()
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        return list(_lines(whole)), offset + len(whole)


NOWHERE = ProgressLog()


def _lines(data: bytes) -> Iterator[Step | Replied]:
    for line in data.splitlines():
        name, *counts = json.loads(line)
        yield Replied(*counts) if name == REPLIES else Step(Stage(name), *counts)
