"""Near-duplicates in the pipeline. What crosses a shuffle are references, and a few numbers per
pair of clips that are alike. A clip whose vectors can't be read any more costs itself alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.bundle_sums import one_count
from transforms.features.duplicates import (
    ALIKE,
    BLOCK_CLIPS,
    UNREAD,
    Alike,
    BlockVectors,
    Candidate,
    Duplicate,
    Uncompared,
    alike_in,
    block_of,
    duplicates_of,
    first_alike,
)
from transforms.features.embed import Vectors
from transforms.features.pictures import frame_vectors, mean_vector
from transforms.memo import STORE, Entry, MemoStore
from transforms.outcome import StopRunError, is_fatal
from transforms.retry import RetryPolicy, tried

LOG = logging.getLogger(__name__)

VERSION = "1"
MEANS_FILE = "means.arrow"
ALIKE_FILE = "alike.npy"
EDGES_TOGETHER = 100_000
"""Pairs that travel as one element: 3 MB."""
BLOCKS, UNREAD_CLIPS = "blocks", "unread"


@dataclass(frozen=True)
class Block:
    """Clips whose mean vectors lie in one file (`MEANS_FILE`), in order."""

    number: int
    means_ref: str


@dataclass(frozen=True)
class Found:
    """What the clips of a block are alike to (`ALIKE_FILE`)."""

    number: int
    alike_ref: str


class FindDuplicates(beam.PTransform):
    """Candidate -> Duplicate or Uncompared. A unit of work is a pair of blocks."""

    def __init__(
        self,
        threshold: float,
        store: MemoStore,
        block_clips: int = BLOCK_CLIPS,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__()
        self._threshold = threshold
        self._store = store
        self._block_clips = block_clips
        self._retry = retry

    def expand(self, candidates: beam.PCollection) -> beam.PCollection:
        store, retry = self._store, self._retry
        count = candidates | "Count" >> one_count()
        packed = (
            candidates
            | "ToBlock" >> beam.Map(_to_block, count, self._block_clips)
            | "OfBlock" >> beam.GroupByKey()
            | "Pack" >> beam.FlatMap(_packed, store, retry).with_outputs(UNREAD_CLIPS, main=BLOCKS)
        )
        blocks = packed[BLOCKS]
        found = (
            blocks
            | "Pairs" >> beam.FlatMap(_pairs, beam.pvalue.AsList(blocks))
            | "Spread" >> beam.Reshuffle()
            | "Alike" >> beam.FlatMap(_alike, self._threshold, store, retry)
            | "OfLater" >> beam.GroupByKey()
            | "Keep" >> beam.Map(_found, store)
        )
        # In one place, but only a reference per block is there: the pairs are read one by one.
        decided = (
            found
            | "InOrder" >> beam.GroupBy(lambda _: None)
            | "Decide" >> beam.FlatMap(_decided, store)
            | "SpreadAgain" >> beam.Reshuffle()
            | "Name" >> beam.FlatMap(_named, beam.pvalue.AsList(blocks), store)
        )
        return (decided, packed[UNREAD_CLIPS]) | "WithUnread" >> beam.Flatten()


def _to_block(candidate: Candidate, clips: int, block_clips: int) -> tuple[int, Candidate]:
    return block_of(candidate, clips, block_clips), candidate


def _packed(
    element: tuple[int, Iterable[Candidate]], store: MemoStore, retry: RetryPolicy
) -> Iterator[Any]:
    number, candidates = element
    ref, unread = pack_block(candidates, store, retry)
    if ref is not None:
        yield Block(number, ref)
    for clip in unread:
        yield beam.pvalue.TaggedOutput(UNREAD_CLIPS, clip)


def _pairs(later: Block, blocks: Sequence[Block]) -> Iterator[tuple[Block, Block]]:
    for earlier in blocks:
        if earlier.number <= later.number:
            yield later, earlier


def _alike(
    pair: tuple[Block, Block], threshold: float, store: MemoStore, retry: RetryPolicy
) -> Iterator[tuple[int, bytes]]:
    later, earlier = (open_block(block, store, retry) for block in pair)
    alike = alike_in(later, earlier, threshold)
    for start in range(0, len(alike), EDGES_TOGETHER):
        yield later.number, alike[start : start + EDGES_TOGETHER].tobytes()
    for block in (later, earlier):
        if block.unread:
            yield block.number, block.unread_edges().tobytes()


def _found(element: tuple[int, Iterable[bytes]], store: MemoStore) -> Found:
    number, parts = element
    alike = first_alike(np.frombuffer(part, ALIKE) for part in parts)
    # By its content, so that it is the same entry however often the step is tried again.
    entry = store.entry("alike", VERSION, hashlib.sha256(alike.tobytes()).hexdigest())
    if entry.get() is None:
        with entry.building() as folder:
            np.save(folder / ALIKE_FILE, alike, allow_pickle=False)
            entry.finish(folder, {"pairs": len(alike)})
    return Found(number, entry.ref(ALIKE_FILE))


def _decided(group: tuple[None, Iterable[Found]], store: MemoStore) -> Iterator[tuple[int, bytes]]:
    ordered = sorted(group[1], key=lambda found: found.number)
    read = ((found.number, _read_alike(found.alike_ref, store)) for found in ordered)
    for number, chosen in duplicates_of(read):
        yield number, chosen.tobytes()


def _read_alike(ref: str, store: MemoStore) -> Alike:
    with _mended(ref, store):
        alike: Alike = np.load(store.path(ref), allow_pickle=False)
    return alike


def _named(
    decided: tuple[int, bytes], blocks: Sequence[Block], store: MemoStore
) -> Iterator[Duplicate | Uncompared]:
    number, packed = decided
    refs = {block.number: block.means_ref for block in blocks}
    yield from name_duplicates(number, np.frombuffer(packed, ALIKE), refs, store)


# Blocks ------------------------------------------------------------------------------------------


def pack_block(
    candidates: Iterable[Candidate], store: MemoStore, retry: RetryPolicy
) -> tuple[str | None, list[Uncompared]]:
    """Put the mean vectors of the clips of a block into one file, in order.

    Gives its reference, None if no clip is left, and the clips that can't be read. Each clip's own
    file is read once.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.order)
    entry = _means_entry(ordered, store)
    if entry.get() is not None:
        return entry.ref(MEANS_FILE), []
    read = [(one, _frames_of(one.feature_ref, store, retry)) for one in ordered]
    means = [(one, mean_vector(frames)) for one, frames in read if frames is not None]
    unread = [Uncompared(one.clip_id) for one, frames in read if frames is None]
    if not means:
        return None, unread
    clips = [one for one, _ in means]
    entry = _means_entry(clips, store)
    if entry.get() is None:
        width = len(means[0][1])
        flat = pa.array(np.concatenate([mean for _, mean in means]), pa.float32())
        table = pa.table(
            {
                "clip_id": pa.array([one.clip_id for one in clips], pa.string()),
                "feature_ref": pa.array([one.feature_ref for one in clips], pa.string()),
                "mean": pa.FixedSizeListArray.from_arrays(flat, width),
            }
        )
        with entry.building() as folder:
            sink = pa.OSFile(str(folder / MEANS_FILE), "wb")
            with sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            entry.finish(folder, {"clips": len(clips)})
    return entry.ref(MEANS_FILE), unread


