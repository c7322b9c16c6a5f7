"""The source's pictures and sound, decoded from the start, as clips need them."""

from __future__ import annotations

import contextlib
import errno
import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.audio.fifo
import av.filter
import av.format
from av.stream import Discard

from transforms.video.cut_request import AUDIO_RATE_HZ, CutRequest
from transforms.video.timeline import BestEffort, Timeline, leaves_out_torn

MAX_FILLED_GAP_S = 1
"""Longer gaps in the sound are not filled by the filter, which would hold all of the silence."""
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 400_000
GENERATE_PTS, DISCARD_CORRUPT = 0x1, 0x100
"""Flags of libavformat: AVFMT_FLAG_GENPTS and AVFMT_FLAG_DISCARD_CORRUPT."""

NoMore = (av.error.BlockingIOError, av.error.EOFError)


class EndedEarlyError(Exception):
    """The video gave no more frames before the clip was full."""


class MissingFrameError(Exception):
    """A frame of the clip did not come again."""


def open_source(request: CutRequest) -> Any:
    """Open the file; only the allowed containers, and nothing that it points to."""
    options = {"protocol_whitelist": request.protocols, "format_whitelist": request.demuxers}
    container = av.open(request.source, options=options, metadata_errors="replace")
    # PyAV asks for made-up times where a container has none (AVI); ffmpeg, as the decode pass runs
    # it, does not, and both have to agree.
    container.flags &= ~GENERATE_PTS
    if leaves_out_torn(container.format.name):
        container.flags |= DISCARD_CORRUPT
    return container


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of one stream, the others passed over unread.

    Where a file is cut off, one stream may end before the other.
    """
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    packets: Iterator[Any] = container.demux(stream)
    return packets


def decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames from the start; what does not decode is passed over, as ffmpeg does."""
    packets = packets_of(container, stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        try:
            # At the end, the decoder is asked for what it still holds.
            frames = packet.decode() if packet is not None else stream.codec_context.decode(None)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            frames = []
        yield from frames
        if packet is None:
            return


class Pictures:
    """Decoded frames, found again by their times, upright and at the clips' size."""

    def __init__(self, container: Any, request: CutRequest) -> None:
        stream = container.streams[request.video_index]
        stream.thread_type = "AUTO"
        stream.thread_count = request.decoder_threads
        self._frames = decoded(container, stream)
        self._time_base = Fraction(stream.time_base)
        # Where a container has no times, ffmpeg counts frames; then a frame's row is its number.
        self._has_times = not container.format.flags & av.format.Flags.no_timestamps.value
        self._best = BestEffort()
        self._timeline = Timeline(request.start_time_s)
        self._row_of = {time_us: row for row, time_us in enumerate(request.times_us)}
        self._size = request.size
        self._scale_flags = request.scale_flags
        self._full_range = request.full_range
        self._last_row = -1
        self._ahead: tuple[int, Any] | None = None
        self._graph: av.filter.Graph | None = None
        self._graph_of: tuple[object, ...] = ()

    def rows(self, start: int, end: int) -> Iterator[tuple[int, Any]]:
        """Frames of rows [start, end). Raises MissingFrameError, EndedEarlyError."""
        expected = start
        while expected < end:
            row, frame = self._next()
            if row < start:
                continue
            if row != expected:
                self._ahead = (row, frame)
                raise MissingFrameError(f"frame {expected} was not decoded again")
            yield row, self._fitted(frame)
            expected += 1

    def _next(self) -> tuple[int, Any]:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        for frame in self._frames:
            row = self._row(frame)
            if row > self._last_row:
                self._last_row = row
                return row, frame
        raise EndedEarlyError("the video ended early")

    def _row(self, frame: Any) -> int:
        ticks = self._best.choose(frame.pts, frame.dts) if self._has_times else None
        if ticks is None:
            return self._last_row + 1
        time_s = self._timeline.accept(ticks * self._time_base)
        return -1 if time_s is None else self._row_of.get(round(time_s * 1_000_000), -1)

    def _fitted(self, frame: Any) -> Any:
        """The frame as yuv420p of the clips' size; itself where it is that already."""
        filters = upright_filters(display_matrix(frame))
        shape = (frame.width, frame.height, frame.format.name)
        if not filters and not self._full_range and shape == (*self._size, "yuv420p"):
            return frame
        # A stream may change its size or format on the way.
        if self._graph is None or self._graph_of != (shape, filters):
            self._graph = self._make_graph(frame, filters)
            self._graph_of = (shape, filters)
        self._graph.push(frame)
        return self._graph.pull()

    def _make_graph(self, frame: Any, filters: tuple[tuple[str, str], ...]) -> av.filter.Graph:
        width, height = self._size
        to_tv = ":in_range=full:out_range=tv" if self._full_range else ""
        graph = av.filter.Graph()
        nodes = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=self._time_base,
            ),
            *(graph.add(name, options) for name, options in filters),
            graph.add("scale", f"{width}:{height}:flags={self._scale_flags}{to_tv}"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def _readable(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets until one can't be read: what comes after a hole in a file has no number.

    Raises OSError and MemoryError that may pass, so that it is tried again.
    """
    try:
        yield from packets
    except av.error.FFmpegError as error:
        if isinstance(error, (OSError, MemoryError)) and error.errno != errno.EIO:
            raise


class Packets:
    """The packets of the pictures, as they are. At a clean point, packet n holds frame n."""

    def __init__(self, container: Any, request: CutRequest) -> None:
        self.stream = container.streams[request.video_index]
        packets = _readable(packets_of(container, self.stream))
        self._packets = enumerate(packet for packet in packets if packet.size)
        self._times_us = request.times_us
        assert request.copy_delay_us is not None
        self._ahead_us = round(request.start_time_s * 1_000_000) - request.copy_delay_us

    def rows(self, start: int, end: int) -> Iterator[tuple[Any, int]]:
        """Packets [start, end), each with the time of its decoding. Raises EndedEarlyError.

        Matroska stores no times of decoding, so they are taken from the order of showing.
        """
        for number, packet in self._packets:
            if number >= start:
                dts_us = self._times_us[number] + self._ahead_us
                yield packet, math.floor(Fraction(dts_us, 1_000_000) / packet.time_base)
            if number == end - 1:
                return
        raise EndedEarlyError("the video ended early")


def display_matrix(frame: Any) -> tuple[int, ...]:
    """The nine numbers that say how a frame is to be turned; empty where it is not."""
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # Among its side data is a kind that PyAV has no name for.
        found = None
    return struct.unpack("=9i", bytes(found)[:36]) if found is not None else ()


def upright_filters(matrix: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Filters (name, options) that turn a frame upright, as ffmpeg's autorotation does."""
    if not matrix:
        return ()
    scale_x, scale_y = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if not scale_x or not scale_y:
        return ()
    degrees = math.degrees(math.atan2(matrix[1] / scale_y, matrix[0] / scale_x)) % 360
    if abs(degrees - 90) < 1:
        return (("transpose", "cclock_flip" if matrix[3] > 0 else "clock"),)
    if abs(degrees - 180) < 1:
        flips = (("hflip", matrix[0] < 0), ("vflip", matrix[4] < 0))
        return tuple((name, "") for name, wanted in flips if wanted)
    if abs(degrees - 270) < 1:
        return (("transpose", "clock_flip" if matrix[3] < 0 else "cclock"),)
    if 1 < degrees < 359:
        return (("rotate", f"{degrees}*PI/180"),)
    return (("vflip", ""),) if matrix[4] < 0 else ()


class Sound:
    """The source's sound as 16-bit stereo: sample n is source time n / 48000."""

    def __init__(self, container: Any, request: CutRequest) -> None:
        stream = container.streams[request.audio_index]
        self._frames = decoded(container, stream)
        self._time_base = Fraction(stream.time_base)
        self._start_time_s = request.start_time_s
        self._fifo = av.audio.fifo.AudioFifo()
        self._position = 0
        """Source time, in samples, of the first sample that waits in the queue."""
        self._graph: av.filter.Graph | None = None
        self._graph_of: tuple[object, ...] = ()
        self._expected_s = Fraction(0)
        """When the next frame should begin."""
        self._held: Any = None
        """A frame that comes after a gap, which is a number here and not a queue of silence."""
        self._held_at = 0
        self._ended = False

    @property
    def is_there(self) -> bool:
        """Whether anything can be heard at all."""
        self._fill(1)
        return self._fifo.samples > 0 or self._held is not None

    def take(self, start: int, count: int) -> Iterator[Any]:
        """Frames of samples [start, start + count); silence where the source has none.

        What was taken or passed over is gone: starts may not go back.
        """
        if start < self._position:
            raise ValueError(f"sample {start} is gone, the next is {self._position}")
        while self._position < start:
            self._drop(start - self._position)
        while count:
            self._fill(count)
            ready = min(count, self._fifo.samples)
            if ready:
                yield self._fifo.read(ready)
            else:
                ready = self._silent(count)
                yield silence(ready)
            self._position += ready
            count -= ready

    def _drop(self, count: int) -> None:
        self._fill(1)
        ready = min(count, self._fifo.samples)
        if ready:
            self._fifo.read(ready)
        else:
            ready = self._silent(count)
        self._position += ready

    def _silent(self, count: int) -> int:
        """How many of the next samples are silent, with nothing in the queue."""
        return count if self._held is None else min(count, self._held_at - self._position)

    def _fill(self, count: int) -> None:
        """Queue up to so many samples, but none from behind a gap that is not over."""
        while self._fifo.samples < count and not self._ended:
            if self._held is not None:
                if self._position + self._fifo.samples < self._held_at:
                    return
                frame, self._held = self._held, None
            else:
                frame = next(self._frames, None)
                if frame is None:
                    self._ended = True
                    self._finish_graph()
                    return
                if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
                    continue
                begins_s = self._begin_s(frame)
                if begins_s - self._expected_s > MAX_FILLED_GAP_S:
                    self._finish_graph()
                    self._graph = None
                    self._held, self._held_at = frame, round(begins_s * AUDIO_RATE_HZ)
                self._expected_s = begins_s + Fraction(frame.samples, frame.sample_rate)
                if self._held is not None:
                    continue
            with contextlib.suppress(av.error.FFmpegError, ValueError):
                self._push(frame)

    def _begin_s(self, frame: Any) -> Fraction:
        if frame.pts is None:
            return self._expected_s
        return Fraction(frame.pts) * self._time_base - Fraction(self._start_time_s)

    def _push(self, frame: Any) -> None:
        kind = (frame.sample_rate, frame.format.name, frame.layout.name)
        if self._graph is None or self._graph_of != kind:
            self._finish_graph()
            self._graph, self._graph_of = self._make_graph(frame), kind
        self._graph.push(frame)
        self._pull()

    def _finish_graph(self) -> None:
        if self._graph is not None:
            with contextlib.suppress(av.error.FFmpegError):
                self._graph.push(None)
                self._pull()

    def _pull(self) -> None:
        assert self._graph is not None
        with contextlib.suppress(*NoMore):
            while True:
                found = self._graph.pull()
                # The queue counts samples itself.
                found.pts = None
                self._fifo.write(found)  # type: ignore[arg-type]

    def _make_graph(self, frame: Any) -> av.filter.Graph:
        # Gaps are filled with silence and overlaps dropped, so that samples stay on the time line;
        # what lies before the first sample that is still wanted is cut off.
        # The filter counts `first_pts` in samples of what goes in.
        first = self._position + self._fifo.samples
        first_in = round(Fraction(first * frame.sample_rate, AUDIO_RATE_HZ))
        graph = av.filter.Graph()
        nodes = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format,
                layout=frame.layout,
                time_base=self._time_base,
            ),
            graph.add("asetpts", f"PTS-{self._start_time_s:.6f}/TB"),
            graph.add("aresample", f"{AUDIO_RATE_HZ}:async=1:first_pts={first_in}"),
            graph.add("aformat", f"s16:{AUDIO_RATE_HZ}:stereo"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def silence(count: int) -> Any:
    """A frame of so many silent samples."""
    frame = av.AudioFrame(format="s16", layout="stereo", samples=count)
    frame.sample_rate = AUDIO_RATE_HZ
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    return frame
