"""Constructed tasks: media are made together with the question, so the answer is exact.

No teacher is needed. For each clip the wanted number of families is taken in a seeded, weighted
order; one that does not fit the clip (too still, too short, too much alike) makes room for the
next. See docs/tasks.md for what each label means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import cv2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.base import canonical_json
from schemas.case import Case, Scene
from schemas.clip import Clip
from schemas.rejection import Reason, Rejected, Stage
from schemas.task import Origin, Task, TaskKind
from transforms.annotate.construct_look import (
    Construction,
    DoesNotFitError,
    Draw,
    Look,
    cut_frames,
    look_at,
)
from transforms.annotate.construct_pictures import anomaly, shapes
from transforms.annotate.construct_time import backward, order, speed
from transforms.annotate.tasks import make_answer, weighted_order
from transforms.memo import MemoStore
from transforms.outcome import Outcome, Subject, rejections
from transforms.video.alter import alter
from transforms.video.alter_request import Alteration
from transforms.video.cut import CutSettings
from transforms.video.media_process import ffmpeg_version

VERSION = "1"
MAX_FRAMES = 7_500
"""Five minutes at 25 frames/s. What is longer, such as a whole video with questions of its own,
would take too much memory to look at and too many passes to turn round."""


class ConstructedFamily(StrEnum):
    """The families, by what is asked for."""

    ANOMALY = "anomaly"
    """When does the picture look altered?"""
    SHAPES = "shapes"
    """How many shapes are laid over it?"""
    ORDER = "order"
    """In which order were the pieces?"""
    REVERSED = "reversed"
    """Forward or backward?"""
    SPEED = "speed"
    """When is it played faster or slower?"""


PLANS: Mapping[ConstructedFamily, Callable[[Look, Draw], Construction]] = {
    ConstructedFamily.ANOMALY: anomaly,
    ConstructedFamily.SHAPES: shapes,
    ConstructedFamily.ORDER: order,
    ConstructedFamily.REVERSED: backward,
    ConstructedFamily.SPEED: speed,
}


class ConstructedSettings(BaseModel):
    """Section `constructed` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_clip: int = Field(
        0,
        ge=0,
        le=len(ConstructedFamily),
        description="tasks wanted per clip whose answer is exact because their media are made for "
        "them, on top of tasks.per_clip, each of another family; 0 = none",
    )
    mix: dict[ConstructedFamily, Annotated[float, Field(ge=0.0)]] = Field(
        default_factory=lambda: dict.fromkeys(ConstructedFamily, 1.0),
        description="how often each family is made, relative to the others; 0 or not named = "
        "never; --set constructed.mix.shapes=0 changes one and leaves the others",
    )

    @model_validator(mode="after")
    def _something_to_make(self) -> ConstructedSettings:
        if self.per_clip and not self.wanted:
            raise ValueError("per_clip is above 0, but the mix names no family with a weight")
        return self

    @property
    def wanted(self) -> int:
        """Tasks wanted per clip: no family is made twice."""
        return min(self.per_clip, sum(weight > 0 for weight in self.mix.values()))


@dataclass(frozen=True)
class Constructor:
    """Makes the constructed tasks of a clip. The leg's unit is the task that is wanted."""

    settings: ConstructedSettings
    seed: int
    store: MemoStore
    cut: CutSettings

    def __call__(self, scene: Scene) -> Outcome[Case]:
        cases: list[Case] = []
        reasons: list[str] = []
        failed = 0
        passing = False
        look: list[Look] = []
        for family in weighted_order(self.settings.mix, "constructed", self.seed, scene.clip.id):
            if len(cases) + failed == self.settings.wanted:
                break
            plan = self._plan(scene, family, look)
            if isinstance(plan, str):
                reasons.append(f"{family}: {plan}")
                continue
            try:
                cases.append(self._made(scene, family, plan))
            except Rejected as rejected:
                # Not the next family in its place: what is asked must not hang on a time-out.
                failed += 1
                passing = passing or rejected.passing
                reasons.append(f"{family}: {rejected}")
        missing = self.subjects(scene)[len(cases) :]
        lost = rejections(Stage.CONSTRUCT, missing, Reason.CANNOT_CONSTRUCT, "; ".join(reasons))
        return Outcome(cases, list(lost), self.settings.wanted, passing)

    def subjects(self, scene: Scene) -> list[Subject]:
        """One for each task that is wanted of a clip."""
        clip = scene.clip.id
        return [(f"{clip}-k{number}", clip) for number in range(self.settings.wanted)]

    def _plan(
        self, scene: Scene, family: ConstructedFamily, looked: list[Look]
    ) -> Construction | str:
        """What is to be made, or why the family does not fit; the clip is looked at once."""
        clip, media = scene.clip, scene.media
        if media.num_frames > MAX_FRAMES:
            return f"its clip has more than {MAX_FRAMES} frames"
        entry = self.store.entry(
            "construct",
            VERSION,
            family,
            self.seed,
            clip.to_json(),
            [media.sha256, scene.decoded.frames_ref, self.cut.max_height_px],
            [cv2.__version__, ffmpeg_version()],
        )
        stored = entry.get()
        if stored is None:
            if not looked:
                looked.append(look_at(scene, self.store, self.cut))
            try:
                stored = _to_dict(PLANS[family](looked[0], Draw((self.seed, clip.id, family))))
            except DoesNotFitError as error:
                stored = {"unfit": str(error)}
            entry.put(stored)
        return str(stored["unfit"]) if "unfit" in stored else _from_dict(stored)

    def _made(self, scene: Scene, family: ConstructedFamily, plan: Construction) -> Case:
        media = alter(scene, plan.alteration, self.store, self.cut)
        tick_s = media.fps_den / media.fps_num
        task = Task(
            clip_id=scene.clip.id,
            kind=plan.kind,
            question=plan.question,
            options=plan.options,
            gold=make_answer(plan.kind, plan.answer, plan.options, -1.0),
            origin=Origin.CONSTRUCTED,
            evidence_s=tuple(
                (round(start * tick_s, 6), round(end * tick_s, 6)) for start, end in plan.evidence
            ),
            spec_json=canonical_json({"family": family, **plan.params}),
        )
        # Without what was said or described: that follows the clip's own time line.
        clip = _altered_clip(scene, plan.alteration)
        made = Scene(video=scene.video, decoded=scene.decoded, clip=clip, media=media)
        return Case(scene=made, task=task)


def _altered_clip(scene: Scene, alteration: Alteration) -> Clip:
    """The clip with its shots where the altered mp4 shows them: what is shown to a model is chosen
    by them. Its span and its id stay those of the source."""
    clip = scene.clip
    fps = scene.media.fps_num / scene.media.fps_den
    starts = alteration.shot_starts(cut_frames(clip, fps))
    starts_s = tuple(round(clip.start_s + start / fps, 6) for start in starts)
    return clip.model_copy(update={"shot_starts_s": starts_s})


def _to_dict(plan: Construction) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "question": plan.question,
        "answer": plan.answer,
        "options": list(plan.options),
        "evidence": [list(span) for span in plan.evidence],
        "params": plan.params,
        "alteration": plan.alteration.to_dict(),
    }


def _from_dict(stored: Mapping[str, Any]) -> Construction:
    return Construction(
        kind=TaskKind(stored["kind"]),
        question=stored["question"],
        answer=stored["answer"],
        options=tuple(stored["options"]),
        evidence=tuple((start, end) for start, end in stored["evidence"]),
        params=stored["params"],
        alteration=Alteration.from_dict(stored["alteration"]),
    )
