"""Paths of this machine in the words of errors: where things lie is nobody's business.

What is published must not tell it, and must not differ between two who make the same. Names stay,
so that one can still find what is meant.
"""

from __future__ import annotations

import re

_SEGMENT = r"(?:^|(?<=: ))(?:file:/)?/[^\n:'\"]*/[^\n:'\"]*(?=:|\n|$)"
"""`...: /a b/c.mp4: ...`, as programs put it; there may be spaces in it."""
_QUOTED = r"(?P<quote>['\"`])(?P<inside>(?:file:/)?/(?:\\.|(?!(?P=quote))[^\\\n])*)(?P=quote)"
_FILE_URL = r"file:/[^\s'\"`]*"
_OTHER_URL = r"(?P<url>\b[A-Za-z][\w+.-]{0,20}://[^\s'\"`]*)"
_BARE = r"(?<![\w.~/\\-])/[^\s'\"`]*"
_PATH = re.compile("|".join([_SEGMENT, _QUOTED, _FILE_URL, _OTHER_URL, _BARE]), re.MULTILINE)


def without_paths(text: str) -> str:
    """The text with each absolute path cut down to its last part; URLs stay as they are."""
    return _PATH.sub(_last_part, text)


def _last_part(found: re.Match[str]) -> str:
    if found["url"] is not None:
        return found[0]
    quote = found["quote"] or ""
    path = found["inside"] or found[0]
    parts = path.rstrip("/").rpartition("/")
    # The root alone, and what lies in it, has no folder to be told.
    is_short = not parts[0].strip("/") and not path.startswith("file:")
    return f"{quote}{path if is_short else parts[2]}{quote}"
