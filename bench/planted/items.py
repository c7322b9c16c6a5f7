"""Right items about films, and wrong twins of each: planted errors that a verifier should find.

A right item is a task with a known answer and a rollout with honest reasoning: one sentence per
step, with times; the last one states the answer; what is cited is the least that it rests on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from planted.films import Film, Shape, make_film, make_scene, mirrored_film, still_film
from planted.words import KNOWLEDGE, NUMBERS, box_text
from tiny_vlm.clips import COLOURS, FORMS

from schemas.case import Scene
from schemas.rollout import Box, Rollout, Segment, TeacherFacts
from schemas.task import OPTION_LETTERS, Answer, Origin, Task, TaskKind
from transforms.memo import MemoStore

RIGHT = "right"
KINDS = (
    TaskKind.MCQ, TaskKind.COUNT, TaskKind.ORDERING, TaskKind.TEMPORAL_GROUNDING,
    TaskKind.SPATIAL_GROUNDING, TaskKind.NUMBER, TaskKind.FREE_TEXT,
)  # fmt: skip
TOLERANCE_S = 0.25
NOWHERE_S = 0.4
"""Before the first shape comes: there is nothing to be seen."""
Span = tuple[float, float]


@dataclass(frozen=True)
class Draft:
    """An item as it is written; times in seconds of clip time."""

    scene: Scene
    film: Film
    kind: TaskKind
    question: str
    gold: str
    answer: str
    sentences: tuple[str, ...]
    """The reasoning without the last sentence, which states the answer."""
    spans: tuple[Span, ...]
    about: tuple[Shape, ...]
    """The shapes that the answer rests on."""
    options: tuple[str, ...] = ()
    box: Box | None = None
    cited: tuple[Shape, ...] = ()
    """What each span is said to show; () = what the answer rests on."""
    at_s: float = -1.0
    """The moment that is asked about (SPATIAL_GROUNDING)."""

    @property
    def last(self) -> str:
        if self.kind is TaskKind.COUNT:
            return f"So the answer is {self.answer}."
        if self.kind is TaskKind.ORDERING:
            return f"So the order is {self.answer}."
        if self.kind is TaskKind.TEMPORAL_GROUNDING:
            return "So it is visible from {} s to {} s.".format(*self.answer.split(" to "))
        if self.kind is TaskKind.SPATIAL_GROUNDING:
            return f"So the box is {self.answer}."
        if self.kind is TaskKind.NUMBER:
            return f"So it appears at {self.answer} s."
        if self.kind is TaskKind.FREE_TEXT:
            return f"So the colour is {self.answer}."
        return f"So the answer is {self.answer}."


@dataclass(frozen=True)
class Item:
    """A task with one rollout, as a teacher could have written them."""

    twin: str
    """`RIGHT`, or which error was planted."""
    scene: Scene
    film: Film
    task: Task
    rollout: Rollout

    @property
    def kind(self) -> TaskKind:
        return self.task.kind


def finish(draft: Draft, twin: str) -> Item:
    """The item of a draft."""
    tolerance = TOLERANCE_S if draft.kind is TaskKind.NUMBER else -1.0
    task = Task(
        clip_id=draft.scene.clip.id,
        kind=draft.kind,
        question=draft.question,
        options=draft.options,
        gold=Answer(kind=draft.kind, text=draft.gold, options=draft.options, tolerance=tolerance),
        origin=Origin.GIVEN,
    )
    facts = TeacherFacts(
        kind="openai", model="planted", revision="", prompt_sha256="", params_json="{}", seed=0
    )
    rollout = Rollout(
        task_id=task.id,
        sample=0,
        round=0,
        reasoning=" ".join((*draft.sentences, draft.last)),
        answer_text=draft.answer,
        segments=segments_of(draft),
        boxes=(draft.box,) if draft.box else (),
        teacher=facts,
        raw_reply="",
    )
    return Item(twin, draft.scene, draft.film, task, rollout)


def segments_of(draft: Draft) -> tuple[Segment, ...]:
    """The cited spans with what they are said to show."""
    happens = "appears" if draft.kind is TaskKind.NUMBER else "is visible"
    shapes = (draft.cited or draft.about)[: len(draft.spans)]
    return tuple(
        Segment(label=f"a {name(shape)} {happens}", start_s=start_s, end_s=end_s)
        for shape, (start_s, end_s) in zip(shapes, draft.spans, strict=True)
    )


# Right items -------------------------------------------------------------------------------------


def name(shape: Shape) -> str:
    return f"{shape.colour} {shape.form}"


def span(shape: Shape) -> Span:
    return (shape.start_s, shape.end_s)


def appears(shape: Shape) -> str:
    return f"At {shape.start_s:.2f} s a {name(shape)} appears."


def gone(shape: Shape) -> str:
    return f"At {shape.end_s:.2f} s the {name(shape)} is gone."


def during(shape: Shape, what: str) -> str:
    return f"From {shape.start_s:.2f} s to {shape.end_s:.2f} s {what}."


def placed(shape: Shape, at_s: float) -> str:
    return f"At {at_s:.2f} s the {name(shape)} is at {box_text(shape.box(at_s))}."


def cited_box(shape: Shape, at_s: float) -> Box:
    return Box(label=name(shape), t_s=at_s, xyxy_norm=shape.box(at_s))


def right_draft(kind: TaskKind, scene: Scene, film: Film, rng: random.Random) -> Draft:
    """A right item of a kind."""
    return _MAKERS[kind](scene, film, rng)


def _choice(scene: Scene, film: Film, rng: random.Random) -> Draft:
    which = rng.choice(("colour", "form", "first"))
    shape = film.shapes[0] if which == "first" else rng.choice(film.shapes)
    if which == "colour":
        question, right = f"Which colour has the {shape.form}?", shape.colour
        others = rng.sample([one for one in COLOURS if one != right], 3)
    elif which == "form":
        question, right = f"Which form has the {shape.colour} shape?", shape.form
        others = [one for one in FORMS if one != right]
    else:
        question, right = "Which of these shapes appears first?", f"the {name(shape)}"
        others = [f"the {name(one)}" for one in film.shapes[1:]]
    options = [right, *others]
    rng.shuffle(options)
    letter = OPTION_LETTERS[options.index(right)]
    return Draft(
        scene, film, TaskKind.MCQ, question, letter, letter,
        tell_choice(shape, which), (span(shape),), (shape,), tuple(options),
        cited_box(shape, shape.start_s),
    )  # fmt: skip


def tell_choice(shape: Shape, which: str) -> tuple[str, ...]:
    if which == "colour":
        counted = during(shape, f"one {shape.form} is visible")
        return appears(shape), counted, during(shape, f"the {shape.form} is {shape.colour}")
    if which == "form":
        return appears(shape), during(shape, f"one {shape.colour} {shape.form} is visible")
    before = f"At 0.00 s no {name(shape)} is visible."
    return before, appears(shape), during(shape, "one shape is visible")


def _count(scene: Scene, film: Film, rng: random.Random) -> Draft:
    number = str(len(film.shapes))
    return Draft(
        scene, film, TaskKind.COUNT, "How many shapes appear in the clip?", number, number,
        tell_count(film.shapes), tuple(map(span, film.shapes)), film.shapes,
    )  # fmt: skip


def tell_count(shapes: Sequence[Shape]) -> tuple[str, ...]:
    start_s, end_s = shapes[0].start_s, max(one.end_s for one in shapes)
    total = f"From {start_s:.2f} s to {end_s:.2f} s {NUMBERS[len(shapes)]} shapes appear."
    return (*map(appears, shapes), total)


def _order(scene: Scene, film: Film, rng: random.Random) -> Draft:
    return _ordered(
        scene, film, film.shapes, "In which order do these shapes first appear?",
        tuple(map(appears, film.shapes)), tuple(map(span, film.shapes)), rng,
    )  # fmt: skip


def _ordered(
    scene: Scene, film: Film, shapes: Sequence[Shape], question: str, sentences: tuple[str, ...],
    spans: tuple[Span, ...], rng: random.Random,
) -> Draft:  # fmt: skip
    options = [f"the {name(one)}" for one in shapes]
    rng.shuffle(options)
    order = ",".join(OPTION_LETTERS[options.index(f"the {name(one)}")] for one in shapes)
    return Draft(
        scene, film, TaskKind.ORDERING, question, order, order, sentences, spans, tuple(shapes),
        tuple(options),
    )  # fmt: skip


def _when(scene: Scene, film: Film, rng: random.Random) -> Draft:
    shape = rng.choice(film.shapes)
    gold = f"{shape.start_s:.2f} to {shape.end_s:.2f}"
    return Draft(
        scene, film, TaskKind.TEMPORAL_GROUNDING, f"When is the {name(shape)} visible?", gold, gold,
        (appears(shape), gone(shape)), (span(shape),), (shape,),
    )  # fmt: skip


def _where(scene: Scene, film: Film, rng: random.Random) -> Draft:
    shape = rng.choice(film.shapes)
    at_s = shape.start_s + 0.5 * rng.randrange(round((shape.end_s - shape.start_s) / 0.5))
    gold = box_text(shape.box(at_s))
    return Draft(
        scene, film, TaskKind.SPATIAL_GROUNDING, f"Where is the {name(shape)} at {at_s:.2f} s?",
        gold, gold, (placed(shape, at_s),), ((at_s, at_s + 0.1),), (shape,), (),
        cited_box(shape, at_s), at_s=at_s,
    )  # fmt: skip


def _since(scene: Scene, film: Film, rng: random.Random) -> Draft:
    shape = rng.choice(film.shapes)
    gold = f"{shape.start_s:.2f}"
    return Draft(
        scene, film, TaskKind.NUMBER, f"At how many seconds does the {name(shape)} appear?", gold,
        gold, tell_since(shape), ((shape.start_s - 0.5, shape.start_s + 0.1),), (shape,), (),
        cited_box(shape, shape.start_s),
    )  # fmt: skip


def tell_since(shape: Shape) -> tuple[str, ...]:
    before_s = max(shape.start_s - 0.5, 0.0)
    return f"At {before_s:.2f} s no {name(shape)} is visible.", appears(shape)


def _last(scene: Scene, film: Film, rng: random.Random) -> Draft:
    shape = film.shapes[-1]
    return Draft(
        scene, film, TaskKind.FREE_TEXT, "What colour has the shape that appears last?",
        shape.colour, shape.colour, tell_last(film.shapes), (span(shape),), (shape,), (),
        cited_box(shape, shape.start_s),
    )  # fmt: skip


def tell_last(shapes: Sequence[Shape]) -> tuple[str, ...]:
    return gone(shapes[-2]), appears(shapes[-1]), during(shapes[-1], "one shape is visible")


_MAKERS: dict[TaskKind, Callable[[Scene, Film, random.Random], Draft]] = dict(
    zip(KINDS, (_choice, _count, _order, _when, _where, _since, _last), strict=True)
)


# Wrong twins -------------------------------------------------------------------------------------


def other_answer(draft: Draft, rng: random.Random) -> str:
    """A wrong answer of the same form."""
    if draft.kind is TaskKind.MCQ:
        letters = OPTION_LETTERS[: len(draft.options)]
        return rng.choice([one for one in letters if one != draft.gold])
    if draft.kind is TaskKind.COUNT:
        return str(int(draft.gold) + rng.choice((-1, 1, 2)))
    if draft.kind is TaskKind.ORDERING:
        letters = draft.gold.split(",")
        while ",".join(letters) == draft.gold:
            rng.shuffle(letters)
        return ",".join(letters)
    if draft.kind is TaskKind.FREE_TEXT:
        return rng.choice([one for one in COLOURS if one != draft.gold])
    if draft.kind is TaskKind.SPATIAL_GROUNDING:
        return box_text(elsewhere(draft.about[0].box(draft.at_s)))
    start_s, end_s = away(span(draft.about[0]), draft.film.end_s)
    return f"{start_s:.2f}" if draft.kind is TaskKind.NUMBER else f"{start_s:.2f} to {end_s:.2f}"


def elsewhere(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A box of the same size on the other side of the frame."""
    left, top, right, bottom = box
    across, down = right - left, bottom - top
    left = 1.0 - across if left + across / 2 < 0.5 else 0.0
    top = 1.0 - down if top + down / 2 < 0.5 else 0.0
    return left, top, left + across, top + down


