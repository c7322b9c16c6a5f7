"""The measuring teacher on frame tables whose content is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from plain_scene import plain_scene

from schemas.case import Scene
from schemas.task import Origin, Task, TaskKind
from transforms.annotate.measure_teacher import MeasureTeacher
from transforms.annotate.observe import GAZES
from transforms.annotate.replies import MeasuredProposeReply, SolveReply, read_reply
from transforms.annotate.tasks import proposed_task
from transforms.annotate.teacher import Request, TeacherSettings, answers_by_id
from transforms.annotate.teachers import ask_stored
from transforms.memo import MemoStore
from transforms.video.measures import COLOR_NAMES, FRAME_SCHEMA, write_table
from transforms.video.shots import Join, ShotSettings

FPS, FRAMES, FIRST = 25, 250, 30
SHOTS = ShotSettings()
CUT = SHOTS.content_threshold


def frame_table(scores: dict[int, float]) -> pa.Table:
    """A video of 280 frames: 30 that the clip leaves out, then red, green, blue and white."""
    rows = np.arange(FIRST + FRAMES)
    part = np.clip((rows - FIRST) // 60, 0, 3)
    names = ("red", "green", "blue", "white")
    colors = np.zeros((len(rows), len(COLOR_NAMES)))
    colors[rows, [COLOR_NAMES.index(names[one]) for one in part]] = 1.0
    shot_scores = np.zeros(len(rows))
    for row, score in scores.items():
        shot_scores[row] = score
    columns: dict[str, Any] = {
        "time_s": 100.0 + rows / FPS,
        "shot_score": shot_scores,
        "luma": 0.1 + 0.2 * part,
        "luma_std": np.full(len(rows), 0.1),
        "difference": np.full(len(rows), 0.01),
    }
    # What this teacher does not look at, or was not measured.
    empty = np.full(len(rows), np.nan)
    flat = pa.array(colors.reshape(-1).astype(np.float32))
    arrays = [
        pa.FixedSizeListArray.from_arrays(flat, len(COLOR_NAMES))
        if field.name == "colors"
        else pa.array(columns.get(field.name, empty), field.type)
        for field in FRAME_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=FRAME_SCHEMA)


Made = tuple[MeasureTeacher, Scene]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A teacher and a scene: the last ten seconds of a video, four shots, cuts at rows of 60."""
    store = MemoStore(str(tmp_path))
    scores = {FIRST: 99.0, FIRST + 60: 99.0, FIRST + 120: 99.0, FIRST + 180: 99.0}
    # A flicker that only a nervous eye takes for a cut.
    scores[FIRST + 90] = CUT * 0.65
    write_table(frame_table(scores), tmp_path / "frames.arrow")
    start_s = 100.0 + FIRST / FPS
    scene = plain_scene(start_s=start_s, duration_s=FRAMES / FPS)
    update = {
        "start_frame": FIRST,
        "end_frame": FIRST + FRAMES,
        "shot_starts_s": tuple(start_s + n * 60 / FPS for n in range(4)),
    }
    decoded = scene.decoded.model_copy(update={"frames_ref": "frames.arrow"})
    clip = scene.clip.model_copy(update=update)
    scene = scene.model_copy(update={"clip": clip, "decoded": decoded})
    return MeasureTeacher(TeacherSettings(), store, SHOTS), scene


def proposals(teacher: MeasureTeacher, scene: Scene, seed: int = 0, **wanted: Any) -> list[Any]:
    fields = {"wanted": 32, "kinds": tuple(TaskKind)} | wanted
    [reply] = answers_by_id(teacher, [Request(scene=scene, seed=seed, **fields)])
    assert reply.error == ""
    return list(read_reply(reply.text, MeasuredProposeReply).tasks)


def task_of(made: Made, family: str) -> Task:
    teacher, scene = made
    [one] = [task for task in proposals(teacher, scene) if task.spec["family"] == family]
    return proposed_task(one, scene, 0)


def solved(made: Made, task: Task, **fields: Any) -> SolveReply:
    teacher, scene = made
    [reply] = answers_by_id(teacher, [Request(scene=scene, task=task, **fields)])
    assert reply.error == ""
    return read_reply(reply.text, SolveReply)


def test_questions_are_about_the_clip_in_clip_time(made: Made) -> None:
    answers = {json.dumps(task.spec, sort_keys=True): task.answer for task in proposals(*made)}
    assert answers['{"family": "cut_count"}'] == "3"
    assert answers['{"family": "extreme", "what": "darkest"}'] == "0.00 to 2.40"
    assert answers['{"family": "extreme", "what": "brightest"}'] == "7.20 to 10.00"
    assert '{"family": "extreme", "what": "longest"}' not in answers
    [time_text] = [task.answer for task in proposals(*made) if task.spec["family"] == "cut_time"]
    assert time_text in ("2.40", "4.80", "7.20")


def test_proposing_keeps_to_what_is_wanted_and_is_seeded(made: Made) -> None:
    teacher, scene = made
    few = proposals(teacher, scene, wanted=2, kinds=(TaskKind.MCQ,))
    assert [task.kind for task in few] == [TaskKind.MCQ] * 2
    assert few == proposals(teacher, scene, wanted=2, kinds=(TaskKind.MCQ,))
    several = {tuple(t.question for t in proposals(teacher, scene, s, wanted=3)) for s in range(8)}
    assert len(several) > 1


