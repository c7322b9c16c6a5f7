"""Where a dataset lies: in a local folder, or behind any URL that fsspec knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from transforms.publish.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES
from transforms.read.ranges import LocalRanges, Ranges, ReadError, RemoteRanges


@dataclass(frozen=True)
class Place:
    """The folder that holds manifest.json; safe to send to another process."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the filesystem is opened with, such as credentials."""

    def read_small(self, name: str, max_bytes: int) -> bytes:
        """A whole file of the folder. Raises FileNotFoundError, and ReadError when it is larger
        than `max_bytes` or can't be read."""
        files, root = self._files()
        path = f"{root}/{name}"
        # A local pipe called manifest.json would never end.
        if isinstance(files, LocalFileSystem) and not files.isfile(path):
            raise FileNotFoundError(path)
        try:
            with files.open(path, "rb") as file:
                data: bytes = file.read(max_bytes + 1)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise ReadError(f"{self.url}/{name} can't be read: {error}") from error
        if len(data) > max_bytes:
            raise ReadError(f"{self.url}/{name} is larger than {max_bytes} bytes")
        return data

    @contextmanager
    def ranges(self) -> Iterator[Ranges]:
        """A reader of byte ranges of the folder's files, for use in this process."""
        files, root = self._files()
        if isinstance(files, LocalFileSystem):
            local = LocalRanges(root)
            try:
                yield local
            finally:
                local.close()
        else:
            yield RemoteRanges(files, root)

    def _files(self) -> tuple[Any, str]:
        # Asked for each time: filesystems don't survive a fork, and fsspec keeps one per process.
        try:
            files, root = url_to_fs(self.url, **self.options)
        except (ImportError, ValueError) as error:
            raise ReadError(f"{self.url} can't be opened: {error}") from error
        return files, root.rstrip("/")


def find_dataset(url: str, options: Mapping[str, Any]) -> tuple[Place, bytes]:
    """The dataset at a path or URL, which may be that of its run (DIR for DIR/dataset), and the
    bytes of its manifest. Raises ReadError when there is none."""
    stripped = url.rstrip("/") or url
    cause = ""
    for folder in (stripped, f"{stripped}/dataset"):
        place = Place(folder, dict(options))
        try:
            return place, place.read_small(MANIFEST_FILE, MAX_MANIFEST_BYTES)
        except FileNotFoundError as error:
            # Over http a server that can't be reached counts as a file that is not there.
            cause = f" ({error.__cause__})" if error.__cause__ else ""
    raise ReadError(
        f"{url} holds no dataset: neither {MANIFEST_FILE} nor dataset/{MANIFEST_FILE} is there"
        + cause
    )
