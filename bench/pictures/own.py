"""One accepted and one rejected example of each check that needs no model."""

from __future__ import annotations

import json

from pictures.cards import BLUE, Bar, Panel, Sheet
from pictures.stage import (
    COLOURS,
    HONEST,
    SEEN_S,
    SETTINGS,
    SQUARE,
    WHICH,
    Row,
    Stage,
    both,
    case_of,
    lettered,
    rollout_of,
    task_of,
    the_check,
    words,
)
from planted.words import box_text

from schemas.case import Attempt, Case
from schemas.rewards import parse_intervals
from schemas.rollout import Box, Rollout
from schemas.task import Origin, TaskKind
from transforms.annotate.families import solve
from transforms.verify.checks import made_check, verify
from transforms.verify.consensus import consensus
from transforms.verify.gold import gold_of
from transforms.verify.remeasure import remeasured


def of_words(stage: Stage) -> Sheet:
    """`format`, `ends_in_answer`, `no_trace`: what is looked at is the reply."""
    scene = stage.shapes
    task = task_of(scene, TaskKind.MCQ, WHICH, "B", COLOURS)
    good = f"{HONEST} So the answer is B."

    def row(name: str, wrong: str, round: int = 0) -> Row:
        def panel(passes: bool) -> Panel:
            reasoning = good if passes else wrong
            rollout = rollout_of(task, reasoning, "B", SEEN_S, round=round)
            case = case_of(stage, scene, task, rollout)
            # What has tags of its own can't be read, so nothing is found at its end either.
            check = the_check(case, name, passes=passes, alone=name != "format")
            return Panel(check, lines=words(check, f"“{reasoning}”", "Answer: B"))

        return both(panel)

    rows = (
        row("format", f"{HONEST} <answer>B</answer> So the answer is B."),
        row("ends_in_answer", f"{HONEST} So it is the one in the middle."),
        row("no_trace", f"As the earlier attempt was turned down, I look again. {good}", round=1),
    )
    return Sheet(f"{WHICH} {lettered(COLOURS)}", rows, stage.strip(scene, SEEN_S))


def of_places(stage: Stage) -> Sheet:
    """`spans_inside` of a span and of a box, `cited_times`: what is cited must exist."""
    scene = stage.shapes
    task = task_of(scene, TaskKind.MCQ, WHICH, "B", COLOURS)
    end = "So the answer is B."

    def drawn(name: str, rollout: Rollout, said: str, bar: Bar | None, *, passes: bool) -> Panel:
        check = the_check(case_of(stage, scene, task, rollout), name, passes=passes)
        strip = stage.strip(scene, bar.spans_s if bar else (), rollout.boxes)
        bars = (bar,) if bar else ()
        return Panel(check, "", (strip,), bars, scene.media.duration_s, words(check, said))

    def span(passes: bool) -> Panel:
        cited = (2.5, 4.0 if passes else 7.5)
        said = f"Cites {cited[0]:.2f} to {cited[1]:.2f} s."
        rollout = rollout_of(task, f"{HONEST} {end}", "B", (cited,))
        return drawn("spans_inside", rollout, said, Bar("cited", (cited,)), passes=passes)

    def box(passes: bool) -> Panel:
        left, top, right, bottom = SQUARE.box(2.5)
        corners = (left, top, right if passes else 1.15, bottom)
        cited = Box(label="green square", t_s=2.5, xyxy_norm=corners)
        rollout = rollout_of(task, f"{HONEST} {end}", "B", boxes=(cited,))
        said = f"Cites the box {box_text(corners)} at 2.50 s."
        return drawn("spans_inside", rollout, said, None, passes=passes)

    def time(passes: bool) -> Panel:
        time_s = 2.5 if passes else 14.0
        said = f"At {'2.50 s' if passes else '00:14'} a green square appears. {end}"
        bar = Bar("named", ((time_s, time_s),))
        return drawn("cited_times", rollout_of(task, said, "B"), f"“{said}”", bar, passes=passes)

    title = f"{WHICH} {lettered(COLOURS)} (the clip lasts 6 s)"
    return Sheet(title, (both(span), both(box), both(time)))


