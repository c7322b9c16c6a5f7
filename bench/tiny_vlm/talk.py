"""What is asked of a constructed clip and what the model is taught to reply, from the truth.

All prompts are rendered through the templates in `prompts/`, so that the model is trained on
exactly what the product sends it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from clips import COLOURS, DIRECTIONS, FORMS, Clip, Shape
from jinja2 import Environment, StrictUndefined, Template

PROMPTS = Path(__file__).with_name("prompts")
LETTERS = "ABCD"
NUMBER_TOLERANCE_S = 0.25
ORDINALS = ("first", "second", "third")


@dataclass(frozen=True)
class Question:
    """A question with its answer, and the shapes at the times that show it."""

    topic: str
    kind: str
    text: str
    answer: str
    options: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    boxes: tuple[tuple[Shape, float], ...] = field(default=())


def _template(name: str) -> Template:
    # As the product renders them.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((PROMPTS / name).read_text("utf-8"))


SOLVE = _template("solve.v3.j2")
PROPOSE = _template("propose.v2.j2")
DESCRIBE = _template("describe.v1.j2")


def solve_prompt(question: Question, duration_s: float, times_s: Sequence[float]) -> str:
    options = tuple(zip(LETTERS, question.options, strict=False))
    return SOLVE.render(
        duration_s=duration_s, frame_times_s=times_s, kind=question.kind, question=question.text,
        options=options, critique=(), reply_form="json",
    ).strip()  # fmt: skip


def propose_prompt(kind: str, duration_s: float, times_s: Sequence[float]) -> str:
    return PROPOSE.render(
        duration_s=duration_s, frame_times_s=times_s, wanted=1, kinds=(kind,), sample=0,
        critique=(), captions=(),
    ).strip()  # fmt: skip


def describe_prompt(duration_s: float, times_s: Sequence[float]) -> str:
    return DESCRIBE.render(duration_s=duration_s, frame_times_s=times_s).strip()


# Questions -----------------------------------------------------------------------------------


def questions(clip: Clip, rng: np.random.Generator) -> list[Question]:
    """One question of every topic that the clip can be asked, each about a shape by chance."""
    if not clip.shapes:
        return _of_nothing()
    one = clip.shapes[int(rng.integers(len(clip.shapes)))]
    first = ((one, one.start_s),)
    anyhow = _name(clip, one, rng, "colour", "form")
    spot, when = ("when it appears", one.start_s)
    if rng.random() < 0.5:
        spot, when = ("when it is last seen", one.last_s)
    colour = f"What colour is the {_name(clip, one, rng, 'form')}?"
    form = _form_question(clip, one, rng)
    way = f"Which way does the {anyhow} move?"
    found = [
        Question("colour", "free_text", colour, one.colour, shapes=(one,), boxes=first),
        Question("form", "free_text", form, one.form, shapes=(one,), boxes=first),
        Question("direction", "free_text", way, one.direction, shapes=(one,), boxes=first),
        Question(
            "count", "count", "How many shapes are there?", str(len(clip.shapes)),
            shapes=clip.shapes,
        ),
        Question(
            "appears", "number", f"At what second does the {anyhow} appear?",
            f"{one.start_s:.2f}", shapes=(one,), boxes=first,
        ),
        Question(
            "span", "temporal_grounding", f"When is the {anyhow} visible?",
            f"{one.start_s:.2f} to {one.end_s:.2f}", shapes=(one,), boxes=first,
        ),
        Question(
            "place", "spatial_grounding", f"Where is the {anyhow} {spot}?",
            box_text(one, when), shapes=(one,), boxes=((one, when),),
        ),
    ]  # fmt: skip
    for topic, text, right, choices in (
        ("colour", colour, one.colour, tuple(COLOURS)),
        ("form", form, one.form, FORMS),
        ("direction", way, one.direction, tuple(DIRECTIONS)),
    ):
        others = [choice for choice in choices if choice != right]
        options = [right, *rng.permutation(others)[: len(LETTERS) - 1]]
        options = [str(option) for option in rng.permutation(options)]
        letter = LETTERS[options.index(right)]
        found.append(
            Question(
                f"{topic} (mcq)", "mcq", text, letter, tuple(options), shapes=(one,), boxes=first
            )
        )
    return found


def _of_nothing() -> list[Question]:
    return [
        Question("nothing", "free_text", "What colour is the shape?", "none"),
        Question("nothing", "free_text", "Which shape is there?", "none"),
        Question("nothing", "free_text", "Which way does the shape move?", "none"),
        Question("count", "count", "How many shapes are there?", "0"),
    ]


def _name(clip: Clip, one: Shape, rng: np.random.Generator, *by: str) -> str:
    """A name that fits no other shape of the clip, by what it may be known by."""
    if len(clip.shapes) == 1 and rng.random() < 0.5:
        return "shape"
    names = []
    if "colour" in by:
        names += [f"{one.colour} shape", f"{one.colour} {one.form}"]
    if "form" in by:
        names += [one.form]
    if len(clip.shapes) > 1:
        names += [f"{ORDINALS[clip.shapes.index(one)]} shape"]
    return str(rng.choice(names))


def _form_question(clip: Clip, one: Shape, rng: np.random.Generator) -> str:
    if len(clip.shapes) == 1 and rng.random() < 0.5:
        return "Which shape is there?"
    if len(clip.shapes) > 1 and rng.random() < 0.33:
        return f"Which shape appears {ORDINALS[clip.shapes.index(one)]}?"
    return f"Which shape is {one.colour}?"


# Replies -------------------------------------------------------------------------------------


def box_text(shape: Shape, time_s: float) -> str:
    return "[" + ",".join(f"{side:.2f}" for side in shape.box(time_s)) + "]"


def _label(shape: Shape) -> str:
    return f"{shape.colour} {shape.form}"


def solve_reply(clip: Clip, question: Question) -> str:
    """Reasoning that names every shape with its times, the answer, and what it rests on."""
    seen = [
        f"A {_label(shape)} moves {shape.direction} from {shape.start_s:.2f} s "
        f"to {shape.end_s:.2f} s. "
        for shape in clip.shapes
    ]
    reasoning = "".join(seen or ["Nothing is there. "]) + f"So the answer is {question.answer}."
    segments = [
        f'{{"label":"{_label(shape)}","start_s":{shape.start_s:.2f},"end_s":{shape.end_s:.2f}}}'
        for shape in question.shapes
    ]
    boxes = [
        f'{{"label":"{_label(shape)}","t_s":{time_s:.2f},"xyxy_norm":{box_text(shape, time_s)}}}'
        for shape, time_s in question.boxes
    ]
    return (
        f'{{"reasoning":"{reasoning}","answer":"{question.answer}",'
        f'"segments":[{",".join(segments)}],"boxes":[{",".join(boxes)}]}}'
    )


def propose_reply(question: Question) -> str:
    evidence = [f"[{shape.start_s:.2f},{shape.end_s:.2f}]" for shape in question.shapes]
    options = json.dumps(list(question.options), separators=(",", ":"))
    tolerance = NUMBER_TOLERANCE_S if question.kind == "number" else -1
    return (
        f'{{"tasks":[{{"kind":"{question.kind}","question":"{question.text}","options":{options},'
        f'"answer":"{question.answer}","evidence":[{",".join(evidence)}],'
        f'"tolerance":{tolerance}}}]}}'
    )


def describe_reply(clip: Clip) -> str:
    """One caption for each span in which the same shapes are there."""
    edges = {clip.start_s, clip.end_s}
    edges |= {time_s for shape in clip.shapes for time_s in (shape.start_s, shape.end_s)}
    order = sorted(edges)
    captions = []
    for start_s, end_s in itertools.pairwise(order):
        there = [shape for shape in clip.shapes if shape.start_s <= start_s < shape.end_s]
        said = [f"A {_label(shape)} moves {shape.direction}." for shape in there]
        text = " ".join(said or ["Nothing is there."])
        captions.append(f'{{"start_s":{start_s:.2f},"end_s":{end_s:.2f},"text":"{text}"}}')
    return f'{{"captions":[{",".join(captions)}]}}'
