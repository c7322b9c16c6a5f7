"""Subtitle files beside a video: which there are, their bytes, their text.

A file is read only if it lies in the folder that it is looked for in, or below; a link that leads
elsewhere is refused, since what it leads to would be published.
"""

from __future__ import annotations

import errno
import functools
import glob
import os
import posixpath
import re
import stat
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import langcodes

from transforms.outcome import is_fatal
from transforms.storage import is_remote, joined, matching, read
from transforms.video.inputs import VIDEO_SUFFIXES

FORMATS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}
"""libavformat's name of what a suffix stands for; where several files are alike, the first."""
MAX_FILE_BYTES = 8 << 20
"""A film's dialogue takes 0.1 MB; typeset ASS with all its effects some MB."""
FORCED = "forced"
REMARKS = frozenset({FORCED, "cc", "default", "full", "hi", "sdh"})
"""What players let stand behind the language in a file's name."""
FALLBACK_ENCODING = "cp1252"

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


class UnusableError(Exception):
    """Subtitles that can't be used; says why in a few words."""


@dataclass(frozen=True)
class Sidecar:
    """A subtitle file that belongs to a video."""

    folder: str
    name: str
    """Relative to the folder."""
    language: str = ""
    """As the name has it."""
    forced: bool = False


def sidecars(video_path: str) -> Iterator[Sidecar]:
    """The subtitle files of a video, by their names: `stem.srt`, `stem.en.srt`, `stem.en.sdh.vtt`.

    Files without a language come first.
    """
    folder, file = os.path.split(video_path)
    stem = Path(file).stem
    try:
        if is_remote(folder):
            names = _remote_names(folder, stem)
        else:
            names = _names(folder, Path(folder).stat().st_mtime_ns)
    except OSError as error:
        if is_fatal(error):
            raise
        return
    at = bisect_left(names, f"{stem}.")
    own: list[tuple[str, Sidecar]] = []
    others = set()
    while at < len(names) and names[at].startswith(f"{stem}."):
        name, at = names[at], at + 1
        if Path(name).suffix.lower() in VIDEO_SUFFIXES:
            others.add(Path(name).stem)
        found = _sidecar(folder, stem, name)
        if found is not None:
            own.append((Path(name).stem, found))
    # `a.en.srt` beside `a.en.mp4` belongs to that one.
    found_here = [sidecar for inner, sidecar in own if inner == stem or inner not in others]
    order = list(FORMATS)
    yield from sorted(
        found_here,
        key=lambda one: (
            one.language != "",
            one.name.lower().removesuffix(Path(one.name).suffix.lower()),
            order.index(Path(one.name).suffix.lower()),
            one.name,
        ),
    )


@functools.lru_cache(maxsize=4)
def _names(folder: str, changed_ns: int) -> tuple[str, ...]:
    """What lies in a folder, sorted; listed once until it changes, not for each of its videos."""
    return tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names, not paths


def _remote_names(folder: str, stem: str) -> tuple[str, ...]:
    found = matching(f"{glob.escape(joined(folder, stem))}.*")
    return tuple(sorted(posixpath.basename(one.url) for one in found))


def _sidecar(folder: str, stem: str, name: str) -> Sidecar | None:
    inner, suffix = os.path.splitext(name)  # noqa: PTH122 - of a name, not of a path
    if suffix.lower() not in FORMATS:
        return None
    if inner == stem:
        return Sidecar(folder, name)
    language, *remarks = inner[len(stem) + 1 :].split(".")
    if language.lower() in REMARKS:
        language, remarks = "", [language, *remarks]
    elif not _LANGUAGE.fullmatch(language):
        return None
    lowered = {remark.lower() for remark in remarks}
    return Sidecar(folder, name, language, FORCED in lowered) if lowered <= REMARKS else None


def same_language(one: str, other: str) -> bool:
    """Whether two tags name one language: `en`, `eng` and `en-US` do."""
    found = primary_language(one)
    return found != "" and found == primary_language(other)


def primary_language(tag: str) -> str:
    """ISO 639 code of a tag's language, the shorter one if there are two; "" if it names none."""
    try:
        return langcodes.get(tag).language or ""
    except ValueError:
        return ""


def read_sidecar(sidecar: Sidecar) -> bytes:
    """The bytes of a subtitle file. Raises UnusableError, or OSError if the machine is at fault."""
    data = _remote_bytes(sidecar) if is_remote(sidecar.folder) else _bytes(sidecar)
    if len(data) > MAX_FILE_BYTES:
        raise UnusableError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    return data


def _remote_bytes(sidecar: Sidecar) -> bytes:
    if ".." in sidecar.name.split("/"):
        raise UnusableError("it leads out of its folder")
    data = read(joined(sidecar.folder, sidecar.name), MAX_FILE_BYTES + 1)
    if data is None:
        raise UnusableError("No such file or directory")
    return data


def _bytes(sidecar: Sidecar) -> bytes:
    try:
        root = os.path.realpath(sidecar.folder)
        path = os.path.realpath(os.path.join(root, sidecar.name))  # noqa: PTH118
        if not Path(path).is_relative_to(root):
            raise UnusableError("it leads out of its folder")
        # A pipe would make the opening wait for ever.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise UnusableError("not a regular file")
            return stream.read(MAX_FILE_BYTES + 1)
    except ValueError as error:
        raise UnusableError("its name can't be one of a file") from error
    except OSError as error:
        # A disk that fails over one file costs that file.
        if is_fatal(error) and error.errno != errno.EIO:
            raise
        raise UnusableError(error.strerror or "can't be read") from error


def text_of(data: bytes) -> tuple[str, str]:
    """The text of a subtitle file, and the encoding that was taken for its own.

    UTF-8, or what the byte order mark says; UTF-16 without a mark if half of the bytes are zero.
    """
    encoding = _encoding(data)
    text = data.decode(encoding, "replace")
    # A zero ends a text in C.
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n"), encoding


def _encoding(data: bytes) -> str:
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return encoding
    if data:
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if data[first::2].count(0) > 0.4 * len(data) / 2 > data[1 - first :: 2].count(0):
                return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return FALLBACK_ENCODING
    return "utf-8"