def of_answers(stage: Stage) -> Sheet:
    """`answer`, `answer_iou`, `answer_text`, `measured`, `measured_iou`, `agreement`."""
    scene = stage.shapes

    def answer(passes: bool) -> Panel:
        task = task_of(scene, TaskKind.MCQ, WHICH, "B", COLOURS)
        said = "B" if passes else "C"
        rollout = rollout_of(task, f"So the answer is {said}.", said)
        check = the_check(case_of(stage, scene, task, rollout), "answer", passes=passes)
        asked = f"{WHICH} {lettered(COLOURS)}"
        return Panel(check, lines=words(check, asked, f"Known: B. Answer: {said}"))

    def iou(passes: bool) -> Panel:
        question = "When is the green square visible?"
        task = task_of(scene, TaskKind.TEMPORAL_GROUNDING, question, "2.50 to 4.00")
        start_s, end_s = (2.5, 4.25) if passes else (3.5, 6.0)
        said = f"{start_s:.2f} to {end_s:.2f}"
        rollout = rollout_of(task, f"So it is visible from {said}.", said)
        check = the_check(case_of(stage, scene, task, rollout), "answer_iou", passes=passes)
        bars = (Bar("known", SEEN_S, BLUE), Bar("answer", ((start_s, end_s),)))
        told = f"{question} Answer: {said}"
        return Panel(check, "", (), bars, scene.media.duration_s, words(check, told))

    def text(passes: bool) -> Panel:
        question, known = "What comes after the red circle?", "a green square moving down"
        task = task_of(scene, TaskKind.FREE_TEXT, question, known)
        said = "a green square that moves down" if passes else "a blue triangle"
        rollout = rollout_of(task, f"So it is {said}.", said)
        check = the_check(case_of(stage, scene, task, rollout), "answer_text", passes=passes)
        told = (question, f"Known: {known}", f"Answer: {said}")
        return Panel(check, lines=words(check, *told))

    rows = (both(answer), both(iou), both(text), both(lambda passes: agreement(stage, passes)))
    title = "The answer: against the known one, the other samples, and what is measured anew"
    return Sheet(title, (*rows, *measures(stage)), stage.strip(scene))


def agreement(stage: Stage, passes: bool) -> Panel:
    """Four samples of a question without a known answer."""
    task = task_of(stage.shapes, TaskKind.MCQ, WHICH, "", COLOURS)
    letters = ("B", "B", "B", "A") if passes else ("A", "B", "C", "D")
    voters = [
        (rollout_of(task, f"So the answer is {letter}.", letter, sample=sample), 1.0)
        for sample, letter in enumerate(letters)
    ]
    _, share = consensus(task, voters, SETTINGS.thresholds, len(letters))
    check = made_check("agreement", share, SETTINGS.thresholds, "")
    attempts = tuple(
        Attempt(rollout=one, verdict=verify(one, task, None, stage.shapes, None,
                                            SETTINGS.thresholds))
        for one, _ in voters
    )  # fmt: skip
    case = Case(scene=stage.shapes, task=task, asked=len(letters), attempts=attempts)
    agreed = gold_of(case, SETTINGS).text
    if check.passed is not passes or bool(agreed) is not passes:
        raise RuntimeError(f"agreement: {check}, agreed on {agreed!r}")
    told = f"{WHICH} {lettered(COLOURS)}", f"Four samples answer {', '.join(letters)}"
    told = (*told, f"To grade by: {agreed or 'nothing, so nothing is accepted'}")
    return Panel(check, lines=words(check, *told))


def measures(stage: Stage) -> tuple[Row, ...]:
    """`measured`, `measured_iou`: the published mp4, measured anew, must give the answer, too."""
    scene = stage.reel

    def row(name: str, kind: TaskKind, question: str, spec: str, good: str, bad: str) -> Row:
        def panel(passes: bool) -> Panel:
            said = good if passes else bad
            # What the teacher measured in the source is the known answer: it may be wrong.
            task = task_of(scene, kind, question, said, spec=spec, origin=Origin.PROPOSED)
            rollout = rollout_of(task, f"So the answer is {said}.", said)
            check = the_check(case_of(stage, scene, task, rollout), name, passes=passes)
            anew = remeasured(scene.media, stage.store, motion=False)
            found = solve(anew, json.loads(spec), ()).answer
            told = words(check, question, f"Answer: {said}. Measured anew: {found}")
            bars: tuple[Bar, ...] = (
                Bar("anew", tuple(parse_intervals(found)), BLUE),
                Bar("answer", tuple(parse_intervals(said))),
            )
            if kind is TaskKind.COUNT:
                bars = (Bar("cuts anew", tuple((one, one) for one in anew.cut_times_s), BLUE),)
            return Panel(check, "", (stage.strip(scene),), bars, scene.media.duration_s, told)

        return both(panel)

    return (
        row("measured", TaskKind.COUNT, "How many times does the picture cut to a different shot?",
            '{"family": "cut_count"}', "3", "4"),
        row("measured_iou", TaskKind.TEMPORAL_GROUNDING,
            "During which time span is the longest uninterrupted shot of the clip on screen?",
            '{"family": "extreme", "what": "longest"}', "3.00 to 6.00", "1.00 to 3.00"),
    )  # fmt: skip
