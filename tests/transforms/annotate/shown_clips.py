"""Clips as the cutter makes them, for the tests of what a model is shown of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from constructed_clips import scene_of

from schemas.case import Scene
from schemas.clip import Media
from transforms.annotate.teacher import TeacherSettings
from transforms.memo import MemoStore
from transforms.video.cut import CutMode, CutSettings
from transforms.video.shots import ShotSettings

ONE_CLIP = ShotSettings(detector="fixed", min_clip_s=0.03, max_clip_s=60.0)


def settings(**fields: object) -> TeacherSettings:
    return TeacherSettings.model_validate(fields)


@dataclass(frozen=True)
class Cut:
    """A clock video, cut by the cutter; the clip begins with its first frame."""

    store: MemoStore
    scene: Scene

    @property
    def media(self) -> Media:
        return self.scene.media

    @property
    def path(self) -> Path:
        return self.store.path(self.media.ref)

    def with_shots(self, *starts: int) -> Scene:
        """The scene with shots that begin at these frames."""
        tick_s = self.media.fps_den / self.media.fps_num
        first_s = self.scene.clip.start_s
        times_s = tuple(round(first_s + start * tick_s, 6) for start in starts)
        clip = self.scene.clip.model_copy(update={"shot_starts_s": times_s})
        return self.scene.model_copy(update={"clip": clip})


def cut_whole(path: Path, store: MemoStore, *, copy: bool = False) -> Cut:
    """A file as one clip."""
    mode = CutMode.COPY if copy else CutMode.EXACT
    return Cut(store, scene_of(path, store, CutSettings(mode=mode, crf=12), ONE_CLIP))