def away(one: Span, duration_s: float) -> Span:
    """A span of the same length that does not touch this one."""
    start_s, end_s = one
    length_s = end_s - start_s
    free_s = 1.0
    if end_s + free_s + length_s <= duration_s:
        return end_s + free_s, end_s + free_s + length_s
    return start_s - free_s - length_s, start_s - free_s


def moved(shape: Shape, by_s: float) -> Shape:
    return replace(shape, start_s=shape.start_s + by_s, end_s=shape.end_s + by_s)


def retell(draft: Draft, shapes: Sequence[Shape]) -> tuple[str, ...]:
    """The same reasoning with other shapes in the place of those that it is about."""
    if draft.kind is TaskKind.MCQ:
        which = draft.question.split()[1]
        return tell_choice(shapes[0], "first" if which == "of" else which)
    if draft.kind is TaskKind.COUNT:
        return tell_count(shapes)
    if draft.kind is TaskKind.ORDERING:
        return tuple(map(appears, shapes))
    if draft.kind is TaskKind.TEMPORAL_GROUNDING:
        return appears(shapes[0]), gone(shapes[0])
    if draft.kind is TaskKind.SPATIAL_GROUNDING:
        return (placed(shapes[0], draft.at_s + shapes[0].start_s - draft.about[0].start_s),)
    if draft.kind is TaskKind.NUMBER:
        return tell_since(shapes[0])
    return tell_last((draft.film.shapes[-2], shapes[0]))


