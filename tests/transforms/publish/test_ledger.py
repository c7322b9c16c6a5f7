"""What the last step is given: the same rows and counts however they were put together."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that

from schemas.base import content_id
from schemas.rejection import Reason, Rejection, Stage
from transforms.publish import index as indexing
from transforms.publish import ledger
from transforms.publish.card_counts import CardEntry, Counts, Sources, count
from transforms.publish.finish import ConservationError, Rows, check_samples
from transforms.publish.index import (
    INDEX_SCHEMA,
    REJECTED_SCHEMA,
    IndexEntry,
    index_table,
    rejected_table,
    write_parquet,
    write_tables,
)
from transforms.publish.ledger import (
    CountSamples,
    KeepIndex,
    KeepRejections,
    index_tables,
    parted,
    rejected_tables,
)
from transforms.publish.manifest import ShardEntry, rejection_counts
from transforms.publish.shards import EntryInfo, ShardInfo


def entry(number: int) -> IndexEntry:
    split = ("sft", "rl")[number % 2]
    return IndexEntry(
        id=f"{split}-{content_id('t', number)}",
        split=split,
        partition="train",
        video_id="v",
        clip_id="c",
        task_id=content_id("t", number),
        task_kind="mcq",
        spans_s=((0.0, number + 0.5),) * (number % 3),
        pass_rate=0.5,
        scores_json="{}",
        condition_scores_json="{}",
        measures_json="{}",
    )


def place(one: IndexEntry) -> EntryInfo:
    sizes = {"json_offset": 512, "json_bytes": 9, "mp4_offset": 1536, "mp4_bytes": 9}
    return EntryInfo(key=one.id, json_sha256="a", mp4_sha256="b", **sizes)


def shards_of(entries: list[IndexEntry], size: int) -> list[ShardInfo]:
    several = [entries[at : at + size] for at in range(0, len(entries), size)]
    return [
        ShardInfo(
            path=f"sft/train-{number:06d}.tar",
            sha256="",
            bytes=1,
            samples=len(some),
            entries=tuple(map(place, some)),
        )
        for number, some in enumerate(several)
    ]


def run(build: Any, folder: Path) -> list[Any]:
    """What a pipeline gives; through a file, since it may run elsewhere."""
    with beam.Pipeline() as pipeline:

        def keep(found: list[Any]) -> None:
            (folder / "found").write_bytes(pickle.dumps(found))

        assert_that(build(pipeline), keep)
    return list(pickle.loads((folder / "found").read_bytes()))


@pytest.mark.parametrize("piece_rows", [7, 1_000])
def test_the_index_is_that_of_all_in_one_place(piece_rows: int, tmp_path: Path) -> None:
    entries = [entry(number) for number in range(60)]
    shards = shards_of(entries, 11)
    write_parquet(index_table(entries, shards), tmp_path / "whole")
    random.Random(piece_rows).shuffle(entries)
    pieces = run(
        lambda root: (
            {
                "entries": root | "E" >> beam.Create(entries),
                "shards": root | "S" >> beam.Create(shards),
            }
            | KeepIndex(str(tmp_path / "pieces"), piece_rows)
        ),
        tmp_path,
    )
    assert len(pieces) == (10 if piece_rows == 7 else 2), "a prefix each, and 30 rows in 5 ranges"
    write_tables(index_tables(pieces), INDEX_SCHEMA, tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("lost", ["entry", "place"])
def test_a_sample_lost_on_one_side_stops_the_run(lost: str, tmp_path: Path) -> None:
    entries = [entry(number) for number in range(4)]
    shards = shards_of(entries if lost == "entry" else entries[1:], 9)
    given = entries if lost == "place" else entries[1:]
    with pytest.raises(Exception, match=r"(in shards but not indexed|indexed twice, or in no)"):
        run(
            lambda root: (
                {
                    "entries": root | "E" >> beam.Create(given),
                    "shards": root | "S" >> beam.Create(shards),
                }
                | KeepIndex(str(tmp_path / "pieces"))
            ),
            tmp_path,
        )


def rejections() -> list[Rejection]:
    several = [
        Rejection(stage=Stage.SELECT, reason=reason, subject=content_id("c", n), detail=f"d{n}")
        for reason in (Reason.TOO_DARK, Reason.BLURRED)
        for n in range(40)
    ]
    named = [
        Rejection(
            stage=Stage.INGEST, reason=Reason.NOT_FOUND, subject=f"{n}.mp4", parent=f"{n % 3}"
        )
        for n in range(30)
    ]
    return [*several, *named, named[0]]


@pytest.mark.parametrize("piece_rows", [6, 1_000])
def test_rejections_are_those_of_all_in_one_place(piece_rows: int, tmp_path: Path) -> None:
    several = rejections()
    write_parquet(rejected_table(several), tmp_path / "whole")
    random.Random(piece_rows).shuffle(several)

    def kept(root: Any) -> Any:
        found = root | beam.Create(several) | KeepRejections(str(tmp_path / "pieces"), piece_rows)
        counts = found["counts"] | beam.Map(lambda one: ("count", one))
        return (counts, found["pieces"] | beam.Map(lambda one: ("piece", one))) | beam.Flatten()

    found = run(kept, tmp_path)
    pieces = [one for what, one in found if what == "piece"]
    assert len(pieces) == (3 if piece_rows == 1_000 else 7 + 7 + 6)
    write_tables(rejected_tables(pieces), REJECTED_SCHEMA, tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()
    counted = {
        (Stage(stage), Reason(reason)): number
        for what, one in found
        if what == "count"
        for (stage, reason), number in [one]
    }
    assert counted == rejection_counts(several)


def test_nothing_at_all_is_two_empty_tables(tmp_path: Path) -> None:
    for tables, whole, schema in (
        (index_tables([]), index_table([], []), INDEX_SCHEMA),
        (rejected_tables([]), rejected_table([]), REJECTED_SCHEMA),
    ):
        write_tables(tables, schema, tmp_path / "merged")
        write_parquet(whole, tmp_path / "whole")
        assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def test_ids_come_into_pieces_in_their_order() -> None:
    ids = sorted(f"sft-{content_id('t', number)}" for number in range(200))
    places = [parted(one) for one in ids]
    assert places == sorted(places) and {prefix for prefix, _ in places} == {"sft-t"}
    assert 0.4 < sum(place for _, place in places) / 200 < 0.6
    assert parted("some file.mp4")[0] == "" and 0 <= parted("some file.mp4")[1] < 1


def test_how_rows_are_cut_does_not_change_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several row groups, the last of them full and not."""
    monkeypatch.setattr(indexing, "ROW_GROUP_ROWS", 8)
    for rows in (16, 21):
        entries = [entry(number) for number in range(rows)]
        whole = index_table(entries, shards_of(entries, 5))
        digest = write_parquet(whole, tmp_path / "whole")
        for size in (1, 3, 8, 20):
            cut = [whole.slice(at, size) for at in range(0, rows, size)]
            assert write_tables(cut, INDEX_SCHEMA, tmp_path / "cut") == digest
        assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
        file = pa.parquet.ParquetFile(tmp_path / "cut")
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == (
            [8, 8] if rows == 16 else [8, 8, 5]
        )


