"""Subtitles of a video: a file that a manifest names, one beside the video, or a stream in it.

Each is read in a process of its own by libavformat and libavcodec, which know what is out there.
Times are source times: in a file they count from the start of the video, as players take them, and
those of a stream are turned into such by the container's start, as those of pictures and sound are.
What can't be read costs no video: it is left out, and a note says so.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.rejection import Reason, Rejected
from schemas.source import located
from schemas.transcript import Subtitles
from schemas.video import SubtitleStream, Video
from transforms.memo import Entry, MemoStore
from transforms.video import probe as probing
from transforms.video.cues import Cue, CueTable, clean, tidy
from transforms.video.fetching import ChangedError, opened_source
from transforms.video.media_process import (
    ALLOWED_DEMUXERS,
    ALLOWED_PROTOCOLS,
    MediaProcess,
    time_limit_s,
)
from transforms.video.sidecars import (
    FALLBACK_ENCODING,
    FORMATS,
    Sidecar,
    UnusableError,
    primary_language,
    read_sidecar,
    same_language,
    sidecars,
    text_of,
)

LOG = logging.getLogger(__name__)

VERSION = "1"
CUES_FILE = "cues.json"
CHILD = Path(__file__).with_name("subtitles_child.py")
FILE_TIMEOUT_S = 60.0
MAX_NAME_CHARS = 200
TEXT_CODECS = frozenset({"ass", "mov_text", "ssa", "subrip", "srt", "text", "webvtt"})
"""Decoders of text. The other streams hold pictures of it."""


class SubtitleSettings(BaseModel):
    """Section `subtitles` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        True, description="show subtitles to the teacher, from a file or a stream of the video"
    )
    languages: tuple[str, ...] = Field(
        (),
        description="languages to take, such as [en, de], the first that there is; subtitles that "
        "do not say their language come after them; empty = the first or default ones",
    )
    max_chars: int = Field(
        4000, ge=1, description="most characters of subtitles per clip; the rest is left out"
    )

    @field_validator("languages")
    @classmethod
    def _known(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for tag in tags:
            if not primary_language(tag):
                raise ValueError(f"{tag!r} is no language tag such as en, eng or pt-BR")
        return tags


@dataclass(frozen=True)
class _Choice:
    """Subtitles that might be taken."""

    name: str
    language: str
    rank: tuple[bool, int, bool]
    """Of several in one language: forced ones last, files before streams, the default first."""
    where: Sidecar | SubtitleStream
    named: bool = False
    """Whether a manifest names it."""


def read_subtitles(video: Video, store: MemoStore, settings: SubtitleSettings) -> Subtitles:
    """The first usable subtitles of a video, in order of preference; read once.

    Raises OSError where the machine is at fault, ChangedError where the video's file changed.
    """
    if not settings.enabled:
        return Subtitles()
    choices = list(_choices(video))
    preferred = _preferred(choices, settings.languages)
    notes = [*_pictures(video)]
    found = Subtitles()
    for choice in preferred:
        try:
            entry, remarks = _stored(choice, video, store)
        except UnusableError as error:
            notes.append(f"{choice.name}: {error}")
            continue
        notes += [f"{choice.name}: {remark}" for remark in remarks]
        found = Subtitles(ref=entry.ref(CUES_FILE), origin=choice.name)
        break
    if choices and not preferred:
        there = ", ".join(f"{choice.name} ({choice.language})" for choice in choices)
        notes.append(f"none in subtitles.languages: {there}")
    for note in notes:
        LOG.warning("%s: subtitles: %s", video.source.uri, note)
    return found.model_copy(update={"notes": tuple(notes)})


def read_table(store: MemoStore, subtitles: Subtitles) -> CueTable:
    """The cues that `read_subtitles` found; none if it found none."""
    if not subtitles.ref:
        return CueTable([])
    rows = json.loads(store.path(subtitles.ref).read_text("utf-8"))
    return CueTable([Cue(*row) for row in rows])


def _choices(video: Video) -> Iterator[_Choice]:
    source = video.source
    if source.subtitles:
        sidecar = Sidecar(located(source.subtitles_folder), source.subtitles)
        yield _Choice(_shown(source.subtitles), "", (False, 0, False), sidecar, named=True)
    for sidecar in sidecars(source.path):
        rank = (sidecar.forced, 1, False)
        yield _Choice(_shown(sidecar.name), sidecar.language, rank, sidecar)
    for stream in video.probe.subtitles:
        if stream.codec in TEXT_CODECS:
            rank = (stream.is_forced, 2, not stream.is_default)
            yield _Choice(f"stream {stream.index}", stream.language, rank, stream)


def _preferred(choices: Sequence[_Choice], languages: Sequence[str]) -> list[_Choice]:
    """Choices in order of preference, without those in languages that are not wanted.

    What a manifest names comes first, whatever its language. What does not say its language comes
    after those that are wanted.
    """

    def place(choice: _Choice) -> int:
        if choice.named or not languages:
            return -1
        for number, language in enumerate(languages):
            if same_language(choice.language, language):
                return number
        return len(languages)

    wanted = [
        choice
        for choice in choices
        if place(choice) < len(languages) or not primary_language(choice.language)
    ]
    # Those that are alike keep their order.
    return sorted(wanted, key=lambda choice: (not choice.named, place(choice), choice.rank))


def _pictures(video: Video) -> Iterator[str]:
    """What to say of streams that hold pictures of text."""
    others = [one for one in video.probe.subtitles if one.codec not in TEXT_CODECS]
    if others:
        numbers = ", ".join(str(one.index) for one in others)
        codecs = ", ".join(sorted({one.codec or "unknown" for one in others}))
        yield f"left out, since they hold no text but pictures of it ({codecs}): stream {numbers}"


def _shown(name: str) -> str:
    """A file's name to be read by people: names are bytes, and may be meant to mislead."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return clean(text)[:MAX_NAME_CHARS]


def _stored(choice: _Choice, video: Video, store: MemoStore) -> tuple[Entry, list[str]]:
    """The stored cues, read if need be, and what is to be said of them. Raises UnusableError."""
    if isinstance(choice.where, Sidecar):
        suffix = Path(choice.where.name).suffix.lower()
        if suffix not in FORMATS:
            raise UnusableError(f"not one of {', '.join(FORMATS)}")
        data = read_sidecar(choice.where)
        made_of: list[Any] = ["file", FORMATS[suffix], sha256(data).hexdigest()]
        text, encoding = text_of(data)
        request: dict[str, Any] = {"text": text, "format": FORMATS[suffix]}
        remarks = [f"not UTF-8, taken for {encoding}"] if encoding == FALLBACK_ENCODING else []
    else:
        made_of = ["stream", video.sha256, probing.VERSION, choice.where.index]
        request = {"stream": choice.where.index, "start_time_s": video.probe.start_time_s}
        remarks = []
    libraries = [av.__version__, sorted(av.library_versions.items())]
    entry = store.entry("subtitles", VERSION, made_of, libraries)
    facts = entry.get()
    if facts is None:
        facts = _read(request, video, entry)
    if facts["failed"]:
        raise UnusableError(facts["failed"])
    if facts["left_out"]:
        remarks.append(f"{facts['left_out']} cues can't be used")
    return entry, remarks


def _read(request: dict[str, Any], video: Video, entry: Entry) -> Any:
    """Read cues into the store; what is to be remembered of it. Raises UnusableError."""
    try:
        reply = _ask_child(request, video)
    except Rejected as rejected:
        if rejected.passing or isinstance(rejected, ChangedError):
            raise
        # The machine's fault or the file's: the next run may see.
        raise UnusableError(f"{rejected.reason}: {rejected.detail}") from rejected
    cues = tidy(reply.get("cues", []))
    failed = reply.get("failed", "") or ("" if cues else "it holds no cues")
    facts = {"failed": failed, "left_out": reply.get("left_out", 0)}
    with entry.building() as folder:
        rows = [[cue.start_s, cue.end_s, cue.text] for cue in cues]
        (folder / CUES_FILE).write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
        entry.finish(folder, facts)
    return facts


def _ask_child(request: dict[str, Any], video: Video) -> dict[str, Any]:
    """What the child finds. Raises Rejected (decode_timeout, decoder_crashed, not_found, ...)."""
    with ExitStack() as stack:
        timeout_s, descriptors = FILE_TIMEOUT_S, []
        if "stream" in request:
            timeout_s = time_limit_s(video.size_bytes, video.probe.container_duration_s)
            source, descriptor = stack.enter_context(opened_source(video))
            allowed = {"protocols": ALLOWED_PROTOCOLS, "demuxers": ALLOWED_DEMUXERS}
            request = {**request, **allowed, "source": source}
            descriptors = [descriptor]
        command = [sys.executable, "-I", str(CHILD)]
        child = stack.enter_context(
            MediaProcess(command, timeout_s=timeout_s, stdin=True, pass_fds=descriptors)
        )
        child.send(json.dumps(request).encode() + b"\n")
        output = child.stdout.readall()  # type: ignore[attr-defined]
        code = child.wait()
        child.raise_if_killed()
        if code != 0:
            raise Rejected(Reason.DECODER_CRASHED, child.complaint, lasting=False)
    reply: dict[str, Any] = json.loads(output)
    return reply
