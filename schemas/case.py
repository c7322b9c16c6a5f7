"""The file on one task: clip, media, question, and all attempts with their verdicts."""

from __future__ import annotations

from schemas.base import Record
from schemas.claim import CheckedClaim
from schemas.clip import Clip, Media
from schemas.description import Description
from schemas.examination import Examination
from schemas.rollout import Rollout
from schemas.task import Task
from schemas.transcript import Subtitles, TimedText
from schemas.verdict import Verdict
from schemas.video import Decoded, Video


class Footage(Record):
    """A video that was decoded."""

    video: Video
    decoded: Decoded
    borders_ref: str = ""
    """Arrow file in the memo store: embeddings of the pictures around its cuts, if asked for."""
    subtitles: Subtitles = Subtitles()


class PlannedClip(Record):
    """A clip that is not cut yet, with the video that it comes from."""

    footage: Footage
    clip: Clip


class Scene(Record):
    """A clip that was cut, with the video that it comes from: what a teacher looks at."""

    video: Video
    decoded: Decoded
    clip: Clip
    media: Media
    lines: tuple[TimedText, ...] = ()
    """What is said or written during the clip, in clip time."""
    description: Description = Description()
    """What a teacher said of the clip before any question was asked."""


class Attempt(Record):
    """A rollout and what the verifier made of it."""

    rollout: Rollout
    verdict: Verdict
    examined: bool = False
    """Whether it was asked again about; only what passed the checks before is."""
    claims: tuple[CheckedClaim, ...] = ()
    """What its reasoning claims, checked against the clip; () = not examined."""
    conclusions: tuple[str, ...] = ()
    """Answers that follow from its reasoning without the last sentence, as somebody saw it who was
    not shown the clip; () = nobody was asked."""


class Case(Record):
    """A task with everything that happened to it so far."""

    scene: Scene
    task: Task
    asked: int = 0
    """How many first-round rollouts were asked for; not all need have come back readable."""
    attempts: tuple[Attempt, ...] = ()
    examination: Examination = Examination()
    """What came back when it was asked again under changed evidence."""

    @property
    def accepted(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if attempt.verdict.accepted)
