"""Cases built by hand, with attempts whose verdicts are what a test wants them to be."""

from __future__ import annotations

from typing import Any

from schemas.case import Attempt, Case, Scene
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.clip import Clip, Measures, Media, ShotType
from schemas.examination import Asked, Examination
from schemas.rollout import Box, Rollout, Segment, Step, TeacherFacts
from schemas.source import Source
from schemas.task import CHOICE_KINDS, Origin, Task, TaskKind
from schemas.verdict import check, judge
from schemas.video import Decoded, Probe, Video
from schemas.view import Condition, View
from transforms.annotate.tasks import make_answer
from transforms.verify.checks import Thresholds, answer_check
from transforms.verify.conditions import cited_spans
from transforms.verify.decide import EXAMINED

OPTIONS = ("zebra", "walrus", "falcon")
PROBE = Probe(
    container="mp4", video_index=0, codec="h264", pix_fmt="yuv420p", width_px=320, height_px=180,
    rotation_deg=0, start_time_s=0.0, claimed_duration_s=10.0, container_duration_s=10.0,
    color_range=1, color_space=1, color_primaries=1, color_transfer=1, audio=None,
)  # fmt: skip
MEASURES = Measures(
    brightness=0.5, contrast=0.2, underexposed_share=0.0, overexposed_share=0.0, sharpness=0.1,
    motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
    crop_box=(0.0, 0.0, 1.0, 1.0), text_share=-1.0, loudness_lufs=-20.0, sound_share=1.0,
    average_shot_s=2.5, shot_type=ShotType.EDITED,
)  # fmt: skip
GOLD: dict[TaskKind, str] = {
    TaskKind.MCQ: "C",
    TaskKind.MULTI_CHOICE: "A,C",
    TaskKind.COUNT: "3",
    TaskKind.NUMBER: "2.5",
    TaskKind.ORDERING: "B,A,C",
    TaskKind.TEMPORAL_GROUNDING: "2.00 to 4.00",
    TaskKind.SPATIAL_GROUNDING: "[0.1,0.2,0.5,0.6]",
    TaskKind.SPATIO_TEMPORAL_GROUNDING: (
        '{"boxes":{"2":[0.1,0.2,0.5,0.6],"3":[0.2,0.2,0.6,0.6]},"time":[2.0,4.0]}'
    ),
    TaskKind.FREE_TEXT: "a red cup",
    TaskKind.CAUSAL: "C",
    TaskKind.NEXT_EVENT: "C",
}


def make_scene(number: int = 0, **source: Any) -> Scene:
    """The scene of a clip of 8 s at 25 fps, from 2 s into the video."""
    origin = Source(uri=f"films/v{number}.mp4", location="x", **source)
    video = Video(sha256=f"{number:064x}", size_bytes=9, probe=PROBE, source=origin)
    decoded = Decoded(
        video_id=video.id, num_frames=250, first_pts_s=0.0, duration_s=10.0, fps_num=25, fps_den=1,
        is_vfr=False, truncated="", frames_ref="f", samples_ref="s",
    )  # fmt: skip
    clip = Clip(
        video_id=video.id, start_s=2.0, end_s=10.0, start_frame=50, end_frame=250,
        shot_starts_s=(2.0,), measures=MEASURES,
    )  # fmt: skip
    media = Media(
        clip_id=clip.id, ref="cut/clip.mp4", sha256=f"{number + 1:064x}", size_bytes=9,
        width_px=320, height_px=180, num_frames=200, fps_num=25, fps_den=1, duration_s=8.0,
        has_audio=False,
    )  # fmt: skip
    return Scene(video=video, decoded=decoded, clip=clip, media=media)


def make_task(
    scene: Scene,
    kind: TaskKind = TaskKind.MCQ,
    *,
    known: bool = True,
    origin: Origin = Origin.PROPOSED,
    spec_json: str = "{}",
) -> Task:
    options = OPTIONS if kind in CHOICE_KINDS else ()
    tolerance = 0.25 if kind is TaskKind.NUMBER else -1.0
    return Task(
        clip_id=scene.clip.id,
        kind=kind,
        question=f"What about {kind}?",
        options=options,
        gold=make_answer(kind, GOLD[kind], options, tolerance) if known else None,
        origin=origin,
        spec_json=spec_json,
    )


