"""From shots to clips: which spans of a video become clips. Decides only; decodes nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.case import Footage, PlannedClip
from schemas.clip import Clip
from schemas.rejection import Reason, Rejected, Rejection, Stage
from schemas.video import Decoded, Video
from transforms.memo import MemoStore
from transforms.outcome import Outcome, rejection
from transforms.video.clip_measures import clip_measures, read_tables
from transforms.video.copying import copy_rows, snapped
from transforms.video.joining import joined_starts, read_vectors
from transforms.video.shots import ClipUnit, Join, ShotSettings, find_borders

RowSpan = tuple[int, int]

MAX_STILL_S = 60.0
"""How much longer than the longest clip a single frame may stand."""
MAX_GROUP_S = 10.0
"""How much longer than the longest clip a copied one may come out."""


def segment(
    video: Video,
    decoded: Decoded,
    store: MemoStore,
    settings: ShotSettings,
    borders_ref: str = "",
    *,
    copy: bool = False,
) -> tuple[list[Clip], list[Rejection]]:
    """The clips of a video in order of time, and the spans too short to be one.

    A video that came with questions is kept whole, as one clip: its questions are about all of it.
    `borders_ref` names the embeddings around its cuts, which `shots.join` needs. Raises ValueError
    if they are missing. With `copy`, spans begin and end where clips can be copied.
    """
    tables = read_tables(decoded, store)
    rows = tables.rows
    edges = np.append(rows["time_s"], decoded.first_pts_s + decoded.duration_s)
    borders = find_borders(rows["time_s"], rows["shot_score"], settings)
    starts = [border.start for border in borders]
    if settings.join is Join.FEATURES:
        if not borders_ref:
            raise ValueError("shots.join is features, and the cuts have none")
        vectors = read_vectors(store.path(borders_ref))
        starts = joined_starts(
            rows["time_s"], borders, tables.samples.times_s, vectors, settings.join_cosine
        )
    if video.source.questions:
        spans = [(0, decoded.num_frames)]
    else:
        spans = plan_spans(edges, starts, settings)
    copied = False
    if copy:
        clean = copy_rows(video, decoded, rows["time_s"], store)
        wider = snapped(spans, clean)
        longest_s = max(float(edges[end] - edges[start]) for start, end in wider)
        # Where clean keyframes are rare, clips would come out too long: then it is encoded.
        copied = bool(clean) and (
            bool(video.source.questions) or longest_s <= settings.max_clip_s + MAX_GROUP_S
        )
        spans = wider if copied else spans
    clips, rejections = [], []
    for start, end in spans:
        start_s, end_s = float(edges[start]), float(edges[end])
        inner = [start, *(row for row in starts if start < row < end)]
        clip = Clip(
            video_id=video.id,
            start_s=start_s,
            end_s=end_s,
            start_frame=start,
            end_frame=end,
            shot_starts_s=tuple(float(edges[row]) for row in inner),
            measures=clip_measures(tables, (start, end), (start_s, end_s), inner),
            copied=copied,
        )
        misfit = None if video.source.questions else _misfit(clip, settings)
        if misfit is None:
            clips.append(clip)
        else:
            rejections.append(rejection(Stage.SEGMENT, (clip.id, video.id), misfit))
    return clips, rejections


def _misfit(clip: Clip, settings: ShotSettings) -> Rejected | None:
    """Why a span can be no clip, if it can't."""
    place = f"{clip.duration_s:.3f} s at {clip.start_s:.3f} s"
    if clip.duration_s > settings.max_clip_s + MAX_STILL_S:
        # Frames can't be split: one of a slide show may stand for minutes.
        detail = f"{place}: too long for a clip; perhaps one frame stands for minutes"
        return Rejected(Reason.TOO_LONG, detail)
    if clip.duration_s < settings.min_clip_s:
        return Rejected(Reason.TOO_SHORT, f"{place}, less than {settings.min_clip_s:g} s")
    return None


def plan_spans(
    edges: npt.NDArray[np.float64], starts: list[int], settings: ShotSettings
) -> list[RowSpan]:
    """Spans [start, end) of rows that cover all frames once, in order.

    `edges` are the times of the frames, then the end of the last one; `starts` the rows at which
    shots begin.
    """
    shots = list(zip(starts, [*starts[1:], len(edges) - 1], strict=True))
    pieces = [piece for shot in shots for piece in _split_evenly(edges, shot, settings)]
    if settings.unit is ClipUnit.SHOT:
        return pieces
    spans = [pieces[0]]
    for start, end in pieces[1:]:
        if edges[end] - edges[spans[-1][0]] <= settings.max_clip_s:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _split_evenly(
    edges: npt.NDArray[np.float64], shot: RowSpan, settings: ShotSettings
) -> Iterator[RowSpan]:
    start, end = shot
    length_s = edges[end] - edges[start]
    parts = math.ceil(length_s / settings.max_clip_s - 1e-9)
    if settings.detector != "fixed":
        # Cuts stand at frames, so that an even part can come out too long: then one part more.
        for count in (parts, parts + 1):
            marks = edges[start] + np.arange(1, count) * (length_s / count)
            inner = [int(row) for row in np.searchsorted(edges[: end + 1], marks - 1e-9)]
            cuts = sorted({start, end, *(row for row in inner if start < row < end)})
            if np.diff(edges[cuts]).max() <= settings.max_clip_s + 1e-9:
                yield from itertools.pairwise(cuts)
                return
    # Windows of the longest length that frames allow; the rest is the last one.
    while start < end:
        longest_s = edges[start] + settings.max_clip_s + 1e-9
        last = int(np.searchsorted(edges[: end + 1], longest_s, side="right")) - 1
        stop = max(start + 1, last)
        yield start, stop
        start = stop


@dataclass(frozen=True)
class Segmenter:
    """Plans the clips of one video. The leg's unit is the clip."""

    settings: ShotSettings
    store: MemoStore
    copy: bool = False

    def __call__(self, footage: Footage) -> Outcome[PlannedClip]:
        clips, rejections = segment(
            footage.video,
            footage.decoded,
            self.store,
            self.settings,
            footage.borders_ref,
            copy=self.copy,
        )
        planned = [PlannedClip(footage=footage, clip=clip) for clip in clips]
        return Outcome(planned, rejections, len(clips) + len(rejections))
