"""Inputs in order, however many: on disk, with memory that does not grow with them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from listed_inputs import expand_inputs

from schemas.rejection import Reason
from transforms.on_disk import sorted_texts
from transforms.video.inputs import found_in
from transforms.video.sorted_inputs import sorted_inputs

FEW, MANY = 500, 2_000
ROW_CHARS = 20_000
MIB = 1 << 20
NAMES = ("b", "a", "B", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\uffee", "\N{CLAPPER BOARD}", "a\n")


def rows(number: int) -> Iterator[dict[str, Any]]:
    """Rows about files that are not there, in no order; each tenth is of a file named before."""
    for place in random.Random(0).sample(range(number), number):
        named = place - 1 if place % 10 == 9 else place
        yield {"uri": f"part-{named % 7}/{named:06d}.mp4", "id": "x" * ROW_CHARS, "license": "CC0"}
        if place % 10 == 0:
            yield {"name": f"not a uri, and different each time: {place}"}


def manifest(folder: Path, kind: str, number: int) -> Path:
    path = folder / f"{number}.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(list(rows(number))), path, row_group_size=1_000)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(number)))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, kind: str) -> None:
    peaks: dict[int, int] = {}
    paths = {number: manifest(tmp_path, kind, number) for number in (FEW, MANY)}
    for number in (FEW, MANY):
        tracemalloc.start()
        with sorted_inputs([str(paths[number])]) as found:
            assert len(found.sources) == number - number // 10
            assert len(found.refused) == number // 10
            assert sum(len(text) for text in found.sources.texts()) > 0.9 * ROW_CHARS * number
        peaks[number] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Less would not be safe: Python's table of names may be made anew meanwhile, with 8 MiB.
    assert peaks[MANY] - peaks[FEW] < 10 * MIB < 0.4 * ROW_CHARS * (MANY - FEW)


def test_a_parquet_file_is_not_decoded_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    columns = {"uri": [f"{n}.mp4" for n in range(6_000)], "note": ["y" * 5_000] * 6_000}
    pq.write_table(pa.table(columns), path, row_group_size=500, use_dictionary=False)
    del columns
    before = pa.total_allocated_bytes()
    peak = 0
    for _ in found_in(str(path)):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 12 * MIB, "the column alone has 29 MiB"


def test_the_order_is_that_of_python(tmp_path: Path) -> None:
    """That of code points, which halves of characters in names of files take part in."""
    raw = os.fsencode(tmp_path) + b"/\xe9.mp4"
    Path(os.fsdecode(raw)).touch()
    for name in NAMES:
        (tmp_path / f"{name}.mp4").touch()
    sources, _ = expand_inputs([str(tmp_path)])
    assert len(sources) == len(NAMES) + 1
    assert sources == sorted(sources, key=lambda one: (one.uri, one.path))
    texts = [*NAMES, "\udce9", "\ud83c", "a\0b", ""]
    assert list(sorted_texts(texts)) == sorted(texts)
    sources, _ = expand_inputs([str(tmp_path / "*.mp4")])
    assert [one.uri for one in sources] == sorted(one.uri for one in sources)


def test_all_rows_about_a_file_are_one_source_under_its_first_name(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    (tmp_path / "again.mp4").symlink_to("film.mp4")
    said = [
        {"uri": "film.mp4", "question": "1"},
        {"uri": "other.mp4"},
        {"uri": "again.mp4", "question": "2", "license": "CC0"},
        {"uri": "./film.mp4", "question": "1", "license": "CC-BY-4.0", "id": "mine"},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    film, other = expand_inputs([str(path)])[0]
    assert (film.uri, other.uri) == ("film.mp4", "other.mp4")
    assert [one.question for one in film.questions] == ["1", "2"]
    assert (film.license, film.user_id) == ("CC0", "mine")


def test_of_a_manifest_that_breaks_off_no_row_is_taken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text("uri\n" + "".join(f"{n}.mp4\n" for n in range(3_000)) + "x" * 200_000)
    whole = tmp_path / "whole.csv"
    whole.write_text("uri\n1.mp4\n")
    sources, [rejection] = expand_inputs([str(broken), str(whole)])
    assert [one.uri for one in sources] == ["1.mp4"]
    assert (rejection.subject, rejection.reason) == ("broken.csv", Reason.BAD_ROW)


def test_a_limit_takes_the_first_and_what_they_ask(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    said = [{"uri": "c.mp4", "question": "?"}, {"uri": "a.mp4"}, {"uri": "b.mp4"}, {}]
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    for limit, asks in ((1, False), (2, False), (3, True), (9, True), (None, True)):
        with sorted_inputs([str(path)], limit=limit) as found:
            names = [one.uri for one in found.sources]
            assert names == ["a.mp4", "b.mp4", "c.mp4"][:limit]
            assert found.ask == asks
            assert len(found.refused) == 1
            assert [found.sources[place].uri for place in range(len(names))] == names
            assert [one.uri for one in found.sources[-1:]] == names[-1:]
            with pytest.raises(IndexError):
                found.sources[len(names)]


def test_a_full_disk_for_temporary_files_is_named(
    tmp_path: Path, little_room: dict[str, Any]
) -> None:
    """In a process of its own: SQLite looks only once where it may put its files."""
    path = manifest(tmp_path, "jsonl", MANY)
    code = (
        "import sys; from transforms.video.sorted_inputs import sorted_inputs\n"
        "with sorted_inputs(sys.argv[1:]): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=False,
        **little_room,
    )
    assert "StopRunError: the inputs can't be sorted in the folder for temp" in done.stderr
