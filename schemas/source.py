"""What the user points at: a file, with whatever a manifest said of it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from schemas.base import Record


class GivenQuestion(Record):
    """A question that came with the input; spans in seconds of the source video."""

    question: str
    options: tuple[str, ...] = ()
    answer: str = ""
    answer_kind: str = ""
    spans: tuple[tuple[float, float], ...] = ()


class Source(Record):
    """One input file, with all rows that a manifest holds for it."""

    uri: str
    """Name in the dataset: relative to the folder or manifest that the user named."""
    location: str
    """Path or URL, percent-encoded since file names are bytes, not text. Never published."""
    user_id: str = ""
    license: str = ""
    source_url: str = ""
    subtitles: str = ""
    """File with its subtitles as a manifest names it, relative to `subtitles_folder`."""
    subtitles_folder: str = ""
    """Where that manifest lies, percent-encoded like `location`."""
    questions: tuple[GivenQuestion, ...] = ()

    @property
    def path(self) -> str:
        """The file's path, as the functions of `os` take it; a URL if it lies elsewhere."""
        return located(self.location)


def located(location: str) -> str:
    """The path of a location, or the URL."""
    return os.fsdecode(unquote_to_bytes(location))


def url_location(url: str) -> str:
    """The location of what lies elsewhere, at a URL."""
    return quote_from_bytes(os.fsencode(url))


def location(path: str | os.PathLike[str]) -> str:
    """The location of a path, made absolute."""
    return quote_from_bytes(os.fsencode(Path(path).absolute()))
