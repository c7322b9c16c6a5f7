"""Runs in a process of its own: lists the packets of a video stream; nothing is decoded.

Usage: python -I packets_child.py PATH PROTOCOLS DEMUXERS STREAM_INDEX COUNT
Prints one JSON object: the packets' presentation times in microseconds and whether each is a
keyframe, in the order of decoding; empty lists if some can't be copied as they are, or if there are
not as many as COUNT.
It imports nothing of ours, so that it starts fast and a crash takes nothing along.
"""

import json
import sys
from typing import Any

import av

NEARLY_SQUARE = 0.005


def packets(path: str, protocols: str, demuxers: str, index: int, count: int) -> dict[str, Any]:
    options = {"protocol_whitelist": protocols, "format_whitelist": demuxers}
    nothing: dict[str, Any] = {"times_us": [], "keys": []}
    times_us: list[int] = []
    keys: list[bool] = []
    with av.open(path, options=options, metadata_errors="replace") as container:
        stream: Any = container.streams[index]
        if abs(float(stream.sample_aspect_ratio or 1) - 1.0) > NEARLY_SQUARE:
            return nothing
        for packet in container.demux(stream):
            if packet.size == 0:
                break
            # A packet that is not shown, not whole, without a time or with parameters of its own
            # can't be copied into a clip.
            changed = any(True for _ in packet.iter_sidedata())
            if len(keys) == count:
                return nothing
            if packet.pts is None or packet.is_discard or packet.is_corrupt or changed:
                return nothing
            times_us.append(round(packet.pts * packet.time_base * 1_000_000))
            keys.append(packet.is_keyframe)
    return {"times_us": times_us, "keys": keys} if len(keys) == count else nothing


if __name__ == "__main__":
    try:
        _, path, protocols, demuxers, index, count = sys.argv
        json.dump(packets(path, protocols, demuxers, int(index), int(count)), sys.stdout)
    except MemoryError:
        # The machine's fault as well as the file's; so nothing is remembered of it.
        raise
    except av.error.FFmpegError:
        json.dump({"times_us": [], "keys": []}, sys.stdout)
