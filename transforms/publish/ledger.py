"""What the last step needs, gathered on the way: counts, and the rows of both tables in pieces.

No worker sees all samples or all rejections: counts are put together bit by bit, and of the rows,
which are written in pieces by ranges of their ids, the last step reads one piece after the other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict

from schemas.base import ID_HEX_CHARS, hash_place, unit_interval
from schemas.rejection import Reason, Rejection, Stage
from transforms.bundle_sums import one_count
from transforms.draft import filling
from transforms.pieces import Piece, merged, write_piece
from transforms.publish.card_counts import CardEntry, Counts, SourceKey, Sources, source_key
from transforms.publish.index import placed_table, rejected_table
from transforms.publish.shards import EntryInfo, ShardInfo
from transforms.storage import joined
from transforms.trouble import minding

PIECE_ROWS = 65_536
"""In a piece, on average at most: one worker holds them to sort them."""
_HASHED_ID = re.compile(rf"([a-z_-]{{1,20}})[0-9a-f]{{{ID_HEX_CHARS}}}")
_INDEX_KEYS = ("id",)
_KEYS = ("subject", "parent", "detail")
"""By which rejections of one stage and reason are sorted."""

_WORK = "work folder"

Kind = tuple[str, str]
"""Stage and reason."""


class CountSamples(beam.PTransform):
    """CardEntry -> the one `Counts` of all of them."""

    def expand(self, entries: beam.PCollection) -> beam.PCollection:
        sources = (
            entries
            | "Source" >> beam.Map(lambda entry: (source_key(entry), 1))
            | "OfSource" >> beam.CombinePerKey(sum)
            | "AllSources" >> beam.CombineGlobally(_CountSources()).as_singleton_view()
        )
        prompts = (
            entries
            | "Prompt" >> beam.Map(lambda entry: entry.prompt_sha256)
            | "Given" >> beam.Filter(bool)
            | "Different" >> beam.Distinct()
            | "Prompts" >> one_count()
        )
        return (
            entries
            | "Count" >> beam.CombineGlobally(_CountEntries())
            | "Whole" >> beam.Map(_whole, sources, prompts)
        )


def _whole(counts: Counts, sources: Sources, prompts: int) -> Counts:
    return replace(counts, sources=sources, prompts=prompts)


class _CountEntries(beam.CombineFn):
    def create_accumulator(self) -> Counts:
        return Counts()

    def add_input(self, counts: Counts, entry: CardEntry) -> Counts:
        counts.add(entry)
        return counts

    def merge_accumulators(self, several: Iterable[Counts]) -> Counts:
        together = Counts()
        for counts in several:
            together.merge(counts)
        return together

    def extract_output(self, counts: Counts) -> Counts:
        return counts


class _CountSources(beam.CombineFn):
    def create_accumulator(self) -> Sources:
        return Sources()

    def add_input(self, sources: Sources, counted: tuple[SourceKey, int]) -> Sources:
        sources.add(*counted)
        return sources

    def merge_accumulators(self, several: Iterable[Sources]) -> Sources:
        together = Sources()
        for sources in several:
            together.merge(sources)
        return together

    def extract_output(self, sources: Sources) -> Sources:
        return sources


# Pieces ------------------------------------------------------------------------------------------


def parted(identity: str) -> tuple[str, float]:
    """What an id begins with, and the place of its hash in [0, 1).

    Of ids that begin alike the places are in their order, so that pieces don't overlap; of anything
    else that is no id they are only even.
    """
    found = _HASHED_ID.fullmatch(identity)
    if found is None:
        return "", unit_interval(identity)
    return found[1], hash_place(identity)


def piece_number(place: float, rows: int, piece_rows: int) -> int:
    """Of so many rows with even places, the piece that the row at a place comes into."""
    return int(place * -(-rows // piece_rows))


class KeepIndex(beam.PTransform):
    """{"entries": IndexEntry, "shards": ShardInfo} -> Piece of the index.

    Both meet by id, so a sample that is in one of them only is noticed: ValueError.
    """

    def __init__(self, folder: str, piece_rows: int = PIECE_ROWS) -> None:
        super().__init__()
        self._folder = folder
        self._piece_rows = piece_rows

    def expand(self, several: dict[str, beam.PCollection]) -> beam.PCollection:
        counts = AsDict(
            several["entries"]
            | "Part" >> beam.Map(lambda entry: (parted(entry.id)[0], 1))
            | "OfPart" >> beam.CombinePerKey(sum)
        )
        entries = several["entries"] | "Entry" >> beam.Map(lambda entry: (entry.id, entry))
        places = several["shards"] | "Place" >> beam.FlatMap(_places)
        return (
            {
                name: rows | f"{name}ToPiece" >> beam.Map(_by_id, counts, self._piece_rows)
                for name, rows in (("entries", entries), ("places", places))
            }
            | "OfPiece" >> beam.CoGroupByKey()
            | "Write" >> beam.Map(_write_index, self._folder)
        )


def _places(shard: ShardInfo) -> Iterator[tuple[str, tuple[str, EntryInfo]]]:
    for entry in shard.entries:
        yield entry.key, (shard.path, entry)


def _by_id(
    element: tuple[str, Any], counts: Mapping[str, int], piece_rows: int
) -> tuple[tuple[str, int], Any]:
    identity, row = element
    part, place = parted(identity)
    return (part, piece_number(place, counts.get(part, 1), piece_rows)), row


def _write_index(
    element: tuple[tuple[str, int], Mapping[str, Iterable[Any]]], folder: str
) -> Piece:
    (part, number), rows = element
    table = placed_table(rows["entries"], rows["places"])
    return _write_piece(table, _INDEX_KEYS, folder, f"index-{part}-{number:06d}.arrow")


def _write_piece(table: pa.Table, keys: Sequence[str], folder: str, name: str) -> Piece:
    with filling(folder) as place, minding(place, _WORK):
        piece = write_piece(table, keys, place / name)
    return replace(piece, path=joined(folder, name))


def index_tables(pieces: Iterable[Piece]) -> Iterator[pa.Table]:
    """The rows of index.parquet in order."""
    return merged(pieces, _INDEX_KEYS)


# Rejections --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RejectedPiece:
    """Sorted rejections of one stage and reason."""

    kind: Kind
    piece: Piece


class KeepRejections(beam.PTransform):
    """Rejection -> {"counts": (stage and reason, number), "pieces": RejectedPiece}."""

    def __init__(self, folder: str, piece_rows: int = PIECE_ROWS) -> None:
        super().__init__()
        self._folder = folder
        self._piece_rows = piece_rows

    def expand(self, rejections: beam.PCollection) -> dict[str, beam.PCollection]:
        counts = (
            rejections
            | "Kind" >> beam.Map(lambda one: (_kind(one), 1))
            | "OfKind" >> beam.CombinePerKey(sum)
        )
        pieces = (
            rejections
            | "ToPiece" >> beam.Map(_to_piece, AsDict(counts), self._piece_rows)
            | "OfPiece" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write_rejected, self._folder)
        )
        return {"counts": counts, "pieces": pieces}


def _kind(rejection: Rejection) -> Kind:
    return str(rejection.stage), str(rejection.reason)


def _to_piece(
    rejection: Rejection, counts: Mapping[Kind, int], piece_rows: int
) -> tuple[tuple[Kind, int], Rejection]:
    kind = _kind(rejection)
    _, place = parted(rejection.subject)
    return (kind, piece_number(place, counts[kind], piece_rows)), rejection


def _write_rejected(
    element: tuple[tuple[Kind, int], Iterable[Rejection]], folder: str
) -> RejectedPiece:
    (kind, number), rejections = element
    name = f"rejected-{'-'.join(kind)}-{number:06d}.arrow"
    return RejectedPiece(kind, _write_piece(rejected_table(rejections), _KEYS, folder, name))


def rejected_tables(pieces: Iterable[RejectedPiece]) -> Iterator[pa.Table]:
    """The rows of rejected.parquet in order, as `rejected_table` has them."""
    by_kind: dict[Kind, list[Piece]] = defaultdict(list)
    for one in pieces:
        by_kind[one.kind].append(one.piece)
    order = list(Stage)
    for kind in sorted(by_kind, key=lambda kind: (order.index(Stage(kind[0])), kind[1])):
        yield from merged(by_kind[kind], _KEYS)


def first_rejected(pieces: Iterable[RejectedPiece], stage: Stage, reason: Reason) -> Rejection:
    """The first one in order; there must be one."""
    of_kind = (one for one in pieces if one.kind == (stage, reason))
    table = next(table for table in rejected_tables(of_kind) if table.num_rows)
    return Rejection.model_validate(table.slice(0, 1).to_pylist()[0])
