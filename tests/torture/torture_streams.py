"""Streams in odd shapes: too many, too few, changing, out of order, in odd containers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import av
from clock_video import run_ffmpeg
from torture_kind import (
    End,
    Kind,
    Make,
    clip,
    cut_off,
    lost,
    no_frame,
    no_stream,
    not_a_video,
    too_short,
    writing,
)
from torture_making import TS_PACKET_BYTES, Shop, bare, changed, nal_type, nal_units

from schemas.rejection import Reason, Stage

COPY = ("-c", "copy")
MAIN_IS_SECOND = ("-disposition:v:0", "0", "-disposition:v:1", "default")
COVER = ("-disposition:v", "attached_pic")
X265 = {"x265-params": "log-level=none"}
BLURRED = lost(Stage.SELECT, Reason.BLURRED)
TWICE = (*range(50), *range(50))


def ffmpeg(inputs: Callable[[Shop], Iterable[str]], *options: str) -> Make:
    """A file that ffmpeg makes; `inputs` are its inputs with their options."""

    def make(shop: Shop, path: Path) -> None:
        run_ffmpeg(*inputs(shop), *options, str(path))

    return make


def encoded(name: str, codec: str, **how: object) -> Make:
    """A clock in a codec and a container; the file's own suffix need not say which."""
    how = {"options": {}} | how
    return writing(lambda shop: shop.clock(name, codec=codec, **how).read_bytes())


def of_plain(shop: Shop) -> Iterable[str]:
    return ("-i", str(shop.plain))


def with_sound(shop: Shop) -> Iterable[str]:
    return ("-i", str(shop.plain), "-i", str(shop.beeps))


def of_long(shop: Shop) -> Iterable[str]:
    return ("-i", str(shop.long))


def only_sound(shop: Shop) -> Iterable[str]:
    return ("-i", str(shop.beeps))


def with_cover(shop: Shop) -> Iterable[str]:
    cover = shop.folder / "cover.jpg"
    run_ffmpeg("-f", "lavfi", "-i", "color=c=red:s=600x600", "-frames:v", "1", str(cover))
    return ("-i", str(shop.sound), "-i", str(cover))


def two_sizes(shop: Shop) -> Iterable[str]:
    """A small and short video, then the one that matters."""
    small = shop.clock("small.mp4", tuple(range(25)), size=(64, 48))
    return ("-i", str(small), "-i", str(shop.plain))


def joined(shop: Shop, first: Path, second: Path) -> bytes:
    """Two videos as one MPEG-TS, the second two seconds after the first."""
    moved = zip((first, second), ("0", "2"), strict=True)
    return b"".join(
        shop.remuxed(part, "part.ts", "-output_ts_offset", offset).read_bytes()
        for part, offset in moved
    )


def tall(shop: Shop, name: str) -> Path:
    return shop.clock(name, size=(96, 128), options={"bf": "0"})


def other_sound(shop: Shop) -> bytes:
    """Two MPEG-TS with sound of other rates and numbers of channels."""

    def heard(rate: str, channels: str) -> Path:
        path = shop.folder / f"heard-{rate}.ts"
        inputs = ("-i", str(shop.stream), "-i", str(shop.beeps))
        run_ffmpeg(*inputs, "-c:v", "copy", "-ar", rate, "-ac", channels, str(path))
        return path

    return joined(shop, heard("48000", "2"), heard("44100", "1"))


