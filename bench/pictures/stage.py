"""Where the examples of the checks are played: constructed clips, and the product that judges.

Every score is the product's: of the checks that need no model by its `verify`, of those that ask
again by its examination, with the reader of pixels (`planted/reader.py`) as the model. An example
that does not come out as it should is an error, so that no picture shows what is not so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pictures.cards import BLACK, RED, Panel, Strip
from planted.films import Film, Shape, make_scene
from verifier import examined, reader_settings

from schemas.case import Attempt, Case, Scene
from schemas.rollout import Box, Rollout, Segment, TeacherFacts
from schemas.task import Answer, Origin, Task, TaskKind
from schemas.verdict import Check
from schemas.view import WHOLE, Spans, View
from transforms.annotate.seeing import Frames, look
from transforms.annotate.teacher import TeacherSettings
from transforms.memo import MemoStore
from transforms.verify.checks import Thresholds, VerifySettings, verify
from transforms.verify.remeasure import remeasured

FACTS = TeacherFacts(
    kind="openai", model="planted", revision="", prompt_sha256="", params_json="{}", seed=0
)
SETTINGS = VerifySettings()
GROUND = (40, 40, 44)
CIRCLE = Shape("red", "circle", "right", 0.5, 2.0, 0.1, 0.2, 0.3, 0.2)
SQUARE = Shape("green", "square", "down", 2.5, 4.0, 0.5, 0.1, 0.3, 0.2)
TRIANGLE = Shape("blue", "triangle", "left", 4.5, 6.0, 0.6, 0.5, 0.3, 0.2)
SHAPES = Film((CIRCLE, SQUARE, TRIANGLE), GROUND, 0.0, 6.0)
TWO_SQUARES = Film(
    (SQUARE, Shape("red", "square", "left", 4.5, 6.0, 0.6, 0.5, 0.3, 0.2)), GROUND, 0.0, 6.0
)
MIRRORED = Film(
    tuple(
        Shape(colour, form, "left", start_s, end_s, 0.35, 0.35, 0.3, 0.0)
        for colour, form, start_s, end_s in (
            ("red", "circle", 0.0, 1.0), ("green", "square", 1.0, 2.0),
            ("blue", "triangle", 2.0, 4.0), ("green", "square", 4.0, 5.0),
            ("red", "circle", 5.0, 6.0),
        )
    ), GROUND, 0.0, 6.0,
)  # fmt: skip
"""Backwards it is the same."""
REEL = tuple(
    Film((Shape(colour, form, "right", 0.0, end_s, 0.1, 0.3, 0.3, 0.2),), ground, 0.0, end_s)
    for colour, form, ground, end_s in (
        ("red", "circle", (40, 40, 44), 1.0), ("white", "square", (150, 60, 60), 1.0),
        ("blue", "triangle", (200, 190, 120), 1.0), ("yellow", "cross", (40, 90, 150), 3.0),
    )
)  # fmt: skip
"""Four shots: at each cut the ground changes."""
COLOURS = ("red", "green", "blue", "white")
WHICH = "Which colour has the square?"
HONEST = "At 2.50 s a green square appears. From 2.50 s to 4.00 s the square is green."
SEEN_S = ((2.5, 4.0),)
Row = tuple[Panel, Panel]
TIMES_S = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5)


@dataclass(frozen=True)
class Stage:
    """Where the examples are played."""

    store: MemoStore
    reader: TeacherSettings
    shapes: Scene
    two_squares: Scene
    mirrored: Scene
    reel: Scene

    @classmethod
    def of(cls, store: MemoStore, url: str) -> Stage:
        """With the clips in a store, and the reader behind a server."""
        scenes = (
            make_scene(store, code, *parts)
            for code, parts in enumerate(((SHAPES,), (TWO_SQUARES,), (MIRRORED,), REEL), 4_000_000)
        )
        return cls(store, reader_settings(url, "0"), *scenes)

    def look(self, scene: Scene, times_s: Sequence[float] | None, view: View = WHOLE) -> Frames:
        """What the product shows of a scene."""
        path = self.store.path(scene.media.ref)
        frames = look(path, scene.media, self.reader, times_s, view=view)
        if frames is None:
            raise RuntimeError(f"{view} shows nothing")
        return frames

    def strip(self, scene: Scene, lit_s: Spans = (), boxes: Sequence[Box] = ()) -> Strip:
        """Frames of the whole clip, with what is cited."""
        frames = self.look(scene, TIMES_S)
        drawn = tuple((box.t_s, box.xyxy_norm) for box in boxes)
        return Strip(list(frames.pixels), frames.times_s, lit_s, drawn)

    def viewed(self, scene: Scene, view: View, head: str = "", most: int = 6) -> Strip:
        """Frames of a view; of many, some that lie evenly."""
        frames = self.look(scene, None, view)
        number = len(frames.times_s)
        # From the second on: at the very start of these clips nothing is there yet.
        kept = range(number) if number <= most else range(1, number, -(-number // most))
        return Strip([frames.pixels[i] for i in kept], tuple(frames.times_s[i] for i in kept),
                     head=head)  # fmt: skip

    def examined(self, cases: Sequence[Case]) -> list[Case]:
        return examined(cases, self.store, self.reader, SETTINGS)


def task_of(
    scene: Scene, kind: TaskKind, question: str, gold: str, options: tuple[str, ...] = (),
    spec: str = "{}", origin: Origin = Origin.GIVEN,
) -> Task:  # fmt: skip
    answer = Answer(kind=kind, text=gold, options=options) if gold else None
    return Task(clip_id=scene.clip.id, kind=kind, question=question, options=options, gold=answer,
                origin=origin, spec_json=spec)  # fmt: skip


def rollout_of(
    task: Task, reasoning: str, answer: str, spans: Spans = (), boxes: tuple[Box, ...] = (),
    round: int = 0, sample: int = 0, label: str = "",
) -> Rollout:  # fmt: skip
    segments = tuple(Segment(label=label, start_s=start, end_s=end) for start, end in spans)
    return Rollout(task_id=task.id, sample=sample, round=round, reasoning=reasoning,
                   answer_text=answer, segments=segments, boxes=boxes, teacher=FACTS,
                   raw_reply="")  # fmt: skip


def case_of(
    stage: Stage, scene: Scene, task: Task, rollout: Rollout,
    thresholds: Thresholds = SETTINGS.thresholds,
) -> Case:  # fmt: skip
    """The case after the checks that need no model; the mp4 of a measured task is measured."""
    seen = remeasured(scene.media, stage.store, motion=False) if task.is_measured else None
    verdict = verify(rollout, task, task.gold, scene, seen, thresholds)
    attempt = Attempt(rollout=rollout, verdict=verdict)
    return Case(scene=scene, task=task, asked=1, attempts=(attempt,))


def the_check(case: Case, name: str, *, passes: bool, alone: bool = True) -> Check:
    """The check of a case; that it comes out so, and decides `alone`, is made sure of."""
    checks = {one.name: one for one in case.attempts[0].verdict.checks}
    failed = [one.name for one in checks.values() if not one.passed]
    expected = [] if passes else [name]
    if failed != expected and (passes or alone or name not in failed):
        raise RuntimeError(f"{name}: failed {failed}, not {expected}: {case.attempts[0]}")
    return checks[name]


def words(check: Check, *said: str) -> tuple[tuple[str, str], ...]:
    """What was said, and of a check that failed the critique."""
    critique = () if check.passed else ((check.detail, RED),)
    return (*((text, BLACK) for text in said), *critique)


def both(make: Callable[[bool], Panel]) -> Row:
    """The panel of what passes, and of what does not."""
    return make(True), make(False)


def lettered(options: Sequence[str]) -> str:
    return ", ".join(f"{letter} {one}" for letter, one in zip("ABCDEFGH", options, strict=False))
