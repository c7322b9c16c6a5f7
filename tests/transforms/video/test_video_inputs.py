"""From what the user types to sources: nothing lost, nothing doubled, nothing published by path."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from listed_inputs import expand_inputs

from schemas.rejection import Reason, Rejection, Stage
from schemas.source import Source
from transforms.video.inputs import BadInputError, lines_of


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def uris(*inputs: Path | str) -> list[str]:
    """URIs of the sources, when nothing is rejected."""
    sources, rejections = expand_inputs([str(one) for one in inputs])
    assert rejections == []
    return [source.uri for source in sources]


def write_jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def without_rights(tmp_path: Path) -> Iterator[None]:
    """Makes us somebody who owns nothing below `tmp_path`, even if we are root."""
    if os.geteuid() != 0:
        yield
        return
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_is_searched_to_its_depth_for_videos_only(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b/c/d.MKV", tmp_path / "b/notes.txt", tmp_path / "e.webm")
    assert uris(tmp_path) == ["a.mp4", "b/c/d.MKV", "e.webm"]


def test_the_same_name_in_two_folders_is_two_sources(tmp_path: Path) -> None:
    touch(tmp_path / "one/take.mp4", tmp_path / "two/take.mp4")
    assert uris(tmp_path) == ["one/take.mp4", "two/take.mp4"]
    assert uris(tmp_path / "*/take.mp4") == ["one/take.mp4", "two/take.mp4"]


def test_link_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "sub/a.mp4")
    (tmp_path / "sub/up").symlink_to("..")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    assert uris(tmp_path) == ["self.mp4", "sub/a.mp4"]


def test_one_file_under_two_names_is_one_source(tmp_path: Path) -> None:
    touch(tmp_path / "sub/a.mp4")
    (tmp_path / "z.mp4").symlink_to("sub/a.mp4")
    inputs = [tmp_path, tmp_path / "sub", tmp_path / "sub/a.mp4", tmp_path / "sub/../sub/a.mp4"]
    assert len(uris(*inputs)) == 1
    assert uris(*inputs) == uris(*reversed(inputs))


def test_a_folder_with_a_video_suffix_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "x.mp4/inner.mp4")
    assert uris(tmp_path / "x.mp4") == ["inner.mp4"]
    assert uris(tmp_path) == ["x.mp4/inner.mp4"]


@pytest.mark.parametrize(
    "name", ["line\nbreak.mp4", "quote'\".mp4", "\N{CLAPPER BOARD}.mp4", "a[1]*.mp4", " .mp4"]
)
def test_odd_names_are_read_back_as_they_are(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    for given in (tmp_path, tmp_path / name):
        (source,), rejections = expand_inputs([str(given)])
        assert rejections == []
        assert source.uri == name
        assert source.path == str(tmp_path / name)
        assert Source.from_json(source.to_json()) == source


def test_names_that_are_not_utf8_can_be_read_and_printed(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    for given in (str(tmp_path), os.fsdecode(raw)):
        (source,), _ = expand_inputs([given])
        assert source.uri == "caf%e9.mp4"
        assert os.fsencode(source.path) == raw
        assert Source.from_json(source.to_json().encode()) == source


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path / "a1.mp4", tmp_path / "a2.mp4", tmp_path / "b.mp4", tmp_path / "deep/er/a3.mp4")
    assert uris(tmp_path / "a?.mp4") == ["a1.mp4", "a2.mp4"]
    assert uris(tmp_path / "**/a*.mp4") == ["a1.mp4", "a2.mp4", "deep/er/a3.mp4"]
    with pytest.raises(BadInputError, match="matches nothing"):
        expand_inputs([str(tmp_path / "z*.mp4")])


@pytest.mark.parametrize("name", ["missing.mp4", "missing/folder", "x" * 300, "nul\0.mp4"])
def test_an_input_that_names_nothing_was_asked_wrongly(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError):
        expand_inputs([str(tmp_path / name)])


def test_folders_without_rights_are_rejected_and_the_rest_goes_on(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    touch(tmp_path / "open/a.mp4", tmp_path / "open/shut/b.mp4")
    (tmp_path / "open/shut").chmod(0)
    request.getfixturevalue("without_rights")
    sources, rejections = expand_inputs(
        [str(tmp_path / "open"), str(tmp_path / "open/shut/b.mp4"), str(tmp_path / "open/shut/?")]
    )
    assert [source.uri for source in sources] == ["a.mp4"]
    assert {(one.subject, one.reason) for one in rejections} == {
        ("shut", Reason.UNREADABLE),
        ("b.mp4", Reason.UNREADABLE),
        ("?", Reason.UNREADABLE),
    }


ROW = {
    "uri": "sub/a.mp4",
    "id": "mine",
    "license": "CC0",
    "source_url": "https://example.org/a",
    "question": "How many?",
    "options": ["1", "2"],
    "answer": "2",
    "answer_kind": "mcq",
    "spans": [[0.5, 1.5]],
}


def write_manifest(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"manifest.{kind}"
    if kind == "jsonl":
        return write_jsonl(path, *rows)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        for row in rows:
            lists = {name: json.dumps(v) for name, v in row.items() if isinstance(v, list)}
            writer.writerow(row | lists)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_manifests_of_all_kinds_say_the_same(tmp_path: Path, kind: str) -> None:
    second = ROW | {"question": "Which?", "options": [], "answer": "that", "answer_kind": ""}
    plain = dict.fromkeys(ROW) | {"uri": "b.mp4", "options": [], "spans": []}
    manifest = write_manifest(tmp_path, kind, [ROW, second, plain])
    sources, rejections = expand_inputs([str(manifest)])
    assert rejections == []
    bare, full = sources
    assert (bare.uri, bare.questions, bare.user_id, bare.license) == ("b.mp4", (), "", "")
    assert bare.path == str(tmp_path / "b.mp4")
    assert (full.uri, full.path) == ("sub/a.mp4", str(tmp_path / "sub/a.mp4"))
    assert (full.user_id, full.license, full.source_url) == ("mine", "CC0", ROW["source_url"])
    assert [question.question for question in full.questions] == ["How many?", "Which?"]
    assert full.questions[0].options == ("1", "2")
    assert full.questions[0].spans == ((0.5, 1.5),)
    assert (full.questions[1].options, full.questions[1].answer) == ((), "that")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_missing_column_is_named(tmp_path: Path, kind: str) -> None:
    manifest = write_manifest(tmp_path, kind, [{"path": "a.mp4", "answer": "1"}])
    sources, rejections = expand_inputs([str(manifest)])
    assert sources == []
    (rejection,) = rejections
    assert (rejection.stage, rejection.reason) == (Stage.INGEST, Reason.BAD_ROW)
    assert rejection.subject == f"manifest.{kind}:1"
    assert rejection.detail == "no column 'uri' (columns: answer, path)"


BROKEN_LINES = {
    b"{": "not JSON",
    b"[1]": "a row is an object",
    b"null": "a row is an object",
    b'{"uri": 5}': "no column 'uri'",
    b'{"uri": "  "}': "no column 'uri'",
    b'{"uri": "."}': "names no file",
    b'{"uri": "a\\u0000.mp4"}': "NUL",
    b'{"uri": "caf\xe9.mp4"}': "not UTF-8",
    b'{"uri": "a.mp4", "question": "\\ud800"}': "not UTF-8",
    b'{"uri": "http://127.0.0.1/a.mp4"}': "only local files",
    b'{"uri": "file:///a.mp4"}': "only local files",
    b'{"uri": "a.mp4", "question": "q", "spans": [[1]]}': "spans is a list",
    b'{"uri": "a.mp4", "question": "q", "spans": [[NaN, 1]]}': "finite",
    b'{"uri": "a.mp4", "question": "q", "options": {"a": 1}}': "options is not a list",
    b"[" * 100_000: "not JSON",
    b'{"uri": "' + b"a" * 1_000_001 + b'"}': "longer than",
}


@pytest.mark.parametrize("line", BROKEN_LINES, ids=lambda line: line[:40].decode("latin-1"))
def test_a_broken_row_costs_only_itself(tmp_path: Path, line: bytes) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(b'{"uri": "1.mp4"}\n\n' + line + b'\n{"uri": "2.mp4"}')
    sources, rejections = expand_inputs([str(manifest)])
    assert [source.uri for source in sources] == ["1.mp4", "2.mp4"]
    (rejection,) = rejections
    assert (rejection.subject, rejection.reason) == ("m.jsonl:3", Reason.BAD_ROW)
    assert BROKEN_LINES[line] in rejection.detail
    assert Rejection.from_json(rejection.to_json().encode()) == rejection


def test_a_line_without_an_end_is_never_held_whole() -> None:
    asked: list[int] = []

    class Text(io.StringIO):
        def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
            asked.append(size)
            return super().readline(size)

    ten = "0123456789"
    lines = [f"{ten}\n", f"{3 * ten}\n", "\n", "next\n", 4 * ten]
    assert list(lines_of(Text("".join(lines)), 10)) == [
        f"{ten}\n",
        f"{ten}0",
        "\n",
        "next\n",
        f"{ten}0",
    ]
    assert set(asked) == {11}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.parquet", b"no parquet"),
        ("m.parquet", b""),
        ("m.json", b"{}"),
        ("m.json", b"[" * 100_000),
        ("m.json", b"\xff"),
        ("m.csv", b"uri\n" + b"x" * 200_000),
    ],
)
def test_a_manifest_that_cant_be_read_is_rejected_without_its_path(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    touch(tmp_path / "good.mp4")
    sources, rejections = expand_inputs([str(tmp_path / name), str(tmp_path / "good.mp4")])
    assert [source.uri for source in sources] == ["good.mp4"]
    (rejection,) = rejections
    assert (rejection.subject, rejection.reason) == (name, Reason.BAD_ROW)
    assert str(tmp_path) not in rejection.to_json()


def test_an_empty_manifest_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b"\n\n")
    assert uris(tmp_path / "m.jsonl") == []


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b'\xef\xbb\xbf{"uri": "a.mp4"}')
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfuri\nb.mp4\n")
    assert uris(tmp_path / "m.jsonl", tmp_path / "m.csv") == ["a.mp4", "b.mp4"]


def test_absolute_paths_are_read_but_not_published(tmp_path: Path) -> None:
    inside = tmp_path / "else/where/a.mp4"
    manifest = write_jsonl(tmp_path / "m.jsonl", {"uri": str(inside)}, {"uri": "../up/b.mp4"})
    sources, rejections = expand_inputs([str(manifest)])
    assert rejections == []
    assert [source.uri for source in sources] == ["a.mp4", "up/b.mp4"]
    assert sources[0].path == str(inside)
    assert os.path.realpath(sources[1].path) == str(tmp_path.parent / "up/b.mp4")


def test_video_r1_as_it_is_published(tmp_path: Path) -> None:
    choice = {
        "problem_id": 7,
        "problem": "What moves?",
        "data_type": "video",
        "problem_type": "multiple choice",
        "options": ["A. a dog", "B. the U.S. flag"],
        "solution": "<answer>B</answer>",
        "path": "./Set/a.mp4",
        "data_source": "Set",
    }
    number = choice | {"problem_type": "numerical", "options": [], "solution": "<answer>3</answer>"}
    image = choice | {"data_type": "image"}
    strange = choice | {"problem_type": "riddle"}
    nowhere = choice | {"path": None}
    (tmp_path / "r1.json").write_text(json.dumps([choice, number, image, strange, nowhere]))
    (source,), rejections = expand_inputs([str(tmp_path / "r1.json")])
    assert (source.uri, source.path) == ("Set/a.mp4", str(tmp_path / "Set/a.mp4"))
    assert source.user_id == "7"
    first, second = source.questions
    assert first.options == ("a dog", "the U.S. flag")
    assert (first.answer, first.answer_kind) == ("B", "mcq")
    assert (second.answer, second.answer_kind) == ("3", "number")
    assert [one.subject for one in rejections] == ["r1.json:3", "r1.json:4", "r1.json:5"]
    assert {one.reason for one in rejections} == {Reason.BAD_ROW}


def test_the_order_of_inputs_does_not_matter(tmp_path: Path) -> None:
    touch(tmp_path / "v/a.mp4", tmp_path / "v/b.mp4")
    one = write_jsonl(tmp_path / "one.jsonl", {"uri": "v/a.mp4", "question": "1"}, {"bad": 1})
    two = write_jsonl(tmp_path / "two.jsonl", {"uri": "v/a.mp4", "question": "2"}, {"bad": 1})
    inputs = [str(one), str(two), str(tmp_path / "v"), str(tmp_path / "v/b.mp4")]
    assert expand_inputs(inputs) == expand_inputs(reversed(inputs))
    sources, rejections = expand_inputs(inputs)
    assert len(sources) == 2
    assert len(rejections) == 2