def wrong_answer(draft: Draft, rng: random.Random) -> Draft:
    return replace(draft, answer=other_answer(draft, rng))


def wrong_reasoning(draft: Draft, rng: random.Random) -> Draft:
    """Another shape, or the same at another time; where all are needed, each at another's time."""
    if len(draft.about) > 1:
        names = [*draft.about[1:], draft.about[0]]
        told = [
            replace(one, colour=other.colour, form=other.form)
            for one, other in zip(draft.about, names, strict=True)
        ]
        return replace(draft, sentences=retell(draft, told))
    shape = draft.about[0]
    if rng.random() < 0.5:
        start_s, _ = away(span(shape), draft.film.end_s)
        told = [moved(shape, start_s - shape.start_s)]
    else:
        told = [rng.choice([one for one in draft.film.shapes if one != shape])]
    return replace(draft, sentences=retell(draft, told))


def wrong_span(draft: Draft, rng: random.Random) -> Draft:
    """Told and cited at a time at which it is not."""
    shapes = [moved(one, away(span(one), draft.film.end_s)[0] - one.start_s) for one in draft.about]
    spans = tuple(away(one, draft.film.end_s) for one in draft.spans)
    changed = replace(draft, sentences=retell(draft, shapes), spans=spans)
    if draft.kind is TaskKind.TEMPORAL_GROUNDING:
        return replace(changed, answer=other_answer(draft, rng))
    return changed


