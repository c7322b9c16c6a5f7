"""Where a run builds its dataset until that is whole: `OUT/work/partial/ID`, an id for each run.

The id is new each time and stands in no output. A job whose launcher was killed may go on in its
engine for a while; what it still writes must not come into what the next run builds. So each run
has a folder of its own and removes those of others, and nobody makes such a folder anew. At a URL,
where there are no folders, a file says that it is there.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transforms import cache
from transforms.outcome import StopRunError
from transforms.storage import delete, described, is_remote, joined, listed, put, write

DRAFTS = "partial"
BEGUN_FILE = "begun"


@dataclass(frozen=True)
class Draft:
    """The folders of one run, none of which a reader looks into; paths or URLs."""

    root: str

    @property
    def dataset(self) -> str:
        """It comes to its place when it is whole."""
        return joined(self.root, "dataset")

    @property
    def records(self) -> str:
        """For `inspect`; they come to their place, too."""
        return joined(self.root, "records")

    @property
    def pieces(self) -> str:
        """For rows of tables until the last step puts them together."""
        return joined(self.root, "pieces")

    def begin(self) -> None:
        """Make it, where there is nothing yet. Raises StorageError, OSError."""
        if is_remote(self.root):
            write(joined(self.root, BEGUN_FILE), b"\n")
            return
        for folder in (self.dataset, self.records):
            Path(folder).mkdir(parents=True)

    def check(self) -> None:
        """Raises StopRunError if it is not there any more."""
        if is_remote(self.root):
            there = described(joined(self.root, BEGUN_FILE)) is not None
        else:
            there = Path(self.root).is_dir()
        if not there:
            raise StopRunError(
                f"{self.root} is gone: another run into this output has begun since, or its disk "
                "was lost. If no other is at work, run the same command again"
            )


def new_draft(work: str) -> Draft:
    """A draft that no other run has; not made yet."""
    return Draft(joined(work, DRAFTS, uuid.uuid4().hex))


def sweep_drafts(work: str) -> None:
    """Remove what runs have left in `work`; here only under the lock. Raises StorageError."""
    drafts = joined(work, DRAFTS)
    if is_remote(work):
        # The files that say of drafts that they are there go first.
        urls = [one.url for one in listed(drafts)]
        delete(sorted(urls, key=lambda url: not url.endswith(f"/{BEGUN_FILE}")))
    else:
        shutil.rmtree(drafts, ignore_errors=True)


@contextmanager
def filling(folder: str) -> Iterator[Path]:
    """A folder of a draft, to put finished files into.

    For one at a URL it is a folder here, whose files are put there when the block ends without an
    error: each whole, and a second time the same bytes. Raises StopRunError if the draft is gone.
    """
    Draft(folder.rpartition("/")[0]).check()
    if not is_remote(folder):
        yield Path(folder)
        return
    with cache.making() as place:
        yield place
        for path in sorted(one for one in place.rglob("*") if one.is_file()):
            put(path, joined(folder, path.relative_to(place).as_posix()))
