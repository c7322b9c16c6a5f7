"""From a clip to its tasks: given ones as they are, others asked of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.case import Case, Scene
from schemas.rejection import Reason, Rejected, Rejection, Stage
from schemas.task import Task
from transforms.annotate.asker import Replies
from transforms.annotate.replies import MeasuredProposeReply, ProposeReply, read_reply
from transforms.annotate.tasks import TaskSettings, given_task, proposed_task, wanted_kinds
from transforms.annotate.teacher import Reply, Request, TeacherKind
from transforms.outcome import Outcome, rejection


@dataclass(frozen=True)
class Proposals:
    """What came back for one scene, before the rules for tasks are applied."""

    scene: Scene
    reply: Reply | None
    """None for a video that came with its own questions."""


@dataclass(frozen=True)
class Proposer:
    """Asks the teacher for questions about a scene. The leg's unit is the clip."""

    teacher: TeacherKind
    tasks: TaskSettings
    seed: int

    def requests(self, scene: Scene, replies: Replies) -> Sequence[Request]:
        """One, for a video that came without questions."""
        return () if scene.video.source.questions else (self._request(scene),)

    def read(self, scene: Scene, replies: Replies) -> Outcome[Proposals]:
        """The reply, if it holds questions. Raises Rejected."""
        if scene.video.source.questions:
            return Outcome([Proposals(scene, None)])
        reply = replies[self._request(scene).id]
        self.check(reply)
        return Outcome([Proposals(scene, reply)])

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
        measured = self.teacher is TeacherKind.MEASURE
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
