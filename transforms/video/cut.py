"""Cut the chosen clips of a video into mp4s: exact to the frame, in one pass over the video.

A process of its own (`cut_child`) decodes from the start of the file, since seeking first gives
wrong pictures in some files, and hands each frame to the encoder of the clip that it belongs to.
Which frame stands at which tick of the constant frame rate is decided here, from the frame table:
the one nearest in time. Sound is placed on the same time line and cut to the sample.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from schemas.case import PlannedClip, Scene
from schemas.clip import Clip, Media
from schemas.rejection import Reason, Rejected, Rejection, Stage
from schemas.video import Decoded, Probe, Video
from transforms.memo import Entry, MemoStore
from transforms.outcome import Outcome, is_fatal, rejection
from transforms.retry import is_passing
from transforms.video.copying import packets, reorder_delay_us
from transforms.video.cut_request import AUDIO_RATE_HZ, ClipReport, ClipRequest, CutRequest, reports
from transforms.video.decode import DECODER_THREADS, SCALE_EXACT
from transforms.video.fetching import check_same, opened_source
from transforms.video.measures import read_times
from transforms.video.media_process import (
    ALLOWED_DEMUXERS,
    ALLOWED_PROTOCOLS,
    MediaProcess,
    time_limit_s,
)
from transforms.video.subtitles import SubtitleSettings, read_table
from transforms.video.ticks import repeats

VERSION = "6"
CLIP_FILE = "clip.mp4"
CHILD = (sys.executable, "-I", "-m", "transforms.video.cut_child")
ENCODER_THREADS = 2
"""Fixed: x264 writes other bytes with another number of threads."""
KEYFRAME_INTERVAL_S = 2
UNSPECIFIED = 2
FULL_RANGE = 2
MAX_CLIP_BYTES = 8 << 30
"""What a member of a tar can hold."""


class CutMode(StrEnum):
    EXACT = "exact"
    COPY = "copy"


class CutSettings(BaseModel):
    """Section `cut` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: CutMode = Field(
        CutMode.EXACT,
        description="exact: encode anew, cut at the very frame; copy: do not encode, cut at the "
        "keyframe before, and encode only videos that can't be copied (see docs/media.md)",
    )
    crf: int = Field(20, ge=0, le=51, description="x264 quality; lower is better and larger")
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = (
        Field("veryfast", description="x264 preset; slower gives smaller files")
    )
    max_height_px: int = Field(720, ge=32, description="taller videos are scaled down")


CutEnd = Media | Rejected


def cut(
    video: Video, decoded: Decoded, clips: Sequence[Clip], store: MemoStore, settings: CutSettings
) -> dict[str, CutEnd]:
    """The mp4 of every clip, or why there is none, by clip id.

    Clips that the store holds are looked up. Each finished clip is stored at once, so that a run
    that was killed in the middle of a video goes on with the next clip.
    """
    ends: dict[str, CutEnd] = {}
    missing: list[tuple[Clip, Entry]] = []
    for clip in sorted(clips, key=lambda clip: (clip.start_frame, clip.end_frame)):
        entry = _entry(video, decoded, clip, store, settings)
        stored = entry.get()
        if stored is None:
            missing.append((clip, entry))
        else:
            ends[clip.id] = Media.model_validate(stored)
    try:
        for clip, end in _cut_missing(video, decoded, missing, store, settings):
            ends[clip.id] = end
    except Rejected as rejected:
        for clip, _ in missing:
            ends.setdefault(clip.id, rejected)
    return ends


def _entry(
    video: Video, decoded: Decoded, clip: Clip, store: MemoStore, settings: CutSettings
) -> Entry:
    return store.entry(
        "cut",
        VERSION,
        video.sha256,
        [clip.start_frame, clip.end_frame, clip.start_s, clip.end_s],
        # The frames' times and rate, and all that they were found with.
        decoded.frames_ref,
        {"copied": True} if clip.copied else settings.model_dump(mode="json", exclude={"mode"}),
        # What decodes and encodes: another build of it may write other bytes.
        [av.__version__, sorted(av.library_versions.items())],
    )


