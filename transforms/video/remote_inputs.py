"""Inputs that lie elsewhere: what a URL stands for, found by listing; nothing is opened."""

from __future__ import annotations

import glob
import itertools
import posixpath
from collections.abc import Iterator
from pathlib import PurePosixPath

from transforms.storage import RemoteFile, below, described, joined, matching


def videos_at(url: str, suffixes: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Name and URL of the videos that a URL stands for: a file, a folder, or a pattern.

    A file that is named may have any suffix. Names are relative to the folder, or to where the
    pattern begins. Nothing at all if nothing is there. Raises StorageError.
    """
    if not url.endswith("/") and described(url) is not None:
        yield posixpath.basename(url), url
        return
    files = below(url)
    found: Iterator[RemoteFile]
    first = next(files, None)
    if first is not None or not glob.has_magic(url):
        root = url.rstrip("/")
        found = itertools.chain([] if first is None else [first], files)
        found = (one for one in found if PurePosixPath(one.url).suffix.lower() in suffixes)
    else:
        parts = url.split("/")
        root = "/".join(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
        found = matching(url)
    for one in found:
        yield one.url.removeprefix(f"{root}/"), one.url


def url_beside(folder: str, name: str) -> str:
    """The URL of what a manifest in `folder` names relative to itself.

    Raises ValueError for a path of some machine, and for what leads out of the bucket.
    """
    if name.startswith("/"):
        raise ValueError(f"{name}: a path on some machine, in a manifest that lies at {folder}")
    scheme, _, rest = folder.partition("://")
    bucket, _, inside = rest.partition("/")
    path = posixpath.normpath(posixpath.join(inside, name))
    if path.split("/")[0] in ("..", "."):
        raise ValueError(f"{name}: leads out of {scheme}://{bucket}")
    return joined(f"{scheme}://{bucket}", path)
