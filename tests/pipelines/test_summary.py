"""What a person is told at the end: what there is, what it took, and why the rest is not."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from pipeline_helpers import FAST, bikes, carphone, manifest, rejected_rows, run_here, start
from rich.console import Console

from pipelines.folder import Folder
from pipelines.records import records
from pipelines.summary import file_of, funnel_table, named, print_summary, why_empty
from schemas.base import SCHEMA_VERSION
from schemas.case import Footage
from transforms.progress import NO_REPLIES, Replied
from transforms.publish.index import rejected_table, write_parquet
from transforms.publish.manifest import REJECTED_FILE, Manifest

Capture = pytest.CaptureFixture[str]


def summary(out: Path, replied: Replied = NO_REPLIES) -> str:
    text = io.StringIO()
    console = Console(file=text, width=120)
    stored = Manifest.model_validate(manifest(out))
    console.print(funnel_table(stored.funnel))
    print_summary(console, stored, out / "dataset", replied)
    return text.getvalue()


def test_summary_says_what_there_is_and_where(finished: Path) -> None:
    said = summary(finished)
    stored = Manifest.model_validate(manifest(finished))
    assert f"dataset: {finished / 'dataset'}" in said
    counted: dict[str, int] = {}
    for shard in stored.shards:
        split = shard.path.split("/")[0]
        counted[split] = counted.get(split, 0) + shard.samples
    for split, count in counted.items():
        assert f"{count} {split}" in said
    assert f"in {len(stored.shards)} shards" in said


def test_every_reason_has_an_example_that_names_its_file(finished: Path) -> None:
    """So that nobody has to open the table to know what to do."""
    said = summary(finished)
    folder = Folder(finished).records
    uris = {Footage.from_json(text).video.source.uri for _, text in records(folder, "video")}
    rows = rejected_rows(finished)
    for stage, reason in {(row["stage"], row["reason"]) for row in rows}:
        [line] = re.findall(rf"^{stage} {reason}, such as (.*)$", said, re.MULTILINE)
        name = line.partition(" (")[0].partition(":")[0]
        assert name in uris, line
    verify = next(line for line in said.splitlines() if line.startswith("verify check_failed"))
    assert re.search(r"\.(mp4|mkv) \(r[0-9a-f]{20}\): ", verify)


@pytest.mark.parametrize("kind", ["video", "clip", "case"])
def test_records_lead_to_their_file(kind: str, finished: Path) -> None:
    folder = finished / "work" / "records"
    found = {identity: file_of(folder, identity) for identity, _ in records(folder, kind)}
    assert found
    for identity, name in found.items():
        assert name in Folder(finished).videos_named(name)[0].video.source.uri
        assert named(folder, identity, "") == f"{name} ({identity})"
    one, name = next(iter(found.items()))
    # What came of it, and what was never made of it.
    assert named(folder, "r" + "0" * 20, one) == f"{name} (r{'0' * 20})"
    assert named(folder, f"{one}-q3", one) == f"{name} ({one}-q3)"


def test_what_is_no_id_stays_as_it_is(finished: Path) -> None:
    folder = finished / "work" / "records"
    assert named(folder, "some folder/text.mp4", "") == "some folder/text.mp4"
    assert named(folder, "c" + "0" * 20, "") == "c" + "0" * 20
    assert named(Path("nowhere"), "c" + "0" * 20, "v" + "0" * 20) == "c" + "0" * 20


def test_replies_tokens_and_cost(out: Path) -> None:
    path = out / "dataset" / "manifest.json"
    stored = json.loads(path.read_text())
    tokens = {"replies": 9, "prompt_tokens": 4_000_000, "completion_tokens": 500_000}
    stored |= {"usage": {"answer": tokens, "propose": tokens}, "cost": 18.0}
    path.write_text(json.dumps(stored))
    said = summary(out, Replied(3, 15, 1_000_000, 250_000, 3.0))
    assert "3 replies asked for, 15 found in the store" in said
    assert "1,000,000 prompt and 250,000 completion tokens in this run" in said
    assert "8,000,000 and 1,000,000 in all" in said
    assert "cost 3 in this run, 18 in all" in said
    path.write_text(json.dumps(stored | {"cost": 0.0}))
    assert "; cost" not in summary(out, Replied(3, 15, 1_000_000, 250_000, 0.0))
    assert "teacher:" not in summary(out)


def test_a_rerun_says_that_nothing_was_asked(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    asked = []
    for _ in range(2):
        assert run_here(bikes(), "--out", out, *FAST) == 0
        said = capsys.readouterr().out
        [line] = re.findall(r"(\d+) replies asked for, (\d+) found", said)
        asked.append(tuple(map(int, line)))
    (first, none), (again, found) = asked
    assert first > 0
    assert (none, again, found) == (0, 0, first)


def test_an_empty_dataset_says_why(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert run_here(carphone(), "--out", out, *FAST, "--set", "shots.min_clip_s=8") == 0
    said = capsys.readouterr().err
    assert "proofreel: the dataset is empty: nothing came out of segment" in said
    assert "mostly too_short (1 of 1 clips)" in said
    assert f"such as {carphone().name} (c" in said


def test_an_empty_dataset_names_the_reason_that_is_met_most(
    tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "b.mp4").write_text("no video")
    (tmp_path / "c.mp4").write_text("nor this")
    assert run_here(tmp_path, "--out", tmp_path / "out", *FAST) == 0
    said = capsys.readouterr().err
    assert "nothing came out of ingest, mostly not_a_video (2 of 3 inputs), such as b.mp4" in said


def test_an_empty_dataset_is_told_of_where_the_last_was_lost(
    tmp_path: Path, capsys: Capture
) -> None:
    shutil.copyfile(carphone(), tmp_path / "phone.mp4")
    (tmp_path / "a.mp4").write_text("no video")
    limits = ("--set", "input.max_duration_s=1")
    assert run_here(tmp_path, "--out", tmp_path / "out", *FAST, *limits) == 0
    said = capsys.readouterr().err
    assert (
        "nothing came out of decode, mostly too_long (1 of 1 videos), such as phone.mp4 (v" in said
    )


def test_a_dataset_that_holds_something_is_not_empty(finished: Path) -> None:
    stored = Manifest.model_validate(manifest(finished))
    assert why_empty(stored, finished / "dataset") == ""


def test_names_of_folders_are_no_markup(tmp_path: Path) -> None:
    folder = tmp_path / "[red]out [" / "x]"
    folder.mkdir(parents=True)
    write_parquet(rejected_table([]), folder / REJECTED_FILE)
    empty = Manifest(
        schema_version=SCHEMA_VERSION,
        proofreel_version="0",
        seed=0,
        config={},
        versions={},
        shards=[],
        funnel=[],
        files={},
    )
    text = io.StringIO()
    print_summary(Console(file=text, width=120), empty, folder, NO_REPLIES)
    assert f"dataset: {folder}\n" in text.getvalue()


def test_a_reader_that_has_gone_makes_no_failed_run(tmp_path: Path) -> None:
    """As `| head` does once it has its lines."""
    with start("run", carphone(), "--out", tmp_path / "out", *FAST) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == 0, said
    assert "proofreel: the dataset is empty" in said
    assert "Exception ignored" not in said
    assert (tmp_path / "out" / "dataset" / "manifest.json").exists()