def shifted_span(draft: Draft, rng: random.Random) -> Draft:
    """Cited three quarters of its length too late or too early, and at least a second."""

    def shifted(one: Span) -> Span:
        by_s = max(0.75 * (one[1] - one[0]), 1.0)
        if one[1] + by_s > draft.film.end_s:
            by_s = -by_s
        return one[0] + by_s, one[1] + by_s

    changed = replace(draft, spans=tuple(map(shifted, draft.spans)))
    if draft.kind is TaskKind.TEMPORAL_GROUNDING:
        start_s, end_s = changed.spans[0]
        return replace(changed, answer=f"{start_s:.2f} to {end_s:.2f}")
    return changed


def past_the_end(draft: Draft, rng: random.Random) -> Draft:
    start_s, _ = draft.spans[-1]
    end_s = draft.film.end_s + rng.choice((0.5, 2.0, 10.0))
    return replace(draft, spans=(*draft.spans[:-1], (start_s, end_s)))


def wrong_box(draft: Draft, rng: random.Random) -> Draft | None:
    if draft.box is None:
        return None
    box = elsewhere(draft.box.xyxy_norm)
    changed = replace(draft, box=draft.box.model_copy(update={"xyxy_norm": box}))
    if draft.kind is TaskKind.SPATIAL_GROUNDING:
        said = f"At {draft.at_s:.2f} s the {name(draft.about[0])} is at {box_text(box)}."
        return replace(changed, answer=box_text(box), sentences=(said,))
    return changed


