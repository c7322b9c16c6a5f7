"""Cut the chosen clips of a video into mp4s: exact to the frame, in one pass over the video.

One ffmpeg decodes from the start of the file (seeking first gives wrong pictures in some files)
and hands over raw frames; a second one per clip encodes them. In between we know each frame's
time, so we choose which frame stands at which tick of the constant frame rate: the one nearest in
time. Sound is decoded to samples on the same time line and cut to the sample.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import ffmpeg
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from schemas.case import PlannedClip, Scene
from schemas.clip import Clip, Media
from schemas.rejection import Reason, Rejected, Stage
from schemas.video import AudioStream, Decoded, Probe, Video
from transforms.memo import Entry, MemoStore
from transforms.outcome import Outcome, rejection
from transforms.video.decode import DECODER_THREADS, SCALE_EXACT, PtsLog
from transforms.video.measures import read_rows
from transforms.video.media_process import (
    ALLOWED_DEMUXERS,
    ALLOWED_PROTOCOLS,
    MediaProcess,
    ffmpeg_exe,
    ffmpeg_version,
    opened,
    read_frames,
    time_limit_s,
    widen_pipe,
)

VERSION = "3"
CLIP_FILE = "clip.mp4"
ENCODER_THREADS = 2
"""Fixed: x264 writes other bytes with another number of threads."""
KEYFRAME_INTERVAL_S = 2
AUDIO_RATE_HZ = 48_000
AUDIO_CHANNELS = 2
UNSPECIFIED = 2
FULL_RANGE = 2
MAX_SPANS = 64
MAX_CLIP_BYTES = 8 << 30
"""What a member of a tar can hold."""


class CutSettings(BaseModel):
    """Section `cut` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["exact"] = Field("exact", description="exact: re-encode, exact to the frame")
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
        entry = _entry(video, clip, store, settings)
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


def _entry(video: Video, clip: Clip, store: MemoStore, settings: CutSettings) -> Entry:
    return store.entry(
        "cut",
        VERSION,
        video.sha256,
        [clip.start_frame, clip.end_frame, clip.start_s, clip.end_s],
        settings.model_dump(mode="json"),
        ffmpeg_version(),
    )


