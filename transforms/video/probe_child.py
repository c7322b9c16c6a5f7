"""Runs in a process of its own: opens one file with PyAV and prints its container's claims.

Usage: python -I probe_child.py PATH PROTOCOLS DEMUXERS
Prints one JSON object: either the claims or {"reason": ..., "detail": ...}.
It imports nothing of ours, so that it starts fast and a crash takes nothing along.
"""

import json
import sys
from typing import Any

import av
from av.stream import Disposition

NEARLY_SQUARE = 0.005
MAX_SUBTITLE_STREAMS = 100


def claims(path: str, protocols: str, demuxers: str) -> dict[str, Any]:
    options = {"protocol_whitelist": protocols, "format_whitelist": demuxers}
    try:
        container = av.open(path, options=options, metadata_errors="replace")
    except MemoryError:
        # The machine may be short of it, or the file may claim what no machine has.
        return {"reason": "decoder_crashed", "detail": "out of memory"}
    except (av.error.FFmpegError, UnicodeError) as error:
        detail = str(getattr(error, "strerror", "") or error)
        return {"reason": "not_a_video", "detail": f"{type(error).__name__}: {detail}"}
    with container:
        videos = [
            s for s in container.streams.video if not s.disposition & Disposition.attached_pic
        ]
        if not videos:
            kinds = ", ".join(sorted({str(s.type) for s in container.streams})) or "none"
            return {"reason": "no_video_stream", "detail": f"streams: {kinds}"}
        best = container.streams.best("video")
        video = best if best in videos else videos[0]
        audio: Any = next(iter(container.streams.audio), None)
        context: Any = video.codec_context  # None where there is no decoder
        if context is None:
            return {"reason": "no_decodable_frame", "detail": "no decoder for the video stream"}
        start_s = float(container.start_time or 0) / av.time_base
        in_stream_s = -1.0
        if video.duration is not None and video.time_base is not None:
            in_stream_s = float(video.duration * video.time_base)
        rotation, aspect, encrypted = first_frame_facts(container, video)
        if encrypted:
            return {"reason": "no_decodable_frame", "detail": "encrypted"}
        width_px, height_px = context.width, context.height
        # Next to 1 it is what rounding to whole pixels left over, not a shape of pixels.
        if aspect > 0 and abs(aspect - 1.0) > NEARLY_SQUARE:
            width_px = round(width_px * aspect)
        if rotation % 180:
            width_px, height_px = height_px, width_px
        return {
            "container": container.format.name,
            "video_index": video.index,
            "codec": context.name,
            "pix_fmt": context.pix_fmt or "",
            "width_px": width_px,
            "height_px": height_px,
            "rotation_deg": rotation,
            "start_time_s": start_s,
            "claimed_duration_s": in_stream_s,
            "container_duration_s": float(container.duration or -av.time_base) / av.time_base,
            "color_range": int(context.color_range or 0),
            "color_space": int(context.colorspace or 0),
            "color_primaries": int(context.color_primaries or 0),
            "color_transfer": int(context.color_trc or 0),
            "audio": None
            if audio is None or audio.codec_context is None
            else {
                "index": audio.index,
                "codec": audio.codec_context.name,
                "sample_rate_hz": audio.codec_context.sample_rate or 0,
                "channels": audio.codec_context.channels or 0,
            },
            "subtitles": [
                {
                    "index": stream.index,
                    # None where there is no decoder.
                    "codec": stream.codec_context.name if stream.codec_context else "",
                    "language": stream.language or "",
                    "is_default": bool(stream.disposition & Disposition.default),
                    "is_forced": bool(stream.disposition & Disposition.forced),
                }
                for stream in container.streams.subtitles[:MAX_SUBTITLE_STREAMS]
            ],
        }


def first_frame_facts(container: Any, video: Any) -> tuple[int, float, bool]:
    """Rotation in degrees, sample aspect ratio, and whether the pictures need a key.

    Only a decoded frame tells the first two for sure. Decoded without their key, some pictures
    would come out as noise.
    """
    aspect = float(video.sample_aspect_ratio or 1)
    try:
        for packet in container.demux(video):
            if packet.has_sidedata("encryption_info"):
                return 0, aspect, True
            for frame in packet.decode():
                return int(frame.rotation) % 360, aspect, False
    except av.error.FFmpegError:
        # Whether anything decodes is for the decode pass to say.
        pass
    return 0, aspect, False


if __name__ == "__main__":
    json.dump(claims(*sys.argv[1:4]), sys.stdout)
