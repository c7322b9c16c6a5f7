"""Sorted pieces on disk: merged they are the rows in order, however they were cut."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_store import ObjectStore

from transforms import pieces
from transforms.outcome import StopRunError
from transforms.pieces import Piece, merged, write_piece

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int64()), ("spans", pa.list_(pa.int64()))])
KEYS = ("name", "number")
ROWS = st.lists(
    st.tuples(st.sampled_from(["", "a", "a\0", "ab", "b", "é", "\U0001f600"]), st.integers(-3, 3)),
    min_size=1,
    max_size=12,
)


def table(rows: list[tuple[str, int]]) -> pa.Table:
    filled = [{"name": a, "number": b, "spans": [b] * (b % 3)} for a, b in rows]
    return pa.Table.from_pylist(filled, schema=SCHEMA)


def rows_of(several: list[pa.Table]) -> list[tuple[str, int]]:
    return [(row["name"], row["number"]) for one in several for row in one.to_pylist()]


@settings(max_examples=80, deadline=None)
@given(st.lists(ROWS, max_size=6), st.integers(1, 4), st.randoms())
def test_rows_of_any_pieces_come_in_order(several: list, batch_rows: int, random: object) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BATCH_ROWS", batch_rows)
        written = [
            write_piece(table(rows), KEYS, Path(folder, f"{number}.arrow"))
            for number, rows in enumerate(several)
        ]
        random.shuffle(written)  # type: ignore[attr-defined]
        found = list(merged(written, KEYS))
    assert rows_of(found) == sorted(row for rows in several for row in rows)
    for one in found:
        assert [len(row["spans"]) for row in one.to_pylist()] == [
            row["number"] % 3 for row in one.to_pylist()
        ], "the other columns stay with their keys"
    assert all(piece.first == min(rows) for piece, rows in zip(
        sorted(written, key=lambda piece: piece.path), several, strict=True))  # fmt: skip


def test_pieces_that_lie_apart_are_read_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one batch of a later piece is read before its time."""
    monkeypatch.setattr(pieces, "BATCH_ROWS", 10)
    written = [
        write_piece(table([(f"{number:02d}", n) for n in range(25)]), KEYS, tmp_path / f"{number}")
        for number in range(4)
    ]
    found = merged(written, KEYS)
    for _ in range(3):
        next(found)
    for piece in written[2:]:
        Path(piece.path).unlink()
    assert rows_of([next(found)]) == [("01", n) for n in range(10)]


def test_pieces_at_a_url_are_here_only_while_they_are_read(
    objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(pieces, "BATCH_ROWS", 10)
    (tmp_path / "tmp").mkdir()
    written = []
    for number in range(3):
        rows = [(f"{number:02d}", n) for n in range(25)]
        piece = write_piece(table(rows), KEYS, tmp_path / f"{number}")
        objects.put(tmp_path / f"{number}", f"pieces/{number}")
        written.append(replace(piece, path=objects.url("pieces", str(number))))
    most = 0
    found = []
    for one in merged(written, KEYS):
        found += rows_of([one])
        most = max(most, len(list((tmp_path / "tmp").iterdir())))
    assert found == [(f"{number:02d}", n) for number in range(3) for n in range(25)]
    assert most == 1
    assert list((tmp_path / "tmp").iterdir()) == []
    with pytest.raises(StopRunError, match="pieces/9 is gone"):
        list(merged([replace(written[0], path=objects.url("pieces", "9"))], KEYS))


def test_a_piece_that_is_written_again_is_the_same(tmp_path: Path) -> None:
    rows = [("b", 1), ("a", 2)]
    first = write_piece(table(rows), KEYS, tmp_path / "one.arrow")
    data = (tmp_path / "one.arrow").read_bytes()
    assert write_piece(table(rows[::-1]), KEYS, tmp_path / "one.arrow") == first
    assert first == Piece(str(tmp_path / "one.arrow"), ("a", 2), 2)
    assert (tmp_path / "one.arrow").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["one.arrow"]
