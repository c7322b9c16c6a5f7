"""Ingest: from a source to a video, that is to bytes with a name and a container that opens."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.rejection import Reason, Rejected
from schemas.source import Source
from schemas.video import Probe, Video
from transforms.memo import MemoStore
from transforms.outcome import Outcome
from transforms.video import probe as probing
from transforms.video.fetching import ChangedError, local_path
from transforms.video.media_process import unreadable


def ingest(source: Source, store: MemoStore) -> Video:
    """Read a file once: its SHA-256, and what its container claims.

    Raises Rejected: not_found, unreadable, empty_file, not_a_video, no_video_stream, ...
    """
    path = Path(local_path(source))
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise Rejected(Reason.UNREADABLE, "not a regular file")
        if facts.st_size == 0:
            raise Rejected(Reason.EMPTY_FILE)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise Rejected(Reason.NOT_FOUND, "no such file") from error
    except OSError as error:
        raise unreadable(error) from error
    entry = store.entry("probe", probing.VERSION, sha256)
    stored = entry.get()
    found = _probed(path, facts.st_size) if stored is None else stored
    # Somebody may be writing it still: then these bytes were never those of a whole file.
    if _state(path) != (facts.st_size, facts.st_mtime_ns):
        raise ChangedError
    if stored is None:
        entry.put(found)
    if "reason" in found:
        raise Rejected(Reason(found["reason"]), found["detail"])
    return Video(
        sha256=sha256,
        size_bytes=facts.st_size,
        probe=Probe.model_validate(found),
        source=source,
        changed_ns=facts.st_mtime_ns,
    )


def _probed(path: Path, size_bytes: int) -> dict[str, Any]:
    """What is to be remembered of a probe: its facts, or why the file is turned down."""
    try:
        return probing.probe(str(path), size_bytes).model_dump(mode="json")
    except Rejected as rejected:
        if not rejected.lasting:
            raise
        return {"reason": rejected.reason, "detail": rejected.detail}


def _state(path: Path) -> tuple[int, int] | None:
    """What tells a file from what it is after a change; None if it is not there any more."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


@dataclass(frozen=True)
class Ingester:
    """Ingests one source. The leg's unit is the input."""

    store: MemoStore

    def __call__(self, source: Source) -> Outcome[Video]:
        return Outcome([ingest(source, self.store)])
