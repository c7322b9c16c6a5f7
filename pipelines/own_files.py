"""Files that a person put into the folder of a dataset: they outlive its replacement."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from transforms.publish.files import PARTIAL_SUFFIX
from transforms.publish.lineage import INHERITED_FILE
from transforms.publish.manifest import FILES, MANIFEST_FILE
from transforms.publish.shards import SHARD_PATTERN


def keep_own_files(old: Path, new: Path) -> None:
    """Put what is a person's in the dataset `old` into `new` as well, under the same names.

    Before `new` takes its place, so that there is no moment at which they are nowhere. Raises
    FileExistsError where a new file or folder of ours has such a name.
    """
    for name in own_files(old):
        place = new / name
        if os.path.lexists(place):
            raise FileExistsError(
                f"{old / name} is not of proofreel, but the new dataset needs its name; move it"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old / name, place, follow_symlinks=False)
        except OSError:  # no links here, or not to files of somebody else
            shutil.copy2(old / name, place, follow_symlinks=False)


def own_files(dataset: Path) -> list[str]:
    """The files in a dataset's folder whose names are none of proofreel's, sorted."""
    return sorted(name for name in _files(dataset) if not is_ours(name))


def _files(folder: Path) -> Iterator[str]:
    for top, folders, files in os.walk(folder):
        links = [one for one in folders if Path(top, one).is_symlink()]
        for name in (*files, *links):
            yield Path(top, name).relative_to(folder).as_posix()


def is_ours(name: str) -> bool:
    """Whether proofreel gives files of a dataset such a name."""
    return (
        name in (*FILES, MANIFEST_FILE)
        or SHARD_PATTERN.fullmatch(name) is not None
        or INHERITED_FILE.fullmatch(name) is not None
        or name.endswith(PARTIAL_SUFFIX)
    )
