"""Writing: the same bytes each time, each mp4 the one that its sample names, nothing half-done."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from publish_helpers import Clip, Item, build_dataset, find_shard, make_sample, read_members

from schemas.rejection import Reason, Rejection, Stage
from schemas.sample import Sample
from transforms.outcome import StopRunError
from transforms.publish.files import replacing
from transforms.publish.index import (
    INDEX_SCHEMA,
    REJECTED_SCHEMA,
    index_entry,
    index_table,
    rejected_table,
    write_parquet,
)
from transforms.publish.known_files import FileState, KnownFiles
from transforms.publish.manifest import is_local_path, portable_config
from transforms.publish.shard_file import SMALL_BYTES, SYNC_BYTES, ShardFile
from transforms.publish.shards import (
    ShardInfo,
    ShardPlan,
    plan_sample,
    plan_shards,
    write_shard,
)


def write_one(sample: Sample, clip: Clip, folder: Path, size: int = -1) -> ShardInfo:
    size = clip.path.stat().st_size if size < 0 else size
    (plan,) = plan_shards([plan_sample(sample, "train", size)], 10**9)
    return write_shard(plan, {sample.id: sample}, {sample.id: clip.path}, folder)


def test_rewriting_gives_the_same_bytes(built: Path, items: list[Item], tmp_path: Path) -> None:
    os.utime(items[0].clip.path, (1, 1))
    build_dataset(tmp_path, list(reversed(items)))
    files = sorted(path.relative_to(built) for path in built.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    for name in files:
        assert (built / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_entries_and_offsets(built: Path, items: list[Item]) -> None:
    samples = {item.sample.id: item for item in items}
    rows = pq.read_table(built / "index.parquet").to_pylist()
    assert [row["id"] for row in rows] == sorted(samples)
    for row in rows:
        data = (built / row["shard"]).read_bytes()
        text = data[row["json_offset"] :][: row["json_bytes"]]
        mp4 = data[row["mp4_offset"] :][: row["mp4_bytes"]]
        assert text.decode() == samples[row["id"]].sample.to_json()
        assert mp4 == samples[row["id"]].clip.path.read_bytes()
        assert hashlib.sha256(text).hexdigest() == row["json_sha256"]
        assert hashlib.sha256(mp4).hexdigest() == row["mp4_sha256"]


def test_headers_tell_nothing_about_the_machine(built: Path) -> None:
    for path in built.rglob("*.tar"):
        with tarfile.open(path) as tar:
            for info in tar:
                assert (info.mtime, info.uid, info.gid, info.uname, info.gname) == (0, 0, 0, "", "")
                assert info.mode == 0o644
                assert info.isreg()


def test_shard_size_is_bounded_and_planned_exactly(built: Path) -> None:
    sizes = {path: path.stat().st_size for path in built.rglob("*.tar")}
    assert len(sizes) > 4
    for path, size in sizes.items():
        assert size <= 60_000 or len(read_members(path)) == 2


def test_mp4_that_is_not_the_samples_is_refused(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"c2\.mp4 of sample s1 has sha256"):
        write_one(make_sample("s1", clips[0]), clips[1], tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("change", [-1, 1])
def test_mp4_of_another_size_is_refused(clips: list[Clip], tmp_path: Path, change: int) -> None:
    size = clips[0].path.stat().st_size + change
    with pytest.raises(ValueError, match=r"c1\.mp4 of sample s1"):
        write_one(make_sample("s1", clips[0]), clips[0], tmp_path, size)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_clip_is_hashed_again_when_it_changed(clips: list[Clip], tmp_path: Path) -> None:
    """Its hash is remembered, but with all that changes when a file does."""
    path = tmp_path / "c.mp4"
    shutil.copy(clips[0].path, path)
    clip = replace(clips[0], path=path)
    first = write_one(make_sample("s1", clip), clip, tmp_path / "first")
    again = write_one(make_sample("s1", clip), clip, tmp_path / "again")
    assert again == first
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)  # the same length, the same inode
    with pytest.raises(ValueError, match=r"c\.mp4 of sample s1 has sha256"):
        write_one(make_sample("s1", clip), clip, tmp_path / "changed")


def test_a_shard_that_can_not_be_written_is_told(clips: list[Clip], tmp_path: Path) -> None:
    """What a thread meets while it writes comes out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(StopRunError, match="a file grew larger"):
            write_one(make_sample("s1", clips[0]), clips[0], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_only_the_last_files_stay_known() -> None:
    known = KnownFiles(most=2)
    states = [FileState(1, inode, 5, 6, 7) for inode in range(3)]
    for number, state in enumerate(states):
        known.add(state, str(number))
    assert [known.get(state) for state in states] == ["", "1", "2"]


def test_failed_rewrite_leaves_the_old_shard(clips: list[Clip], tmp_path: Path) -> None:
    info = write_one(make_sample("s1", clips[0]), clips[0], tmp_path)
    before = (tmp_path / info.path).read_bytes()
    with pytest.raises(ValueError, match="sha256"):
        write_one(make_sample("s1", clips[0]), clips[1], tmp_path)
    assert (tmp_path / info.path).read_bytes() == before


@pytest.mark.parametrize(
    "path", ["../x.tar", "/x.tar", "sft/train-1.tar", "other/train-000000.tar"]
)
def test_shard_outside_of_the_dataset_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no path of a shard"):
        write_shard(ShardPlan(path=path, samples=()), {}, {}, tmp_path)


def test_replacing_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing(tmp_path / "file") as file:
        file.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_empty_tables_are_typed(tmp_path: Path) -> None:
    for table, schema in (
        (index_table([], []), INDEX_SCHEMA),
        (rejected_table([]), REJECTED_SCHEMA),
    ):
        write_parquet(table, tmp_path / "table.parquet")
        assert pq.read_schema(tmp_path / "table.parquet").equals(schema)


def test_index_joins_by_id_and_says_what_is_missing(clips: list[Clip], tmp_path: Path) -> None:
    sample = make_sample("s1", clips[0])
    shard = write_one(sample, clips[0], tmp_path)
    entry = index_entry(sample, "train", video_id="v", clip_id="c", task_id="t")
    with pytest.raises(ValueError, match="s1 is indexed twice, or in no shard"):
        index_table([entry], [])
    with pytest.raises(ValueError, match="not indexed: s1"):
        index_table([], [shard])
    with pytest.raises(ValueError, match="s1 is in sft/train-000000"):
        index_table([entry], [shard, shard])


def test_rejections_are_sorted_by_stage_and_keep_all() -> None:
    late = Rejection(stage=Stage.ROUTE, reason=Reason.NO_ACCEPTED_ROLLOUT, subject="t1")
    early = Rejection(stage=Stage.INGEST, reason=Reason.NOT_A_VIDEO, subject="z.mp4")
    table = rejected_table([late, early, early])
    assert table["subject"].to_pylist() == ["z.mp4", "z.mp4", "t1"]


def test_configuration_loses_the_names_of_folders() -> None:
    config = {
        "features": {"pretrained": "/models/clip.pt"},
        "list": ["C:\\a\\b.pt", "laion2b"],
        "n": 1,
    }
    assert portable_config(config) == {
        "features": {"pretrained": "clip.pt"},
        "list": ["b.pt", "laion2b"],
        "n": 1,
    }
    assert not is_local_path("videos/a.mp4")
    assert not is_local_path("gs://bucket/a.mp4")


def test_every_sample_is_found_where_planned(built: Path, items: list[Item]) -> None:
    for item in items:
        shard = find_shard(built, item.sample.id)
        assert shard.startswith(f"{item.sample.split}/{item.partition}-")


def test_a_disk_that_fails_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of a failed write at one sync, and the next one succeeds."""
    answers = iter([OSError(errno.EIO, "Input/output error")])

    def fsync(_: int) -> None:
        if (answer := next(answers, None)) is not None:
            raise answer

    monkeypatch.setattr(os, "fsync", fsync)
    with (
        pytest.raises(OSError, match="Input/output error"),
        replacing(tmp_path / "shard.tar") as file,
        ShardFile(file) as shard,
    ):
        shard.write(bytes(SYNC_BYTES))
        shard.finish()
    assert not list(tmp_path.iterdir())


def test_small_parts_do_not_pile_up(tmp_path: Path) -> None:
    """A shard of clips that are all small is not held in memory whole."""
    tracemalloc.start()
    try:
        with (tmp_path / "shard.tar").open("wb") as file, ShardFile(file) as shard:
            for number in range(2_000):
                shard.write(bytes([number % 251]) * (SMALL_BYTES - 1))
            shard.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    written = 2_000 * (SMALL_BYTES - 1)
    assert (tmp_path / "shard.tar").stat().st_size > written
    assert peak < written / 3
