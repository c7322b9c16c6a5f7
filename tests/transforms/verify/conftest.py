"""Videos whose truth is known, since we drew them, taken through the real legs without Beam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from asked import ask_about
from numpy.typing import NDArray

from schemas.case import Case, Scene
from schemas.rejection import Stage
from schemas.source import Source, location
from schemas.task import TaskKind
from transforms.annotate.propose import Proposer, TaskMaker
from transforms.annotate.tasks import TaskSettings
from transforms.annotate.teacher import TeacherSettings
from transforms.memo import MemoStore
from transforms.verify.checks import VerifySettings
from transforms.verify.loop import Answerer, Verifier
from transforms.video.analyse import Analyser, InputSettings
from transforms.video.cut import CutSettings, Cutter
from transforms.video.ingest import Ingester
from transforms.video.segment import Segmenter
from transforms.video.shots import ShotSettings

FPS = 25
WIDTH_PX, HEIGHT_PX = 192, 108
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Drawn:
    """A shot as it was drawn: what is true of it. `motion` in pixels per frame."""

    start_s: float
    end_s: float
    color: str
    rgb: tuple[int, int, int]
    motion: tuple[int, int] = (0, 0)

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def luma(self) -> float:
        return float(np.dot(self.rgb, (0.299, 0.587, 0.114))) / 255


def film(*shots: tuple[str, tuple[int, int, int], float, tuple[int, int]]) -> tuple[Drawn, ...]:
    drawn: list[Drawn] = []
    for color, rgb, length_s, motion in shots:
        start_s = drawn[-1].end_s if drawn else 0.0
        drawn.append(Drawn(start_s, round(start_s + length_s, 3), color, rgb, motion))
    return tuple(drawn)


STILL = (0, 0)
COLORS = film(
    ("red", (200, 20, 30), 2.0, STILL),
    ("black", (8, 8, 10), 1.6, STILL),
    ("green", (30, 140, 40), 4.0, STILL),
    ("white", (245, 245, 245), 2.0, STILL),
    ("yellow", (220, 210, 40), 2.4, STILL),
)
"""Darkest 2.0-3.6, longest 3.6-7.6, brightest 7.6-9.6; four cuts."""
PANS = film(
    ("blue", (50, 80, 170), 3.0, (-2, 0)),
    ("brown", (120, 75, 35), 3.2, (0, 2)),
)
"""The picture moves to the left, then downwards."""
REVERSED = film(
    ("brown", (120, 75, 35), 3.2, (0, -2)),
    ("blue", (50, 80, 170), 3.0, (2, 0)),
)
OTHER = film(
    ("yellow", (220, 210, 40), 3.2, STILL),
    ("red", (200, 20, 30), 2.8, STILL),
    ("black", (8, 8, 10), 1.6, STILL),
    ("blue", (50, 80, 170), 4.4, STILL),
)
"""As long as COLORS, and everything that is asked about those has another answer."""
FILMS = {"colors": COLORS, "pans": PANS, "reversed": REVERSED, "other": OTHER}


def texture(rgb: tuple[int, int, int], seed: int) -> Picture:
    """A soft pattern of one colour, larger than the picture, so that motion can be seen in it."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (40, 60)).repeat(9, axis=0).repeat(9, axis=1)
    pattern = coarse[: HEIGHT_PX * 3, : WIDTH_PX * 2] * 10
    plane = np.array(rgb, float)[None, None] + pattern[..., None]
    return np.clip(plane, 0, 255).astype(np.uint8)


def frames_of(shots: tuple[Drawn, ...]) -> Iterator[Picture]:
    for number, shot in enumerate(shots):
        canvas = texture(shot.rgb, number)
        for frame in range(round((shot.end_s - shot.start_s) * FPS)):
            shift = (shot.motion[1] * frame, shot.motion[0] * frame)
            yield np.roll(canvas, shift, axis=(0, 1))[60 : 60 + HEIGHT_PX, 60 : 60 + WIDTH_PX]


