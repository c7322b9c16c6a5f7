"""Questions about cuts: how many, and when."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.base import unit_interval
from schemas.task import TaskKind
from transforms.annotate.observe import Observation
from transforms.annotate.questions import (
    LAST_CUT,
    MAX_CUTS_TO_COUNT,
    ONLY_CUT,
    ORDINALS,
    TIME_TOLERANCE_S,
    CannotSolveError,
    Family,
    Question,
    Solution,
    Spec,
    cited_shot,
    is_roomy,
)


def _propose_cut_count(observation: Observation, seed: str) -> list[Question]:
    if not is_roomy(observation) or len(observation.cut_times_s) > MAX_CUTS_TO_COUNT:
        return []
    text = "How many times does the picture cut to a different shot?"
    return [Question(TaskKind.COUNT, text, {"family": "cut_count"})]


def _solve_cut_count(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    cuts = observation.cut_times_s
    steps = [
        f"Cut {number}: the shot that began at {shot.start_s:.2f} s gives way to another "
        f"at {shot.end_s:.2f} s."
        for number, shot in enumerate(observation.shots[:-1], 1)
    ]
    last = observation.shots[-1]
    steps.append(
        f"From {last.start_s:.2f} s to the end at {last.end_s:.2f} s there is no further cut."
    )
    steps.append(f"So the number of cuts is {len(cuts)}.")
    segments = tuple(cited_shot(f"shot {n}", shot) for n, shot in enumerate(observation.shots, 1))
    return Solution(str(len(cuts)), tuple(steps), segments)


def _propose_cut_time(observation: Observation, seed: str) -> list[Question]:
    cuts = observation.cut_times_s
    if not is_roomy(observation) or len(cuts) > MAX_CUTS_TO_COUNT:
        return []
    number = int(unit_interval(seed, "cut_time") * len(cuts)) + 1
    if len(cuts) == 1:
        number = ONLY_CUT
        text = "At how many seconds into the clip does the picture cut to another shot?"
    else:
        which = ORDINALS[number - 1]
        if number == len(cuts):
            number, which = LAST_CUT, "last"
        text = f"At how many seconds into the clip does the {which} cut to another shot happen?"
    spec = {"family": "cut_time", "number": number}
    return [Question(TaskKind.NUMBER, text, spec, tolerance=TIME_TOLERANCE_S)]


def _solve_cut_time(observation: Observation, spec: Spec, options: Sequence[str]) -> Solution:
    cuts, number = observation.cut_times_s, int(spec["number"])
    if number == ONLY_CUT and len(cuts) != 1:
        raise CannotSolveError(f"{len(cuts)} cuts, the question is about the only one")
    if number in (ONLY_CUT, LAST_CUT):
        number = max(1, len(cuts))
    if number > len(cuts):
        raise CannotSolveError(f"{len(cuts)} cuts, the question asks for cut {number}")
    steps = [
        f"Cut {place} comes at {time_s:.2f} s." for place, time_s in enumerate(cuts[:number], 1)
    ]
    steps.append(f"So the time in seconds is {cuts[number - 1]:.2f}.")
    before, after = observation.shots[number - 1], observation.shots[number]
    segments = (cited_shot("before the cut", before), cited_shot("after the cut", after))
    return Solution(f"{cuts[number - 1]:.2f}", tuple(steps), segments)


CUT_FAMILIES = (
    Family("cut_count", _propose_cut_count, _solve_cut_count),
    Family("cut_time", _propose_cut_time, _solve_cut_time),
)
