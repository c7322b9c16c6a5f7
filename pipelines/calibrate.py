"""A few real requests to the real teacher, to know how fast it is and how long its replies are.

They are requests about the first clips of the run, and their replies go into its store: the run
that follows finds them, but for questions in whose prompt a summary of the whole video will stand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from pipelines.config import Config
from pipelines.estimate import NOT_ASKED
from pipelines.survey import cut_clips, planned_clips
from schemas.case import Case, Scene
from schemas.rejection import Rejected
from schemas.source import Source
from schemas.usage import Usage
from transforms.annotate.asker import Answered, Asker, Replies, gather
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.describe import ClipDescriber, Levels
from transforms.annotate.propose import Proposer, TaskMaker
from transforms.annotate.teacher import Reply, Request
from transforms.annotate.teachers import ask_stored, open_teacher, stored_replies
from transforms.memo import MemoStore
from transforms.verify.loop import Answerer
from transforms.video.ingest import ingest

REQUESTS_PER_CLIP = 8
"""About: of so many clips at once, all kinds of requests are seen."""


@dataclass(frozen=True)
class Calibration:
    """What the requests took."""

    usage: Usage
    """Of the replies that were asked for."""
    seconds: float
    """While the teacher was at work; loading is left out."""
    at_once: int
    """The most requests that were given to the teacher together."""

    @property
    def tokens_per_s(self) -> float:
        """Completion tokens."""
        return self.usage.completion_tokens / max(self.seconds, 1e-9)


def calibrate(
    number: int, scenes: Sequence[Scene], config: Config, store: MemoStore
) -> Calibration | None:
    """Ask `number` requests about these clips; None if all replies are in the store already.

    Raises TeacherUnavailable if the teacher can't be opened or no request was answered.
    """
    open_teacher(config.teacher, store, config.shots)
    asked = _Asked(number, config, store)
    waiting = iter(scenes)
    while asked.left and (some := list(islice(waiting, max(asked.left // REQUESTS_PER_CLIP, 1)))):
        _ask_about(some, config, asked)
    if asked.troubles and not asked.usage.replies:
        raise TeacherUnavailable(f"no request of the calibration was answered: {asked.troubles[0]}")
    if not asked.usage.replies:
        return None
    return Calibration(asked.usage, asked.seconds, asked.at_once)


class _Asked:
    """Puts requests to the teacher until there were enough."""

    def __init__(self, number: int, config: Config, store: MemoStore) -> None:
        self.left = number
        self.usage = Usage()
        self.seconds = 0.0
        self.at_once = 0
        self.troubles: list[str] = []
        self._config = config
        self._store = store

    def ask(self, requests: Sequence[Request]) -> Replies:
        teacher, shots = self._config.teacher, self._config.shots
        replies = {one.id: Reply(request_id=one.id, error=NOT_ASKED) for one in requests}
        replies |= stored_replies(teacher, self._store, shots, requests)
        now = [one for one in requests if replies[one.id].error == NOT_ASKED][: self.left]
        if not now:
            return replies
        self.left -= len(now)
        self.at_once = max(self.at_once, len(now))
        began_s = time.perf_counter()
        fresh = ask_stored(teacher, self._store, shots, now)
        self.seconds += time.perf_counter() - began_s
        for reply in fresh.values():
            if reply.error:
                self.troubles.append(reply.error)
            else:
                self.usage += Usage(
                    replies=1,
                    prompt_tokens=max(reply.prompt_tokens, 0),
                    completion_tokens=max(reply.completion_tokens, 0),
                )
        return replies | fresh


def _ask_about(scenes: Sequence[Scene], config: Config, asked: _Asked) -> None:
    """Go the way of these clips through the teacher, as far as the requests reach."""
    described = list(scenes)
    if config.describe.levels is not Levels.NONE:
        describer = ClipDescriber(config.describe, config.seed)
        described = list(_outputs(describer, scenes, asked))
    proposer = Proposer(config.teacher.kind, config.tasks, config.seed)
    maker = TaskMaker(proposer)
    proposals = _outputs(proposer, described, asked)
    cases: list[Case] = [case for one in proposals for case in maker(one).outputs]
    gather(Answerer(config.teacher, config.seed, 0), cases, asked.ask)


def _outputs(asker: Asker, subjects: Sequence[object], asked: _Asked) -> Iterator:
    for answered in gather(asker, subjects, asked.ask):
        yield from _read(asker, answered)


def _read(asker: Asker, answered: Answered) -> Sequence:
    try:
        return asker.read(answered.subject, answered.replies).outputs
    except Rejected:
        return ()


def first_scenes(
    sources: Sequence[Source], wanted: int, config: Config, store: MemoStore
) -> list[Scene]:
    """The first clips of the first video that has some, cut as a run would and kept in its store.

    The whole of that video is decoded for it.
    """
    for source in sources:
        try:
            planned = planned_clips(ingest(source, store), config, store)
            if scenes := cut_clips(planned[:wanted], config, store):
                return scenes
        except Rejected:
            continue
    return []