def test_the_evidence_of_a_proposal_is_what_its_answer_stands_on(made: Made) -> None:
    for task in proposals(*made):
        assert task.evidence
        assert all(0.0 <= start < end <= 10.0 for start, end in task.evidence)


def test_gazes_look_differently_and_say_which_they_were(made: Made) -> None:
    teacher, scene = made
    task = task_of(made, "cut_count")
    requests = [Request(scene=scene, task=task, sample=n) for n in range(len(GAZES) + 1)]
    replies = list(answers_by_id(teacher, requests))
    found = [json.loads(reply.params_json)["gaze"] for reply in replies]
    assert found == [*range(len(GAZES)), 0]
    answers = [read_reply(reply.text, SolveReply).answer for reply in replies]
    # Only the gazes that look more nervously than the flicker count it as a cut.
    nervous = [gaze.cut_factor <= 0.65 for gaze in GAZES]
    assert answers == [*("4" if one else "3" for one in nervous), "3"]
    assert {True, False} == set(nervous)


def test_a_repair_looks_at_everything(made: Made) -> None:
    task = task_of(made, "cut_count")
    sample = next(n for n, gaze in enumerate(GAZES) if gaze.cut_factor <= 0.65)
    assert solved(made, task, sample=sample).answer == "4"
    assert solved(made, task, sample=sample, round=1, critique=("wrong",)).answer == "3"


def test_the_edge_of_the_clip_is_no_cut(made: Made) -> None:
    """The first frame differs from the one before it, which the clip does not show."""
    for sample, gaze in enumerate(GAZES):
        if gaze.cut_factor > 0.65:
            reply = solved(made, task_of(made, "cut_count"), sample=sample)
            assert [one.start_s for one in reply.segments] == [0.0, 2.4, 4.8, 7.2]


def test_times_are_ticks_of_the_published_mp4(made: Made) -> None:
    """The source may show frames between the ticks; a viewer of the clip sees the ticks."""
    teacher, scene = made
    media = scene.media.model_copy(update={"fps_num": 10, "num_frames": 100})
    coarse = scene.model_copy(update={"media": media})
    task = task_of(made, "cut_count")
    for segment in solved((teacher, coarse), task).segments:
        assert segment.start_s * 10 == pytest.approx(round(segment.start_s * 10))


def test_what_it_did_not_ask_it_does_not_answer(made: Made) -> None:
    teacher, scene = made
    asked = task_of(made, "cut_count")
    given = asked.model_copy(update={"origin": Origin.GIVEN})
    strange = asked.model_copy(update={"spec_json": "{}"})
    for task, words in ((given, "teacher.kind"), (strange, "not a question about measurements")):
        [reply] = answers_by_id(teacher, [Request(scene=scene, task=task)])
        assert reply.text == ""
        assert words in reply.error


def test_its_version_follows_the_detector(made: Made) -> None:
    teacher, _ = made
    same = MeasureTeacher(TeacherSettings(samples=9), MemoStore("elsewhere"), ShotSettings())
    other = MeasureTeacher(TeacherSettings(), MemoStore("x"), ShotSettings(content_threshold=20))
    assert teacher.version() == same.version() != other.version()


def test_what_was_joined_is_no_cut_to_any_gaze(made: Made, tmp_path: Path) -> None:
    """A flash that the detector takes for a cut, in the shot that begins at 2.4 s."""
    teacher, scene = made
    scores = {FIRST + row: 99.0 for row in (0, 60, 90, 92, 120, 180)}
    write_table(frame_table(scores), tmp_path / "flash.arrow")
    decoded = scene.decoded.model_copy(update={"frames_ref": "flash.arrow"})
    scene = scene.model_copy(update={"decoded": decoded})
    task = task_of((teacher, scene), "cut_count")
    store = MemoStore(str(tmp_path))
    joining = MeasureTeacher(
        TeacherSettings(), store, SHOTS.model_copy(update={"join": Join.FEATURES})
    )
    for sample, gaze in enumerate(GAZES):
        assert solved((joining, scene), task, sample=sample).answer == "3", gaze
        # Without joining, the clip would have had the flash's cut, and these would be right.
        unjoined = solved((teacher, scene), task, sample=sample).answer
        assert unjoined == ("4" if gaze.cut_factor != 1.0 else "3")


def test_other_shots_of_the_same_span_are_answered_anew(made: Made, tmp_path: Path) -> None:
    """A stored reply about a clip does not outlive another decision on which shots are one."""
    teacher, scene = made
    task = task_of(made, "cut_count")
    store = MemoStore(str(tmp_path / "replies"))
    write_table(frame_table({}), store_path(store, "frames.arrow"))
    joined = scene.clip.model_copy(update={"shot_starts_s": scene.clip.shot_starts_s[:2]})
    answers = []
    for clip in (scene.clip, joined, scene.clip):
        request = Request(scene=scene.model_copy(update={"clip": clip}), task=task)
        [reply] = ask_stored(teacher.settings, store, SHOTS, [request]).values()
        answers.append(read_reply(reply.text, SolveReply).answer)
    assert answers == ["3", "1", "3"]


def store_path(store: MemoStore, ref: str) -> Path:
    path = store.path(ref)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