def write_film(path: Path, shots: tuple[Drawn, ...]) -> None:
    options = {"crf": "18", "preset": "ultrafast"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for number, picture in enumerate(frames_of(shots)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class Studio:
    """The legs from file to verified cases, over one memo store."""

    store: MemoStore
    folder: Path
    teacher: TeacherSettings
    verify: VerifySettings

    def scenes(self, name: str, shots: ShotSettings | None = None) -> list[Scene]:
        """The clips of a film."""
        shots = shots or ShotSettings()
        path = self.folder / f"{name}.mp4"
        if not path.exists():
            write_film(path, FILMS[name])
        source = Source(uri=path.name, location=location(path))
        [video] = Ingester(self.store)(source).outputs
        analyser = Analyser(InputSettings(), shots.score_family, 2.0, self.store)
        [footage] = analyser(video).outputs
        planned = Segmenter(shots, self.store)(footage).outputs
        return list(Cutter(CutSettings(preset="ultrafast"), self.store)(planned).outputs)

    def proposer(self) -> Proposer:
        mix = dict.fromkeys(TaskKind, 1.0)
        tasks = TaskSettings(per_clip=32, mix=mix)
        return Proposer(self.teacher.kind, tasks, 0)

    def tasks(self, scenes: list[Scene], shots: ShotSettings | None = None) -> list[Case]:
        """All that the measuring teacher asks about the scenes."""
        proposer = self.proposer()
        proposed = ask_about(
            proposer, scenes, self.teacher, self.store, stage=Stage.PROPOSE, shots=shots,
            named=lambda scene: (scene.clip.id, scene.video.id),
        )  # fmt: skip
        assert not proposed.rejections
        made = [TaskMaker(proposer)(proposals) for proposals in proposed.outputs]
        assert not [rejection for outcome in made for rejection in outcome.rejections]
        return [case for outcome in made for case in outcome.outputs]

    def round(
        self, cases: list[Case], number: int, shots: ShotSettings | None = None
    ) -> list[Case]:
        """One round of answering and verifying; the ledger of each leg is checked."""
        answered = ask_about(
            Answerer(self.teacher, 0, number), cases, self.teacher, self.store, shots=shots,
            stage=Stage.ANSWER, named=lambda case: (case.task.id, case.task.clip_id),
        )  # fmt: skip
        rollouts = sum(len(one.rollouts) for one in answered.outputs)
        assert answered.entered == rollouts + len(answered.rejections)
        done = []
        for one in answered.outputs:
            outcome = Verifier(self.verify, self.store)(one)
            [case] = outcome.outputs
            before = len(one.case.accepted)
            accepted = len(case.accepted) - before
            assert outcome.entered == len(one.rollouts) == accepted + len(outcome.rejections)
            done.append(case)
        return done


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    folder = tmp_path_factory.mktemp("films")
    store = MemoStore(str(folder / "store"))
    return Studio(store, folder, TeacherSettings(samples=4), VerifySettings(samples=4))


@pytest.fixture(scope="session")
def color_cases(studio: Studio) -> list[Case]:
    """Every question about the film of colours, answered and verified."""
    return studio.round(studio.tasks(studio.scenes("colors")), 0)


@pytest.fixture(scope="session")
def pan_cases(studio: Studio) -> list[Case]:
    """Every question about the film of two pans, answered and verified."""
    return studio.round(studio.tasks(studio.scenes("pans")), 0)


@pytest.fixture(scope="session")
def films() -> dict[str, tuple[Drawn, ...]]:
    """What is true of each film."""
    return FILMS


@pytest.fixture(scope="session")
def case_of(color_cases: list[Case], pan_cases: list[Case]) -> Callable[[TaskKind], Case]:
    """A verified case of a kind."""

    def find(kind: TaskKind) -> Case:
        return next(case for case in [*color_cases, *pan_cases] if case.task.kind is kind)

    return find
