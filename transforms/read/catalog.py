"""What a dataset holds and where each entry lies: manifest and index, taken on no trust."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas.base import SCHEMA_VERSION
from schemas.sample import SPLITS
from transforms.publish.index import INDEX_SCHEMA, MAX_TABLE_BYTES
from transforms.publish.manifest import INDEX_FILE, MANIFEST_FILE, Manifest
from transforms.publish.planning import KEY_PATTERN, PARTITIONS, TAR_BLOCK
from transforms.publish.shards import SHARD_PATTERN
from transforms.publish.tars import MAX_JSON_BYTES
from transforms.read.choice import Choice
from transforms.read.order import Numbers
from transforms.read.places import Place
from transforms.read.ranges import ReadError, Span

_PLACES = ("shard", "json_offset", "json_bytes", "mp4_offset", "mp4_bytes")
_HASHES = ("json_sha256", "mp4_sha256")
ADVICE = "; `proofreel check` says what is wrong with a dataset"


@dataclass(frozen=True)
class EntryPlace:
    """Where an entry lies, and what it must be."""

    key: str
    shard: str
    json_offset: int
    json_bytes: int
    mp4_offset: int
    mp4_bytes: int
    json_sha256: str = ""
    """"" unless hashes were asked for, like that of the mp4."""
    mp4_sha256: str = ""

    @property
    def span(self) -> Span:
        """All of its bytes, from its JSON to the end of its mp4."""
        return Span(self.shard, self.json_offset, self.mp4_offset + self.mp4_bytes)


@dataclass(frozen=True)
class Catalog:
    """Entries of one split and partition, in the order in which they lie in the shards."""

    place: Place
    identity: str
    """Of the dataset: the SHA-256 of its index."""
    paths: tuple[str, ...]
    """Of the shards, sorted."""
    keys: pa.Array
    shard: Numbers
    """Of each entry: the number of its shard in `paths`."""
    json_offset: Numbers
    json_bytes: Numbers
    mp4_offset: Numbers
    mp4_bytes: Numbers
    hashes: tuple[pa.Array, pa.Array] | None
    """SHA-256 of each JSON and each mp4."""

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def sizes(self) -> Numbers:
        """Bytes of each entry."""
        return self.json_bytes + self.mp4_bytes

    def entry(self, number: int) -> EntryPlace:
        """The place of an entry."""
        hashes = self.hashes or ()
        return EntryPlace(
            self.keys[number].as_py(),
            self.paths[self.shard[number]],
            int(self.json_offset[number]),
            int(self.json_bytes[number]),
            int(self.mp4_offset[number]),
            int(self.mp4_bytes[number]),
            *(one[number].as_py() for one in hashes),
        )


def parse_manifest(data: bytes, place: Place) -> Manifest:
    """A manifest that this version understands. Raises ReadError."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ReadError(f"{place.url}/{MANIFEST_FILE}: {where}: {first['msg']}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise ReadError(
            f"{place.url} has schema version {manifest.schema_version!r}; this version of "
            f"proofreel reads {SCHEMA_VERSION!r}"
        )
    for shard in manifest.shards:
        if not SHARD_PATTERN.fullmatch(shard.path):
            raise ReadError(f"{place.url}/{MANIFEST_FILE}: {shard.path!r} is no path of a shard")
    return manifest


def read_catalog(
    place: Place,
    manifest: Manifest,
    split: str,
    partition: str,
    *,
    choice: Choice | None = None,
    hashes: bool = False,
) -> Catalog:
    """The entries of a split and partition: all, or those chosen.

    Raises ReadError when the index is not what the manifest says, places entries where none can
    be, or nothing is left; ValueError when what is asked for makes no sense.
    """
    paths = _shards_of(place, manifest, split, partition)
    data = _index_bytes(place, manifest)
    table = _rows(data, place, split, partition, choice, hashes)
    if choice is not None:
        table = choice.of(table, f"{split}/{partition}")
    if not table.num_rows:
        raise ReadError(f"no sample of {split}/{partition} in {place.url} fits `where`")
    table = table.sort_by([("shard", "ascending"), ("json_offset", "ascending")]).combine_chunks()
    number = pc.index_in(table["shard"], pa.array(paths))
    if number.null_count:
        stray = table["shard"][pc.index(number.is_null(), True).as_py()]
        raise ReadError(f"{INDEX_FILE}: {stray} is no shard of {split}/{partition}{ADVICE}")
    columns = {name: table[name].to_numpy() for name in _PLACES if name != "shard"}
    catalog = Catalog(
        place=place,
        identity=manifest.files[INDEX_FILE],
        paths=paths,
        keys=table["id"].combine_chunks(),
        shard=number.to_numpy().astype(np.int64),
        hashes=tuple(table[name].combine_chunks() for name in _HASHES) if hashes else None,
        **columns,
    )
    _check_places(catalog, {one.path: one.bytes for one in manifest.shards})
    return catalog


