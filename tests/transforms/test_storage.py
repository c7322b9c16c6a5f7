"""Files elsewhere, where Beam's filesystems behave otherwise than one would think."""

from __future__ import annotations

from pathlib import Path

import pytest
from apache_beam.io.localfilesystem import LocalFileSystem
from object_store import ObjectStore

from transforms import storage
from transforms.storage import StorageError, move, write


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


def test_where_there_are_folders_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the one of Beam's filesystems, beside HDFS, that has some."""
    monkeypatch.setattr(storage, "_filesystem", lambda _: LocalFileSystem(None))
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        move(f"{tmp_path}/{name}", f"{tmp_path}/deep/er/file")
    assert (tmp_path / "deep" / "er" / "file").read_text() == "two"
