"""From proposed and given questions to tasks: rules, canonical answers, balanced option letters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import canonical_json, unit_interval
from schemas.case import Scene
from schemas.clip import Clip
from schemas.rejection import Reason, Rejected
from schemas.rewards import cited_times_in, parse_intervals, parse_letters, parse_number
from schemas.source import GivenQuestion
from schemas.task import OPTION_LETTERS, Answer, Origin, Task, TaskKind
from transforms.annotate.replies import MeasuredTask, ProposedTask

CHOICE_KINDS = frozenset({TaskKind.MCQ, TaskKind.MULTI_CHOICE, TaskKind.ORDERING})
MAX_QUESTION_WORDS = 50
"""After LongVT's rules."""


DEFAULT_MIX = {
    TaskKind.MCQ: 2.0,
    TaskKind.COUNT: 1.0,
    TaskKind.NUMBER: 1.0,
    TaskKind.TEMPORAL_GROUNDING: 2.0,
    TaskKind.ORDERING: 2.0,
}


class TaskSettings(BaseModel):
    """Section `tasks` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_clip: int = Field(4, ge=1, le=32, description="questions wanted per clip")
    mix: dict[TaskKind, float] = Field(
        default_factory=lambda: dict(DEFAULT_MIX),
        description="how often each kind is asked for, relative to the others; 0 or not named = "
        "never; --set tasks.mix.mcq=0 changes one and leaves the others",
    )


def wanted_kinds(clip: Clip, settings: TaskSettings, seed: int) -> tuple[TaskKind, ...]:
    """The kinds to ask for in a clip, most wanted first: a seeded shuffle by weight.

    Keys u^(1/w) sorted downwards are a weighted sample without replacement (Efraimidis and
    Spirakis 2006).
    """
    keyed = [
        (unit_interval(seed, clip.id, kind) ** (1.0 / weight), kind)
        for kind, weight in sorted(settings.mix.items())
        if weight > 0
    ]
    return tuple(kind for _, kind in sorted(keyed, reverse=True))


def proposed_task(proposed: ProposedTask, scene: Scene, seed: int) -> Task:
    """A task from a teacher's proposal. Raises Rejected(bad_task) with the rule that it breaks."""
    question = " ".join(proposed.question.split())
    if len(question.split()) > MAX_QUESTION_WORDS:
        raise Rejected(Reason.BAD_TASK, f"more than {MAX_QUESTION_WORDS} words: {question}")
    if cited_times_in(question):
        raise Rejected(Reason.BAD_TASK, f"the question cites a time: {question}")
    duration_s = scene.media.duration_s
    for start_s, end_s in proposed.evidence:
        if not 0.0 <= start_s < end_s <= duration_s + 1e-6:
            raise Rejected(
                Reason.BAD_TASK,
                f"evidence {start_s} to {end_s} s is not within the clip's {duration_s} s",
            )
    gold = make_answer(proposed.kind, proposed.answer, proposed.options, proposed.tolerance)
    _demand_inside(gold, scene)
    if gold.kind is TaskKind.FREE_TEXT and _holds_words(question, gold.text):
        raise Rejected(Reason.BAD_TASK, f"the question gives the answer away: {question}")
    if gold.kind is TaskKind.NUMBER and 0.0 < gold.tolerance >= abs(float(gold.text)):
        raise Rejected(Reason.BAD_TASK, f"tolerance {gold.tolerance} is as large as the answer")
    options = gold.options
    if proposed.kind in CHOICE_KINDS:
        gold, options = _shuffled(gold, f"{seed}-{scene.clip.id}-{question}")
    spec = proposed.spec if isinstance(proposed, MeasuredTask) else {}
    return Task(
        clip_id=scene.clip.id,
        kind=proposed.kind,
        question=question,
        options=options,
        gold=gold,
        origin=Origin.PROPOSED,
        evidence_s=proposed.evidence,
        spec_json=canonical_json(spec),
    )


def _demand_inside(gold: Answer, scene: Scene) -> None:
    """Raise Rejected if the answer names a time that the clip does not have."""
    end_s = scene.media.duration_s + scene.media.half_frame_s
    for start, end in gold.intervals_s:
        if not start < end <= end_s:
            raise Rejected(
                Reason.BAD_TASK,
                f"the answer {start} to {end} s is not within the clip's "
                f"{scene.media.duration_s} s",
            )


def _holds_words(text: str, words: str) -> bool:
    """Whether a text holds these words as words, not as a part of others."""
    wanted = re.escape(words.casefold())
    return re.search(rf"(?<!\w){wanted}(?!\w)", text.casefold()) is not None


def given_task(given: GivenQuestion, scene: Scene) -> Task:
    """A task from a question that came with the video; the order of its options stays.

    Raises Rejected(bad_task).
    """
    kind = _given_kind(given)
    duration_s = scene.media.duration_s
    spans = [
        (max(0.0, start - scene.clip.start_s), end - scene.clip.start_s)
        for start, end in given.spans
    ]
    for start_s, end_s in spans:
        if not start_s < end_s <= duration_s + 1e-6:
            raise Rejected(
                Reason.BAD_TASK,
                f"span {start_s} to {end_s} s is not within the video's {duration_s} s",
            )
    text = given.answer
    if kind is TaskKind.TEMPORAL_GROUNDING:
        # Given times are of the source; clip time starts with the first frame.
        shift_s = scene.clip.start_s
        answered = [
            (max(0.0, start - shift_s), end - shift_s) for start, end in parse_intervals(text)
        ]
        text = "; ".join(f"{start_s:.6f} to {end_s:.6f}" for start_s, end_s in answered or spans)
    gold = make_answer(kind, text, given.options, -1.0) if text else None
    if gold is not None:
        _demand_inside(gold, scene)
    return Task(
        clip_id=scene.clip.id,
        kind=kind,
        question=given.question,
        options=given.options,
        gold=gold,
        origin=Origin.GIVEN,
        evidence_s=tuple(spans),
    )


