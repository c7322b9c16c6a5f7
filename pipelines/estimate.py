"""How much a run would ask of its teacher: requests, tokens, what of them is in the store already.

What an earlier run left is counted exactly, by asking the same askers as the pipeline does and
giving them the stored replies. The rest is reckoned from the lengths of the videos.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from pipelines.config import Config
from pipelines.estimate_examination import (
    EXAMINATION,
    EXAMINE,
    kind_of,
    most_asked,
)
from pipelines.survey import LookUpStore, NotInStore, Survey, Unseen
from pipelines.typical_prompt import DESCRIBE, PROPOSE, REPAIR, SOLVE, SUMMARIZE, typical_prompt
from schemas.case import Case, Scene
from schemas.rejection import Rejected
from schemas.usage import Usage
from transforms.annotate.asker import Answered, Asker, Replies, gather
from transforms.annotate.constructed import Constructor
from transforms.annotate.describe import ClipDescriber, Levels, VideoNarrator
from transforms.annotate.propose import Proposer, TaskMaker
from transforms.annotate.teacher import Reply, Request, TeacherKind, TeacherSettings
from transforms.annotate.teachers import stored_replies
from transforms.memo import MemoStore
from transforms.remote_memo import open_store
from transforms.verify.examine import Examiner
from transforms.verify.loop import Answerer, Verifier

KINDS = (DESCRIBE, SUMMARIZE, PROPOSE, SOLVE, *EXAMINATION, REPAIR)
"""What is asked, in the order of the way."""
NOT_ASKED = "not asked yet"


@dataclass(frozen=True)
class Line:
    """Requests of one kind."""

    kind: str
    requests: int
    stored: int
    prompt_tokens: float
    """Of one request."""
    completion_tokens: float
    """Of one reply."""
    measured: bool
    """Whether the tokens are those of replies that there are; else the prompt's are reckoned, and
    the reply is taken to be as long as it may be."""
    prices: tuple[float, float] = (0.0, 0.0)
    """Of a million prompt tokens and of a million completion tokens, of the model asked."""

    @property
    def missing(self) -> int:
        """Requests that a run would ask."""
        return self.requests - self.stored


@dataclass(frozen=True)
class Estimate:
    """What a run would ask. `repair` is at most: attempts that pass are not tried again; so is the
    examination, of those that do not."""

    lines: tuple[Line, ...]
    clips: int
    known_clips: int
    clips_from: str
    tasks: int
    refused: int

    def tokens(self, *, repair: bool, examination: bool = True) -> tuple[float, float]:
        """Prompt and completion tokens of what is to be asked."""
        lines = [
            line
            for line in self._lines(repair=repair)
            if examination or line.kind not in EXAMINATION
        ]
        return (
            sum(line.missing * line.prompt_tokens for line in lines),
            sum(line.missing * line.completion_tokens for line in lines),
        )

    def missing(self, *, repair: bool) -> int:
        """Requests that are to be asked."""
        return sum(line.missing for line in self._lines(repair=repair))

    def cost(self, *, repair: bool) -> float:
        """Of what is to be asked, each at the prices of the model that is asked."""
        cost = 0.0
        for line in self._lines(repair=repair):
            tokens = line.missing * line.prompt_tokens, line.missing * line.completion_tokens
            usage = Usage(prompt_tokens=round(tokens[0]), completion_tokens=round(tokens[1]))
            cost += usage.cost(*line.prices)
        return cost

    def _lines(self, *, repair: bool) -> list[Line]:
        return [line for line in self.lines if repair or line.kind != REPAIR]


def estimate(found: Survey, config: Config, store: MemoStore) -> Estimate:
    """What a run over these inputs would ask."""
    book = _Book(config, LookUpStore(store.root))
    known = _walk(found.scenes, book)
    length_s, clips_from = _clip_length(found, config)
    reckoned = _reckon(found.unseen, known, config, length_s)
    scale = 1 / found.share
    if scale > 1:
        clips_from = f"{clips_from}, and {found.share:.1%} of the inputs were looked at"
    lines = []
    for kind in KINDS:
        requests = round((known.asked[kind] + reckoned.asked[kind]) * scale)
        stored = round(known.stored[kind] * scale)
        if requests:
            lines.append(book.line(kind, requests, stored, found, length_s))
    known_clips = round(len(found.scenes) * scale)
    return Estimate(
        lines=tuple(lines),
        clips=known_clips + round(reckoned.clips * scale),
        known_clips=known_clips,
        clips_from=clips_from,
        tasks=round((known.tasks + reckoned.tasks) * scale),
        refused=round(found.refused * scale),
    )


# What is known -----------------------------------------------------------------------------------


@dataclass
class _Tally:
    asked: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    clips: int = 0
    tasks: int = 0
    waiting_clips: int = 0
    """Clips that no questions are proposed about yet."""
    waiting_constructed: int = 0
    per_clip: float = -1.0
    """Tasks that come of a clip on average; -1 = not known."""


@dataclass
class _Book:
    """Stands in for the teacher: gives the stored replies, and counts."""

    config: Config
    store: LookUpStore
    asked: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def ask(self, kind: str, requests: Sequence[Request]) -> Replies:
        """`kind` is "" for those of the examination, which are of several kinds."""
        config = self.config
        # A plain store: that a reply is not there is what is to be found out.
        store = open_store(self.store.root)
        settings = self.model(kind or EXAMINE)
        found = stored_replies(settings, store, config.shots, requests)
        for one in {one.id: one for one in requests}.values():
            named = kind or kind_of(one)
            self.asked[named] += 1
            reply = found.get(one.id)
            if reply is None:
                continue
            self.stored[named] += 1
            tokens = reply.prompt_tokens, reply.completion_tokens
            if min(tokens) >= 0 and not reply.error:
                self.tokens.setdefault(named, []).append(tokens)
        lacking = {one.id: Reply(request_id=one.id, error=NOT_ASKED) for one in requests}
        return lacking | found

    def gather(self, kind: str, asker: Asker, subjects: Sequence[object]) -> list[Answered]:
        return gather(asker, subjects, partial(self.ask, kind))

    def model(self, kind: str) -> TeacherSettings:
        """Who is asked."""
        examiner = self.config.examiner if kind in EXAMINATION else None
        return examiner or self.config.teacher

    def line(self, kind: str, requests: int, stored: int, found: Survey, length_s: float) -> Line:
        settings = self.model(kind)
        if settings.kind is TeacherKind.MEASURE:
            return Line(kind, requests, stored, 0.0, 0.0, measured=True)
        prices = settings.price_prompt, settings.price_completion
        # The same question to the same model.
        alike = kind == REPAIR or (kind == EXAMINE and self.config.verifier is None)
        tokens = self.tokens.get(kind) or (self.tokens.get(SOLVE) if alike else None)
        if tokens:
            prompts, completions = zip(*tokens, strict=True)
            means = sum(prompts) / len(prompts), sum(completions) / len(completions)
            return Line(kind, requests, stored, *means, measured=True, prices=prices)
        prompt = typical_prompt(
            kind, found, length_s, self.config, settings, open_store(self.store.root)
        )
        longest = settings.max_tokens
        return Line(kind, requests, stored, prompt, longest, measured=False, prices=prices)


def _walk(scenes: Sequence[Scene], book: _Book) -> _Tally:
    """Count what is asked about clips that there are, as far as the stored replies lead."""
    config = book.config
    tally = _Tally(asked=book.asked, stored=book.stored, clips=len(scenes))
    described = _describe(scenes, book)
    proposer = Proposer(config.teacher.kind, config.tasks, config.seed)
    maker = TaskMaker(proposer)
    cases: list[Case] = []
    asked_clips = proposed = 0
    for answered in book.gather(PROPOSE, proposer, described):
        if not_asked(answered):
            tally.waiting_clips += 1
            continue
        try:
            made = [
                one for p in proposer.read(*_both(answered)).outputs for one in maker(p).outputs
            ]
        except Rejected:
            made = []
        if answered.replies:
            asked_clips += 1
            proposed += len(made)
        cases += made
    tally.per_clip = proposed / asked_clips if asked_clips else -1.0
    if config.constructed.wanted:
        constructor = Constructor(config.constructed, config.seed, book.store, config.cut)
        for scene in scenes:
            try:
                cases += constructor(scene).outputs
            except NotInStore:
                tally.waiting_constructed += config.constructed.wanted
    tally.tasks = len(cases)
    _solve(cases, book)
    return tally


def not_asked(answered: Answered) -> bool:
    """Whether a reply that is needed is not there yet."""
    return any(reply.error == NOT_ASKED for reply in answered.replies.values())


def _both(answered: Answered) -> tuple[Scene, Replies]:
    return answered.subject, answered.replies


def _describe(scenes: Sequence[Scene], book: _Book) -> list[Scene]:
    config = book.config
    if config.describe.levels is Levels.NONE:
        return list(scenes)
    describer = ClipDescriber(config.describe, config.seed)
    answers = book.gather(DESCRIBE, describer, scenes)
    open_videos = {one.subject.video.id for one in answers if not_asked(one)}
    described = [one for answered in answers for one in describer.read(*_both(answered)).outputs]
    if config.describe.levels is not Levels.VIDEO:
        return described
    narrator = VideoNarrator(config.describe, config.seed)
    told: list[Scene] = []
    for video_id, several in groupby(described, key=lambda scene: scene.video.id):
        clips = sorted(several, key=lambda scene: scene.clip.start_frame)
        if video_id in open_videos:
            duration_s = clips[0].decoded.duration_s
            book.asked[SUMMARIZE] += _summaries(duration_s, len(clips), config)
            told += clips
        else:
            [answered] = book.gather(SUMMARIZE, narrator, [clips])
            told += narrator.read(clips, answered.replies).outputs
    return told


def _solve(cases: Sequence[Case], book: _Book) -> None:
    """Count the rounds; where a round is not answered, all that may follow from it."""
    config = book.config
    rounds = config.verify.repair_rounds
    verifier = Verifier(config.verify, book.store)
    for number in range(rounds + 1):
        answerer = Answerer(config.teacher, config.seed, number)
        following: list[Case] = []
        for answered in book.gather(SOLVE if number == 0 else REPAIR, answerer, cases):
            open_rollouts = len(answerer.first_requests(answered.subject))
            if not not_asked(answered):
                try:
                    for one in answerer.read(answered.subject, answered.replies).outputs:
                        following += verifier(one).outputs
                except NotInStore:
                    pass
                else:
                    continue
            book.asked[REPAIR] += open_rollouts * (rounds - number)
            new_tasks = int(open_rollouts > 0 and not answered.subject.examination.rows)
            book.asked += most_asked(config, new_tasks, open_rollouts)
        cases = _examine(following, book, number)


def _examine(cases: Sequence[Case], book: _Book, number: int) -> list[Case]:
    """Count the examination of a round; what is not examined yet may have to be repaired."""
    config = book.config
    if config.examiner is None:
        return list(cases)
    examiner = Examiner(config.examiner, config.verify, config.seed, number)
    examined: list[Case] = []
    for answered in book.gather("", examiner, cases):
        case = answered.subject
        if not_asked(answered):
            left = config.verify.repair_rounds - number
            book.asked[REPAIR] += len(examiner.examined(case)) * left
            examined.append(case)
        else:
            examined += examiner.read(case, answered.replies).outputs
    return examined


# What is reckoned --------------------------------------------------------------------------------


def _clip_length(found: Survey, config: Config) -> tuple[float, str]:
    """How long a clip of a video that nobody has cut is taken to be, and where from."""
    if found.scenes:
        lengths = [scene.clip.duration_s for scene in found.scenes]
        mean_s = sum(lengths) / len(lengths)
        return mean_s, f"reckoned with the mean length of the {len(lengths)} clips that there are"
    longest_s = config.shots.max_clip_s
    return (
        longest_s,
        f"reckoned from the lengths of the videos and shots.max_clip_s = {longest_s:g}",
    )


def _summaries(duration_s: float, clips: int, config: Config) -> int:
    if config.describe.levels is not Levels.VIDEO or clips < 2:
        return 0
    events = min(max(round(duration_s / config.describe.event_s), 1), clips)
    return events + (events > 1)


def _reckon(unseen: Sequence[Unseen], known: _Tally, config: Config, length_s: float) -> _Tally:
    """What is asked about clips that are not there yet."""
    tally = _Tally()
    # Known clips without questions are like new ones, but for their description.
    new = known.waiting_clips
    given = 0
    for video in unseen:
        clips = 1 if video.questions else max(math.ceil(video.duration_s / length_s - 1e-6), 1)
        tally.clips += clips
        given += video.questions
        if not video.questions:
            new += clips
            tally.asked[PROPOSE] += clips
            if config.describe.levels is not Levels.NONE:
                tally.asked[DESCRIBE] += clips
            tally.asked[SUMMARIZE] += _summaries(video.duration_s, clips, config)
    each = config.tasks.per_clip if known.per_clip < 0 else known.per_clip
    asked_about = round(new * each) + given
    constructed = known.waiting_constructed + tally.clips * config.constructed.wanted
    tally.tasks = asked_about + constructed
    if config.teacher.kind is not TeacherKind.MEASURE:
        asked_about += constructed
    tally.asked[SOLVE] = asked_about * config.teacher.samples
    tally.asked[REPAIR] = tally.asked[SOLVE] * config.verify.repair_rounds
    tally.asked += most_asked(config, asked_about, tally.asked[SOLVE])
    return tally
