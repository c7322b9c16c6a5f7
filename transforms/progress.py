"""What has been done so far, written down by all workers of a run as they go.

A file of JSON lines to which every process appends: short appends are whole on a local file
system. It only feeds the display; the funnel is counted from the records themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.rejection import Stage

Step = tuple[Stage, int, int]
"""Stage, how many entered it, how many of them were rejected."""


@dataclass(frozen=True)
class ProgressLog:
    """Where progress is written down; an empty path = nowhere."""

    path: str = ""

    def add(self, stage: Stage, *, entered: int, rejected: int) -> None:
        """Note that a stage has dealt with so many more, in its unit."""
        if not self.path:
            return
        line = json.dumps([str(stage), entered, rejected]) + "\n"
        # One write of a short line with O_APPEND: lines of several processes do not mix.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def read_from(self, offset: int) -> tuple[list[Step], int]:
        """Lines after a byte offset, and the offset after them."""
        try:
            with open(self.path, "rb") as stream:  # noqa: PTH123 - paired with os.open above
                stream.seek(offset)
                data = stream.read()
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        return list(_lines(whole)), offset + len(whole)


def _lines(data: bytes) -> Iterator[Step]:
    for line in data.splitlines():
        stage, entered, rejected = json.loads(line)
        yield Stage(stage), int(entered), int(rejected)