def _means_entry(clips: Sequence[Candidate], store: MemoStore) -> Entry:
    refs = [one.feature_ref for one in clips]
    return store.entry("means", VERSION, [one.clip_id for one in clips], refs)


def _frames_of(ref: str, store: MemoStore, retry: RetryPolicy) -> Vectors | None:
    """The vectors of a clip's frames (m, d), or None: they cost their clip and not the run.

    Raises only what is about the machine or the store.
    """
    try:
        return tried(lambda: frame_vectors(store.path(ref)), retry)
    except Exception as error:
        if is_fatal(error):
            raise
        store.check()
        LOG.exception("%s can't be read any more; its clip is left out", ref)
        if isinstance(error, ValueError):
            # Damaged: gone, so that running again mends it.
            store.forget(ref)
        return None


def open_block(block: Block, store: MemoStore, retry: RetryPolicy) -> BlockVectors:
    """The clips of a block, ready to be compared."""
    table = _table(block.means_ref, store)
    width = table.schema.field("mean").type.list_size
    flat = table["mean"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    means: Vectors = flat.reshape(len(table), width)
    refs = table["feature_ref"]

    def read_frames(row: int) -> Vectors | None:
        return _frames_of(refs[row].as_py(), store, retry)

    return BlockVectors(block.number, means, read_frames)


def name_duplicates(
    number: int, chosen: Alike, means_refs: Mapping[int, str], store: MemoStore
) -> Iterator[Duplicate | Uncompared]:
    """The clips of block `number` that go, by their ids: only its block knows a row."""
    own = _table(means_refs[number], store)["clip_id"]
    for pair in chosen[chosen["block"] == UNREAD]:
        yield Uncompared(own[int(pair["row"])].as_py())
    chosen = chosen[chosen["block"] != UNREAD]
    for block in np.unique(chosen["block"]).tolist():
        others = _table(means_refs[block], store)["clip_id"]
        for pair in chosen[chosen["block"] == block]:
            one, other = own[int(pair["row"])].as_py(), others[int(pair["other"])].as_py()
            yield Duplicate(one, other, float(pair["worst"]))


def _table(ref: str, store: MemoStore) -> pa.Table:
    with _mended(ref, store), pa.memory_map(str(store.path(ref))) as source:
        return pa.ipc.open_file(source).read_all()


@contextmanager
def _mended(ref: str, store: MemoStore) -> Iterator[None]:
    """What turns out to be damaged in the store is gone, so that running again mends it.

    Raises StopRunError, which says so.
    """
    try:
        yield
    except (ValueError, EOFError) as error:
        store.forget(ref)
        raise StopRunError(
            f"what clips are compared by in the {STORE} {store.root} was damaged ({ref}) and was "
            "removed; run the same command again, it makes it anew"
        ) from error
