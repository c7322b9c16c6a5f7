"""One accepted and one rejected example of each check that asks again, as in `own`."""

from __future__ import annotations

from collections.abc import Sequence

from pictures.cards import BLACK, GRAY, GREEN, RED, Panel, Sheet
from pictures.stage import (
    COLOURS,
    HONEST,
    SEEN_S,
    SETTINGS,
    SQUARE,
    WHICH,
    Row,
    Stage,
    case_of,
    lettered,
    rollout_of,
    task_of,
    the_check,
    words,
)

from schemas.case import Case, Scene
from schemas.claim import CheckedClaim
from schemas.rollout import Box
from schemas.task import TaskKind
from schemas.view import BACKWARDS, WHOLE, Condition, View
from transforms.verify.claims import view_of
from transforms.verify.conclude import told
from transforms.verify.conditions import right_answers
from transforms.verify.decide import decide

GOOD = f"{HONEST} So the answer is B."
LABEL = "a green square is visible"
CITED = "green square"


def of_questions(stage: Stage) -> Sheet:
    """`confirmed`, `needs_video`, `order_needed`: what is judged is question and known answer."""
    blind = View(condition=Condition.BLIND)
    shuffled = View(condition=Condition.SHUFFLED, order=BACKWARDS)
    rows = (
        _row(stage, "confirmed", _choice(stage, stage.shapes), _choice(stage, stage.two_squares),
             (WHOLE,)),
        _row(stage, "needs_video", _choice(stage, stage.shapes), _snow(stage), (WHOLE, blind)),
        _row(stage, "order_needed", _order(stage, stage.shapes, (0.5, 2.5, 4.5)),
             _order(stage, stage.mirrored, (0.0, 1.0, 2.0)), (WHOLE, shuffled)),
    )  # fmt: skip
    return Sheet("The question, asked again: what the model saw, and what it said", rows)


def _row(stage: Stage, name: str, good: Case, bad: Case, views: Sequence[View]) -> Row:
    panels = []
    for case, passes in zip(stage.examined((good, bad)), (True, False), strict=True):
        check = the_check(case, name, passes=passes)
        task = case.task
        assert task.gold is not None
        asked = f"{task.question} {lettered(task.options)}. Known: {task.gold.text}"
        strips, lines = [], []
        for view in views:
            row = case.examination.row(view)
            assert row is not None
            right = right_answers(row, task.gold, SETTINGS.thresholds)
            said = f"{view.condition.value}: {right} of {len(row.answers)} right"
            if view.condition is Condition.BLIND:
                lines.append((f"{said} (no frame)", GRAY))
            else:
                strips.append(stage.viewed(case.scene, view, said))
        told = (*lines, *words(check, asked))
        panels.append(Panel(check, strips=tuple(strips), lines=told))
    return panels[0], panels[1]


def _choice(stage: Stage, scene: Scene) -> Case:
    task = task_of(scene, TaskKind.MCQ, WHICH, "B", COLOURS)
    return case_of(stage, scene, task, rollout_of(task, GOOD, "B"))


def _snow(stage: Stage) -> Case:
    task = task_of(stage.shapes, TaskKind.MCQ, "What colour is fresh snow?", "D", COLOURS)
    reasoning = "At 2.50 s a green square appears. So the answer is D."
    return case_of(stage, stage.shapes, task, rollout_of(task, reasoning, "D"))


FIRST = "In which order do these shapes first appear?"


def _order(stage: Stage, scene: Scene, times_s: tuple[float, float, float]) -> Case:
    options = ("the green square", "the blue triangle", "the red circle")
    task = task_of(scene, TaskKind.ORDERING, FIRST, "C,A,B", options)
    first_s, then_s, last_s = times_s
    reasoning = (
        f"At {first_s:.2f} s a red circle appears. At {then_s:.2f} s a green square appears. "
        f"At {last_s:.2f} s a blue triangle appears. So the order is C,A,B."
    )
    return case_of(stage, scene, task, rollout_of(task, reasoning, "C,A,B"))


# Claims ------------------------------------------------------------------------------------------


