"""Where reading stands: plain numbers that go into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from schemas.base import Record


class ReadState(Record):
    """How far the workers of a rank have come in an epoch."""

    of: str
    """What was being read, in which order: `load_state_dict` takes no other."""
    epoch: int = Field(ge=0)
    rank: int = Field(ge=0)
    world_size: int = Field(ge=1)
    workers: int = Field(ge=1)
    shares: tuple[int, ...]
    """Whose stretch each worker goes on with; one number if it is the state of one worker."""
    seen: tuple[int, ...]
    """How many entries of each of these shares were read."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data: text, numbers and lists."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ReadState:
        """What `to_dict` gave. Raises ValueError on anything else."""
        try:
            found = cls.model_validate(dict(state) if isinstance(state, Mapping) else state)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            at = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"this is no state of reading a dataset ({at + ': ' if at else ''}{first['msg']}); "
                "give what state_dict() or state_after() gave"
            ) from error
        whole = list(range(found.workers))
        if len(found.seen) != len(found.shares) or (
            sorted(found.shares) != whole and len(found.shares) != 1
        ):
            raise ValueError("this is no state of reading a dataset: its shares are not whole")
        return found


def after_batches(state: ReadState, lengths: tuple[int, ...], batches: int, size: int) -> ReadState:
    """The state of all workers after so many batches of `size` from a DataLoader that began at
    `state`; `lengths` are those of the shares.

    A DataLoader takes one batch of each worker in turn. After a restart it begins with worker 0,
    which therefore goes on with the share of the one whose turn it was.
    """
    count = state.workers
    seen = [
        min(before + len(range(slot, batches, count)) * size, lengths[share])
        for slot, (share, before) in enumerate(zip(state.shares, state.seen, strict=True))
    ]
    turn = batches % count
    order = [*range(turn, count), *range(turn)]
    return state.model_copy(
        update={
            "shares": tuple(state.shares[slot] for slot in order),
            "seen": tuple(seen[slot] for slot in order),
        }
    )
