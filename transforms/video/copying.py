"""Where a video can be cut without encoding it anew.

A clip can be copied from one clean keyframe to the next: everything shown before it is decoded
before it, and everything shown after it is decoded after it (closed groups of pictures). Cuts move
to such keyframes; what is published is the span that is really in the mp4.
"""

from __future__ import annotations

import bisect
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from schemas.rejection import Reason, Rejected
from schemas.video import Decoded, Video
from transforms.memo import MemoStore
from transforms.video.fetching import opened_source
from transforms.video.media_process import (
    ALLOWED_DEMUXERS,
    ALLOWED_PROTOCOLS,
    MediaProcess,
    time_limit_s,
)

VERSION = "1"
CODECS = frozenset({"h264", "hevc", "av1", "vp9"})
"""What players and trainers' decoders take in an mp4."""
CONTAINERS = ("mov", "matroska")
TICK_TOLERANCE_S = 0.0011
"""Containers that count milliseconds round the times of a constant frame rate."""
_CHILD = Path(__file__).with_name("packets_child.py")

RowSpan = tuple[int, int]


def copy_rows(
    video: Video, decoded: Decoded, times_s: npt.NDArray[np.float64], store: MemoStore
) -> list[int]:
    """Rows of the frame table at which copies can begin and end; none if it can't be copied.

    A video that is turned, has pixels that are not square, a varying frame rate, times that start
    late or a codec that mp4 players do not take has to be encoded.
    """
    probe = video.probe
    rate = Fraction(decoded.fps_num, decoded.fps_den)
    ticks = (times_s - times_s[0]) * float(rate)
    off_s = np.abs(ticks - np.arange(len(ticks))).max() / float(rate)
    if (
        probe.codec not in CODECS
        or not probe.container.startswith(CONTAINERS)
        or probe.rotation_deg
        or decoded.truncated
        or off_s > TICK_TOLERANCE_S
        # A last frame that stands for longer can only be repeated.
        or (decoded.duration_s - len(times_s) / float(rate)) * float(rate) > 0.5
    ):
        return []
    times_us, keys = packets(video, decoded, store)
    start_us = round(probe.start_time_s * 1_000_000)
    shown_us = sorted(time_us - start_us for time_us in times_us)
    if shown_us != np.round(times_s * 1_000_000).astype(int).tolist():
        return []
    clean = clean_points(times_us, keys)
    # Before a clean point as many frames are shown as packets were read.
    return clean if clean[:1] == [0] else []


def clean_points(times_us: Sequence[int], keys: Sequence[bool]) -> list[int]:
    """Packets, by number, before and after which the order of decoding splits the time line."""
    earliest_after = list(accumulate(reversed(times_us), min))[::-1]
    latest_before = list(accumulate(times_us, max, initial=-(2**63)))
    return [
        number
        for number, (time_us, key) in enumerate(zip(times_us, keys, strict=True))
        if key and latest_before[number] < time_us == earliest_after[number]
    ]


def snapped(spans: Sequence[RowSpan], clean: Sequence[int]) -> list[RowSpan]:
    """Spans whose edges lie on clean rows, at or before where they were; none that is empty.

    Spans that cover all rows still do: each begins where the one before it ends.
    """
    if not clean or not spans:
        return list(spans)
    marks = [clean[bisect.bisect_right(clean, start) - 1] for start, _ in spans]
    edges = sorted({*marks, spans[-1][1]})
    return list(pairwise(edges))


def reorder_delay_us(times_us: Sequence[int]) -> int:
    """How far decoding has to run ahead, given the times in the order of decoding."""
    shown = sorted(times_us)
    return max((one - other for one, other in zip(shown, times_us, strict=True)), default=0)


def packets(video: Video, decoded: Decoded, store: MemoStore) -> tuple[list[int], list[bool]]:
    """Times and keyframe flags of all packets, listed once per video; none if there are not as
    many as frames. Raises Rejected (decode_timeout, decoder_crashed)."""
    made_of = [video.sha256, video.probe.video_index, decoded.num_frames, av.__version__]
    entry = store.entry("packets", VERSION, made_of)
    found = entry.get()
    if found is None:
        with ExitStack() as stack:
            source, descriptor = stack.enter_context(opened_source(video))
            command = [
                *(sys.executable, "-I", str(_CHILD), source),
                *(ALLOWED_PROTOCOLS, ALLOWED_DEMUXERS),
                *(str(video.probe.video_index), str(decoded.num_frames)),
            ]
            limit_s = time_limit_s(video.size_bytes, video.probe.container_duration_s)
            child = MediaProcess(command, timeout_s=limit_s, pass_fds=[descriptor])
            stack.enter_context(child)
            output = child.stdout.readall()  # type: ignore[attr-defined]
            code = child.wait()
            child.raise_if_killed()
            if code != 0:
                raise Rejected(Reason.DECODER_CRASHED, child.complaint, lasting=False)
        found = json.loads(output)
        entry.put(found)
    return found["times_us"], found["keys"]
