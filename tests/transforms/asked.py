"""An asker put to a teacher as the pipeline does it, without Beam; and a teacher with a script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from schemas.rejection import Rejected, Rejection, Stage
from transforms.annotate.asker import Asker, gather
from transforms.annotate.handler import StoredTeacher
from transforms.annotate.teacher import Reply, Request, TeacherSettings
from transforms.memo import MemoStore
from transforms.outcome import Outcome, rejection
from transforms.progress import ProgressLog
from transforms.video.shots import ShotSettings


class ScriptedTeacher:
    """Stands for a model: its replies follow a script, and it remembers what it was asked.

    A script that returns no text stands for a failure.
    """

    def __init__(self, settings: TeacherSettings, script: Callable[[Request], str]) -> None:
        self.settings = settings
        self.script = script
        self.requests: list[Request] = []

    def version(self) -> str:
        return "1"

    def open(self) -> None:
        """Nothing to load."""

    def ask(self, requests: Sequence[Request]) -> Iterable[Reply]:
        self.requests += requests
        for request in reversed(requests):
            text = self.script(request)
            yield Reply(request_id=request.id, text=text, error="" if text else "no words")


def ask_about(
    asker: Asker,
    subjects: Sequence[Any],
    settings: TeacherSettings,
    store: MemoStore,
    *,
    stage: Stage,
    named: Callable[[Any], tuple[str, str]],
    shots: ShotSettings | None = None,
) -> Outcome[Any]:
    """What becomes of all subjects together; `named` gives the id of one and of its parent."""
    teacher = StoredTeacher(settings, store, shots or ShotSettings(), ProgressLog())
    outputs: list[Any] = []
    rejections: list[Rejection] = []
    entered = 0
    for answered in gather(asker, subjects, teacher.ask):
        assert not answered.trouble
        try:
            outcome = asker.read(answered.subject, answered.replies)
        except Rejected as rejected:
            rejections.append(rejection(stage, named(answered.subject), rejected))
            entered += 1
        else:
            outputs += outcome.outputs
            rejections += outcome.rejections
            entered += outcome.entered
    return Outcome(outputs, rejections, entered)
