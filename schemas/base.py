"""What every record has in common: frozen, typed, closed, named by its content."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = "1"

ID_HEX_CHARS = 20
"""80 bits: at 100 million clips a collision has a chance of about 4 in a billion."""

PACKED_BYTES = 1_000
"""Records whose JSON is shorter wait as it is."""

# One for all: to set one up takes as long as to write a small record.
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


class Record(BaseModel):
    """A frozen record; unknown fields are refused, NaN and infinity too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, UTF-8 as it is."""
        return canonical_json(self.model_dump(mode="json"))

    def __reduce__(self) -> tuple[Any, ...]:
        # Between the steps of a pipeline records wait in memory, pickled: packed JSON takes a
        # sixth of what pickled objects take, and no longer to make. The order of its keys is that
        # of the fields: nothing is made of these bytes but the same record.
        text = self.model_dump_json().encode()
        return _unpacked, (type(self), _pack(text))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values; what was worked out from the old ones (`cached_property`) is
        worked out anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse what `to_json` wrote; raises `pydantic.ValidationError` on anything else."""
        return cls.model_validate_json(text)


def _pack(text: bytes) -> bytes:
    """JSON made small; what is small already would take longer than it is worth."""
    return text if len(text) < PACKED_BYTES else zlib.compress(text, 1)


def _unpacked(kind: type[Record], packed: bytes) -> Record:
    # JSON of a record begins with a brace, what zlib makes never does.
    return kind.from_json(packed if packed[:1] == b"{" else zlib.decompress(packed))


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: the same value always gives the same bytes.

    Raises ValueError on NaN or infinity, TypeError on what JSON can't hold.
    """
    return _ENCODER.encode(value)


def content_hash(*parts: Any) -> str:
    """SHA-256 (64 hex characters) of the canonical JSON of the parts."""
    return hashlib.sha256(canonical_json(list(parts)).encode("utf-8")).hexdigest()


def content_id(prefix: str, *parts: Any) -> str:
    """A short id made from content: one letter for the kind of record, then 20 hex characters."""
    return prefix + content_hash(*parts)[:ID_HEX_CHARS]


def hash_place(id: str) -> float:
    """Where an id stands among all that could be, in [0, 1): in the order of ids of one prefix, and
    evenly, since their end is a hash. Raises ValueError if it does not end in one."""
    return int(id[-ID_HEX_CHARS:][:13], 16) / 16**13


def unit_interval(*parts: Any) -> float:
    """A number in [0, 1) that depends on nothing but the parts: seeded choice, no generator."""
    return int(content_hash(*parts)[:13], 16) / 16**13
