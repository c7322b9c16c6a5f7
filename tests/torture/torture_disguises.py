"""What is no video but is called one, and playlists that point to other files and to servers."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from pathlib import Path

from torture_kind import Kind, Make, clip, lost, no_frame, no_stream, not_a_video, writing
from torture_making import Shop, box, changed

from schemas.rejection import Reason, Stage

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
KEYED_HLS = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI={}\n" + HLS.format("x.ts")[8:]
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4">'
    "<Representation id='1' bandwidth='1'><BaseURL>{}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>"
)
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nu={}\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{:064d}\nsize 1048576\n"


def text(content: str) -> Make:
    return writing(lambda _: content.encode())


def near(form: str) -> Make:
    """A text that names the canary by a relative path."""
    return text(form.format("../canary.mp4"))


def far(form: str) -> Make:
    """A text that names the canary by its whole path."""

    def make(shop: Shop, path: Path) -> None:
        path.write_text(form.format(shop.canary))

    return make


def served(form: str) -> Make:
    """A text that names an address of the listener."""
    return writing(lambda shop: form.format(shop.url).encode())


def reference_movie(shop: Shop) -> bytes:
    """A QuickTime movie that holds nothing but where the real one is."""
    address = shop.url.encode() + b"\0"
    rdrf = box(b"rdrf", struct.pack(">I4sI", 0, b"url ", len(address)) + address)
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(
        b"moov", box(b"rmra", box(b"rmda", rdrf)) + box(b"udta", b"")
    )


def external(entry: bytes) -> Make:
    """A movie whose index says that its pictures lie in another file."""

    def content(shop: Shop) -> bytes:
        filled = entry.replace(b"CANARY", str(shop.canary).encode())
        dref = struct.pack(">III", 0, 1, 4 + len(filled)) + filled
        return changed(shop.plain.read_bytes(), dref=lambda _: dref)

    return writing(content)


def alias(shop: Shop) -> bytes:
    """As `external`, by a record of the old Macintosh Alias Manager: volume, name, whole path."""
    target = str(shop.canary).encode()
    name = shop.canary.name.encode()
    record = bytes(10) + b"\x04disk".ljust(28, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    record += struct.pack(">hh", 1, 1) + bytes(16)
    for kind, said in ((2, b"disk:" + target.replace(b"/", b":")), (18, target), (-1, b"")):
        record += struct.pack(">hH", kind, len(said)) + said + b"\0" * (len(said) % 2)
    entry = b"alis\0\0\0\0" + record
    dref = struct.pack(">III", 0, 1, 4 + len(entry)) + entry
    return changed(shop.plain.read_bytes(), dref=lambda _: dref)


def zipped(shop: Shop) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("video.mp4", shop.plain.read_bytes())
    return packed.getvalue()


NO_VIDEO = not_a_video()

DISGUISES = (
    Kind(
        "empty.mp4",
        text(""),
        lost(Stage.INGEST, Reason.EMPTY_FILE),
        "a download that never began",
    ),
    Kind("text.mp4", text("This is no video.\n" * 100), NO_VIDEO, "words"),
    Kind("zeros.mp4", writing(lambda _: bytes(50_000)), NO_VIDEO, "space that was never filled"),
    Kind(
        "noise.mp4",
        writing(lambda _: random.Random(5).randbytes(20_000)),
        NO_VIDEO,
        "any bytes at all",
    ),
    Kind(
        "picture of noise.mp4",
        writing(lambda _: b"\xff\xd8\xff\xe0" + random.Random(6).randbytes(2_000)),
        NO_VIDEO,
        "begins as a JPEG",
    ),
    Kind("four letters.mp4", text("ftyp"), NO_VIDEO, "shorter than the smallest box"),
    Kind(
        "page.mp4",
        text("<!DOCTYPE html><html><title>404 Not Found</title></html>\n"),
        NO_VIDEO,
        "what a server says instead of a video",
    ),
    Kind("pointer.mp4", text(LFS.format(7)), NO_VIDEO, "a large file that git did not fetch"),
    Kind("archive.mp4", writing(zipped), NO_VIDEO, "a video, but packed"),
    Kind("hls to a file.mp4", near(HLS), NO_VIDEO, "a playlist names another file"),
    Kind("hls to a whole path.ts", far(HLS), NO_VIDEO, "a playlist names any file"),
    Kind("hls to a server.mp4", served(HLS), NO_VIDEO, "a playlist names a server"),
    Kind("hls with a key.ts", served(KEYED_HLS), NO_VIDEO, "a playlist has its key fetched"),
    Kind("concat to a file.mp4", near("ffconcat version 1.0\nfile {}\n"), NO_VIDEO, "a script"),
    Kind("concat to a server.ts", served("ffconcat version 1.0\nfile {}\n"), NO_VIDEO, "a script"),
    Kind("dash.mp4", served(DASH), NO_VIDEO, "a manifest of parts on a server"),
    Kind("dash to a path.mp4", far(DASH), NO_VIDEO, "a manifest of parts in a file"),
    Kind("session.mp4", served(SDP), NO_VIDEO, "would wait for a stream on a port"),
    Kind("reference.mov", writing(reference_movie), no_stream("none"), "a movie that is elsewhere"),
    Kind("asx.wmv", served("[Reference]\nRef1={}\n"), NO_VIDEO, "a playlist of Windows Media"),
    Kind("subtitle.mp4", text("1\n00:00:00,000 --> 00:00:02,000\nHello\n"), NO_VIDEO, "subtitles"),
    Kind(
        "external by url.mov",
        external(b"url \0\0\0\0file://CANARY\0"),
        clip(),
        "the reference is ignored, the pictures are there",
    ),
    Kind("external by alias.mov", writing(alias), no_frame(), "the reference is not followed"),
)
