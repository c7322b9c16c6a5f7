"""Runs in a process of its own: decodes one video from the start and writes its clips as mp4s.

Usage: python -I -m transforms.video.cut_child, with one line of JSON (`CutRequest`) on stdin, which
stays open: when it ends, the parent is gone, and so is the process.
Prints one line of JSON per clip (`ClipReport`), as soon as its mp4 is whole. Frames pass from
decoder to encoder by reference. It imports little, so that it starts fast, and a crash in a codec
takes nothing else along.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av

from transforms.video.cut_request import AUDIO_RATE_HZ, ClipReport, ClipRequest, CutRequest
from transforms.video.cut_source import (
    EndedEarlyError,
    MissingFrameError,
    Packets,
    Pictures,
    Sound,
    decoded,
    open_source,
    silence,
)

AUDIO_BIT_RATE = 128_000
SOUND_CHUNK = 8_192
"""Samples that are written at once; sound must not lag far behind the pictures in the file."""


class ClipWriter:
    """One mp4 while it is written; a context manager that closes it."""

    def __init__(
        self,
        clip: ClipRequest,
        request: CutRequest,
        sound: Sound | None,
        copied_from: Any = None,
    ) -> None:
        """`copied_from` is the source's stream where pictures are copied."""
        rate = Fraction(*request.rate)
        self._tick_s = 1 / rate
        self._container = av.open(clip.file, "w", format="mp4", options=dict(request.muxer))
        self._video: Any
        if copied_from is not None:
            self._video = self._container.add_stream_from_template(copied_from, opaque=True)
        else:
            self._video = self._container.add_stream(
                "libx264", rate=rate, options=dict(request.encoder)
            )
            self._video.width, self._video.height = request.size
            self._video.pix_fmt = "yuv420p"
        self._copied = copied_from is not None
        self._sound = sound
        self._audio: Any = None
        if sound is not None:
            self._audio = self._container.add_stream(
                "aac", rate=AUDIO_RATE_HZ, layout="stereo", options={"flags": "+bitexact"}
            )
            self._audio.bit_rate = AUDIO_BIT_RATE
        self._start_sample, self._end_sample = clip.start_sample, clip.end_sample
        self._ticks = 0
        self._samples = 0

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def show(self, frame: Any) -> None:
        """Show a frame at the next tick."""
        frame.pts, frame.time_base = self._ticks, self._tick_s
        # What the source's encoder made of the frame is no order to ours.
        frame.pict_type = 0
        self._container.mux(self._video.encode(frame))
        self._advance()

    def copy(self, packet: Any, start_pts: int, dts: int) -> None:
        """Write the next packet of the source, of which `start_pts` is clip time 0."""
        packet.pts -= start_pts
        packet.dts = min(dts - start_pts, packet.pts)
        packet.stream = self._video
        self._container.mux(packet)
        self._advance()

    def _advance(self) -> None:
        self._ticks += 1
        if self._ticks * self._tick_s * AUDIO_RATE_HZ - self._samples >= SOUND_CHUNK:
            self._write_sound()

    def finish(self) -> None:
        """Write what the encoders still hold."""
        if not self._copied:
            self._container.mux(self._video.encode(None))
        self._write_sound()
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))

    def _write_sound(self) -> None:
        if self._sound is None:
            return
        end = round(self._ticks * self._tick_s * AUDIO_RATE_HZ)
        heard = min(end, self._end_sample - self._start_sample) - self._samples
        if heard > 0:
            for frame in self._sound.take(self._start_sample + self._samples, heard):
                self._write_samples(frame)
        if self._samples < end:
            self._write_samples(silence(end - self._samples))

    def _write_samples(self, frame: Any) -> None:
        frame.pts, frame.time_base = self._samples, Fraction(1, AUDIO_RATE_HZ)
        self._container.mux(self._audio.encode(frame))
        self._samples += frame.samples


def write_clip(clip: ClipRequest, request: CutRequest, pictures: Pictures, sound: Any) -> int:
    """Write one mp4; the number of frames in it.

    Raises MissingFrameError, EndedEarlyError, OSError, FFmpegError.
    """
    with ClipWriter(clip, request, sound) as writer:
        for row, frame in pictures.rows(clip.start_row, clip.start_row + len(clip.counts)):
            for _ in range(clip.counts[row - clip.start_row]):
                writer.show(frame)
        writer.finish()
    with av.open(clip.file) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def copy_clip(clip: ClipRequest, request: CutRequest, packets: Any, sound: Any) -> int:
    """Write one mp4 of the source's own packets; the number of frames in it.

    Raises as `write_clip` does, and ValueError if the mp4 does not decode to all of its frames.
    """
    with ClipWriter(clip, request, sound, packets.stream) as writer:
        start_pts: int | None = None
        for packet, dts in packets.rows(clip.start_row, clip.start_row + len(clip.counts)):
            # The first packet of a closed group is the first that is shown.
            start_pts = packet.pts if start_pts is None else start_pts
            writer.copy(packet, start_pts, dts)
        writer.finish()
    with av.open(clip.file) as container:
        whole = [not frame.is_corrupt for frame in decoded(container, container.streams.video[0])]
    if len(whole) != len(clip.counts) or not all(whole):
        # Some files call keyframe what builds up a picture over several frames.
        raise ValueError(
            f"{sum(whole)} of {len(clip.counts)} copied frames decode; set cut.mode to exact"
        )
    return len(whole)


def cut_all(request: CutRequest) -> Iterator[ClipReport]:
    """Write all clips; one report each, in order. What fails for one does not end the others."""
    with ExitStack() as stack:
        container = stack.enter_context(open_source(request))
        copy = request.copy_delay_us is not None
        pictures: Any = (Packets if copy else Pictures)(container, request)
        write = copy_clip if copy else write_clip
        sound: Sound | None = None
        if request.audio_index >= 0:
            # A reader of its own: in some files sound and pictures lie far apart.
            sound = Sound(stack.enter_context(open_source(request)), request)
            sound = sound if sound.is_there else None
        for number, clip in enumerate(request.clips):
            try:
                num_frames = write(clip, request, pictures, sound)
            except EndedEarlyError as error:
                for rest in range(number, len(request.clips)):
                    yield ClipReport(rest, failed=str(error))
                return
            except MissingFrameError as error:
                yield ClipReport(number, failed=str(error))
            except (av.error.FFmpegError, OSError, ValueError) as error:
                words = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
                yield ClipReport(number, failed=words, errno=getattr(error, "errno", 0) or 0)
            else:
                yield ClipReport(number, num_frames, has_audio=sound is not None)


def main() -> None:
    """Read the request from stdin and print the reports."""
    request = CutRequest.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for report in cut_all(request):
        print(report.to_json(), flush=True)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
