"""Features of videos that a dataset must not show, such as those of benchmarks.

A Parquet file with one row per sampled picture: `name` and `sha256` of the video, `time_s` in it,
and the unit vector of the picture; the model that made it stands in the file's metadata. Written by
`proofreel features`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.base import canonical_json
from transforms.features.embed import FeatureSettings, Vectors, identity
from transforms.features.pictures import VERSION
from transforms.memo import MemoStore
from transforms.outcome import StopRunError
from transforms.publish.files import replacing
from transforms.video.inputs import BadInputError

FEATURES_FILE = "features.parquet"
STEP, STEP_VERSION = "reference", "1"
"""Of the memo store."""
MAX_REFERENCE_BYTES = 64 << 30
"""Unpacked: some 1,500 hours of video at two pictures a second."""
_METADATA = b"proofreel"
_SLACK = 1e-4
"""More than rounding and the order of summation can make of a cosine."""


@dataclass(frozen=True)
class ReferenceVideo:
    """One video: its name, the hash of its bytes, and its pictures (n, d) with their times (n,)."""

    name: str
    sha256: str
    times_s: npt.NDArray[np.float64]
    vectors: Vectors


@dataclass(frozen=True)
class Match:
    """A reference video that a clip is alike to."""

    name: str
    cosine: float


@dataclass(frozen=True)
class Reference:
    """All reference videos of a file, their pictures below one another."""

    names: tuple[str, ...]
    hashes: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    """Row of the first picture of each video, and at the end the number of rows."""
    vectors: Vectors

    def find(self, frames: Vectors, threshold: float) -> Match | None:
        """The video that a clip with these pictures (m, d) is most alike to; None if to none.

        As alike as the threshold is a clip whose every picture has a partner in the video (it was
        cut from it), or a clip in which every picture of the video has one (it holds it). A video
        that shows a single picture throughout is not held by whatever shows that for a moment.
        """
        # Only videos with a partner of the first picture can hold all; likewise the other way.
        near = np.flatnonzero(self.vectors @ frames[0] >= threshold - _SLACK)
        inside = np.searchsorted(self.starts, near, side="right") - 1
        firsts = (self.vectors[self.starts[:-1]] @ frames.T).max(axis=1)
        around = np.flatnonzero(firsts >= threshold - _SLACK)
        matches = [
            Match(self.names[video], likeness(frames, self._vectors_of(video), threshold))
            for video in sorted({*inside.tolist(), *around.tolist()})
        ]
        found = [match for match in matches if match.cosine >= threshold]
        return min(found, key=lambda match: (-match.cosine, match.name), default=None)

    def _vectors_of(self, video: int) -> Vectors:
        return self.vectors[self.starts[video] : self.starts[video + 1]]


def likeness(clip: Vectors, video: Vectors, threshold: float) -> float:
    """Cosine to its best partner of the picture that has the worst: of the clip in the video, or of
    the video in the clip, whichever is higher; 5 digits."""
    cosines = clip @ video.T
    inside = float(cosines.max(axis=1).min())
    still = float((video @ video[0]).min()) >= threshold
    around = -1.0 if still else float(cosines.max(axis=0).min())
    return round(max(inside, around), 5)


# The file ----------------------------------------------------------------------------------------


def write_reference(
    videos: Iterable[ReferenceVideo], settings: FeatureSettings, path: Path
) -> tuple[int, int]:
    """Write the file, video by video; how many videos and pictures it holds is given back.

    Raises ValueError if there is none.
    """
    writer: pq.ParquetWriter | None = None
    count = pictures = 0
    with replacing(path) as file:
        for video in videos:
            table = _table(video, settings)
            if writer is None:
                writer = pq.ParquetWriter(
                    file,
                    table.schema,
                    version="2.6",
                    data_page_version="1.0",
                    compression="zstd",
                    compression_level=3,
                    use_dictionary=["name", "sha256"],
                    write_statistics=False,
                )
            writer.write_table(table)
            count, pictures = count + 1, pictures + table.num_rows
        if writer is None:
            raise ValueError("no video to write the features of")
        writer.close()
    return count, pictures


def _table(video: ReferenceVideo, settings: FeatureSettings) -> pa.Table:
    number, width = video.vectors.shape
    flat = pa.array(video.vectors.astype(np.float32).reshape(-1), pa.float32())
    schema = _schema(width, {_METADATA: canonical_json(made_by(settings)).encode("utf-8")})
    columns = [
        pa.array([video.name] * number, pa.string()),
        pa.array([video.sha256] * number, pa.string()),
        pa.array(video.times_s, pa.float64()),
        pa.FixedSizeListArray.from_arrays(flat, width),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _schema(width: int, metadata: Mapping[bytes, bytes] | None = None) -> pa.Schema:
    return pa.schema(
        [
            ("name", pa.string()),
            ("sha256", pa.string()),
            ("time_s", pa.float64()),
            ("vector", pa.list_(pa.float32(), width)),
        ],
        metadata=metadata,
    )


def made_by(settings: FeatureSettings) -> dict[str, Any]:
    """What has to be the same for vectors to be comparable."""
    facts = identity(settings)
    return {"model": facts["model"], "pretrained": facts["pretrained"], "pictures": VERSION}


def read_reference(file: str, settings: FeatureSettings) -> Reference:
    """The reference videos of a file, or of the folder that `proofreel features` wrote it into.

    Kept in memory per process. Raises BadInputError if it can't be taken, or was made by another
    model.
    """
    path = _path_of(file)
    try:
        facts = path.stat()
        return _read(str(path), facts.st_size, facts.st_mtime_ns, canonical_json(made_by(settings)))
    except FileNotFoundError as error:
        raise BadInputError(
            f"select.reference: {path}: is not there; make it with proofreel features"
        ) from error
    except (OSError, pa.ArrowException, ValueError) as error:
        raise BadInputError(f"select.reference: {path}: {error}") from error


def _path_of(file: str) -> Path:
    return Path(file, FEATURES_FILE) if Path(file).is_dir() else Path(file)


@functools.lru_cache(maxsize=8)
def _read(path: str, size_bytes: int, changed_ns: int, wanted: str) -> Reference:
    with pq.ParquetFile(path) as file:
        _check_model((file.schema_arrow.metadata or {}).get(_METADATA), wanted)
        return _videos_in(file)


def _videos_in(file: pq.ParquetFile) -> Reference:
    """Raises ValueError, OSError or ArrowException for a file of another kind."""
    schema = file.schema_arrow
    names = schema.names
    width = schema.field("vector").type.list_size if "vector" in names else 0
    if not schema.remove_metadata().equals(_schema(width)):
        raise ValueError(f"has columns {', '.join(names)}, not those of proofreel features")
    groups = range(file.metadata.num_row_groups)
    unpacked = sum(file.metadata.row_group(group).total_byte_size for group in groups)
    if unpacked > MAX_REFERENCE_BYTES:
        raise ValueError(f"unpacks to {unpacked} bytes, more than {MAX_REFERENCE_BYTES}")
    table = file.read().combine_chunks()
    if not table.num_rows or any(column.null_count for column in table.columns):
        raise ValueError("holds no rows, or nulls")
    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors: Vectors = flat.reshape(table.num_rows, width)
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3):
        raise ValueError("holds vectors that are not of length 1")
    return _grouped(table["name"].to_pylist(), table["sha256"].to_pylist(), vectors)


def _grouped(names: list[str], hashes: list[str], vectors: Vectors) -> Reference:
    starts = [
        row
        for row in range(len(names))
        if row == 0 or (names[row], hashes[row]) != (names[row - 1], hashes[row - 1])
    ]
    return Reference(
        names=tuple(names[row] for row in starts),
        hashes=tuple(hashes[row] for row in starts),
        starts=np.array([*starts, len(names)], np.int64),
        vectors=vectors,
    )


def _check_model(found: bytes | None, wanted: str) -> None:
    if found is None:
        raise ValueError("does not say which model made it; make it with proofreel features")
    if found.decode("utf-8", "replace") != wanted:
        theirs, ours = _words(found), _words(wanted)
        raise ValueError(
            f"was made by {theirs}, the clips of this run are compared by {ours}; set "
            "features.model and features.pretrained as there, or make it again by proofreel "
            "features with those of this run"
        )


def _words(facts: str | bytes) -> str:
    try:
        value = json.loads(facts)
        return f"{value['model']} {value['pretrained']} (pictures {value['pictures']})"
    except (ValueError, KeyError, TypeError):
        return "something unknown"


def hashes_of(references: Iterable[tuple[str, Reference]]) -> dict[str, str]:
    """From the hash of a reference video to what is said of it, for files with the same bytes."""
    found: dict[str, str] = {}
    for file, reference in references:
        for name, sha256 in zip(reference.names, reference.hashes, strict=True):
            found.setdefault(sha256, f"the video {name!r} of {Path(file).name}")
    return found


# On its way to the workers ------------------------------------------------------------------------


def keep_reference(file: str, store: MemoStore) -> str:
    """Put a file that `read_reference` has taken into the memo store, which all workers see; its
    reference there. Raises StopRunError."""
    path = _path_of(file)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    entry = store.entry(STEP, STEP_VERSION, sha256)
    if entry.get() is None:
        with entry.building() as folder:
            shutil.copyfile(path, folder / FEATURES_FILE)
            entry.finish(folder, sha256)
    # Where the work is done in this process, it holds the kept one.
    _read.cache_clear()
    return entry.ref(FEATURES_FILE)


@functools.lru_cache(maxsize=8)
def kept_reference(ref: str, store: MemoStore) -> Reference:
    """The reference videos of a kept file. Kept in memory per process.

    Raises StopRunError if it is damaged or gone: no clip could be compared.
    """
    what = f"a file of select.reference in the memo store ({ref})"
    again = "run the same command again, it puts it there anew"
    try:
        with pq.ParquetFile(store.path(ref)) as file:
            return _videos_in(file)
    except FileNotFoundError as error:
        raise StopRunError(f"{what} is gone; {again}") from error
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        store.forget(ref)
        raise StopRunError(f"{what} was damaged and was removed ({error}); {again}") from error