def _shards_of(place: Place, manifest: Manifest, split: str, partition: str) -> tuple[str, ...]:
    if split not in SPLITS or partition not in PARTITIONS:
        raise ValueError(
            f"{split}/{partition} is none of {', '.join(SPLITS)} / {', '.join(PARTITIONS)}"
        )
    found = {path: SHARD_PATTERN.fullmatch(path) for path in (one.path for one in manifest.shards)}
    paths = sorted(p for p, m in found.items() if m and (m[1], m[2]) == (split, partition))
    if not paths:
        there = sorted({f"{match[1]}/{match[2]}" for match in found.values() if match})
        raise ReadError(
            f"{place.url} has no {split}/{partition}; it has {', '.join(there) or 'no samples'}"
        )
    return tuple(paths)


def _index_bytes(place: Place, manifest: Manifest) -> bytes:
    try:
        data = place.read_small(INDEX_FILE, MAX_TABLE_BYTES)
    except FileNotFoundError as error:
        raise ReadError(f"{place.url}/{INDEX_FILE} is not there") from error
    if hashlib.sha256(data).hexdigest() != manifest.files.get(INDEX_FILE):
        raise ReadError(f"{place.url}/{INDEX_FILE} is not the one that the manifest names{ADVICE}")
    return data


def _rows(
    data: bytes, place: Place, split: str, partition: str, choice: Choice | None, hashes: bool
) -> pa.Table:
    at = f"{place.url}/{INDEX_FILE}"
    asked = ["id"] if choice is None else choice.columns
    columns = list(dict.fromkeys([*asked, *_PLACES, *(_HASHES if hashes else ())]))
    wanted = (pc.field("split") == split) & (pc.field("partition") == partition)
    if choice is not None:
        wanted &= choice.fits
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            groups = range(file.metadata.num_row_groups)
            unpacked = sum(file.metadata.row_group(one).total_byte_size for one in groups)
            if unpacked > MAX_TABLE_BYTES:
                raise ReadError(f"{at} unpacks to {unpacked} bytes; that is no index")
            if not file.schema_arrow.remove_metadata().equals(INDEX_SCHEMA):
                raise ReadError(f"{at} does not have the columns {', '.join(INDEX_SCHEMA.names)}")
        table = pq.read_table(pa.BufferReader(data), columns=columns, filters=wanted)
    except (pa.ArrowException, OSError) as error:
        hint = f", or `where` does not fit its columns {', '.join(INDEX_SCHEMA.names)}"
        raise ReadError(
            f"{at} can't be read{hint if choice is not None else ''}: {error}"
        ) from error
    for name in columns:
        if table[name].null_count:
            raise ReadError(f"{at}: {name} holds nulls{ADVICE}")
    if len(table["id"].unique()) != table.num_rows:
        raise ReadError(f"{at}: an id has two rows{ADVICE}")
    if not all(KEY_PATTERN.fullmatch(key) for key in table["id"].to_pylist()):
        raise ReadError(f"{at}: an id is no key of a shard{ADVICE}")
    return table


def _check_places(catalog: Catalog, shard_bytes: dict[str, int]) -> None:
    """Entries stand as our writer puts them: JSON and mp4 side by side, inside of their shard, none
    over another. So what is read of a shard is bounded by what the manifest says of it."""
    ends = np.array([min(shard_bytes[path], 1 << 62) for path in catalog.paths])[catalog.shard]
    sizes_fit = (catalog.json_bytes > 0) & (catalog.json_bytes <= MAX_JSON_BYTES)
    sizes_fit &= (catalog.mp4_bytes > 0) & (catalog.mp4_bytes <= ends)
    begins_fit = (catalog.json_offset >= TAR_BLOCK) & (catalog.json_offset <= ends)
    after_json = catalog.json_offset + -(-catalog.json_bytes // TAR_BLOCK) * TAR_BLOCK + TAR_BLOCK
    stops_fit = (catalog.mp4_offset == after_json) & (
        catalog.mp4_offset + catalog.mp4_bytes <= ends
    )
    apart = np.ones(len(catalog), bool)
    apart[1:] = (np.diff(catalog.shard) != 0) | (
        catalog.json_offset[1:] >= (catalog.mp4_offset + catalog.mp4_bytes)[:-1]
    )
    wrong = np.flatnonzero(~(sizes_fit & begins_fit & stops_fit & apart))
    if len(wrong):
        entry = catalog.entry(int(wrong[0]))
        raise ReadError(f"{INDEX_FILE}: {entry.shard}: {entry.key} can't lie there{ADVICE}")
