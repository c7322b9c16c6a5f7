"""`proofreel.open`: from a path or URL to a dataset that can be iterated."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from transforms.read.catalog import parse_manifest, read_catalog
from transforms.read.choice import choice_of
from transforms.read.entry import Entry
from transforms.read.frames import Look
from transforms.read.order import Even
from transforms.read.places import find_dataset
from transforms.read.stream import EntryStream, ReadSettings

if TYPE_CHECKING:
    from transforms.read.torch_dataset import EntryDataset


def open_dataset(
    path: str | os.PathLike[str],
    split: str = "sft",
    *,
    partition: str = "train",
    frames: int | None = None,
    fps: float | None = None,
    size_px: tuple[int, int] | None = None,
    map: Callable[[Entry], Any] | None = None,
    shuffle: bool = False,
    seed: int = 0,
    buffer_bytes: int = 64 << 20,
    rank: int | None = None,
    world_size: int | None = None,
    even: Even = None,
    where: Any = None,
    ids: Collection[str] | str | None = None,
    verify: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> EntryDataset:
    """Open one split of a dataset for reading: a `torch.utils.data.IterableDataset` of `Entry`s
    where torch is installed, an `EntryStream`, which is all the same without being one, where not.

    path: the folder of the dataset or of its run (DIR or DIR/dataset), or a URL that fsspec knows.
    frames, fps, size_px: decode so many frames of each clip, or so many a second (see `Look`) when
        it is read, into `entry.shown`. Without them `entry.mp4` holds the clip's file, and
        `entry.decode(...)` decodes frames of it.
    map: what to make of each entry, in the process that read it.
    shuffle: mix by `seed` and `set_epoch`: runs of neighbours over all shards, then entries inside
        of a buffer of `buffer_bytes` (to which much is read at a time from far away, too).
    rank, world_size: whose share to read; else that of torch.distributed, else that of the
        environment (RANK, WORLD_SIZE). Shares don't overlap, nor do those of a loader's workers.
    even: with "pad" each rank reads equally many, some entries twice; with "drop" equally many,
        some not at all; with None each entry once, some ranks one more than others.
    where: only samples that fulfil a condition as `proofreel subset --where` takes it, over the
        columns of index.parquet ("pass_rate>=0.5"), or all of a list of them; or whose row there
        fits an expression of pyarrow.compute, or tuples as for `pyarrow.parquet.read_table`.
    ids: only samples with these ids, or of the tasks, clips or videos with them.
    verify: compare each part with its SHA-256 in the index.
    storage_options: what fsspec opens the URL with.

    Raises `ReadError` (a ValueError) when there is no such dataset or it can't be read, here and
    while it is iterated; ValueError when the arguments make no sense.
    """
    look = None
    if frames is not None or fps is not None:
        look = Look(frames=frames, fps=fps, size_px=size_px)
    elif size_px is not None:
        raise ValueError("size_px says how large frames become; give frames or fps with it")
    chosen = None if where is None and ids is None else choice_of(where, ids)
    settings = ReadSettings(shuffle, seed, buffer_bytes, even, verify, look, map)
    place, data = find_dataset(os.fspath(path), storage_options or {})
    manifest = parse_manifest(data, place)
    catalog = read_catalog(place, manifest, split, partition, choice=chosen, hashes=verify)
    if find_spec("torch") is None:
        return EntryStream(catalog, settings, rank, world_size)  # type: ignore[return-value]
    # Only here: whoever opens no dataset does not wait for torch.
    from transforms.read.torch_dataset import EntryDataset

    return EntryDataset(catalog, settings, rank, world_size)
