"""Does a file end before its container does? Told by the sizes that containers write down.

Only what holds pictures and sound counts: an index or tags cut off at the end lose no frame. A
container that states no sizes (MPEG-TS, live streams) can't tell. Nothing here raises on odd
content: what does not look like the container is left to the demuxer to judge.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

MAX_STEPS = 100_000
"""A file made of nothing but tiny boxes must not keep us busy."""
HEAD_BYTES = 1 << 16
MAX_OFFSET = 1 << 43

_MP4_FIRST = {b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide"}
_EBML_MAGIC = b"\x1a\x45\xdf\xa3"
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ASF_MAGIC = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1

Part = tuple[str, int]
"""Name of a part of a container, and the offset at which it ends."""


def ends_early(stream: BinaryIO) -> str:
    """How a file ends before its pictures and sound do, in words; empty if it does not.

    Raises OSError.
    """
    size = stream.seek(0, os.SEEK_END)
    head = _at(stream, 0, 16)
    if head[:3] == b"FLV":
        return "" if _flv_is_whole(stream, size) else "the file ends inside of a tag"
    for name, end in _parts(stream, head):
        if end > size:
            return f"the file ends {end - size} bytes before its {name} does"
    return ""


def _parts(stream: BinaryIO, head: bytes) -> Iterator[Part]:
    if head[4:8] in _MP4_FIRST:
        return _mp4_parts(stream)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _avi_parts(stream)
    if head[:4] == _EBML_MAGIC:
        return _matroska_parts(stream)
    if head == _ASF_MAGIC:
        return _asf_parts(stream)
    return iter(())


def _at(stream: BinaryIO, offset: int, count: int) -> bytes:
    if offset > MAX_OFFSET:
        # No file is as long as that, whatever a box says of itself.
        return b""
    stream.seek(offset)
    return stream.read(count)


def _mp4_parts(stream: BinaryIO) -> Iterator[Part]:
    """Top-level boxes with media, ISO/IEC 14496-12, 4.2."""
    offset = 0
    for _ in range(MAX_STEPS):
        head = _at(stream, offset, 16)
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = struct.unpack(">Q", head[8:])[0]
        # 0: up to the end of the file, wherever that is.
        if size < 8:
            return
        offset += size
        if name in (b"mdat", b"moof"):
            yield name.decode(), offset


def _avi_parts(stream: BinaryIO) -> Iterator[Part]:
    """The lists `movi`, of which OpenDML files have several."""
    offset = 0
    for _ in range(MAX_STEPS):
        head = _at(stream, offset, 12)
        if len(head) < 12:
            return
        name, size, kind = struct.unpack("<4sI4s", head)
        end = offset + 8 + size + size % 2
        if name == b"RIFF":
            # Into it: what it holds comes next.
            offset += 12
            continue
        # A recorder that could not go back to fill in the size left 0 or all ones.
        if (name, kind) == (b"LIST", b"movi") and 4 < size < 0xFFFFFFFF:
            yield "movi", offset + 8 + size
        offset = end


def _matroska_parts(stream: BinaryIO) -> Iterator[Part]:
    """The clusters, RFC 9559; those of unknown size (live streams) end the search."""
    offset = 0
    for _ in range(MAX_STEPS):
        head = _at(stream, offset, 16)
        identity, id_bytes = _vint(head, keep_marker=True)
        size, size_bytes = _vint(head[id_bytes:], keep_marker=False)
        if not id_bytes or not size_bytes:
            return
        offset += id_bytes + size_bytes
        if identity == _SEGMENT:
            continue
        if size == (1 << 7 * size_bytes) - 1:
            return
        offset += size
        if identity == _CLUSTER:
            yield "Cluster", offset


def _vint(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """A variable-size integer of RFC 8794, and its length; length 0 if there is none."""
    length = 9 - data[0].bit_length() if data and data[0] else 0
    if not 0 < length <= len(data):
        return 0, 0
    value = int.from_bytes(data[:length], "big")
    return (value if keep_marker else value & (1 << 7 * length) - 1), length


def _flv_is_whole(stream: BinaryIO, size: int) -> bool:
    """Whether the last four bytes are, as they should be, the size of the tag before them."""
    if size < 13 + 15:
        return False
    tag_bytes = int.from_bytes(_at(stream, size - 4, 4), "big")
    start = size - 4 - tag_bytes
    if tag_bytes < 11 or start < 13:
        return False
    return int.from_bytes(_at(stream, start + 1, 3), "big") == tag_bytes - 11


def _asf_parts(stream: BinaryIO) -> Iterator[Part]:
    """The file size in the File Properties Object, unless it is a broadcast, which knows none."""
    head = _at(stream, 0, HEAD_BYTES)
    found = head.find(_ASF_FILE_PROPERTIES)
    facts = head[found : found + 92]
    if found < 0 or len(facts) < 92:
        return
    if not struct.unpack("<I", facts[88:])[0] & _ASF_BROADCAST:
        yield "header says it", struct.unpack("<Q", facts[40:48])[0]
