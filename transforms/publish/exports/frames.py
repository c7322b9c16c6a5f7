"""Frames of clips as pictures with their times, for trainers that take no video."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
from PIL import Image

from schemas.sample import SampleMedia
from transforms.publish.check_media import OPEN_OPTIONS
from transforms.publish.exports.base import ExportSettings
from transforms.publish.exports.dialects import SECONDS
from transforms.publish.exports.entries import BadDatasetError, Entry
from transforms.publish.exports.files import MediaFolder
from transforms.publish.exports.sampling import sampling_keys
from transforms.publish.exports.turns import Turn
from transforms.video.scaling import scaled_rgb

JPEG_QUALITY = 90
PLACEHOLDERS = {"video": "<video>", "frames": "<video>", "image": "<video>"}
"""For `conversation`, before `parts_of`: what stands in the text until frames take its place. No
text of a sample can hold it, since that makes it harmless."""
_PLACEHOLDER = re.compile("<video>\n?")


@dataclass(frozen=True)
class Frame:
    """A picture that was written."""

    time_s: float
    """When it is shown, in seconds from the clip's first frame."""
    path: str
    """Relative to the folder that the media lie in."""

    @property
    def caption(self) -> str:
        """What stands before it in the text: `0.50 s:`."""
        return f"{SECONDS.write_time(self.time_s)}:"


class FrameFolder:
    """Frames as JPEG files, each moment of a clip once, however many samples show it."""

    def __init__(self, media: MediaFolder, settings: ExportSettings) -> None:
        self._media = media
        self._settings = settings
        self._written: dict[tuple[str, tuple[float, ...]], list[Frame]] = {}

    def put(self, entry: Entry, shown: SampleMedia) -> list[Frame]:
        """The frames of a medium of an entry: of `frames` those at its times, else spread evenly.

        Raises BadDatasetError, naming the sample, if the clip's mp4 can't be decoded.
        """
        wanted = tuple(shown.frame_pts_s) if shown.kind == "frames" else ()
        key = (entry.clip.sha256, wanted)
        if key not in self._written:
            mp4 = entry.mp4_bytes()
            try:
                self._written[key] = self._write(entry, mp4, wanted)
            except ValueError as error:
                raise BadDatasetError(f"{entry.shard}: {entry.sample.id}: {error}") from error
        return self._written[key]

    def _write(self, entry: Entry, mp4: bytes, wanted: Sequence[float]) -> list[Frame]:
        settings = self._settings
        times_s = wanted or spread(frame_times(mp4), settings.fps, settings.max_frames)
        folder = entry.clip.sha256[:20]
        return [
            Frame(time_s, self._media.image(jpeg(picture), f"{folder}/{_name(time_s)}.jpg"))
            for time_s, picture in frames_at(mp4, times_s, settings.max_side_px)
        ]


def parts_of(turn: Turn, entry: Entry, folder: FrameFolder) -> Iterator[str | Frame]:
    """A turn as texts and frames in their order, each frame after its time as text."""
    texts = _PLACEHOLDER.split(turn.text)
    for number, text in enumerate(texts):
        if number:
            for frame in folder.put(entry, turn.media[number - 1]):
                yield frame.caption
                yield frame
        # What `conversation` put between a text and the placeholder after it.
        said = text.removesuffix("\n") if number < len(texts) - 1 else text
        if said:
            yield said


def text_of(turn: Turn, entry: Entry, folder: FrameFolder) -> tuple[str, list[str]]:
    """A turn as one text with `<image>` for each frame, and the paths of these."""
    parts = list(parts_of(turn, entry, folder))
    texts = ["<image>" if isinstance(part, Frame) else part for part in parts]
    return "\n".join(texts), [part.path for part in parts if isinstance(part, Frame)]


