"""The teacher in a real Beam pipeline: each element its own request, its own reply or reason."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from plain_scene import plain_scene

from schemas.case import Scene
from schemas.rejection import Reason, Rejected, Stage
from schemas.usage import Usage
from transforms.annotate import teachers
from transforms.annotate.asker import Replies
from transforms.annotate.handler import USAGE, AskTeacher, StoredTeacher
from transforms.annotate.teacher import Reply, Request, TeacherKind, TeacherSettings
from transforms.legs import OUT, REJECTED, TALLY
from transforms.memo import Entry, MemoStore
from transforms.outcome import Outcome, StopRunError, Subject
from transforms.progress import ProgressLog, Replied
from transforms.subjects import subjects_told
from transforms.video.shots import ShotSettings

SCENES = 12


@dataclass(frozen=True)
class Naming:
    """Asks twice for the name of each scene; scene 3 it can't ask about."""

    def requests(self, scene: Scene, replies: Replies) -> Sequence[Request]:
        if scene.video.source.uri == "v3.mp4":
            raise KeyError("v3")
        return [Request(scene=scene, sample=number) for number in range(2)]

    def read(self, scene: Scene, replies: Replies) -> Outcome[str]:
        errors = [reply.error for reply in replies.values() if reply.error]
        if errors:
            raise Rejected(Reason.TEACHER_FAILED, errors[0])
        texts = {reply.text for reply in replies.values()}
        return Outcome([f"{scene.video.source.uri}={','.join(sorted(texts))}"])


class Wild:
    """Stands for an engine that does everything that one can do wrong (by the scene's number)."""

    settings = TeacherSettings(kind=TeacherKind.OPENAI, model="m", batch=4)

    def __init__(self) -> None:
        self.opened = 0
        self.batches: list[int] = []

    def version(self) -> str:
        return "1"

    def open(self) -> None:
        self.opened += 1

    def ask(self, requests: Sequence[Request]) -> Iterable[Reply]:
        self.batches.append(len(requests))
        for request in reversed(requests):
            assert request.scene is not None
            name = request.scene.video.source.uri
            good = Reply(request_id=request.id, text=name, prompt_tokens=10, completion_tokens=1)
            if name == "v1.mp4":
                continue  # never
            if name == "v2.mp4":
                yield Reply(request_id=request.id, error="the server is busy")
                continue
            if name == "v5.mp4":
                yield good.model_copy(update={"request_id": "of nobody", "text": "lies"})
            yield good
            if name == "v7.mp4":
                yield good.model_copy(update={"text": "second thoughts"})


@pytest.fixture
def wild(monkeypatch: pytest.MonkeyPatch) -> Wild:
    one = Wild()
    monkeypatch.setattr(teachers, "make_teacher", lambda *_: one)
    return one


def named(scene: Scene) -> list[Subject]:
    return [(scene.video.source.uri, "")]


def run(
    folder: Path,
    expected: dict[str, Any],
    subjects: Callable[[Scene], list[Subject]] = named,
) -> None:
    settings = Wild.settings
    log = ProgressLog(str(folder / "progress"))
    teacher = StoredTeacher(settings, MemoStore(str(folder / "store")), ShotSettings(), log)
    asking = AskTeacher(Stage.PROPOSE, Naming(), subjects, teacher)
    with test_pipeline.TestPipeline() as pipeline:
        scenes = [plain_scene(number) for number in range(SCENES)]
        done = pipeline | beam.Create(scenes, reshuffle=False) | asking
        rejected = done[REJECTED] | beam.Map(lambda one: (one.subject, one.reason))
        total = done[USAGE] | beam.CombinePerKey(lambda several: sum(several, Usage()))
        tally = done[TALLY] | beam.CombinePerKey(sum)
        for name, found in ((OUT, done[OUT]), (REJECTED, rejected), (USAGE, total), (TALLY, tally)):
            assert_that(found, equal_to(expected[name]), label=name)


EXPECTED = {
    OUT: [f"v{n}.mp4=v{n}.mp4" for n in range(SCENES) if n not in {1, 2, 3}],
    REJECTED: [
        ("v1.mp4", Reason.TEACHER_FAILED),
        ("v2.mp4", Reason.TEACHER_FAILED),
        ("v3.mp4", Reason.INTERNAL_ERROR),
    ],
    USAGE: [("propose", Usage(replies=22, prompt_tokens=180, completion_tokens=18))],
    TALLY: [("propose", SCENES)],
}


def test_each_element_gets_its_own_reply_or_its_own_reason(tmp_path: Path, wild: Wild) -> None:
    run(tmp_path, EXPECTED)
    assert wild.opened == 1
    assert sum(wild.batches) == 2 * (SCENES - 1)
    assert max(wild.batches) > 2, "the requests of several elements are put together"


def test_a_scene_that_can_not_be_named_costs_itself_alone(tmp_path: Path, wild: Wild) -> None:
    def half_named(scene: Scene) -> list[Subject]:
        if scene.video.source.uri == "v4.mp4":
            raise KeyError("v4")
        return named(scene)

    [(stand_in, _)] = subjects_told(half_named, plain_scene(4))
    assert stand_in.startswith("Scene ")
    expected = {
        **EXPECTED,
        OUT: [text for text in EXPECTED[OUT] if text != "v4.mp4=v4.mp4"],
        REJECTED: [*EXPECTED[REJECTED], (stand_in, Reason.INTERNAL_ERROR)],
    }
    run(tmp_path, expected, half_named)


def test_a_rerun_asks_only_for_what_failed(tmp_path: Path, wild: Wild) -> None:
    run(tmp_path, EXPECTED)
    wild.batches.clear()
    before = ProgressLog(str(tmp_path / "progress")).read_from(0)[1]
    run(tmp_path, EXPECTED)
    assert sum(wild.batches) == 4, "two of each of the two scenes that got none"
    lines, _ = ProgressLog(str(tmp_path / "progress")).read_from(before)
    replied = [line for line in lines if isinstance(line, Replied)]
    assert sum(line.reused for line in replied) == 18
    assert sum(line.asked for line in replied) == 4


def test_a_store_that_fails_for_a_moment_costs_no_reply(
    tmp_path: Path, wild: Wild, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered by then is not asked again."""
    put, failed = Entry.put, list[str]()

    def flaky(entry: Entry, result: Any) -> Any:
        if len(wild.batches) == 1 and len(failed) < 2:
            failed.append(entry.key)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return put(entry, result)

    monkeypatch.setattr(Entry, "put", flaky)
    run(tmp_path, EXPECTED)
    assert failed
    # In the batch that broke off, the first reply could not be kept.
    assert sum(wild.batches) <= 2 * (SCENES - 1) + 2 * Wild.settings.batch


def test_what_would_hit_every_element_stops_the_run(
    tmp_path: Path, wild: Wild, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable() -> None:
        raise StopRunError("no GPU")

    monkeypatch.setattr(wild, "open", unavailable)
    with pytest.raises(Exception, match="no GPU"):
        run(tmp_path, EXPECTED)