def wrong_count(draft: Draft, rng: random.Random) -> Draft | None:
    """A number of shapes in the reasoning that is not so; the answer stays."""
    for place, sentence in enumerate(draft.sentences):
        for number in (1, 3, 4):
            word = f" {NUMBERS[number]} "
            if word in sentence:
                told = sentence.replace(word, f" {NUMBERS[number + rng.choice((1, 2))]} ")
                if number == 1:
                    told = told.replace(" is visible", " are visible")
                    told = told.replace("cross are", "crosses are").replace("e are", "es are")
                sentences = (*draft.sentences[:place], told, *draft.sentences[place + 1 :])
                return replace(draft, sentences=sentences)
    return None


def blind_answerable(draft: Draft, rng: random.Random) -> Draft | None:
    """A question that everybody knows the answer to, whatever the clip shows."""
    shape = draft.about[0]
    if draft.kind is TaskKind.COUNT:
        question = rng.choice([one for one in KNOWLEDGE if one.startswith("how many")])
        options: list[str] = []
    elif draft.kind in (TaskKind.MCQ, TaskKind.FREE_TEXT):
        question = rng.choice([one for one in KNOWLEDGE if one.startswith("what colour")])
        options = [KNOWLEDGE[question], *rng.sample(sorted({*COLOURS} - {KNOWLEDGE[question]}), 3)]
        rng.shuffle(options)
    else:
        return None
    gold = KNOWLEDGE[question]
    if draft.kind is TaskKind.MCQ:
        gold = OPTION_LETTERS[options.index(gold)]
    else:
        options = []
    question = f"{question[0].upper()}{question[1:]}?"
    return replace(
        draft, question=question, options=tuple(options), gold=gold, answer=gold,
        sentences=(appears(shape), gone(shape)), spans=(span(shape),),
    )  # fmt: skip


def not_needed(draft: Draft, rng: random.Random) -> Draft | None:
    """Cited is what the answer does not rest on: another shape, or nothing."""
    others = [one for one in draft.film.shapes if one not in draft.about]
    if draft.kind is TaskKind.TEMPORAL_GROUNDING:
        return None
    spans = (span(rng.choice(others)),) if others else ((0.0, NOWHERE_S),)
    return replace(draft, spans=spans)