def clip_size_px(probe: Probe, max_height_px: int) -> tuple[int, int]:
    """Width and height of the clips: square pixels, even, not above the largest height."""
    height = min(probe.height_px, max_height_px)
    width = probe.width_px * height / probe.height_px
    return max(2, round(width / 2) * 2), max(2, height // 2 * 2)


@dataclass(frozen=True)
class ClipOutput:
    """What all clips of a video have in common."""

    size_px: tuple[int, int]
    rate: Fraction
    copy_delay_us: int | None = None
    """See `CutRequest`."""


def _cut_missing(
    video: Video,
    decoded: Decoded,
    missing: Sequence[tuple[Clip, Entry]],
    store: MemoStore,
    settings: CutSettings,
) -> Iterator[tuple[Clip, CutEnd]]:
    """The end of each clip, in order. What fails for one clip does not end the others."""
    if not missing:
        return
    rate = Fraction(decoded.fps_num, decoded.fps_den)
    times_s = read_times(store.path(decoded.frames_ref), decoded.num_frames)
    if missing[0][0].copied:
        delay_us = reorder_delay_us(packets(video, decoded, store)[0])
        output = ClipOutput((video.probe.width_px, video.probe.height_px), rate, delay_us)
    else:
        output = ClipOutput(clip_size_px(video.probe, settings.max_height_px), rate)
    clip_seconds = sum(clip.duration_s for clip, _ in missing)
    # One pass for the pictures and one for the sound, and the encoding.
    pass_s = time_limit_s(video.size_bytes, video.probe.container_duration_s)
    with ExitStack() as stack:
        folder = stack.enter_context(store.scratch())
        source, descriptor = stack.enter_context(opened_source(video))
        requests = [
            ClipRequest(
                file=f"{folder}/{number}.mp4",
                start_row=clip.start_frame,
                counts=repeats(
                    times_s[clip.start_frame : clip.end_frame], clip.start_s, clip.end_s, rate
                ),
                start_sample=round(clip.start_s * AUDIO_RATE_HZ),
                end_sample=round(clip.end_s * AUDIO_RATE_HZ),
            )
            for number, (clip, _) in enumerate(missing)
        ]
        request = CutRequest(
            source=source,
            protocols=ALLOWED_PROTOCOLS,
            demuxers=ALLOWED_DEMUXERS,
            decoder_threads=DECODER_THREADS,
            scale_flags=f"bicubic+{SCALE_EXACT}",
            video_index=video.probe.video_index,
            audio_index=-1 if video.probe.audio is None else video.probe.audio.index,
            start_time_s=video.probe.start_time_s,
            times_us=np.round(times_s * 1_000_000).astype(int).tolist(),
            size=output.size_px,
            rate=(rate.numerator, rate.denominator),
            copy_delay_us=output.copy_delay_us,
            full_range=is_full_range(video.probe),
            encoder=encoder_options(video.probe, rate, settings),
            muxer=muxer_options(rate),
            clips=requests,
        )
        child = MediaProcess(
            CHILD,
            timeout_s=2 * pass_s + 30 * clip_seconds,
            stdin=True,
            pass_fds=[descriptor],
        )
        stack.enter_context(child)
        child.send(request.to_json().encode())
        for report in reports(child.stdout):
            clip, entry = missing[report.number]
            check_same(descriptor, video)
            yield clip, end_of(requests[report.number], clip, report, output, entry)
        code = child.wait()
        child.raise_if_killed()
        if code != 0:
            raise Rejected(Reason.DECODER_CRASHED, child.complaint, lasting=False)


def end_of(
    request: ClipRequest,
    clip: Clip,
    report: ClipReport,
    output: ClipOutput,
    entry: Entry,
) -> CutEnd:
    """The end of a clip of which the process reported; an mp4 is moved into the store."""
    said = OSError(report.errno, os.strerror(report.errno))
    if is_fatal(said):
        # The machine's fault, not the video's.
        raise said
    if report.failed:
        return Rejected(Reason.CUT_FAILED, report.failed, passing=is_passing(said))
    try:
        with entry.building() as place:
            file = place / CLIP_FILE
            Path(request.file).rename(file)
            media = _media(file, clip, request, report, output, entry)
            return Media.model_validate(entry.finish(place, media.model_dump(mode="json")))
    except Rejected as rejected:
        return rejected


def _media(
    file: Path,
    clip: Clip,
    request: ClipRequest,
    report: ClipReport,
    output: ClipOutput,
    entry: Entry,
) -> Media:
    found, num_frames = report.num_frames, sum(request.counts)
    if found != num_frames:
        raise Rejected(Reason.CUT_FAILED, f"{found} frames in the mp4, {num_frames} were meant")
    if file.stat().st_size >= MAX_CLIP_BYTES:
        raise Rejected(Reason.CUT_FAILED, "the clip is larger than a member of a tar can be")
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Media(
        clip_id=clip.id,
        ref=entry.ref(CLIP_FILE),
        sha256=sha256,
        size_bytes=file.stat().st_size,
        width_px=output.size_px[0],
        height_px=output.size_px[1],
        num_frames=num_frames,
        fps_num=output.rate.numerator,
        fps_den=output.rate.denominator,
        duration_s=round(float(num_frames / output.rate), 6),
        has_audio=report.has_audio,
        copied=output.copy_delay_us is not None,
    )


def is_full_range(probe: Probe) -> bool:
    return probe.color_range == FULL_RANGE or probe.pix_fmt.startswith("yuvj")


def encoder_options(probe: Probe, rate: Fraction, settings: CutSettings) -> dict[str, str]:
    options = {
        "preset": settings.preset,
        "crf": str(settings.crf),
        "threads": str(ENCODER_THREADS),
        # Without this, x264's bytes depend on the processor, and on chance with two threads.
        "x264-params": "cpu-independent=1",
        "g": str(max(1, round(KEYFRAME_INTERVAL_S * rate))),
        "color_range": "tv",
        # Captions of the source belong to other times.
        "a53cc": "0",
        "flags": "+bitexact",
    }
    for name, value in (
        ("colorspace", probe.color_space),
        ("color_primaries", probe.color_primaries),
        ("color_trc", probe.color_transfer),
    ):
        # 0 would say RGB, which the encoder's yuv420p is not.
        if value not in (0, UNSPECIFIED):
            options[name] = str(value)
    return options


def muxer_options(rate: Fraction) -> dict[str, str]:
    scale = rate.numerator if rate.denominator > 1 else rate.numerator * 512
    return {
        "movflags": "+faststart",
        "fflags": "+bitexact",
        "video_track_timescale": str(scale),
    }


Standing = tuple[str, int, str]


def standing(scene: Scene) -> Standing:
    """Where a clip stands among clips with the same bytes: the first one's video keeps them."""
    return scene.video.id, scene.clip.start_frame, scene.clip.id


def with_first(element: tuple[str, Iterable[Scene]]) -> Iterator[tuple[Scene, Standing]]:
    """Scenes with the same bytes, each with where the first of them stands.

    They are gone through twice and not held, since there may be any number of one black second:
    what a runner has grouped it may read bit by bit. (`CoGroupByKey` would make lists.)
    """
    _, scenes = element
    first = min(standing(scene) for scene in scenes)
    for scene in scenes:
        yield scene, first


def of_other_video(scene: Scene, first: Standing) -> Rejection | None:
    """Of clips with the same bytes those of the video whose id sorts first are kept: from two
    videos, they could stand on both sides of train and validation."""
    video_id, _, clip_id = first
    if scene.video.id == video_id:
        return None
    return Rejection(
        stage=Stage.CUT,
        reason=Reason.DUPLICATE,
        subject=scene.clip.id,
        parent=scene.video.id,
        detail=f"same bytes as {clip_id}, of another video",
    )


@dataclass(frozen=True)
class Cutter:
    """Cuts the chosen clips of one video. The leg's unit is the clip."""

    settings: CutSettings
    store: MemoStore
    subtitles: SubtitleSettings = field(default_factory=SubtitleSettings)

    def __call__(self, planned: Sequence[PlannedClip]) -> Outcome[Scene]:
        footage = planned[0].footage
        clips = [one.clip for one in planned]
        ends = cut(footage.video, footage.decoded, clips, self.store, self.settings)
        cues = read_table(self.store, footage.subtitles)
        scenes, rejections = [], []
        passing = any(isinstance(end, Rejected) and end.passing for end in ends.values())
        for clip in clips:
            end = ends[clip.id]
            if isinstance(end, Rejected):
                rejections.append(rejection(Stage.CUT, (clip.id, clip.video_id), end))
            else:
                scenes.append(
                    Scene(
                        video=footage.video,
                        decoded=footage.decoded,
                        clip=clip,
                        media=end,
                        lines=cues.lines(clip, end.duration_s, self.subtitles.max_chars),
                    )
                )
        return Outcome(scenes, rejections, len(clips), passing)
