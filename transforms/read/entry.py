"""One entry of a shard, as it was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.sample import Sample
from transforms.read.frames import Look, Shown, decode
from transforms.read.ranges import ReadError


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample and its clip."""

    key: str
    """The id of the sample."""
    shard: str
    """Where it was read, relative to the dataset."""
    json: dict[str, Any]
    """The sample as plain data; `sample()` gives it as a record."""
    mp4: bytes
    """The clip's file. Empty where `shown` is set: what was decoded travels without it."""
    shown: Shown | None = None
    """The frames that the dataset was opened for."""

    def sample(self) -> Sample:
        """The sample as a record, every field checked. Raises ReadError."""
        try:
            return Sample.model_validate(self.json)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise ReadError(f"{self.shard}: {self.key}: {field}: {first['msg']}") from error

    def decode(
        self,
        *,
        frames: int | None = None,
        fps: float | None = None,
        times_s: Sequence[float] | None = None,
        size_px: tuple[int, int] | None = None,
    ) -> Shown:
        """Frames of the clip; see `Look` for what the arguments say. Raises ReadError when it can't
        be decoded or a moment is outside of it, ValueError when the arguments make no sense."""
        return self.look(Look(frames, fps, times_s, size_px))

    def look(self, look: Look) -> Shown:
        """Frames of the clip."""
        if not self.mp4:
            raise ValueError(
                "the clip's file is not here: this entry was decoded when it was read; open the "
                "dataset without frames and fps, and decode in `map` or where the entry arrives"
            )
        # What was copied from a source can be cut in any way: only from its beginning is it sure
        # to be right.
        match self.json:
            case {"media": [{"is_copied": False}, *_]}:
                from_start = False
            case _:
                from_start = True
        try:
            return decode(self.mp4, look, from_start=from_start)
        except ValueError as error:
            raise ReadError(f"{self.shard}: {self.key}: mp4: {error}") from error
