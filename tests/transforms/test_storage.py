"""Files elsewhere, where Beam's filesystems behave otherwise than one would think."""

from __future__ import annotations

import pytest
from object_store import ObjectStore

from transforms.storage import StorageError, listed, move, read, write


def test_a_file_moves_over_what_is_there(objects: ObjectStore) -> None:
    for name, data in (("draft/one", b"new"), ("one", b"old")):
        write(objects.url(name), data)
    move(objects.url("draft/one"), objects.url("one"))
    assert objects.files() == {"one": b"new"}


def test_a_move_that_is_refused_is_told(objects: ObjectStore) -> None:
    """Beam's copy of S3 would say nothing."""
    write(objects.url("draft/one"), b"new")
    objects.refused = "one"
    with pytest.raises(StorageError, match=r"draft/one: can't be moved: .*403"):
        move(objects.url("draft/one"), objects.url("one"))
    assert objects.files() == {"draft/one": b"new"}


def test_hdfs_is_refused_before_anything_is_asked_of_it() -> None:
    """Beam would list its top folder alone, in silence."""
    url = "hdfs://node/videos"
    why = r"hdfs://node/\S+: hdfs:// is not supported; use s3:// or gs://, or a mount"
    for attempt in (lambda: listed(url), lambda: write(f"{url}/a", b""), lambda: read(f"{url}/a")):
        with pytest.raises(StorageError, match=why):
            attempt()