def frame_losses(entry: Entry, settings: ExportSettings) -> Iterator[str]:
    """What pictures can't carry of a video, for the README."""
    yield (
        f"what lies between its frames: of the clip {settings.fps:g} a second are there as "
        f"pictures, {settings.max_frames} at most"
    )
    if entry.clip.has_audio:
        yield "its sound"
    if sampling_keys(entry.sample.sampling):
        yield "its own way to sample frames, which are pictures already"


def spread(times_s: Sequence[float], fps: float, most: int) -> list[float]:
    """Of the times of a clip's frames (rising) those next to a grid of `fps` from the first one.

    If these are more than `most`, it is a grid of `most` points over the whole clip.
    """
    first, last = times_s[0], times_s[-1]
    count = int((last - first) * fps + 1e-6) + 1
    step = 1 / fps
    if count > most:
        count, step = most, (last - first) / max(most - 1, 1)
    chosen = {nearest(times_s, first + number * step) for number in range(count)}
    return sorted(chosen)


def nearest(times_s: Sequence[float], time_s: float) -> float:
    """The one of some times that is next to a given one; of two as near, the earlier."""
    return min(times_s, key=lambda one: (abs(one - time_s), one))


def frame_times(mp4: bytes) -> list[float]:
    """When each frame of an mp4 is shown, in seconds from the first; nothing is decoded."""
    with _opened(mp4) as container:
        return [time_s for time_s, _ in _shown(container)]


def frames_at(
    mp4: bytes, times_s: Sequence[float], max_side_px: int = 0
) -> list[tuple[float, Image.Image]]:
    """The frames of an mp4 nearest to some times, each with its own time, in their order.

    Times are seconds from the first frame. `max_side_px` is the longest side; sides are even, and
    nothing is made larger; 0: as large as they are. Raises ValueError if it can't be decoded.
    """
    with _opened(mp4) as container:
        shown = _shown(container)
        every = [time_s for time_s, _ in shown]
        wanted = {nearest(every, time_s) for time_s in times_s}
        missing = {pts: time_s for time_s, pts in shown if time_s in wanted}
    found: dict[float, Image.Image] = {}
    try:
        with _opened(mp4) as container:
            for frame in container.decode(video=0):
                if frame.pts in missing:
                    found[missing.pop(frame.pts)] = _picture(frame, max_side_px)
                if not missing:
                    break
    except av.FFmpegError as error:
        raise ValueError(f"the clip's mp4 can't be decoded: {error}") from error
    if missing:
        raise ValueError(f"the clip's mp4 lacks its frame at {min(missing.values()):.3f} s")
    return sorted(found.items())


def jpeg(picture: Image.Image) -> bytes:
    """A picture as JPEG; the same picture gives the same bytes."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _opened(mp4: bytes) -> av.container.InputContainer:
    try:
        container = av.open(io.BytesIO(mp4), mode="r", format="mp4", options=OPEN_OPTIONS)
    except av.FFmpegError as error:
        raise ValueError(f"the clip's mp4 can't be opened: {error}") from error
    return container


def _shown(container: av.container.InputContainer) -> list[tuple[float, int]]:
    """(seconds from the first, PTS) of the frames that are shown, in order of time."""
    if not container.streams.video:
        raise ValueError("the clip's mp4 has no video stream")
    stream = container.streams.video[0]
    try:
        every = sorted(
            packet.pts
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size and not packet.is_discard
        )
    except av.FFmpegError as error:
        raise ValueError(f"the clip's mp4 can't be read: {error}") from error
    if not every or stream.time_base is None:
        raise ValueError("the clip's mp4 has no frame")
    return [(float((pts - every[0]) * stream.time_base), pts) for pts in every]


def _picture(frame: av.VideoFrame, max_side_px: int) -> Image.Image:
    width, height = frame.width, frame.height
    longest = max(width, height)
    if 0 < max_side_px < longest:
        width, height = (max(side * max_side_px // longest // 2 * 2, 2) for side in (width, height))
    return Image.fromarray(scaled_rgb(frame, width, height))


def _name(time_s: float) -> str:
    return f"{round(time_s * 1000):07}"