# Counts ------------------------------------------------------------------------------------------


def card_entries() -> list[CardEntry]:
    fields: dict[str, Any] = {
        "partition": "train", "kind": "mcq", "letter": "A", "source_uri": "", "teacher": "t",
        "source_truncated": False, "verifier": "v", "unchecked": False, "has_audio": True,
        "has_lines": False, "asked_again": True, "has_captions": False, "checks": ("a",),
    }  # fmt: skip
    return [
        CardEntry(
            split=("sft", "rl")[n % 2],
            license=("mit", "", "cc0-1.0")[n % 3],
            source_url=f"{n % 7}.mp4",
            prompt_sha256=("", *"abcde")[n % 6],
            duration_s=0.1 * (n + 1),
            **fields,
        )
        for n in range(50)
    ]


def test_counts_of_a_pipeline_are_those_of_one_place(tmp_path: Path) -> None:
    [found] = run(lambda root: root | beam.Create(card_entries()) | CountSamples(), tmp_path)
    alone = count(card_entries())
    for counts in (found, alone):
        counts.sources.ranked.sort()
    assert found == alone
    assert found.prompts == 5
    assert found.sources.number == 21


def test_counts_of_nothing(tmp_path: Path) -> None:
    [found] = run(lambda root: root | beam.Create([]) | CountSamples(), tmp_path)
    assert found == Counts()


def test_counts_do_not_depend_on_how_they_were_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even the sum of the durations, which in floating point does."""
    monkeypatch.setattr("transforms.publish.card_counts.MAX_SOURCES", 3)
    combine, of_sources = ledger._CountEntries(), ledger._CountSources()
    seen = set()
    for seed in range(10):
        entries = card_entries()
        random.Random(seed).shuffle(entries)
        parts = []
        for at in range(0, 50, 7 + seed):
            part = combine.create_accumulator()
            for one in entries[at : at + 7 + seed]:
                part = combine.add_input(part, one)
            parts.append(part)
        whole = combine.extract_output(combine.merge_accumulators(parts))
        several = [((f"{n:02d}.mp4", "mit"), n % 5) for n in range(20)]
        random.Random(seed).shuffle(several)
        halves = [of_sources.create_accumulator() for _ in range(2)]
        for n, one in enumerate(several):
            of_sources.add_input(halves[n % 2], one)
        sources: Sources = of_sources.merge_accumulators(halves)
        assert sources.largest == [(("04.mp4", "mit"), 4), (("09.mp4", "mit"), 4),
                                   (("14.mp4", "mit"), 4)]  # fmt: skip
        assert (sources.number, sources.most_samples) == (20, 4)
        assert len(sources.ranked) <= 6
        seen.add((whole.minutes("sft"), whole.total, tuple(sorted(whole.licenses.items()))))
    assert len(seen) == 1


# What the last step checks -----------------------------------------------------------------------


def test_samples_that_vanish_or_double_between_counts_and_shards_are_noticed() -> None:
    counts = count(card_entries())
    whole = {"sft/train": 25, "rl/train": 25}
    shards = [
        ShardEntry(path=f"{group}-000000.tar", sha256="", bytes=1, samples=number)
        for group, number in whole.items()
    ]
    check_samples(counts, shards)
    for wrong in (shards[:1], [*shards, shards[0]]):
        with pytest.raises(ConservationError, match="25 samples were made, the shards hold"):
            check_samples(counts, wrong)


@pytest.mark.parametrize("ids", [[["a", "b"], ["b"]], [["a", "a"]], [["b"], [], ["a"]]])
def test_ids_that_come_twice_are_noticed(ids: list[list[str]]) -> None:
    schema = pa.schema([("id", pa.string())])
    tables = [pa.table({"id": some}, schema=schema) for some in ids]
    with pytest.raises(ConservationError, match="comes after"):
        list(Rows(tables, "id"))