def clip_size_px(probe: Probe, max_height_px: int) -> tuple[int, int]:
    """Width and height of the clips: square pixels, even, not above the largest height."""
    height = min(probe.height_px, max_height_px)
    width = probe.width_px * height / probe.height_px
    return max(2, round(width / 2) * 2), max(2, height // 2 * 2)


def repeats(
    times_s: npt.NDArray[np.float64], start_s: float, end_s: float, rate: Fraction
) -> list[int]:
    """How often each source frame is shown at a constant rate: 1 each in the usual case.

    Tick k of the clip (time k / rate) shows the frame nearest to it, so no frame is off by more
    than half a tick; frames without a tick of their own get 0. The sum is the clip's length in
    ticks, at least 1.
    """
    ticks = max(1, round((end_s - start_s) * rate))
    places = (times_s - start_s) * float(rate)
    # Half a tick rounds up, not to even: a steady offset must not turn into a stutter.
    slots = np.floor(places + 0.5 + 1e-6).astype(int)
    slots[0] = 0
    # Of several frames on one tick, the nearest keeps it; if no other tick's frame follows at
    # once, the last of them stands until one does.
    by_nearness = np.lexsort((np.round(np.abs(places - slots), 4), slots))
    taken, first = np.unique(slots[by_nearness], return_index=True)
    last = np.searchsorted(slots, taken, side="right") - 1
    lengths = np.diff(np.minimum(taken, ticks), append=ticks)
    counts = np.zeros(len(slots), int)
    counts[by_nearness[first]] += np.minimum(lengths, 1)
    counts[last] += np.maximum(lengths - 1, 0)
    return [int(count) for count in counts]


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
    size = clip_size_px(video.probe, settings.max_height_px)
    clip_seconds = sum(clip.duration_s for clip, _ in missing)
    timeout_s = time_limit_s(video.size_bytes, video.probe.container_duration_s) + 30 * clip_seconds
    rows = read_rows(store.path(decoded.frames_ref), 0, decoded.num_frames)
    with ExitStack() as stack:
        folder = stack.enter_context(store.scratch())
        pcm = _decode_audio(video, folder, timeout_s)
        path, descriptor = stack.enter_context(opened(video.source.path))
        log = PtsLog(small_size=f"{size[0]}x{size[1]}")
        command = _decode_command(path, video.probe, [clip for clip, _ in missing], size)
        decoder = stack.enter_context(
            MediaProcess(
                command,
                timeout_s=timeout_s,
                stderr_line=log.read_line,
                stderr_end=log.close,
                pass_fds=[descriptor],
            )
        )
        widen_pipe(decoder.stdout)
        source = _FrameSource(decoder, log, video.probe.start_time_s, rows["time_s"], size)
        for clip, entry in missing:
            times = rows["time_s"][clip.start_frame : clip.end_frame]
            counts = repeats(times, clip.start_s, clip.end_s, rate)
            end: CutEnd
            try:
                with entry.building() as place:
                    file = place / CLIP_FILE
                    _encode(file, source, clip, counts, size, rate, video.probe, pcm, settings)
                    end = _media(file, clip, sum(counts), size, rate, pcm is not None, entry)
                    entry.finish(place, end.model_dump(mode="json"))
            except Rejected as rejected:
                if source.ended:
                    raise
                end = rejected
            yield clip, end


def _media(
    file: Path,
    clip: Clip,
    num_frames: int,
    size: tuple[int, int],
    rate: Fraction,
    has_audio: bool,
    entry: Entry,
) -> Media:
    with av.open(str(file)) as container:
        found = sum(packet.size > 0 for packet in container.demux(video=0))
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
        width_px=size[0],
        height_px=size[1],
        num_frames=num_frames,
        fps_num=rate.numerator,
        fps_den=rate.denominator,
        duration_s=round(float(num_frames / rate), 6),
        has_audio=has_audio,
    )


class _FrameSource:
    """Decoded frames, found again by their times: rows of the frame table in order."""

    def __init__(
        self,
        decoder: MediaProcess,
        log: PtsLog,
        start_time_s: float,
        times_s: npt.NDArray[np.float64],
        size: tuple[int, int],
    ) -> None:
        self._decoder = decoder
        self._log = log
        self._start = Fraction(round(start_time_s * 1_000_000), 1_000_000)
        self._row_of = {float(time): row for row, time in enumerate(times_s)}
        frame_bytes = size[0] * size[1] * 3 // 2
        self._frames = enumerate(read_frames(decoder.stdout, frame_bytes))
        self._ahead: tuple[int, bytearray] | None = None
        self._last_row = -1
        self.ended = False

    def rows(self, start: int, end: int) -> Iterator[tuple[int, bytearray]]:
        """Frames of rows [start, end). Raises Rejected if one can't be found again."""
        expected = start
        while expected < end:
            row, frame = self._next()
            if row < start:
                continue
            if row != expected:
                self._ahead = (row, frame)
                raise Rejected(Reason.CUT_FAILED, f"frame {expected} was not decoded again")
            yield row, frame
            expected += 1

    def _next(self) -> tuple[int, bytearray]:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        for index, frame in self._frames:
            reported = self._log.small(index)
            if reported is None:
                continue
            row = self._row_of.get(float(round(reported - self._start, 6)), -1)
            if row > self._last_row:
                self._last_row = row
                return row, frame
        self.ended = True
        self._decoder.wait()
        self._decoder.raise_if_killed()
        raise Rejected(Reason.CUT_FAILED, f"the video ended early: {self._decoder.complaint}")


