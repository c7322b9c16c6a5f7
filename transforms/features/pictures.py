"""Sampled pictures that are to be embedded, whatever for: references in, stored vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.features.embed import Embedder, Pictures, Vectors, prepare, unit_vectors
from transforms.memo import Entry, MemoStore
from transforms.outcome import is_fatal
from transforms.video.samples import frames_at, read_samples

VERSION = "2"
VECTORS_FILE = "vectors.arrow"
PICTURES_PER_FORWARD = 32

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Wanted(Generic[Subject]):
    """Pictures whose embeddings are wanted: what for, which they are, where the vectors go."""

    subject: Subject
    samples_ref: str
    """Arrow file in the memo store: the sampled frames of a video."""
    times_s: tuple[float, ...]
    """Source times of the pictures, rising; each is that of a sampled frame."""
    entry: Entry


@dataclass(frozen=True)
class Embedded(Generic[Subject]):
    """What the model made of them: a unit vector (d,) per time, or an error."""

    wanted: Wanted[Subject]
    vectors: Vectors
    error: str = ""


def sample_times(path: Path, start_s: float, end_s: float) -> tuple[float, ...]:
    """Times of the sampled frames of a span; between two samples, that of the one before."""
    times = read_samples(path).times_s
    found = times[(times >= start_s) & (times < end_s)]
    if not len(found):
        found = times[times < end_s][-1:]
    return tuple(float(time_s) for time_s in found)


def read_pictures(path: Path, times_s: Sequence[float], size_px: int) -> Iterator[Pictures]:
    """The middle squares of the sampled frames at these times, (size, size, 3) RGB each.

    Read one by one, so that a long video does not lie in memory. Raises ValueError if a frame is
    not there or can't be read.
    """
    count = 0
    for _, frame in frames_at(path, np.array(times_s)):
        count += 1
        yield prepare(frame, size_px)
    if count != len(times_s):
        raise ValueError(f"{count} of {len(times_s)} sampled frames are there")


def embed_wanted(
    wanted: Wanted[Subject], store: MemoStore, model: Callable[[], Embedder]
) -> Embedded[Subject]:
    """Embed the pictures of one subject; a failure costs only this subject.

    What goes through the model together hangs on the subject alone, not on who waits beside it:
    batches of another size sum in another order.
    """
    try:
        return Embedded(wanted, _vectors(wanted, store, model))
    except Exception as error:
        if is_fatal(error):
            raise
        words = f"{type(error).__name__}: {error}"
        return Embedded(wanted, np.zeros((0, 0), np.float32), words)


def _vectors(wanted: Wanted[Subject], store: MemoStore, model: Callable[[], Embedder]) -> Vectors:
    if not wanted.times_s:
        return np.zeros((0, 0), np.float32)
    encoder = model()
    pictures = read_pictures(store.path(wanted.samples_ref), wanted.times_s, encoder.size_px)
    found: list[Vectors] = []
    batch: list[Pictures] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == PICTURES_PER_FORWARD:
            found.append(encoder.embed(np.stack(batch)))
            batch = []
    if batch:
        found.append(encoder.embed(np.stack(batch)))
    return np.concatenate(found)


def store_vectors(entry: Entry, times_s: Sequence[float], vectors: Vectors) -> None:
    """Store embeddings with the times of their pictures."""
    table = pa.table(
        {
            "time_s": pa.array(times_s, pa.float64()),
            "vector": pa.array(list(vectors), pa.list_(pa.float32())),
        }
    )
    with entry.building() as folder:
        sink = pa.OSFile(str(folder / VECTORS_FILE), "wb")
        with sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        entry.finish(folder, {"frames": len(times_s)})


def frame_vectors(path: Path) -> Vectors:
    """The stored embeddings in order of time, unit vectors (n, d)."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        vectors: Vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False))
    return vectors


def picture_times(path: Path) -> npt.NDArray[np.float64]:
    """The times of the stored embeddings in seconds of the source, rising (n,)."""
    with pa.memory_map(str(path)) as source:
        times: npt.NDArray[np.float64] = pa.ipc.open_file(source).read_all()["time_s"].to_numpy()
    return times


def mean_vector(frames: Vectors) -> Vectors:
    """The embedding of a clip: the mean of its frames', a unit vector (d,)."""
    return unit_vectors(frames.mean(axis=0))