def not_enough(draft: Draft, rng: random.Random) -> Draft | None:
    """Half of what is needed."""
    if len(draft.spans) > 1:
        kept = sorted(rng.sample(range(len(draft.spans)), len(draft.spans) // 2))
        spans, cited = ([some[place] for place in kept] for some in (draft.spans, draft.about))
        return replace(draft, spans=tuple(spans), cited=tuple(cited))
    if draft.kind is TaskKind.NUMBER:
        start_s, end_s = draft.spans[0]
        return replace(draft, spans=((start_s, (start_s + end_s) / 2),))
    return None


def contradiction(draft: Draft, rng: random.Random) -> Draft:
    """One and the same thing at one and the same time is said to be two things."""
    shape = rng.choice(draft.about)
    colour = rng.choice([one for one in COLOURS if one != shape.colour])
    said = during(shape, f"a {colour} {shape.form} is visible")
    return replace(draft, sentences=_with(draft.sentences, said, rng))


def invented(draft: Draft, rng: random.Random) -> Draft:
    """A shape that never is there."""
    there = {name(one) for one in draft.film.shapes}
    colours = {one.colour for one in draft.film.shapes}
    strange = [f"{c} {f}" for c in COLOURS for f in FORMS if c not in colours]
    at_s = rng.choice(draft.about).start_s
    thing = rng.choice([one for one in strange if one not in there])
    return replace(
        draft, sentences=_with(draft.sentences, f"At {at_s:.2f} s a {thing} is visible.", rng)
    )


def _with(sentences: tuple[str, ...], one: str, rng: random.Random) -> tuple[str, ...]:
    place = rng.randint(0, len(sentences))
    return (*sentences[:place], one, *sentences[place:])


def copied(draft: Draft, rng: random.Random) -> Draft:
    """The answer and no word of how it was found."""
    return replace(draft, sentences=())


SWAPPED, REVERSIBLE = "swapped video", "order not needed"
TWINS: dict[str, Callable[[Draft, random.Random], Draft | None]] = {
    "wrong answer": wrong_answer,
    "wrong reasoning": wrong_reasoning,
    "wrong span": wrong_span,
    "shifted span": shifted_span,
    "span past the end": past_the_end,
    "wrong box": wrong_box,
    "wrong count": wrong_count,
    "blind-answerable": blind_answerable,
    "evidence not needed": not_needed,
    "evidence not enough": not_enough,
    "contradiction": contradiction,
    "invented object": invented,
    "copied answer": copied,
}
"""Twins that follow from the item alone; None where an error can't be planted in an item."""
ALL_TWINS = (*TWINS, SWAPPED, REVERSIBLE)


def reversible(store: MemoStore, seed: int, rng: random.Random) -> Draft:
    """A question about order whose answer no order of the frames changes: places that stay, or a
    film that is the same backwards."""
    if seed % 2:
        film = still_film(seed)
        scene = make_scene(store, 2_000_000 + seed, film)
        shapes = sorted(film.shapes, key=lambda one: one.left)
        question = "In which order do these shapes lie, from left to right?"
        sentences = tuple(placed(one, 0.0) for one in shapes)
        return _ordered(scene, film, shapes, question, sentences, ((0.0, film.end_s),), rng)
    film = mirrored_film(seed)
    scene = make_scene(store, 3_000_000 + seed, film)
    question = "In which order do these shapes first appear?"
    sentences = tuple(map(appears, film.shapes[:2]))
    draft = _ordered(
        scene, film, film.shapes[:2], question, sentences, tuple(map(span, film.shapes)), rng
    )
    return replace(draft, cited=film.shapes)


def make_items(
    store: MemoStore, films: int, kinds: Sequence[TaskKind] = KINDS, first: int = 0
) -> Iterator[Item]:
    """For each film one right item of each kind, each followed by its twins."""
    scenes = {}
    for seed in range(first, first + films + 1):
        film = make_film(seed)
        scenes[seed] = (make_scene(store, 1_000_000 + seed, film), film)
    for seed in range(first, first + films):
        for kind in kinds:
            rng = random.Random(f"{seed} {kind}")
            draft = right_draft(kind, *scenes[seed], rng)
            yield finish(draft, RIGHT)
            for twin, plant in TWINS.items():
                if (planted := plant(draft, rng)) is not None:
                    yield finish(planted, twin)
            yield finish(replace(draft, scene=scenes[seed + 1][0]), SWAPPED)
            if kind is TaskKind.ORDERING:
                yield finish(reversible(store, seed, rng), REVERSIBLE)
