"""Ask again under changed evidence: which views of a clip, and what the answers prove.

A pure asker builds the requests and reads the replies into one small table per task
(`schemas.examination`); `score_table` turns the table into scores; thresholds decide elsewhere. So
changing a threshold redoes no request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.case import Case
from schemas.examination import Asked, Examination
from schemas.rejection import Rejected
from schemas.rewards import parse_intervals, parse_letters
from schemas.rollout import Rollout
from schemas.task import (
    CHOICE_KINDS,
    ONE_CHOICE_KINDS,
    OPTION_LETTERS,
    SPAN_KINDS,
    Answer,
    Task,
    TaskKind,
)
from schemas.view import BACKWARDS, WHOLE, Condition, Spans, View
from transforms.annotate.asker import Replies
from transforms.annotate.replies import MAX_REPLY_CHARS
from transforms.annotate.solutions import read_solution
from transforms.annotate.teacher import ReplyForm, Request, TeacherSettings
from transforms.verify.checks import Thresholds, answer_check, score_answer

SAMPLE_FROM = 1_000
"""Samples of the verifier's own requests are numbered from here: even where it is the teacher, it
must find the answer again, not read what it wrote before."""

ORDER_KINDS = frozenset({TaskKind.ORDERING})
"""Their answer must hang on the order of the frames."""

AGAINST = frozenset({Condition.BLIND, Condition.MASKED})
"""Right answers under these speak against an item, so that a lucky guess would turn a good one
down."""
GUESSABLE_TIMES = 2
"""So many times as often a question with options is asked under them: of four samples, three are
right by luck in 5 of 100 questions with four options; of eight, six in 0.4."""

ROUND_S = 0.05
"""Cited spans are asked about to this: those that differ by less are one question."""


@dataclass(frozen=True)
class ViewsWanted:
    """Under which views a task is examined."""

    conditions: tuple[Condition, ...]
    prefixes: int
    """At how many moments it is asked whether the question can be answered yet."""
    black: bool

    def of_task(self, duration_s: float, kind: TaskKind) -> list[View]:
        """Those that do not hang on what a rollout cites."""
        views = []
        for condition in self.conditions:
            if condition is Condition.FULL:
                views.append(WHOLE)
            elif condition is Condition.BLIND:
                views.append(View(condition=condition, black=self.black))
            elif condition is Condition.SHUFFLED:
                order = BACKWARDS if kind in ORDER_KINDS else 0
                views.append(View(condition=condition, order=order))
            elif condition is Condition.PREFIX:
                views += [
                    View(condition=condition, until_s=until_s, black=self.black)
                    for until_s in prefix_moments(duration_s, self.prefixes)
                ]
        return views

    def of_rollout(self, rollout: Rollout, kind: TaskKind, duration_s: float) -> list[View]:
        """Those of the spans that a rollout rests on; none if it cites none."""
        spans = cited_spans(rollout, kind, duration_s)
        return [
            View(condition=condition, spans_s=spans, black=self.black)
            for condition in self.conditions
            if condition in (Condition.EVIDENCE, Condition.MASKED) and spans
        ]


def prefix_moments(duration_s: float, number: int) -> list[float]:
    """Ends of `number` equal parts of a clip, the last at its end."""
    return [round(duration_s * part / number, 3) for part in range(1, number + 1)]


def cited_spans(rollout: Rollout, kind: TaskKind, duration_s: float) -> Spans:
    """What a rollout rests on: its cited spans, and of an answer that is a span, that; merged."""
    spans = [(one.start_s, one.end_s) for one in rollout.segments]
    if kind in SPAN_KINDS:
        spans += parse_intervals(rollout.answer_text)
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(spans):
        start_s = max(round(round(start_s / ROUND_S) * ROUND_S, 3), 0.0)
        end_s = min(round(round(end_s / ROUND_S) * ROUND_S, 3), round(duration_s, 3))
        if start_s > end_s:
            continue
        if merged and start_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end_s, merged[-1][1]))
        else:
            merged.append((start_s, end_s))
    return tuple(merged)


# Options in another order ------------------------------------------------------------------------


def turned(task: Task, sample: int) -> Task:
    """The task with its options turned by `sample` places.

    Who prefers a letter, or the longest option, is right as often as chance has it; who knows the
    answer stays with it. The gold answer is left out: nobody who is asked may see it.
    """
    options = task.options
    if task.kind not in CHOICE_KINDS or not options:
        return task.model_copy(update={"gold": None})
    by = sample % len(options)
    return task.model_copy(update={"options": options[by:] + options[:by], "gold": None})


def turned_back(answer: str, task: Task, sample: int) -> str:
    """An answer to the turned task in the letters of the task itself; "" if it has no letters."""
    if task.kind not in CHOICE_KINDS or not task.options:
        return answer
    known = OPTION_LETTERS[: len(task.options)]
    letters = parse_letters(answer)
    if not letters or any(letter not in known for letter in letters):
        return ""
    own = [known[(known.index(letter) + sample) % len(known)] for letter in letters]
    return ",".join(own if task.kind is TaskKind.ORDERING else sorted(own))


# Asking ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interview:
    """Puts a task to the verifier's model, `samples` times under each view; where luck would count
    (`AGAINST`, and options to choose from) `GUESSABLE_TIMES` as often."""

    verifier: TeacherSettings
    samples: int
    seed: int

    def requests(self, case: Case, views: Sequence[View]) -> Iterator[Request]:
        """All that is asked, view by view; tool calls are not offered (`no_tools`)."""
        for view in views:
            for sample in self._samples(case.task, view):
                yield self._request(case, view, sample)

    def table(self, case: Case, views: Sequence[View], replies: Replies) -> tuple[Asked, ...]:
        """What came back, one row per view."""
        return tuple(
            Asked(
                view=view,
                answers=tuple(
                    self._answer(case.task, sample, replies[self._request(case, view, sample).id])
                    for sample in self._samples(case.task, view)
                ),
            )
            for view in views
        )

    def _samples(self, task: Task, view: View) -> range:
        lucky = view.condition in AGAINST and chance(task) > 0
        return range(self.samples * GUESSABLE_TIMES if lucky else self.samples)

    def _request(self, case: Case, view: View, sample: int) -> Request:
        return Request(
            scene=case.scene,
            task=turned(case.task, sample),
            view=view,
            sample=SAMPLE_FROM + sample,
            seed=self.seed,
        )

    def _answer(self, task: Task, sample: int, reply: object) -> str:
        text = str(getattr(reply, "text", ""))
        if getattr(reply, "error", "") or len(text) > MAX_REPLY_CHARS:
            return ""
        form = self.verifier.reply_form
        try:
            answer = read_solution(text, ReplyForm(form)).answer
        except Rejected:
            return ""
        return turned_back(answer, task, sample)


def no_tools(verifier: TeacherSettings) -> TeacherSettings:
    """Settings under which a model only answers: a closer look would undo what a view hides."""
    return verifier.model_copy(update={"tool_calls": 0})


# What the table says -----------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskScores:
    """Scores of a task, each 0..1 and -1 where it was not asked; shares are of right answers,
    corrected for guessing."""

    full: float
    """How often the answer comes back: 1 = easy."""
    blind: float
    """Language prior: how often it is guessed without a frame."""
    shuffled: float
    order_needed: float
    """1 - shuffled / full."""
    answerable_from_s: float
    """From which moment on the question can be answered; -1 = not known."""


@dataclass(frozen=True)
class EvidenceScores:
    """Scores of the spans that a rollout cites; -1 where it was not asked."""

    sufficiency: float
    """evidence / full, at most 1."""
    necessity: float
    """1 - masked / full."""


def chance(task: Task) -> float:
    """How often a guess is right: one option of several, else never."""
    one_of = task.kind in ONE_CHOICE_KINDS and len(task.options) > 1
    return 1 / len(task.options) if one_of else 0.0


def right_share(asked: Asked, task: Task, gold: Answer, thresholds: Thresholds) -> float:
    """Share of right answers in a row, corrected for guessing: (p - c) / (1 - c), at least 0.

    An answer is right when it would pass as a rollout's answer does.
    """
    if not asked.answers:
        return 0.0
    right = right_answers(asked, gold, thresholds)
    guess = chance(task)
    return max(right / len(asked.answers) - guess, 0.0) / (1 - guess)


def right_answers(asked: Asked, gold: Answer, thresholds: Thresholds) -> int:
    """How many answers of a row are right, guesses included."""
    # Mostly they are the same few answers.
    return sum(
        times
        for answer, times in Counter(asked.answers).items()
        if is_right(answer, gold, thresholds)
    )


def is_right(answer: str, gold: Answer, thresholds: Thresholds) -> bool:
    """Whether an answer would pass as a rollout's does. One that was not given, or could not be
    read, is never right; under a threshold of 0 any that was given is."""
    least = float(getattr(thresholds, answer_check(gold.kind)))
    return bool(answer.strip()) and score_answer(answer, gold) >= least


@dataclass(frozen=True)
class Marked:
    """A table with the share of right answers in each row, which is all that the scores rest on.

    Marked once per task, however many rollouts rest on the same rows.
    """

    shares: tuple[tuple[View, float], ...]

    def share(self, condition: Condition, spans: Spans = ()) -> float:
        """That of the one view of a condition, with these spans; -1 = was not asked."""
        for view, share in self.shares:
            if view.condition is condition and view.spans_s == spans:
                return share
        return -1.0


def mark(table: Examination, task: Task, gold: Answer, thresholds: Thresholds) -> Marked:
    """Count right answers, row by row."""
    return Marked(tuple((row.view, right_share(row, task, gold, thresholds)) for row in table.rows))


def score_task(marked: Marked, thresholds: Thresholds) -> TaskScores:
    """What the views say that do not hang on a rollout."""
    full, shuffled = marked.share(Condition.FULL), marked.share(Condition.SHUFFLED)
    known = full > 0 and shuffled >= 0
    return TaskScores(
        full=full,
        blind=marked.share(Condition.BLIND),
        shuffled=shuffled,
        order_needed=1.0 - min(shuffled / full, 1.0) if known else -1.0,
        answerable_from_s=_answerable_from(marked, thresholds.answerable),
    )


def _answerable_from(marked: Marked, least: float) -> float:
    """The first moment from which on every longer prefix is answered rightly often enough."""
    found = -1.0
    prefixes = [
        (view.until_s, share) for view, share in marked.shares if view.condition is Condition.PREFIX
    ]
    for until_s, share in sorted(prefixes, reverse=True):
        if share < least:
            break
        found = until_s
    return found


def score_evidence(marked: Marked, spans: Spans) -> EvidenceScores:
    """What the views of the spans that a rollout cites say, against the full view."""
    if not spans:
        return EvidenceScores(-1.0, -1.0)
    full = marked.share(Condition.FULL)
    evidence = marked.share(Condition.EVIDENCE, spans)
    masked = marked.share(Condition.MASKED, spans)
    if full == 0:
        # Nothing to compare with: the check of the full view says so.
        return EvidenceScores(0.0 if evidence >= 0 else -1.0, 0.0 if masked >= 0 else -1.0)
    of = full if full > 0 else 1.0
    return EvidenceScores(
        sufficiency=min(evidence / of, 1.0) if evidence >= 0 else -1.0,
        necessity=1.0 - min(masked / of, 1.0) if masked >= 0 else -1.0,
    )