def _decode_command(
    path: str, probe: Probe, clips: Sequence[Clip], size: tuple[int, int]
) -> list[str]:
    # Only frames of the clips are scaled and handed over. A margin of a millisecond is harmless:
    # what does not belong to a clip is told by its time.
    spans: list[tuple[float, float]] = []
    for clip in clips:
        start, end = clip.start_s + probe.start_time_s, clip.end_s + probe.start_time_s
        if spans and start - spans[-1][1] < 0.01:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    # ffmpeg takes sums of at most 100 terms, so the smallest gaps are handed over as well.
    while len(spans) > MAX_SPANS:
        gaps = [after[0] - before[1] for before, after in pairwise(spans)]
        at = gaps.index(min(gaps))
        spans[at : at + 2] = [(spans[at][0], spans[at + 1][1])]
    wanted = "+".join(f"between(t,{start - 0.001:.6f},{end + 0.001:.6f})" for start, end in spans)
    source = ffmpeg.input(
        path,
        protocol_whitelist=ALLOWED_PROTOCOLS,
        format_whitelist=ALLOWED_DEMUXERS,
        threads=DECODER_THREADS,
        copyts=None,
    )
    # The scale filter stands there even where nothing is to be scaled: a stream may change its
    # size on the way. Frames that fit go through it untouched.
    full_range = probe.color_range == FULL_RANGE or probe.pix_fmt.startswith("yuvj")
    to_tv = {"out_range": "tv"} if full_range else {}
    pictures = (
        source[str(probe.video_index)]
        .filter("select", wanted)
        .filter("scale", size[0], size[1], flags=f"bicubic+{SCALE_EXACT}", **to_tv)
        .filter("format", "yuv420p")
        .filter("showinfo", checksum=0)
    )
    # ffmpeg counts `t` both from 0 and from the first frame that it hands over.
    last_s = max(spans[-1][1], spans[-1][1] - spans[0][0]) + 1.0
    output = ffmpeg.output(
        pictures, "pipe:1", format="rawvideo", fps_mode="passthrough", t=last_s
    ).global_args("-nostdin", "-hide_banner", "-loglevel", "repeat+info", "-nostats")
    return list(output.compile(cmd=ffmpeg_exe()))


def _decode_audio(video: Video, folder: Path, timeout_s: float) -> Path | None:
    """All sound as 16-bit samples in which sample n is source time n / 48000; None if silent."""
    probe = video.probe
    if probe.audio is None:
        return None
    file = folder / "audio.pcm"
    with opened(video.source.path) as (path, descriptor):
        command = _audio_command(path, probe, probe.audio, file)
        with MediaProcess(command, timeout_s=timeout_s, pass_fds=[descriptor]) as process:
            code = process.wait()
            process.raise_if_killed()
            _raise_if_full(process)
    # Sound that can't be decoded is no reason to lose the pictures.
    if code != 0 or not file.exists() or file.stat().st_size == 0:
        return None
    return file


def _audio_command(path: str, probe: Probe, audio: AudioStream, file: Path) -> list[str]:
    source = ffmpeg.input(
        path,
        protocol_whitelist=ALLOWED_PROTOCOLS,
        format_whitelist=ALLOWED_DEMUXERS,
        copyts=None,
    )
    sound = (
        source[str(audio.index)]
        .filter("asetpts", f"PTS-{probe.start_time_s:.6f}/TB")
        .filter("aresample", AUDIO_RATE_HZ, first_pts=0, **{"async": 1})
    )
    output = ffmpeg.output(
        sound, f"file:{file}", format="s16le", ac=AUDIO_CHANNELS, ar=AUDIO_RATE_HZ
    ).global_args("-nostdin", "-hide_banner", "-loglevel", "error", "-nostats")
    return list(output.compile(cmd=ffmpeg_exe()))


def _encode(
    file: Path,
    source: _FrameSource,
    clip: Clip,
    counts: Sequence[int],
    size: tuple[int, int],
    rate: Fraction,
    probe: Probe,
    pcm: Path | None,
    settings: CutSettings,
) -> None:
    command = _encode_command(file, clip, sum(counts), size, rate, probe, pcm, settings)
    with MediaProcess(command, timeout_s=60 + 60 * clip.duration_s, stdin=True) as encoder:
        widen_pipe(encoder.stdin)
        try:
            for row, frame in source.rows(clip.start_frame, clip.end_frame):
                for _ in range(counts[row - clip.start_frame]):
                    _write_all(encoder, frame)
            encoder.stdin.close()
        except BrokenPipeError:
            # The encoder's own words, below, say why it closed its ear.
            pass
        code = encoder.wait()
        encoder.raise_if_killed()
        if code != 0:
            _raise_if_full(encoder)
            raise Rejected(Reason.CUT_FAILED, encoder.complaint)


