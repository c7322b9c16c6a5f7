"""The embedded teacher: asks and answers only what it measured in the pixels. No model, no GPU.

Its samples differ as a model's do: each looks at the clip through another gaze
(`transforms.annotate.observe.GAZES`), so some go wrong on unclear clips, and the verifier, which
measures the published mp4 anew, has something to find.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

from schemas.base import canonical_json, content_hash
from schemas.case import Scene
from schemas.task import Origin, Task
from transforms.annotate.asking import at_scene
from transforms.annotate.families import choose, solve
from transforms.annotate.measure_captions import describe, summarize
from transforms.annotate.observe import GAZES, Gaze, Observation, Rows, observe
from transforms.annotate.questions import CannotSolveError, Question, Solution
from transforms.annotate.replies import (
    CitedSegment,
    MeasuredProposeReply,
    MeasuredTask,
    SolveReply,
)
from transforms.annotate.teacher import Purpose, Reply, Request, TeacherSettings
from transforms.memo import MemoStore
from transforms.video.joining import without_joined
from transforms.video.measures import read_rows
from transforms.video.shots import Join, ShotSettings, scaled, shot_starts

VERSION = "5"


class MeasureTeacher:
    """Answers from the frame tables of the memo store."""

    def __init__(self, settings: TeacherSettings, store: MemoStore, shots: ShotSettings) -> None:
        self.settings = settings
        self._store = store
        self._shots = shots

    def version(self) -> str:
        # How clips are put together from shots shows in the clips themselves.
        detecting = self._shots.model_dump(
            mode="json", exclude={"min_clip_s", "max_clip_s", "unit"}
        )
        return content_hash("measure", VERSION, detecting)

    def open(self) -> None:
        """Nothing to load."""

    def ask(self, requests: Sequence[Request]) -> Iterable[Reply]:
        for request in requests:
            yield self._answer(request)

    def _answer(self, request: Request) -> Reply:
        # A repair looks the way the first sample does: at everything.
        number = 0 if request.round else request.sample % len(GAZES)
        params = canonical_json({} if request.scene is None else {"gaze": number})
        try:
            with at_scene(request.scene):
                text = self._text(request, GAZES[number])
        except CannotSolveError as error:
            return Reply(request_id=request.id, error=str(error), lasting=True, params_json=params)
        return Reply(request_id=request.id, text=text, params_json=params)

    def _text(self, request: Request, gaze: Gaze) -> str:
        scene = request.scene
        if scene is None:
            return summarize(request.captions).model_dump_json()
        if request.task is not None:
            return self._solve(scene, request.task, gaze)
        if request.purpose is Purpose.DESCRIBE:
            bars_share = scene.clip.measures.border_share
            return describe(self._observe(scene, gaze), bars_share).model_dump_json()
        return self._propose(request, scene)

    def _propose(self, request: Request, scene: Scene) -> str:
        observation = self._observe(scene, GAZES[0])
        seed = f"{request.seed}-{scene.clip.id}"
        questions = choose(observation, request.wanted, request.kinds, seed)
        tasks = [_proposed(question, observation) for question in questions]
        return MeasuredProposeReply(tasks=tuple(tasks)).model_dump_json()

    def _solve(self, scene: Scene, task: Task, gaze: Gaze) -> str:
        if task.origin is not Origin.PROPOSED:
            raise CannotSolveError(
                "the measure teacher answers only its own questions; "
                "set teacher.kind to openai or vllm"
            )
        solution = solve(self._observe(scene, gaze), json.loads(task.spec_json), task.options)
        return reply_of(solution).model_dump_json()

    def _observe(self, scene: Scene, gaze: Gaze) -> Observation:
        clip, media = scene.clip, scene.media
        path = self._store.path(scene.decoded.frames_ref)
        rows = read_rows(path, clip.start_frame, clip.end_frame)
        # The shots that the clip was made of, decided with a view of the whole video.
        first_rows = np.searchsorted(rows["time_s"], np.array(clip.shot_starts_s) - 1e-6)
        starts = [int(row) for row in first_rows]
        if gaze.cut_factor != 1.0:
            starts = self._starts_seen(rows, starts, gaze)
        # Ticks of the published mp4: what a viewer of the clip can see.
        tick_s = media.fps_den / media.fps_num
        times = np.round((rows["time_s"] - clip.start_s) / tick_s) * tick_s
        return observe(rows, times, starts, media.duration_s, gaze)

    def _starts_seen(self, rows: Rows, known: list[int], gaze: Gaze) -> list[int]:
        """Where shots begin by a stricter or laxer detector, in the clip alone."""
        settings = scaled(self._shots, gaze.cut_factor)
        # The clip's first frame differs from the one before it, which the clip does not show.
        scores = rows["shot_score"].copy()
        scores[0] = 0.0
        starts = shot_starts(rows["time_s"], scores, settings)
        if settings.join is Join.NONE:
            return starts
        detected = shot_starts(rows["time_s"], scores, self._shots)
        return without_joined(rows["time_s"], starts, detected, known, settings.min_shot_s)


def _proposed(question: Question, observation: Observation) -> MeasuredTask:
    solution = solve(observation, question.spec, question.options)
    return MeasuredTask(
        kind=question.kind,
        question=question.text,
        options=question.options,
        answer=solution.answer,
        evidence=tuple((start_s, end_s) for _, start_s, end_s in solution.segments),
        tolerance=question.tolerance,
        spec=question.spec,
    )


def reply_of(solution: Solution) -> SolveReply:
    """A solution in the form of any teacher's reply."""
    return SolveReply(
        reasoning="\n".join(solution.steps),
        answer=solution.answer,
        segments=tuple(
            CitedSegment(label=label, start_s=start_s, end_s=end_s)
            for label, start_s, end_s in solution.segments
        ),
    )
