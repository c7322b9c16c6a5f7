"""Videos that must not come in, such as those of benchmarks: by id, name, address or bytes.

A list is a text file with one entry in a line, or JSON lines with the usual names of columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, urlsplit

from schemas.base import content_hash
from schemas.rejection import Reason, Rejection, Stage
from schemas.source import Source
from schemas.video import Video, video_id
from transforms.video.inputs import BadInputError, lines_of

COLUMNS = (
    *("id", "sha256", "uri", "path", "video", "name", "url", "source_url"),
    *("video_id", "videoID", "youtube_id"),
)
"""What of a JSON line names a video."""
MAX_LINE_CHARS = 100_000

Match = tuple[str, str]
"""The name of an input that must not come in, and why, in words."""

_ROW_NUMBER = re.compile(r"[0-9]{1,7}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_YOUTUBE = r"[A-Za-z0-9_-]{11}"
_YOUTUBE_NAMES = tuple(
    re.compile(form)
    for form in (
        rf"({_YOUTUBE})",
        rf"v_({_YOUTUBE})",  # ActivityNet
        rf"({_YOUTUBE})(?:_[0-9.]+){{1,2}}",  # with the start and the end of a clip
        rf".*\[({_YOUTUBE})\]",  # yt-dlp
    )
)
_MEDIA = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".flv", ".mpg", ".mpeg", ".ts", ".wmv")
_YOUTUBE_HOSTS = ("youtube.com", "youtube-nocookie.com", "youtu.be")


@dataclass(frozen=True)
class Exclusion:
    """Entries of lists, by what they are compared by."""

    entries: Mapping[str, str] = field(default_factory=dict)
    """From a key (`_keys_of_...`) to the entry and its list, in words."""
    notes: tuple[str, ...] = ()
    """What a reader of the dataset must know."""

    def why(self, source: Source, sha256: str = "") -> str:
        """Which entry an input matches, in words; "" if none."""
        keys = _keys_of_source(source)
        if sha256:
            keys = [f"sha256:{sha256}", f"name:{video_id(sha256)}", *keys]
        return next((self.entries[key] for key in keys if key in self.entries), "")

    def match(self, video: Video) -> Match | None:
        """The input's name, and which entry it matches; None if none."""
        why = self.why(video.source, video.sha256)
        return (video.source.uri, why) if why else None

    def rejection(self, video: Video, first: Match) -> Rejection:
        """Of an input that has the same bytes as the one that matches first, or is that."""
        why = self.why(video.source, video.sha256)
        return Rejection(
            stage=Stage.INGEST,
            reason=Reason.EXCLUDED,
            subject=video.source.uri,
            detail=why or f"same bytes as {first[0]}, which is {first[1]}",
        )

    def left_out(self, videos: Sequence[Video]) -> list[Rejection]:
        """Rejections of a few inputs with the same bytes, all of them if one matches; none
        otherwise."""
        first = min(filter(None, map(self.match, videos)), default=None)
        if first is None:
            return []
        ordered = sorted(videos, key=lambda video: video.source.uri)
        return [self.rejection(video, first) for video in ordered]


NOTHING_EXCLUDED = Exclusion()


def load_exclusion(files: Sequence[str], known: Mapping[str, str] | None = None) -> Exclusion:
    """The entries of all lists, and of `known` (from SHA-256 to words). Raises BadInputError."""
    entries = {f"sha256:{sha256}": said for sha256, said in sorted((known or {}).items())}
    notes = []
    for name in files:
        path = Path(name)
        found = list(_entries(path))
        if not found:
            raise BadInputError(f"input.exclude: {name}: holds no entry")
        for one in found:
            for key in _keys_of_entry(one):
                entries.setdefault(key, f"{one!r} of {path.name}")
        content = content_hash(*sorted(set(found)))
        notes.append(
            f"Videos named in {path.name} were left out ({len(set(found))} entries, sha256 "
            f"{content[:16]})."
        )
    return Exclusion(entries, tuple(notes))


def _entries(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines_of(lines, MAX_LINE_CHARS), 1):
                text = line.strip()
                where = f"input.exclude: {path}:{number}"
                if len(line.rstrip("\n")) > MAX_LINE_CHARS:
                    raise BadInputError(f"{where}: is longer than {MAX_LINE_CHARS} characters")
                if text.startswith("{"):
                    yield from _of_json(text, where)
                elif text and not text.startswith("#"):
                    yield text
    except OSError as error:
        raise BadInputError(f"input.exclude: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"input.exclude: {path}: is no UTF-8 text") from error


def _of_json(text: str, where: str) -> list[str]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{where}: is not JSON: {error}") from error
    found = [str(row[name]).strip() for name in COLUMNS if row.get(name) not in (None, "")]
    # Beside a name, a short number is that of the row: it would keep out any 17.mp4.
    found = [one for one in found if not _ROW_NUMBER.fullmatch(one)] or found
    if not found:
        raise BadInputError(f"{where}: names no video; columns are {', '.join(COLUMNS)}")
    return found


# Keys --------------------------------------------------------------------------------------------


def _keys_of_entry(text: str) -> list[str]:
    if _SHA256.fullmatch(text):
        return [f"sha256:{text.lower()}"]
    if "://" in text:
        return _keys_of_url(text)
    path = PurePosixPath(text)
    names = [text]
    if path.name == text and path.suffix.lower() in _MEDIA:
        names.append(path.stem)  # benchmarks say `b.mp4` of what others hold as `b.webm`
    return [*(f"name:{name}" for name in names), *_keys_of_ids(path.stem if path.suffix else text)]


def _keys_of_source(source: Source) -> list[str]:
    parts = PurePosixPath(source.uri).parts
    stem = PurePosixPath(source.uri).stem
    # Any end of the name: `b.mp4` and `a/b.mp4` are `x/a/b.mp4`, and so is `b`.
    names = [stem, *("/".join(parts[at:]) for at in range(len(parts)))]
    keys = [f"name:{name}" for name in names] + _keys_of_ids(stem)
    if source.user_id:
        keys += [f"name:{source.user_id}", *_keys_of_ids(source.user_id)]
    if source.source_url:
        keys += _keys_of_url(source.source_url)
    return keys


def _keys_of_ids(stem: str) -> list[str]:
    """Ids of YouTube, as downloads and benchmarks put them into names of files."""
    found = (form.fullmatch(stem) for form in _YOUTUBE_NAMES)
    return [f"youtube:{match[1]}" for match in found if match]


def _keys_of_url(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    except ValueError:
        return [f"name:{url}"]
    keys = [f"url:{host}{parts.path.rstrip('/')}{'?' if parts.query else ''}{parts.query}"]
    if host in _YOUTUBE_HOSTS:
        last = PurePosixPath(parts.path).name
        ids: Iterable[str] = [*parse_qs(parts.query).get("v", []), last]
        keys += [f"youtube:{one}" for one in ids if re.fullmatch(_YOUTUBE, one)]
    return keys
