"""Inputs on their way to the workers: nothing lost, the same names each time, and short ones."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from schemas.source import GivenQuestion, Source
from transforms.memo import MemoStore
from transforms.outcome import StopRunError
from transforms.video.input_pieces import Pieces, ReadPieces, keep_pieces, pieces_in, read_piece


@pytest.fixture
def store(tmp_path: Path) -> MemoStore:
    return MemoStore(str(tmp_path / "memo")).prepare()


def sources(number: int) -> list[Source]:
    questions = (GivenQuestion(question="Which?\nAnd \u2028 then?"),)
    return [
        Source(uri=f"{n}.mp4", location=f"/videos/{n}.mp4", questions=questions)
        for n in range(number)
    ]


def kept(several: list[Source], store: MemoStore, piece_records: int = 4) -> Pieces:
    return keep_pieces((one.to_json().encode() for one in several), store, piece_records)


def test_all_come_back_in_order(store: MemoStore) -> None:
    for number, pieces in ((0, 0), (1, 1), (4, 1), (5, 2), (12, 3)):
        found = kept(sources(number), store)
        refs = list(pieces_in(found.listing, store))
        assert (found.records, len(refs)) == (number, pieces)
        back = [one for ref in refs for one in read_piece(ref, store, Source)]
        assert back == sources(number)


def test_the_same_content_has_the_same_place(store: MemoStore) -> None:
    first = kept(sources(10), store)
    refs = list(pieces_in(first.listing, store))
    times = [store.path(ref).stat().st_mtime_ns for ref in refs]
    assert kept(sources(10), store) == first
    more = list(pieces_in(kept(sources(11), store).listing, store))
    assert [one == other for one, other in zip(refs, more, strict=True)] == [True, True, False]
    assert [store.path(ref).stat().st_mtime_ns for ref in refs] == times


def test_a_piece_with_many_questions_is_not_much_larger(
    store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.video.input_pieces.PIECE_BYTES", 300)
    listing = kept(sources(6), store, piece_records=100).listing
    assert len(list(pieces_in(listing, store))) == 3


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: b"x" + data[1:]])
def test_a_damaged_piece_is_said_and_made_anew(store: MemoStore, damage: object) -> None:
    assert callable(damage)
    [ref] = pieces_in(kept(sources(4), store).listing, store)
    store.path(ref).write_bytes(damage(store.path(ref).read_bytes()))
    with pytest.raises(StopRunError, match=r"was damaged .* run the same command again"):
        list(read_piece(ref, store, Source))
    assert list(pieces_in(kept(sources(4), store).listing, store)) == [ref]
    assert list(read_piece(ref, store, Source)) == sources(4)


@pytest.mark.parametrize("number", [0, 10])
def test_workers_read_all_of_them(store: MemoStore, number: int) -> None:
    with beam.Pipeline() as pipeline:
        found = pipeline | ReadPieces(kept(sources(number), store), Source, store)
        assert_that(found, equal_to(sources(number)))
