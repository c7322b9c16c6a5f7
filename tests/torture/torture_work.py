"""An input through the media legs, without a pipeline around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from clock_video import read_board
from listed_inputs import expand_inputs

from schemas.clip import Media
from schemas.rejection import Rejected, Rejection, Stage
from schemas.source import Source
from schemas.video import Decoded
from transforms.features.select import SelectSettings, decide
from transforms.memo import MemoStore
from transforms.outcome import rejection
from transforms.video.analyse import InputSettings, analyse
from transforms.video.cut import CutSettings, cut
from transforms.video.ingest import ingest
from transforms.video.segment import segment
from transforms.video.shots import ShotSettings

LIMITS = InputSettings(min_duration_s=0.5)
SHOTS = ShotSettings(min_clip_s=0.05, max_clip_s=10.0)
SETTINGS = (
    "input.min_duration_s=0.5",
    "shots.min_clip_s=0.05",
    "shots.max_clip_s=10",
)
"""The same two, as a run takes them."""


@dataclass
class Worked:
    """What came of one input."""

    uri: str
    spans: list[tuple[float, float]]
    mp4s: list[Path]
    audio: list[bool]
    lost: list[Rejection]
    decoded: Decoded | None = None

    @property
    def truncated(self) -> str:
        """What is missing, as the clips are marked with it."""
        return "" if self.decoded is None else self.decoded.truncated

    @property
    def shown(self) -> list[int]:
        """Numbers on the clock that the clips show, in order; -1 for what can't be read."""
        return [number for mp4 in self.mp4s for number in read_clock(mp4)]


def work(inputs: Sequence[Path], store: MemoStore, limits: InputSettings = LIMITS) -> list[Worked]:
    """What comes of each input that is found."""
    sources, refused = expand_inputs([str(path) for path in inputs])
    return [
        *(_work(source, store, limits) for source in sources),
        *(Worked(one.subject, [], [], [], [one]) for one in refused),
    ]


def _work(source: Source, store: MemoStore, limits: InputSettings) -> Worked:
    found = Worked(source.uri, [], [], [], [])
    stage, subject = Stage.INGEST, (source.uri, "")
    try:
        video = ingest(source, store)
        stage, subject = Stage.DECODE, (video.id, source.uri)
        decoded = analyse(video, store, limits, score_family=SHOTS.score_family, sample_fps=2.0)
    except Rejected as rejected:
        found.lost.append(rejection(stage, subject, rejected))
        return found
    found.decoded = decoded
    clips, found.lost = segment(video, decoded, store, SHOTS)
    chosen = []
    for clip in clips:
        try:
            decide(clip.measures, SelectSettings())
            chosen.append(clip)
        except Rejected as rejected:
            found.lost.append(rejection(Stage.SELECT, (clip.id, video.id), rejected))
    ends = cut(video, decoded, chosen, store, CutSettings())
    for clip in chosen:
        end = ends[clip.id]
        if isinstance(end, Media):
            found.spans.append((clip.start_s, clip.end_s))
            found.mp4s.append(store.path(end.ref))
            found.audio.append(end.has_audio)
        else:
            found.lost.append(rejection(Stage.CUT, (clip.id, video.id), end))
    return found


def read_clock(path: Path) -> list[int]:
    """The number that each frame shows, upright; -1 for what can't be read."""
    numbers = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            try:
                numbers.append(read_board(upright))
            except AssertionError:
                numbers.append(-1)
    return numbers