def from_the_middle(shop: Shop) -> bytes:
    """An MPEG-TS from a packet between two keyframes on."""
    content = shop.clock("middle.ts", options={"bf": "0", "g": "20"}).read_bytes()
    packets = len(content) // TS_PACKET_BYTES
    return content[packets // 4 * TS_PACKET_BYTES :]


def headless(shop: Shop, path: Path) -> None:
    """Matroska from the tenth frame on; the next keyframe is the 25th."""
    with av.open(str(shop.long)) as source, av.open(str(path), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        packets = [one for one in source.demux(video=0) if one.dts is not None]
        for packet in packets[10:]:
            packet.stream = stream
            sink.mux(packet)


def without_keyframes(shop: Shop) -> bytes:
    return bare([one for one in nal_units(shop.raw.read_bytes()) if nal_type(one) != 5])


def sound_behind(shop: Shop, path: Path) -> None:
    """All sound after all pictures."""
    at_once = {"max_interleave_delta": "1"}
    with (
        av.open(str(shop.sound)) as source,
        av.open(str(path), "w", container_options=at_once) as sink,
    ):
        streams = {one.index: sink.add_stream_from_template(one) for one in source.streams}
        packets = [one for one in source.demux() if one.dts is not None]
        for packet in sorted(packets, key=lambda one: one.stream.type != "video"):
            packet.stream = streams[packet.stream.index]
            sink.mux_one(packet)


def nonsense_said(shop: Shop, path: Path) -> None:
    title = "<script>alert(1)</script>\r\n| `$(reboot)` | \N{RIGHT-TO-LEFT OVERRIDE}" * 20_000
    said = {"title": title, "comment": "\x1b[31m[mov @ 0x1] partial file", "encoder": "../../etc"}
    with av.open(str(shop.plain)) as source, av.open(str(path), "w") as sink:
        sink.metadata.update(said)
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)


def last_without_length(shop: Shop) -> bytes:
    def stts(payload: bytes) -> bytes:
        _, _, count, delta = struct.unpack(">IIII", payload)
        return struct.pack(">IIIIII", 0, 2, count - 1, delta, 1, 0)

    return changed(shop.clock("last.mp4", options={"bf": "0"}).read_bytes(), stts=stts)


def encrypted(shop: Shop, path: Path) -> None:
    scheme = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_kid", "f" * 32)
    key = ("-encryption_key", "0123456789abcdef" * 2, "-fflags", "+bitexact")
    run_ffmpeg("-i", str(shop.plain), *COPY, *scheme, *key, str(path))


def times(*parts: str) -> Make:
    """MPEG-TS copies of a video one after the other, each at an offset in seconds."""

    def content(shop: Shop) -> bytes:
        moved = (shop.remuxed(shop.stream, "t.ts", "-output_ts_offset", part) for part in parts)
        return b"".join(one.read_bytes() for one in moved)

    return writing(content)


def pixel(shop: Shop, path: Path) -> None:
    source = ("-f", "lavfi", "-i", "nullsrc=s=1x1:r=25:d=2,geq=lum=N*5")
    run_ffmpeg(*source, "-c:v", "ffv1", "-f", "matroska", str(path))


def still(form: str, codec: str) -> Make:
    def make(shop: Shop, path: Path) -> None:
        run_ffmpeg("-i", str(shop.plain), "-frames:v", "1", "-c:v", codec, "-f", form, str(path))

    return make


def subtitles(shop: Shop, path: Path) -> None:
    words = shop.folder / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:02,000\nHello\n")
    run_ffmpeg("-i", str(words), "-f", "matroska", str(path))


STREAMS = (
    Kind("song.mp4", ffmpeg(only_sound), no_stream("streams: audio"), "sound without pictures"),
    Kind("song.wav.mp4", writing(lambda shop: shop.beeps.read_bytes()), not_a_video(), "no video"),
    Kind("words.mkv", subtitles, no_stream("streams: subtitle"), "subtitles alone"),
    Kind(
        "song with a cover.mp4",
        ffmpeg(with_cover, "-map", "0:a", "-map", "1", *COPY, *COVER),
        no_stream("audio"),
        "the cover is a picture, not a video",
    ),
    Kind(
        "video with a cover.mp4",
        ffmpeg(with_cover, "-map", "1", "-map", "0", *COPY, "-disposition:v:0", "attached_pic"),
        clip(has_audio=True),
        "the cover comes first and is larger",
    ),
    Kind(
        "two videos.mp4",
        ffmpeg(two_sizes, "-map", "0", "-map", "1", *COPY, *MAIN_IS_SECOND),
        clip(),
        "the one that the file calls its main one is taken",
    ),
    Kind(
        "three sounds.mkv",
        ffmpeg(with_sound, "-map", "0", "-map", "1", "-map", "1", "-map", "1", "-c:v", "copy"),
        clip(has_audio=True),
        "the first one is taken",
    ),
    Kind(
        "sizes change.ts",
        writing(lambda shop: joined(shop, shop.stream, tall(shop, "tall.ts"))),
        clip(TWICE, 0.0, 4.0),
        "all is scaled to the first size",
    ),
    Kind(
        "sizes change without times.mp4",
        writing(lambda shop: shop.raw.read_bytes() + tall(shop, "tall.h264").read_bytes()),
        clip(TWICE, 0.0, 4.0),
        "the same in a bare stream",
    ),
    Kind(
        "sound changes.ts",
        writing(other_sound),
        clip(TWICE, 0.0, 4.0, has_audio=True),
        "rate and channels change",
    ),
    Kind(
        "from the middle.ts",
        writing(from_the_middle),
        clip(range(20, 50), 0.4, 1.6),
        "what comes before the first keyframe can't be decoded",
    ),
    Kind("headless.mkv", headless, clip(range(25, 100), 0.6, 3.6), "the same in Matroska"),
    Kind("no keyframe.mp4", writing(without_keyframes), no_frame(), "nothing can be decoded"),
    Kind("all sound behind.mp4", sound_behind, clip(has_audio=True), "interleaving gone wrong"),
    Kind("nonsense said.mp4", nonsense_said, clip(), "a title of megabytes; what looks like a log"),
    Kind(
        "jumps back.ts",
        times("0", "0"),
        cut_off("50 of 100 frames come after a break"),
        "two recordings on one time line",
    ),
    Kind(
        "jumps forward.ts",
        times("0", "3600"),
        End(
            spans=((0.0, 1.96), (3600.0, 3602.0)),
            shown=(*range(49), *range(50)),
            lost=((Stage.SEGMENT, Reason.TOO_LONG, "one frame stands for minutes"),),
        ),
        "an hour in which nothing comes; the frame before it stands",
    ),
    Kind(
        "forward and back.ts",
        times("0", "100", "2"),
        cut_off("50 of 150 frames come after a break"),
        "a leap that is taken back",
    ),
    Kind(
        "negative.ts",
        ffmpeg(of_plain, *COPY, "-output_ts_offset", "-3", "-avoid_negative_ts", "0"),
        clip(),
        "begins before time 0",
    ),
    Kind("last without length.mp4", writing(last_without_length), clip(), "as some cameras end"),
    Kind(
        "one frame.mp4",
        writing(lambda shop: shop.clock("one.mp4", (0,)).read_bytes()),
        too_short("1 frames, 0.040 s"),
        "a still picture as a video",
    ),
    Kind("one pixel.mkv", pixel, BLURRED, "nothing to be seen"),
    Kind("moving.gif", ffmpeg(of_plain, "-f", "gif"), clip(), "taken when named", named=True),
    Kind("gif.mp4", ffmpeg(of_long, "-f", "gif"), clip(range(100), 0.0, 4.0), "a wrong suffix"),
    Kind("still.jpg.mp4", still("image2", "mjpeg"), not_a_video(), "a picture"),
    Kind("still.png.mp4", still("image2", "png"), not_a_video(), "a picture"),
    Kind("still.avif.mp4", still("avif", "libaom-av1"), too_short("1 frames"), "opens as mp4"),
    Kind(
        "encrypted.mp4",
        encrypted,
        lost(Stage.INGEST, Reason.NO_DECODABLE_FRAME, "encrypted"),
        "common encryption; without its key some pictures come out as noise",
    ),
    Kind("HEVC.mkv", encoded("h.mkv", "libx265", options=X265), clip(), "codec and container"),
    Kind("HEVC.ts", encoded("h.ts", "libx265", options=X265), clip(), "codec and container"),
    Kind("AV1.mp4", ffmpeg(of_plain, "-c:v", "libsvtav1", "-preset", "12"), clip(), "the same"),
    Kind("VP9.mp4", encoded("v.mp4", "libvpx-vp9"), clip(), "codec and container"),
    Kind("MPEG-2.mkv", encoded("m.mkv", "mpeg2video"), clip(), "codec and container"),
    Kind("MPEG-2.mxf", encoded("m.mxf", "mpeg2video"), clip(), "codec and container"),
    Kind("MPEG-2.mp4", encoded("m.mp4", "mpeg2video"), clip(), "codec and container"),
    Kind(
        "ProRes.mkv",
        encoded("p.mkv", "prores_ks", pix_fmt="yuv422p10le"),
        clip(),
        "codec and container",
    ),
    Kind("MJPEG.avi", encoded("j.avi", "mjpeg", pix_fmt="yuvj420p"), clip(), "full range"),
    Kind(
        "H.264.avi",
        ffmpeg(of_plain, *COPY),
        clip(start_s=0.08, end_s=2.08),
        "B-frames where no times are stored",
    ),
    Kind("Theora.ogv", ffmpeg(of_plain, "-c:v", "libtheora", "-q:v", "8"), clip(), "old web"),
    Kind("FFV1.nut.mp4", encoded("f.nut", "ffv1", pix_fmt="bgr0"), clip(), "a wrong suffix"),
    Kind("H.263.3gp", ffmpeg(of_plain, "-c:v", "h263"), clip(), "old phones"),
    Kind("raw.y4m.mp4", ffmpeg(of_plain, "-f", "yuv4mpegpipe"), clip(), "a wrong suffix"),
    Kind("mkv inside.mp4", encoded("m.mkv", "libx264"), clip(), "a wrong suffix"),
    Kind("live.webm", ffmpeg(of_plain, "-c:v", "libvpx", "-live", "1"), clip(), "sizes unknown"),
)
