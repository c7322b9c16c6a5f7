"""What every exporter is: it takes the entries of a dataset one by one and writes files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.rewards import make_label
from schemas.sample import Split
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.files import FileSet, MediaFolder
from transforms.publish.exports.turns import SYSTEM, hides_placeholder

REWRITTEN = "words like <video> in its text were rewritten, lest they count as media"
UNGRADED = "left out: no function of rewards.py grades it"
LEFT = "words like <video> in its text are left as they are: no template may read them as media"


class ExportSettings(BaseModel):
    """What a person can choose about an export."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    splits: tuple[Split, ...] = Field((), description="only these splits; empty: all it can take")
    system: str = Field(SYSTEM, description="the system's turn; empty: none")
    fps: float = Field(2.0, gt=0, description="frames a second, where frames go as images")
    max_frames: int = Field(16, ge=1, description="most frames of a clip that go as images")
    max_side_px: int = Field(448, ge=28, description="longest side of frames that go as images")


@dataclass(frozen=True)
class Readme:
    """What the lines of an export's README say."""

    install: str
    """The library, with the release that was read and tried."""
    commands: tuple[str, ...]
    """How to start training on it, in the folder of the export; one for each stage (SFT, DPO, RL)
    that there are rows for."""
    reward: str = ""
    """How the reward is hooked in; "" where there is none."""


@dataclass(frozen=True)
class Report:
    """What an export came to."""

    rows: dict[str, int]
    """Rows by file."""
    lost: dict[str, int]
    """Samples by what the format can't carry of them, or why they are left out."""


@dataclass
class Exporter(ABC):
    """One format. Subclasses say what it is called, which splits it takes, and write rows."""

    out: Path
    settings: ExportSettings
    dataset: Path
    """What is exported; for those that take more of it than its entries."""
    files: FileSet = field(init=False)
    media: MediaFolder = field(init=False)
    lost: Counter[str] = field(init=False, default_factory=Counter)

    name: ClassVar[str]
    """As it is called on the command line."""
    splits: ClassVar[tuple[Split, ...]]
    """Those that it can take."""
    canonical: ClassVar[bool] = False
    """Whether its text is the dataset's own, in parts of their own beside the media."""

    def __post_init__(self) -> None:
        self.files = FileSet(self.out)
        self.media = MediaFolder(self.out)

    @abstractmethod
    def add(self, entry: Entry) -> None:
        """Write the rows of one entry."""

    @abstractmethod
    def readme(self) -> Readme:
        """What stands in README.md; called when all rows are written (`files.counts`)."""

    def finish(self) -> None:  # noqa: B027 - most formats have nothing to add
        """Write what can only be written at the end. Called before `readme`."""

    def note_losses(self, entry: Entry) -> None:
        """Count what no trainer's text can carry as it is. Called for each entry."""
        said = entry.sample.messages + entry.sample.preference.rejected
        if hides_placeholder([part.text for message in said for part in message.parts]):
            self.lose(LEFT if self.canonical else REWRITTEN)

    def page(self, text: str) -> str:
        """README.md, of the lines that every export has."""
        return text

    def lose(self, what: str) -> None:
        """Count something of one sample that the format can't carry."""
        self.lost[what] += 1

    def label(self, entry: Entry) -> str:
        """What the reward hooks read; "", counted, for a sample that no function grades."""
        try:
            return make_label(entry.sample.model_dump(mode="json"))
        except ValueError:
            self.lose(UNGRADED)
            return ""

    def first_file(self, *beginnings: str) -> str:
        """The first file written whose name begins so, such as `sft-train`; "" if none does."""
        names = [name for name in sorted(self.files.counts) if name.startswith(beginnings)]
        return names[0] if names else ""
