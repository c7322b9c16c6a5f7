"""From proposed and given questions to tasks: rules, canonical answers, balanced option letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import canonical_json, unit_interval
from schemas.case import Scene
from schemas.clip import Clip
from schemas.rejection import Reason, Rejected
from schemas.rewards import (
    REWARD_FOR_KIND,
    cited_times_in,
    grade,
    parse_boxes,
    parse_intervals,
    parse_letters,
    parse_number,
    parse_timed_boxes,
)
from schemas.source import GivenQuestion
from schemas.task import (
    BOX_KINDS,
    CHOICE_KINDS,
    ONE_CHOICE_KINDS,
    OPTION_LETTERS,
    Answer,
    AnswerBox,
    Origin,
    Task,
    TaskKind,
)
from transforms.annotate.leaks import gives_away
from transforms.annotate.replies import MeasuredTask, ProposedTask

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
    """The kinds to ask for in a clip, most wanted first: a seeded shuffle by weight."""
    return weighted_order(settings.mix, seed, clip.id)


Name = TypeVar("Name", bound=str)


def weighted_order(mix: Mapping[Name, float], *seeds: object) -> tuple[Name, ...]:
    """The names with a weight above 0 in a seeded order, heavy ones early more often.

    Keys u^(1/w) sorted downwards are a weighted sample without replacement (Efraimidis and
    Spirakis 2006).
    """
    keyed = [
        (unit_interval(*seeds, name) ** (1.0 / weight), name)
        for name, weight in sorted(mix.items())
        if weight > 0
    ]
    return tuple(name for _, name in sorted(keyed, reverse=True))


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
    if gives_away(question, gold):
        raise Rejected(Reason.BAD_TASK, f"the question gives the answer away: {question}")
    evidence = proposed.evidence or gold.intervals_s
    if not evidence:
        raise Rejected(Reason.BAD_TASK, f"no evidence is cited for: {question}")
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
        evidence_s=evidence,
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
        if text and not answered and not spans:
            raise Rejected(Reason.BAD_TASK, f"{text!r} holds no span")
        text = "; ".join(f"{start_s:.6f} to {end_s:.6f}" for start_s, end_s in answered or spans)
    if kind is TaskKind.SPATIO_TEMPORAL_GROUNDING and text:
        text = _shifted_boxes(text, scene.clip.start_s)
    if kind in ONE_CHOICE_KINDS:
        _demand_one_meaning(text, given.options)
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


def _demand_one_meaning(text: str, options: Sequence[str]) -> None:
    """Raise Rejected if a given answer is the letter of one option and the text of another."""
    place = OPTION_LETTERS.find(text) if len(text) == 1 else -1
    if 0 <= place < len(options) and text in options and options.index(text) != place:
        raise Rejected(
            Reason.BAD_TASK,
            f"{text!r} is the letter of {options[place]!r} and also an option of its own",
        )


def _shifted_boxes(text: str, shift_s: float) -> str:
    """The same span and boxes in clip time; a list, so that none hides another."""
    spans = [[max(0.0, t_s - shift_s) for t_s in span] for span in parse_intervals(text)]
    boxes = [
        {"t_s": max(0.0, t_s - shift_s), "xyxy_norm": list(box)}
        for t_s, box in parse_timed_boxes(text)
    ]
    return canonical_json({"time": spans, "boxes": boxes})


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
    answer = _answer(kind, text, options, tolerance)
    spec = {"tolerance": tolerance} if kind is TaskKind.NUMBER else {}
    if grade(REWARD_FOR_KIND[kind], answer.text, answer.text, **spec) < 1.0:
        raise Rejected(Reason.BAD_TASK, f"{text[:200]!r} can't be graded: nothing would be right")
    return answer


def _answer(kind: TaskKind, text: str, options: Sequence[str], tolerance: float) -> Answer:
    if kind in CHOICE_KINDS:
        return _choice_answer(kind, text, tuple(option.strip() for option in options))
    if kind in (TaskKind.COUNT, TaskKind.NUMBER):
        number = parse_number(text)
        if number is None or (kind is TaskKind.COUNT and (number < 0 or number % 1)):
            raise Rejected(Reason.BAD_TASK, f"{text!r} is no {kind}")
        # Plus 0: there is no -0.
        words = str(int(number)) if kind is TaskKind.COUNT else f"{number + 0.0:.10g}"
        return Answer(kind=kind, text=words, tolerance=tolerance)
    if kind is TaskKind.TEMPORAL_GROUNDING:
        spans = tuple(parse_intervals(text))
        if not spans:
            raise Rejected(Reason.BAD_TASK, f"{text!r} holds no span")
        words = "; ".join(f"{start_s:.2f} to {end_s:.2f}" for start_s, end_s in spans)
        return Answer(kind=kind, text=words, intervals_s=spans)
    if kind in BOX_KINDS:
        return _box_answer(kind, text)
    if not text.strip():
        raise Rejected(Reason.BAD_TASK, "the answer is empty")
    return Answer(kind=kind, text=text.strip())


def _box_answer(kind: TaskKind, text: str) -> Answer:
    if kind is TaskKind.SPATIAL_GROUNDING:
        boxes = [(-1.0, box) for box in parse_boxes(text)]
        if len(boxes) != 1:
            raise Rejected(Reason.BAD_TASK, f"{text!r} does not hold one box [x1, y1, x2, y2]")
    else:
        # To the millisecond, so that the text says exactly what the record does.
        boxes = sorted((round(t_s, 3), box) for t_s, box in parse_timed_boxes(text))
        spans = [(round(start_s, 3), round(end_s, 3)) for start_s, end_s in parse_intervals(text)]
        if len(spans) != 1:
            raise Rejected(Reason.BAD_TASK, f'{text!r} does not hold one span {{"time": [s, e]}}')
        start_s, end_s = spans[0]
        if not boxes or any(not start_s <= t_s <= end_s for t_s, _ in boxes):
            raise Rejected(Reason.BAD_TASK, f"{text!r} holds no boxes within its span")
        if len({t_s for t_s, _ in boxes}) < len(boxes):
            raise Rejected(Reason.BAD_TASK, f"{text!r} holds two boxes at the same time")
    for _, (left, top, right, bottom) in boxes:
        if not (0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0):
            raise Rejected(Reason.BAD_TASK, f"{text!r} holds a box that is not inside the frame")
    placed = tuple(AnswerBox(t_s=t_s, xyxy_norm=box) for t_s, box in boxes)
    if kind is TaskKind.SPATIAL_GROUNDING:
        return Answer(kind=kind, text=canonical_json(list(boxes[0][1])), boxes=placed)
    words = {"time": list(spans[0]), "boxes": {f"{t_s:.13g}": list(box) for t_s, box in boxes}}
    return Answer(kind=kind, text=canonical_json(words), intervals_s=tuple(spans), boxes=placed)


def _choice_answer(kind: TaskKind, text: str, options: tuple[str, ...]) -> Answer:
    if not 2 <= len(options) <= len(OPTION_LETTERS):
        raise Rejected(
            Reason.BAD_TASK, f"{len(options)} options; 2 to {len(OPTION_LETTERS)} can be"
        )
    if len({option.casefold() for option in options}) < len(options) or "" in options:
        raise Rejected(Reason.BAD_TASK, "two options are the same, or one is empty")
    known = OPTION_LETTERS[: len(options)]
    # A canonical answer is a letter, whatever the options say.
    is_letter = len(text) == 1 and text in known
    if text.strip() in options and kind in ONE_CHOICE_KINDS and not is_letter:
        letters = [OPTION_LETTERS[options.index(text.strip())]]
    else:
        letters = parse_letters(text)
    if kind is TaskKind.ORDERING:
        complete = len(letters) == len(options)
    else:
        complete = len(letters) == 1 if kind in ONE_CHOICE_KINDS else len(letters) >= 1
    if not (complete and set(letters) <= set(known) and len(set(letters)) == len(letters)):
        raise Rejected(Reason.BAD_TASK, f"{text!r} is no {kind} answer to {len(options)} options")
    if kind is TaskKind.MULTI_CHOICE:
        letters = sorted(letters)
    index = OPTION_LETTERS.index(letters[0]) if kind in ONE_CHOICE_KINDS else -1
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
    TaskKind.SPATIAL_GROUNDING: "Answer with the box [x1, y1, x2, y2], each from 0 to 1 as a share "
    "of the frame's width or height.",
    TaskKind.SPATIO_TEMPORAL_GROUNDING: "Answer with the time span in seconds and a box for each "
    'whole second in it, such as {"time": [3.20, 5.75], "boxes": {"4": [0.1, 0.2, 0.3, 0.4], '
    '"5": [0.1, 0.2, 0.4, 0.4]}}.',
    TaskKind.FREE_TEXT: "Answer in a few words.",
    TaskKind.CAUSAL: "Answer with the letter of the right option.",
    TaskKind.NEXT_EVENT: "Answer with the letter of the right option.",
}
