"""Videos with subtitles of which each says which frame is shown when it begins, and their clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
from clock_video import LIMITS, SAMPLE_FPS, THIRDS

from schemas.case import Footage, PlannedClip, Scene
from schemas.source import Source, location
from transforms.memo import MemoStore
from transforms.video.analyse import Analyser
from transforms.video.cut import CutSettings, Cutter
from transforms.video.ingest import ingest
from transforms.video.segment import segment
from transforms.video.subtitles import SubtitleSettings

DEFAULT = SubtitleSettings()


def footage_of(source: Path | Source, store: MemoStore, settings: SubtitleSettings) -> Footage:
    """A video after ingest and decode."""
    if isinstance(source, Path):
        source = Source(uri=source.name, location=location(source))
    analyser = Analyser(LIMITS, THIRDS.score_family, SAMPLE_FPS, store, subtitles=settings)
    [footage] = analyser(ingest(source, store)).outputs
    return footage


def scenes_of(
    source: Path | Source, store: MemoStore, settings: SubtitleSettings = DEFAULT
) -> list[Scene]:
    """The clips of a video after all media legs."""
    footage = footage_of(source, store, settings)
    clips, _ = segment(footage.video, footage.decoded, store, THIRDS)
    planned = [PlannedClip(footage=footage, clip=clip) for clip in clips]
    outcome = Cutter(CutSettings(), store, settings)(planned)
    assert not outcome.rejections
    return list(outcome.outputs)


def texts(scenes: Iterable[Scene]) -> list[str]:
    """Every text that any of the clips has, once, in order."""
    return list(dict.fromkeys(line.text for scene in scenes for line in scene.lines))


def shown_times_s(path: Path) -> list[float]:
    """When each frame is shown, counted from the container's start as players do."""
    with av.open(str(path)) as container:
        start_s = (container.start_time or 0) / av.time_base
        times = [frame.time for frame in container.decode(video=0)]
    assert None not in times
    return [time - start_s for time in times if time is not None]


def stamp(time_s: float, mark: str = ",") -> str:
    """A time as SubRip (or, with a dot, WebVTT) writes it."""
    ms = round(time_s * 1_000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1_000 % 60:02}{mark}{ms % 1_000:03}"


def srt(cues: Iterable[tuple[float, float, str]]) -> str:
    """A SubRip file."""
    return "\n".join(
        f"{number}\n{stamp(start_s)} --> {stamp(end_s)}\n{text}\n"
        for number, (start_s, end_s, text) in enumerate(cues, 1)
    )


def frame_cues(times_s: list[float], frames: Iterable[int]) -> list[tuple[float, float, str]]:
    """For each of the frames a cue that begins with it and lasts for a quarter of a second."""
    return [(times_s[frame], times_s[frame] + 0.25, f"frame {frame}") for frame in frames]