def _given_kind(given: GivenQuestion) -> TaskKind:
    if given.answer_kind:
        try:
            return TaskKind(given.answer_kind)
        except ValueError as error:
            known = ", ".join(TaskKind)
            raise Rejected(
                Reason.BAD_TASK, f"answer_kind {given.answer_kind!r}; known are {known}"
            ) from error
    if given.options:
        return TaskKind.MCQ
    if given.answer:
        number = parse_number(given.answer)
        return TaskKind.FREE_TEXT if number is None else TaskKind.NUMBER
    return TaskKind.TEMPORAL_GROUNDING if given.spans else TaskKind.FREE_TEXT


def make_answer(kind: TaskKind, text: str, options: Sequence[str], tolerance: float) -> Answer:
    """The canonical answer of a kind. Raises Rejected(bad_task) if the text is none."""
    if kind in CHOICE_KINDS:
        return _choice_answer(kind, text, tuple(option.strip() for option in options))
    if kind in (TaskKind.COUNT, TaskKind.NUMBER):
        number = parse_number(text)
        if number is None or (kind is TaskKind.COUNT and (number < 0 or number % 1)):
            raise Rejected(Reason.BAD_TASK, f"{text!r} is no {kind}")
        words = str(int(number)) if kind is TaskKind.COUNT else f"{number:.10g}"
        return Answer(kind=kind, text=words, tolerance=tolerance)
    if kind is TaskKind.TEMPORAL_GROUNDING:
        spans = tuple(parse_intervals(text))
        if not spans:
            raise Rejected(Reason.BAD_TASK, f"{text!r} holds no span")
        words = "; ".join(f"{start_s:.2f} to {end_s:.2f}" for start_s, end_s in spans)
        return Answer(kind=kind, text=words, intervals_s=spans)
    if not text.strip():
        raise Rejected(Reason.BAD_TASK, "the answer is empty")
    return Answer(kind=kind, text=text.strip())


def _choice_answer(kind: TaskKind, text: str, options: tuple[str, ...]) -> Answer:
    if not 2 <= len(options) <= len(OPTION_LETTERS):
        raise Rejected(
            Reason.BAD_TASK, f"{len(options)} options; 2 to {len(OPTION_LETTERS)} can be"
        )
    if len({option.casefold() for option in options}) < len(options) or "" in options:
        raise Rejected(Reason.BAD_TASK, "two options are the same, or one is empty")
    if text.strip() in options and kind is TaskKind.MCQ:
        letters = [OPTION_LETTERS[options.index(text.strip())]]
    else:
        letters = parse_letters(text)
    known = set(OPTION_LETTERS[: len(options)])
    complete = {
        TaskKind.MCQ: len(letters) == 1,
        TaskKind.MULTI_CHOICE: len(letters) >= 1,
        TaskKind.ORDERING: len(letters) == len(options),
    }
    if not (complete[kind] and set(letters) <= known and len(set(letters)) == len(letters)):
        raise Rejected(Reason.BAD_TASK, f"{text!r} is no {kind} answer to {len(options)} options")
    if kind is TaskKind.MULTI_CHOICE:
        letters = sorted(letters)
    index = OPTION_LETTERS.index(letters[0]) if kind is TaskKind.MCQ else -1
    return Answer(kind=kind, text=",".join(letters), options=options, option_index=index)


def _shuffled(gold: Answer, seed: str) -> tuple[Answer, tuple[str, ...]]:
    """The same answer with its options in a seeded order, so that no letter is right more often."""
    order = sorted(
        range(len(gold.options)), key=lambda place: unit_interval(seed, gold.options[place])
    )
    options = tuple(gold.options[place] for place in order)
    letter_of = {OPTION_LETTERS[old]: OPTION_LETTERS[new] for new, old in enumerate(order)}
    letters = [letter_of[letter] for letter in gold.text.split(",")]
    return _choice_answer(gold.kind, ",".join(letters), options), options


def question_text(task: Task) -> str:
    """The question as it is put to a model: with lettered options and the form of the answer."""
    lines = [task.question]
    lines += [
        f"{letter}. {option}" for letter, option in zip(OPTION_LETTERS, task.options, strict=False)
    ]
    return "\n".join([*lines, ANSWER_FORMS[task.kind]])


ANSWER_FORMS: dict[TaskKind, str] = {
    TaskKind.MCQ: "Answer with the letter of the right option.",
    TaskKind.MULTI_CHOICE: "Answer with the letters of all right options, such as A,C.",
    TaskKind.COUNT: "Answer with a whole number.",
    TaskKind.NUMBER: "Answer with a number.",
    TaskKind.ORDERING: "Answer with the letters in the right order, such as B,A,C.",
    TaskKind.TEMPORAL_GROUNDING: "Answer with the time span in seconds, such as 3.20 to 7.75.",
    TaskKind.FREE_TEXT: "Answer in a few words.",
}
