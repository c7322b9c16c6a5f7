"""Which samples of a split are read: what `where` and `ids` of `proofreel.open` say."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.publish.index import ID_COLUMNS
from transforms.read.ranges import ReadError

if TYPE_CHECKING:
    from transforms.publish.where import Condition

FORMS = (
    "write it as for `proofreel subset --where`, such as 'pass_rate>=0.5' (or a list of those), as "
    "[(column, operator, value)], or as an expression of pyarrow.compute"
)


@dataclass(frozen=True)
class Choice:
    """All that has to hold of a sample's row in the index."""

    fits: pc.Expression
    conditions: tuple[Condition, ...] = ()
    ids: frozenset[str] | None = None
    """Of samples, tasks, clips or videos; None = all."""

    @property
    def columns(self) -> list[str]:
        """The columns of the index that `of` looks at, the id first."""
        asked = [one.column for one in self.conditions]
        known = () if self.ids is None else ID_COLUMNS
        return list(dict.fromkeys(["id", *known, *asked]))

    def of(self, table: pa.Table, at: str) -> pa.Table:
        """The rows that conditions and ids leave; `at` says what they are of. Raises ReadError."""
        if self.conditions:
            from transforms.publish.where import first_failed

            rows = table.select(self.columns).to_pylist()
            table = table.filter([not first_failed(self.conditions, row) for row in rows])
        return table if self.ids is None else _with_ids(table, self.ids, at)


def choice_of(where: Any, ids: Collection[str] | str | None) -> Choice:
    """Raises ValueError, in words for whoever wrote it, if that makes no sense."""
    return Choice(*_parsed(where), _id_set(ids))


def _parsed(where: Any) -> tuple[pc.Expression, tuple[Condition, ...]]:
    everything = pc.scalar(True)
    if where is None or isinstance(where, pc.Expression):
        return everything if where is None else where, ()
    texts = [where] if isinstance(where, str) else where
    if isinstance(texts, list | tuple) and texts and all(isinstance(one, str) for one in texts):
        return everything, tuple(_condition(one) for one in texts)
    try:
        return pq.filters_to_expression(where), ()
    except (TypeError, ValueError, KeyError, AttributeError, pa.ArrowException) as error:
        raise ValueError(f"where is {where!r}; {FORMS}") from error


def _condition(text: str) -> Condition:
    # Only here: it knows the verifier's checks, which whoever asks for nothing need not load.
    from transforms.publish.where import parse_condition

    try:
        found = parse_condition(text)
    except ValueError as error:
        raise ValueError(f"where: {error}") from error
    if found.about_sample:
        raise ValueError(
            f"where: {text!r}: {found.field} is not in the index; make a dataset of those samples "
            "with proofreel subset --where"
        )
    return found


def _id_set(ids: Collection[str] | str | None) -> frozenset[str] | None:
    if ids is None:
        return None
    try:
        found = frozenset([ids] if isinstance(ids, str) else ids)
    except TypeError as error:
        raise ValueError(f"ids is {ids!r}; give a list of ids") from error
    if wrong := [one for one in found if not isinstance(one, str)]:
        raise ValueError(f"ids holds {wrong[0]!r}; ids are texts")
    return found


def _with_ids(table: pa.Table, ids: Iterable[str], at: str) -> pa.Table:
    asked = sorted(ids)
    values = pa.array(asked, pa.string())
    known: set[str] = set()
    listed = pa.array([False] * table.num_rows, pa.bool_())
    for name in ID_COLUMNS:
        known.update(table[name].unique().to_pylist())
        listed = pc.or_(listed, pc.is_in(table[name], values))
    if missing := [one for one in asked if one not in known]:
        raise ReadError(
            f"{len(missing)} of {len(asked)} ids are not in {at} (or not in what `where` "
            f"leaves of it), such as {missing[0]}; they may be those of samples, tasks, clips and "
            "videos"
        )
    return table.filter(listed)
