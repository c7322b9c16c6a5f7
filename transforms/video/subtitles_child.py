"""Runs in a process of its own: reads the cues of a subtitle file or of a subtitle stream.

Usage: python -I subtitles_child.py, with one line of JSON on stdin: `source, protocols, demuxers`,
then either `stream` (its number) and `start_time_s`, or `text` and `format`.
Prints one JSON object: `cues`, a list of [start_s, end_s, text] in the order of the file, times in
seconds from the container's start, and `left_out`, how many cues could not be used; or `failed`.
It imports nothing of ours, so that it starts fast and a crash takes nothing along.
"""

import html
import io
import json
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

MAX_CUES = 50_000
MAX_CUE_CHARS = 2_000
MAX_CHARS = 10_000_000

_FIELDS_BEFORE_TEXT = 8
_OVERRIDE = re.compile(r"\{[^{}]*\}")
_DRAWING = re.compile(r"\\p[1-9]")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_NEGATIVE = re.compile(r"(?<!\S)-\d+(?::\d+)+[.,]\d+")


def plain_text(event: str, codec: str) -> str:
    """The text of an event of ASS, as libavcodec gives all subtitles; "" if it draws a shape.

    Lines are parted by newlines.
    """
    text = event.split(",", _FIELDS_BEFORE_TEXT)[-1]
    if _DRAWING.search(text):
        return ""
    # libavcodec writes a brace that is meant so.
    text = text.replace(r"\{{}", "\0")
    text = _OVERRIDE.sub("", text).replace("\0", "{")
    text = text.replace(r"\h", " ").replace(r"\N", "\n").replace(r"\n", "\n")
    if codec in ("subrip", "srt"):
        text = html.unescape(_TAG.sub("", text))
    return text


def without_negative_times(text: str) -> str:
    """A subtitle file in which what begins before the video begins with it.

    The demuxers of SubRip and WebVTT pass over the sign.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if "-->" in line:
            lines[number] = _NEGATIVE.sub("00:00:00.000", line)
    return "\n".join(lines)


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets as far as the file can be read."""
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        return


def read_cues(container: Any, stream: Any, start_time_s: float) -> dict[str, Any]:
    start_s = Fraction(round(start_time_s * 1_000_000), 1_000_000)
    codec = stream.codec_context.name
    cues: list[tuple[float, float, str]] = []
    left_out, chars = 0, 0
    for packet in packets(container, stream):
        if packet.size == 0:
            continue
        if len(cues) == MAX_CUES or chars >= MAX_CHARS:
            left_out += 1
            continue
        # A cue without a length may be one that nothing ended.
        if packet.pts is None or not packet.duration or packet.duration < 0:
            left_out += 1
            continue
        try:
            events = [event.ass.decode("utf-8", "replace") for event in packet.decode()]
        except (av.error.FFmpegError, AttributeError):
            left_out += 1
            continue
        text = "\n".join(filter(None, (plain_text(event, codec) for event in events)))
        if len(text) > MAX_CUE_CHARS:
            left_out += 1
            continue
        begin_s = packet.pts * packet.time_base - start_s
        end_s = begin_s + packet.duration * packet.time_base
        cues.append((float(begin_s), float(end_s), text))
        chars += len(text)
    return {"cues": cues, "left_out": left_out}


def read(request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "text" in request:
            text = without_negative_times(request["text"])
            source: Any = io.BytesIO(text.encode())
            with av.open(source, format=request["format"], metadata_errors="replace") as container:
                return read_cues(container, container.streams.subtitles[0], 0.0)
        options = {
            "protocol_whitelist": request["protocols"],
            "format_whitelist": request["demuxers"],
        }
        with av.open(request["source"], options=options, metadata_errors="replace") as container:
            stream = container.streams[request["stream"]]
            return read_cues(container, stream, request["start_time_s"])
    except MemoryError:
        # The machine's fault as well as the file's; so nothing is remembered of it.
        raise
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        words = getattr(error, "strerror", "") or str(error)
        return {"failed": f"{type(error).__name__}: {words}"}


if __name__ == "__main__":
    json.dump(read(json.loads(sys.stdin.readline())), sys.stdout)