def of_claims(stage: Stage) -> Sheet:
    """`claims`: each time and place that a reasoning names, looked up."""
    scene = stage.shapes
    task = task_of(scene, TaskKind.MCQ, WHICH, "B", COLOURS)
    left, top, right, bottom = SQUARE.box(2.5)
    cases = []
    for corners, reasoning in (
        ((left, top, right, bottom), GOOD),
        ((0.05, 0.6, 0.35, 0.9), GOOD.replace("From 2.50 s to 4.00 s", "From 4.50 s to 6.00 s")),
    ):
        box = Box(label=CITED, t_s=2.5, xyxy_norm=corners)
        rollout = rollout_of(task, reasoning, "B", SEEN_S, (box,), label=LABEL)
        cases.append(case_of(stage, scene, task, rollout))
    good, bad = stage.examined(cases)
    heads = []
    for case, passes in ((good, True), (bad, False)):
        check, rollout = the_check(case, "claims", passes=passes), case.attempts[0].rollout
        strip = stage.strip(scene, SEEN_S, rollout.boxes)
        heads.append(Panel(check, strips=(strip,), lines=((f"“{rollout.reasoning}”", BLACK),)))
    pairs = zip(good.attempts[0].claims, bad.attempts[0].claims, strict=True)
    looks = tuple((_claim(stage, scene, one), _claim(stage, scene, other)) for one, other in pairs)
    title = f"{WHICH} {lettered(COLOURS)}. Below: what the model was shown of each claim"
    return Sheet(title, ((heads[0], heads[1]), *looks))


def _claim(stage: Stage, scene: Scene, checked: CheckedClaim) -> Panel:
    """What the model was shown of a claim, and what it said."""
    claim = checked.claim
    strip = stage.viewed(scene, view_of(claim, scene.media))
    votes = ", ".join(vote.value for vote in checked.votes)
    color = GREEN if checked.holds else RED
    place = "In the box: " if claim.box else "Cited span: " if claim.step < 0 else ""
    return Panel(strips=(strip,), lines=((f"{place}“{claim.text}” Shown? {votes}", color),))


# Conclusions -------------------------------------------------------------------------------------


def of_conclusions(stage: Stage) -> Sheet:
    """`concludes`: the reasoning must lead to the answer; and `examined`."""
    scene = stage.shapes
    task = task_of(scene, TaskKind.MCQ, WHICH, "B", COLOURS)
    cases = [
        case_of(stage, scene, task, rollout_of(task, reasoning, "B", SEEN_S, label=LABEL))
        for reasoning in (GOOD, "At 2.50 s something moves. So the answer is B.")
    ]
    panels = []
    for case, passes in zip(stage.examined(cases), (True, False), strict=True):
        check, attempt = the_check(case, "concludes", passes=passes), case.attempts[0]
        said = ", ".join(one or "none" for one in attempt.conclusions)
        text = told(attempt.rollout, task).replace("\n", " ")
        lines = words(check, f"Told, without a frame: “{text}”", f"They conclude: {said}")
        panels.append(Panel(check, lines=lines))
    title = f"{WHICH} {lettered(COLOURS)}"
    rows = ((panels[0], panels[1]), _examined(stage))
    return Sheet(title, rows, stage.strip(scene, SEEN_S))


def _examined(stage: Stage) -> Row:
    """An answer that passed at once, and one that passes only by thresholds of later."""
    scene = stage.shapes
    question = "When is the green square visible?"
    task = task_of(scene, TaskKind.TEMPORAL_GROUNDING, question, "2.50 to 4.00")
    reasoning = "At 2.50 s a green square appears. At 4.25 s the green square is gone."
    reasoning += " So it is visible from 2.50 s to 4.25 s."
    rollout = rollout_of(task, reasoning, "2.50 to 4.25", ((2.5, 4.25),), label=LABEL)
    strict = SETTINGS.thresholds.model_copy(update={"answer_iou": 0.9})
    [asked] = stage.examined([case_of(stage, scene, task, rollout)])
    late = decide(case_of(stage, scene, task, rollout, strict), SETTINGS, examines=True)
    score = next(one for one in asked.attempts[0].verdict.checks if one.name == "answer_iou")
    if not asked.attempts[0].examined or not asked.accepted:
        raise RuntimeError(f"examined: {asked.attempts[0]}")
    check = the_check(late, "examined", passes=False)
    told = f"{question} Answer: 2.50 to 4.25, known: 2.50 to 4.00."
    first = f"answer_iou {score.score:.2f}, needs {score.threshold:g}: passed, so it was examined."
    then = f"answer_iou {score.score:.2f}, needed {strict.answer_iou:g}: nobody was asked."
    now = f"Now it needs {score.threshold:g}, and passes:"
    return (
        Panel(head="examined: no such check needed", lines=((told, BLACK), (first, BLACK))),
        Panel(check, lines=words(check, told, f"{then} {now}")),
    )
