"""The torture corpus: every kind of bad and odd input, with its expected end."""

from __future__ import annotations

import os
import re

from torture_damage import DAMAGED
from torture_disguises import DISGUISES
from torture_kind import Kind
from torture_names import NAMES
from torture_streams import STREAMS

KINDS = (*DAMAGED, *STREAMS, *DISGUISES, *NAMES)
ALONE = tuple(kind for kind in KINDS if not kind.together)


def label(kind: Kind) -> str:
    """The kind's name as something that a terminal can show."""
    return re.sub(r"[^ -~]", "_", kind.name)[:40]


def published(kind: Kind) -> str:
    """The name under which the kind's input is published: bytes that are no UTF-8 as %ff."""
    name = kind.name.rsplit("/")[-1] if kind.named else kind.name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return re.sub(r"\\x([0-9a-f]{2})", r"%\1", text)