def _raise_if_full(process: MediaProcess) -> None:
    """Raise OSError if the process found the disk full: no fault of the video."""
    words = os.strerror(errno.ENOSPC)
    if words in process.complaint:
        raise OSError(errno.ENOSPC, words)


def _write_all(encoder: MediaProcess, frame: bytearray) -> None:
    view = memoryview(frame)
    while view:
        view = view[encoder.stdin.write(view) :]


def _encode_command(
    file: Path,
    clip: Clip,
    num_frames: int,
    size: tuple[int, int],
    rate: Fraction,
    probe: Probe,
    pcm: Path | None,
    settings: CutSettings,
) -> list[str]:
    streams = [
        ffmpeg.input(
            "pipe:0",
            format="rawvideo",
            pix_fmt="yuv420p",
            s=f"{size[0]}x{size[1]}",
            framerate=str(rate),
        )
    ]
    options: dict[str, object] = {
        "c:v": "libx264",
        "preset": settings.preset,
        "crf": settings.crf,
        "threads": ENCODER_THREADS,
        # Without this, x264's bytes depend on the processor, and on chance with two threads.
        "x264-params": "cpu-independent=1",
        "pix_fmt": "yuv420p",
        "g": max(1, round(KEYFRAME_INTERVAL_S * rate)),
        "color_range": "tv",
        "map_metadata": -1,
        "fflags": "+bitexact",
        "flags:v": "+bitexact",
        "video_track_timescale": rate.numerator if rate.denominator > 1 else rate.numerator * 512,
        "movflags": "+faststart",
        "format": "mp4",
    }
    for name, value in (
        ("colorspace", probe.color_space),
        ("color_primaries", probe.color_primaries),
        ("color_trc", probe.color_transfer),
    ):
        # 0 would say RGB, which the encoder's yuv420p is not.
        if value not in (0, UNSPECIFIED):
            options[name] = value
    if pcm is not None:
        samples = round(num_frames / rate * AUDIO_RATE_HZ)
        # Seeking in raw samples is a multiplication: exact to the sample.
        sound = ffmpeg.input(
            f"file:{pcm}",
            format="s16le",
            ar=AUDIO_RATE_HZ,
            ac=AUDIO_CHANNELS,
            ss=f"{round(clip.start_s * AUDIO_RATE_HZ) / AUDIO_RATE_HZ:.6f}",
        )
        streams.append(sound.filter("atrim", end_sample=samples).filter("apad", whole_len=samples))
        options |= {"c:a": "aac", "b:a": "128k", "flags:a": "+bitexact"}
    output = ffmpeg.output(*streams, f"file:{file}", **options).global_args(
        "-nostdin", "-hide_banner", "-loglevel", "error", "-nostats"
    )
    return list(output.overwrite_output().compile(cmd=ffmpeg_exe()))


@dataclass(frozen=True)
class Cutter:
    """Cuts the chosen clips of one video. The leg's unit is the clip."""

    settings: CutSettings
    store: MemoStore

    def __call__(self, planned: Sequence[PlannedClip]) -> Outcome[Scene]:
        footage = planned[0].footage
        clips = [one.clip for one in planned]
        ends = cut(footage.video, footage.decoded, clips, self.store, self.settings)
        scenes, rejections = [], []
        for clip in clips:
            end = ends[clip.id]
            if isinstance(end, Rejected):
                rejections.append(rejection(Stage.CUT, (clip.id, clip.video_id), end))
            else:
                scenes.append(
                    Scene(video=footage.video, decoded=footage.decoded, clip=clip, media=end)
                )
        return Outcome(scenes, rejections, len(clips))
