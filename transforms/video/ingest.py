"""Ingest: from a source to a video, that is to bytes with a name and a container that opens."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from schemas.rejection import Reason, Rejected
from schemas.source import Source
from schemas.video import Probe, Video
from transforms.memo import MemoStore
from transforms.outcome import Outcome
from transforms.retry import is_passing
from transforms.video import probe as probing
from transforms.video.fetching import local_path


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
        said = error.strerror or str(error)
        raise Rejected(Reason.UNREADABLE, said, passing=is_passing(error)) from error
    entry = store.entry("probe", probing.VERSION, sha256)
    stored = entry.get()
    if stored is None:
        try:
            stored = probing.probe(str(path), facts.st_size).model_dump(mode="json")
        except Rejected as rejected:
            if not rejected.lasting:
                raise
            stored = {"reason": rejected.reason, "detail": rejected.detail}
        entry.put(stored)
    if "reason" in stored:
        raise Rejected(Reason(stored["reason"]), stored["detail"])
    return Video(
        sha256=sha256, size_bytes=facts.st_size, probe=Probe.model_validate(stored), source=source
    )


@dataclass(frozen=True)
class Ingester:
    """Ingests one source. The leg's unit is the input."""

    store: MemoStore

    def __call__(self, source: Source) -> Outcome[Video]:
        return Outcome([ingest(source, self.store)])
