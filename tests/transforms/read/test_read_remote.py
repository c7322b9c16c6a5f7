"""Datasets behind URLs: the same entries, by few requests for ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading_helpers import KEYS, keys
from torch.utils.data import DataLoader

from transforms.read.opening import open_dataset
from transforms.read.ranges import ReadError, Span, merged


class RangeServer(SimpleHTTPRequestHandler):
    """Serves a folder, ranges too; notes what was asked for."""

    asked: list[tuple[str, str]]
    has_ranges = True

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        self.asked.append((self.path, self.headers.get("Range", "")))
        if not wanted or not self.has_ranges or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()
        start, stop = int(wanted[1]), int(wanted[2] or len(data)) + 1
        part = data[start:stop]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""


@contextmanager
def served(folder: Path, **fields: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """URL of a folder on a server of our own, and what it is asked."""
    asked: list[tuple[str, str]] = []
    handler = type("Handler", (RangeServer,), {"asked": asked, **fields})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture
def in_memory(many: Path) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(many), "/reading/dataset", recursive=True)
    yield "memory://reading"
    files.rm("/reading", recursive=True)


def test_in_memory(many: Path, in_memory: str) -> None:
    local = {one.key: one for one in open_dataset(many)}
    for url in (in_memory, f"{in_memory}/dataset/"):
        for shuffle in (False, True):
            for entry in open_dataset(url, shuffle=shuffle, seed=4, verify=True):
                assert entry == local[entry.key]
    mixed = keys(open_dataset(many, shuffle=True, seed=4, buffer_bytes=99_000))
    assert keys(open_dataset(in_memory, shuffle=True, seed=4, buffer_bytes=99_000)) == mixed


def test_over_http(many: Path) -> None:
    with served(many.parent) as (url, asked):
        data = open_dataset(f"{url}/dataset", verify=True)
        asked.clear()
        found = list(data)
        assert found == list(open_dataset(many))
        shards = {one.shard for one in found}
        # A shard is one range here: entries stand close together.
        assert sorted(path for path, _ in asked) == sorted(f"/dataset/{one}" for one in shards)
        assert all(range_.startswith("bytes=") for _, range_ in asked)
        asked.clear()
        [entry] = open_dataset(url, ids=["s17"])
        assert entry in found
        [(path, range_)] = [one for one in asked if one[0].endswith(".tar")]
        first, last = map(int, range_.removeprefix("bytes=").split("-"))
        assert path == f"/dataset/{entry.shard}"
        assert last - first + 1 < len(entry.mp4) + 8_000, "only its own bytes"


def test_over_http_by_workers(many: Path) -> None:
    with served(many.parent) as (url, _):
        data = open_dataset(url, shuffle=True)
        next(iter(data))  # the process that forks has used its filesystem already
        loader = DataLoader(data, batch_size=4, num_workers=2, collate_fn=list)
        assert sorted(one.key for batch in loader for one in batch) == KEYS


def test_what_goes_wrong_far_away(many: Path, changed: Path) -> None:
    with served(many.parent, has_ranges=False) as (url, _):
        data = open_dataset(url)
        with pytest.raises(ReadError, match=r"sft/train-\d+.tar .*ranges"):
            keys(data)
        with pytest.raises(ReadError, match="holds no dataset"):
            open_dataset(f"{url}/elsewhere")
    with served(changed) as (url, _):
        data = open_dataset(url)
        gone = changed / "sft/train-000001.tar"
        gone.unlink()
        with pytest.raises(ReadError, match=r"sft/train-000001.tar can't be read .*NotFound"):
            keys(data)
    with pytest.raises(ReadError, match=r"holds no dataset.*Cannot connect"):
        open_dataset(url)


PLACES = st.tuples(st.sampled_from("ab"), st.integers(0, 500), st.integers(1, 60))


@given(st.lists(PLACES, max_size=12), st.integers(0, 50), st.integers(60, 300))
def test_ranges_hold_every_span_whole(
    places: list[tuple[str, int, int]], gap: int, most: int
) -> None:
    spans = [Span(path, start, start + size) for path, start, size in places]
    joined = merged(spans, gap, most)
    for span in spans:
        holding = [
            one
            for one in joined
            if one.path == span.path and one.start <= span.start and span.stop <= one.stop
        ]
        assert holding
        # The reader looks into the last range that begins at or before a span.
        last = [one for one in joined if one.path == span.path and one.start <= span.start][-1]
        assert last in holding
    assert all(one.stop - one.start <= most for one in joined)


def test_credentials_do_not_show(many: Path) -> None:
    data = open_dataset(f"file://{many}", storage_options={"auto_mkdir": False})
    assert data.catalog.place.options == {"auto_mkdir": False}
    assert "auto_mkdir" not in repr(data.catalog)
