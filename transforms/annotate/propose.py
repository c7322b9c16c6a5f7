"""From a clip to its tasks: given ones as they are, others asked of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.case import Case, Scene
from schemas.rejection import Reason, Rejected, Rejection, Stage
from schemas.task import Task
from transforms.annotate.replies import MeasuredProposeReply, ProposeReply, read_reply
from transforms.annotate.tasks import TaskSettings, given_task, proposed_task, wanted_kinds
from transforms.annotate.teacher import Reply, Request, TeacherKind, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.memo import MemoStore
from transforms.outcome import Outcome, rejection
from transforms.video.shots import ShotSettings


@dataclass(frozen=True)
class Proposals:
    """What came back for one scene, before the rules for tasks are applied."""

    scene: Scene
    reply: Reply | None
    """None for a video that came with its own questions."""


@dataclass(frozen=True)
class Proposer:
    """Asks the teacher for questions about scenes. The leg's unit is the clip."""

    teacher: TeacherSettings
    tasks: TaskSettings
    shots: ShotSettings
    seed: int
    store: MemoStore

    def __call__(self, scenes: Sequence[Scene]) -> Outcome[Proposals]:
        given = [scene for scene in scenes if scene.video.source.questions]
        asked = [scene for scene in scenes if not scene.video.source.questions]
        requests = {scene.clip.id: self._request(scene) for scene in asked}
        replies = ask_stored(self.teacher, self.store, self.shots, list(requests.values()))
        outputs = [Proposals(scene, None) for scene in given]
        rejections: list[Rejection] = []
        for scene in asked:
            reply = replies[requests[scene.clip.id].id]
            try:
                self.check(reply)
                outputs.append(Proposals(scene, reply))
            except Rejected as rejected:
                subject = (scene.clip.id, scene.clip.video_id)
                rejections.append(rejection(Stage.PROPOSE, subject, rejected))
        return Outcome(outputs, rejections, len(scenes))

    def _request(self, scene: Scene) -> Request:
        kinds = wanted_kinds(scene.clip, self.tasks, self.seed)
        return Request(scene=scene, wanted=self.tasks.per_clip, kinds=kinds, seed=self.seed)

    def check(self, reply: Reply) -> None:
        """Raise Rejected if the reply holds no list of questions."""
        if reply.error:
            raise Rejected(Reason.TEACHER_FAILED, reply.error, lasting=False)
        if not read_reply(reply.text, self.reply_model).tasks:
            raise Rejected(Reason.NOTHING_TO_ASK, "the teacher found nothing to ask")

    @property
    def reply_model(self) -> type[ProposeReply] | type[MeasuredProposeReply]:
        measured = self.teacher.kind is TeacherKind.MEASURE
        return MeasuredProposeReply if measured else ProposeReply


@dataclass(frozen=True)
class TaskMaker:
    """Applies the rules for tasks to proposals. The leg's unit is the task."""

    proposer: Proposer

    def __call__(self, proposals: Proposals) -> Outcome[Case]:
        scene, reply = proposals.scene, proposals.reply
        cases: dict[str, Case] = {}
        rejections: list[Rejection] = []
        entered = 0
        questions = scene.video.source.questions if reply is None else self._read(reply)
        for number, question in enumerate(questions):
            entered += 1
            try:
                task = self._task(question, scene)
                if task.id in cases:
                    raise Rejected(Reason.DUPLICATE, f"asked twice: {task.question}")
                cases[task.id] = Case(scene=scene, task=task)
            except Rejected as rejected:
                subject = (f"{scene.clip.id}-q{number}", scene.clip.id)
                rejections.append(rejection(Stage.TASK, subject, rejected))
        return Outcome(list(cases.values()), rejections, entered)

    def _read(self, reply: Reply) -> Sequence[object]:
        wanted = self.proposer.tasks.per_clip
        return read_reply(reply.text, self.proposer.reply_model).tasks[:wanted]

    def _task(self, question: object, scene: Scene) -> Task:
        from schemas.source import GivenQuestion
        from transforms.annotate.replies import ProposedTask

        if isinstance(question, GivenQuestion):
            return given_task(question, scene)
        assert isinstance(question, ProposedTask)
        return proposed_task(question, scene, self.proposer.seed)
