"""Where a run builds its dataset until that is whole: `work/partial/ID`, an id for each run.

The id is new each time and stands in no output. A job whose launcher was killed may go on in its
engine for a while; what it still writes must not come into what the next run builds. So each run
has a folder of its own and removes those of others, and nobody makes such a folder anew.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transforms.outcome import StopRunError

DRAFTS = "partial"


@dataclass(frozen=True)
class Draft:
    """The folders of one run, none of which a reader looks into."""

    root: str

    @property
    def dataset(self) -> str:
        """It is moved to its place when it is whole."""
        return f"{self.root}/dataset"

    @property
    def records(self) -> str:
        """For `inspect`; moved, too."""
        return f"{self.root}/records"

    @property
    def pieces(self) -> str:
        """For rows of tables until the last step puts them together."""
        return f"{self.root}/pieces"


def begin_draft(work: Path) -> Draft:
    """Make the folders of a new run in `work`."""
    draft = Draft(str(work / DRAFTS / uuid.uuid4().hex))
    for folder in (draft.dataset, draft.records):
        Path(folder).mkdir(parents=True)
    return draft


def sweep_drafts(work: Path) -> None:
    """Remove what runs have left in `work`; only under the lock."""
    shutil.rmtree(work / DRAFTS, ignore_errors=True)


@contextmanager
def filling(folder: str) -> Iterator[Path]:
    """A folder of a draft, to put finished files into. Raises StopRunError if the draft is gone."""
    place = Path(folder)
    if not place.parent.is_dir():
        raise StopRunError(
            f"{place.parent} is gone: another run into this output has begun since, or its disk "
            "was lost. If no other is at work, run the same command again"
        )
    yield place
