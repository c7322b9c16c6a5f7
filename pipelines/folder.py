"""The folder of a finished run: its records and its dataset, looked up by id or by file name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.records import find_record, records
from pipelines.store import store_of
from schemas.case import Case, Footage, Scene
from schemas.clip import Clip
from schemas.description import Description
from schemas.sample import SPLITS
from transforms.memo import MemoStore
from transforms.publish.manifest import INDEX_FILE, MANIFEST_FILE, REJECTED_FILE, Manifest
from transforms.verify.checks import VerifySettings


class NotFoundError(Exception):
    """Nothing in the folder is what was asked for."""


@dataclass(frozen=True)
class Folder:
    """Where a run's records and dataset lie."""

    root: Path

    @classmethod
    def of_finished_run(cls, root: Path) -> Folder:
        """Raises NotFoundError if there is none."""
        if (root / MANIFEST_FILE).is_file():
            run = root.absolute().parent
            where = f", which is {run}" if (run / "work").is_dir() else " (with work/ in it)"
            raise NotFoundError(
                f"{root}: this is a dataset; give the folder of the run that holds it{where}"
            )
        if not (root / "dataset" / REJECTED_FILE).exists():
            raise NotFoundError(f"{root}: holds no finished run")
        return cls(root)

    @property
    def records(self) -> Path:
        return self.root / "work" / "records"

    @property
    def store(self) -> MemoStore:
        return store_of(self.root)

    @cached_property
    def verify(self) -> VerifySettings:
        """With which the run verified. Raises NotFoundError if that can't be read."""
        try:
            text = (self.root / "dataset" / MANIFEST_FILE).read_text("utf-8")
            config = Manifest.model_validate_json(text).config
            return VerifySettings.model_validate(config["verify"])
        except (OSError, ValidationError, KeyError) as error:
            raise NotFoundError(
                f"{self.root}: was made by another version of proofreel; run it again to look into"
            ) from error

    # By id -----------------------------------------------------------------------------------

    def footage(self, video_id: str) -> Footage | None:
        text = find_record(self.records, "video", video_id)
        return None if text is None else Footage.from_json(text)

    def clip(self, clip_id: str) -> Clip | None:
        text = find_record(self.records, "clip", clip_id)
        return None if text is None else Clip.from_json(text)

    def scene(self, clip_id: str) -> Scene | None:
        """A clip that was cut, with its description."""
        text = find_record(self.records, "scene", clip_id)
        return None if text is None else Scene.from_json(text)

    def description(self, clip_id: str) -> Description:
        scene = self.scene(clip_id)
        return Description() if scene is None else scene.description

    def case(self, task_id: str) -> Case | None:
        text = find_record(self.records, "case", task_id)
        return None if text is None else Case.from_json(text)

    def case_of(self, identity: str) -> Case | None:
        """The case that the id of a task, a sample or a rollout speaks of."""
        for split in SPLITS:
            identity = identity.removeprefix(f"{split}-")
        if identity.startswith("r"):
            for _, text in records(self.records, "case"):
                case = Case.from_json(text)
                if any(attempt.rollout.id == identity for attempt in case.attempts):
                    return case
        return self.case(identity) if identity else None

    def clips_of(self, video_id: str) -> list[Clip]:
        clips = (Clip.from_json(text) for _, text in records(self.records, "clip"))
        own = [clip for clip in clips if clip.video_id == video_id]
        return sorted(own, key=lambda clip: clip.start_s)

    def cases_of(self, clip_id: str) -> list[Case]:
        cases = (Case.from_json(text) for _, text in records(self.records, "case"))
        return [case for case in cases if case.task.clip_id == clip_id]

    def rejections(self, subject: str) -> Iterator[dict[str, str]]:
        yield from self._rejected(pc.field("subject") == subject)

    def samples_of(self, task_id: str) -> list[dict[str, object]]:
        wanted = pc.field("task_id") == task_id
        table = pq.read_table(self.root / "dataset" / INDEX_FILE, filters=wanted)
        rows: list[dict[str, object]] = table.to_pylist()
        return rows

    # By file name ----------------------------------------------------------------------------

    def videos_named(self, name: str) -> list[Footage]:
        """The videos with this name in the dataset, or those whose file is called so."""
        found = (Footage.from_json(text) for _, text in records(self.records, "video"))
        return _called(found, name, lambda footage: footage.video.source.uri)

    def refused_named(self, name: str) -> list[dict[str, str]]:
        """The rejections of inputs that never became footage, found as in `videos_named`."""
        rows = self._rejected(pc.field("stage").isin(["ingest", "decode"]))
        return _called(rows, name, input_of)

    def _rejected(self, wanted: Any) -> list[dict[str, str]]:
        path = self.root / "dataset" / REJECTED_FILE
        found: list[dict[str, str]] = pq.read_table(path, filters=wanted).to_pylist()
        return found


def input_of(rejected: dict[str, str]) -> str:
    """The name of the input that was rejected; a video has it as its parent."""
    return rejected["parent" if rejected["stage"] == "decode" else "subject"]


T = TypeVar("T")


def _called(found: Iterable[T], name: str, uri_of: Callable[[T], str]) -> list[T]:
    exact: list[T] = []
    called: list[T] = []
    for one in found:
        uri = uri_of(one)
        if uri == name:
            exact.append(one)
        elif not exact and name and PurePosixPath(uri).name == name:
            called.append(one)
    return exact or called
