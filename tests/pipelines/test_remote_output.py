"""A draft at a URL comes to its place whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from object_store import ObjectStore, objects
from pipeline_helpers import run_here

from pipelines import dry_run, run
from pipelines.remote_output import RemoteOutput
from schemas.base import SCHEMA_VERSION
from transforms.draft import Draft, filling
from transforms.outcome import StopRunError
from transforms.publish.manifest import MANIFEST_FILE, Manifest, ShardEntry
from transforms.storage import joined, write
from transforms.video.sorted_inputs import SortedInputs

__all__ = ["objects"]

SHARD = "sft/train-000000.tar"


def built(output: RemoteOutput, data: bytes, stated_bytes: int) -> Draft:
    """The draft of a dataset of one shard."""
    draft = output.new_draft()
    output.begin(draft)
    shard = ShardEntry(path=SHARD, sha256="0" * 64, bytes=stated_bytes, samples=1)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        proofreel_version="0",
        seed=0,
        config={},
        versions={},
        shards=[shard],
        funnel=[],
        files={},
    )
    with filling(draft.dataset) as folder:
        (folder / "sft").mkdir()
        (folder / SHARD).write_bytes(data)
        (folder / MANIFEST_FILE).write_text(manifest.to_text())
    return draft


@pytest.fixture
def output(objects: ObjectStore) -> RemoteOutput:
    objects.client.put_object(Bucket="films", Key=f"out/dataset/{MANIFEST_FILE}", Body=b"old")
    return RemoteOutput(objects.url("out"))


def test_a_draft_that_is_whole_comes_to_its_place(
    objects: ObjectStore, output: RemoteOutput
) -> None:
    manifest = output.publish_draft(built(output, b"clips", 5), "s3://films/memo")
    there = objects.files("out/")
    assert there.keys() == {"work/store.json", f"dataset/{SHARD}", f"dataset/{MANIFEST_FILE}"}
    assert Manifest.model_validate_json(there[f"dataset/{MANIFEST_FILE}"]) == manifest


def test_what_the_manifest_does_not_list_is_not_published(
    objects: ObjectStore, output: RemoteOutput
) -> None:
    """Left there by a job that the engine began anew."""
    draft = built(output, b"clips", 5)
    left = ("dataset/sft/train-000001.tar", "dataset/rl/train-000000.tar", "dataset/notes.txt")
    for name in (*left, "records/case-a.parquet", "records/.case-b.parquet.0a1b.partial"):
        write(joined(draft.root, name), b"left")
    output.publish_draft(draft, "s3://films/memo")
    assert objects.files("out/").keys() == {
        *("work/store.json", f"dataset/{SHARD}", f"dataset/{MANIFEST_FILE}"),
        "work/records/case-a.parquet",
    }


def test_a_shard_that_is_not_as_it_was_written_stops_it(
    objects: ObjectStore, output: RemoteOutput
) -> None:
    with pytest.raises(StopRunError, match=rf"{SHARD} has not the 6 bytes that were written"):
        output.publish_draft(built(output, b"clips", 6), "s3://films/memo")
    assert objects.files("out/dataset/") == {MANIFEST_FILE: b"old"}


def test_of_two_runs_at_once_the_one_that_began_later_has_it(
    objects: ObjectStore, output: RemoteOutput
) -> None:
    first = built(output, b"first", 5)
    second = built(output, b"second", 6)
    with pytest.raises(StopRunError, match="another run into this output has begun"):
        output.publish_draft(first, "s3://films/memo")
    assert objects.files("out/dataset/") == {MANIFEST_FILE: b"old"}
    output.publish_draft(second, "s3://films/memo")
    assert objects.files("out/dataset/")[SHARD] == b"second"


def test_what_runs_have_put_below_the_output_is_no_source(
    objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the store of this run is."""
    ours = ("v/out/work/memo/cut/ab/abcd/clip.mp4", "v/out/dataset/mine.mp4")
    for name in ("v/one.mp4", "v/out/two.mp4", *ours):
        write(objects.url(name), b"video")
    found: list[str] = []

    def look(inputs: SortedInputs, *_: object) -> None:
        found.extend(one.path for one in inputs.sources)
        raise StopRunError("enough is known")

    monkeypatch.setattr(run, "_run", look)
    monkeypatch.setattr(dry_run, "_dry_run", look)
    out = ("--out", objects.url("v", "out"), "--store", tmp_path / "memo", objects.option)
    for more in ((), ("--dry-run",)):
        assert run_here(objects.url("v"), *out, *more) == 1
        assert found == [objects.url("v/one.mp4"), objects.url("v/out/two.mp4")]
        found.clear()