def make_attempt(
    task: Task,
    sample: int,
    answer: str = "",
    *,
    round: int = 0,
    failed: tuple[str, ...] = (),
    scores: dict[str, float] | None = None,
    measured: bool = False,
    reasoning: str = "",
    spans: tuple[tuple[float, float], ...] = ((1.0, 8.0),),
    shown: tuple[Shown, ...] = (),
) -> Attempt:
    """An attempt that fails exactly the checks named; without an answer it gives the gold one.

    `shown`: its steps, each with a claim and what a look at the clip said of it.
    """
    answer = answer or GOLD[task.kind]
    steps = tuple(
        Step(text=f"At {number}.00 s thing {number} is seen.") for number in range(len(shown))
    )
    reasoning = reasoning or " ".join(
        [*(step.text for step in steps), f"At 1.00 s it is seen. So the answer is {answer}."]
    )
    rollout = Rollout(
        task_id=task.id,
        sample=sample,
        round=round,
        reasoning=reasoning,
        answer_text=answer,
        segments=tuple(Segment(label="seen", start_s=one, end_s=other) for one, other in spans),
        steps=steps,
        boxes=(Box(label="it", t_s=1.0, xyxy_norm=(0.1, 0.2, 0.3, 0.4)),) if sample == 0 else (),
        teacher=TeacherFacts(
            kind="openai", model="qwen", revision="r1", prompt_sha256="p" * 64,
            params_json='{"temperature":1.0}', seed=7,
        ),
        raw_reply="raw",
    )  # fmt: skip
    suffix = answer_check(task.kind).removeprefix("answer")
    threshold = {"_iou": 0.7, "_text": 0.5}.get(suffix, 1.0)
    known = {"format": 1.0, "spans_inside": 1.0, "cited_times": 1.0, "ends_in_answer": 1.0}
    known["answer" + suffix] = threshold
    if measured:
        known["measured" + suffix] = threshold
    given = {name: 0.0 if name in failed else 1.0 for name in known} | (scores or {})
    others = [name for name in failed if name not in known]
    assert set(others) <= {*EXAMINED, "no_trace"}
    known |= {name: getattr(Thresholds(), name) for name in others}
    given |= dict.fromkeys(others, 0.0)
    checks = tuple(check(name, given[name], least) for name, least in known.items())
    claims = tuple(
        CheckedClaim(
            claim=Claim(step=n, kind=ClaimKind.TIME, text=steps[n].text, start_s=n, end_s=n),
            exists=True,
            shown=one,
            votes=(one,),
        )
        for n, one in enumerate(shown)
        if one is not Shown.NOT_ASKED
    )
    return Attempt(rollout=rollout, verdict=judge(rollout.id, checks), claims=claims)


def examined(case: Case, model: str = "looker", **answers: str) -> Case:
    """The case asked again: a letter an answer, `-` = none could be read; `prefix2` = up to 2 s.

    The views of spans are those that the first attempt cites.
    """
    spans = cited_spans(case.attempts[0].rollout, case.task.kind, 8.0) if case.attempts else ()
    rows = []
    for name, said in answers.items():
        condition = Condition(name.rstrip("0123456789"))
        of_spans = condition in (Condition.EVIDENCE, Condition.MASKED)
        until_s = float(name.removeprefix("prefix")) if condition is Condition.PREFIX else -1.0
        view = View(condition=condition, spans_s=spans if of_spans else (), until_s=until_s)
        rows.append(Asked(view=view, answers=tuple("" if one == "-" else one for one in said)))
    return case.model_copy(update={"examination": Examination(model=model, rows=tuple(rows))})


def make_case(task: Task, scene: Scene, *attempts: Attempt) -> Case:
    return Case(scene=scene, task=task, attempts=attempts)
