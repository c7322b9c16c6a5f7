"""Where the memo store of a run lies: in its output folder, or in a folder that several share."""

from __future__ import annotations

import json
import os
from pathlib import Path

from schemas.base import canonical_json
from transforms.memo import MemoStore
from transforms.publish.files import write_text
from transforms.remote_memo import open_store
from transforms.storage import is_remote

PLACE_FILE = "store.json"
"""In `work/`: names the store, if it is not `work/memo`. The dataset does not depend on it, so it
is no part of the configuration that the manifest holds."""


def store_of(out: Path, given: str | None = None) -> MemoStore:
    """The store to use with this output folder: as given, or the one of its last run."""
    if given is not None:
        # Links stay as they were named.
        return open_store(given if is_remote(given) else os.path.abspath(given))  # noqa: PTH100
    try:
        stored = json.loads((out / "work" / PLACE_FILE).read_text("utf-8"))
        return open_store(str(stored["store"]))
    except (FileNotFoundError, NotADirectoryError):
        return MemoStore(str(out / "work" / "memo"))


def remember_store(out: Path, store: MemoStore) -> None:
    """So that whoever looks into the run finds its store again, and so does the next run."""
    place = out / "work" / PLACE_FILE
    if (
        not is_remote(store.root)
        and Path(store.root).absolute() == (out / "work" / "memo").absolute()
    ):
        place.unlink(missing_ok=True)
    elif store_of(out) != store:
        write_text(place, canonical_json({"store": store.root}))
