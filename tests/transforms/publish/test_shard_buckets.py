"""Shards planned in buckets: complete and bounded for any number of buckets, and one bucket as all
at once."""

from __future__ import annotations

import random
import resource
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st
from publish_helpers import Clip, make_sample, read_members

from schemas.base import content_id
from schemas.sample import SPLITS
from transforms.memo import MemoStore
from transforms.outcome import StopRunError
from transforms.publish.buckets import (
    Group,
    Outline,
    Place,
    ShardTable,
    outline_together,
    plan_bucket,
    shard_table,
)
from transforms.publish.planning import (
    LEAD_SAMPLES,
    PARTITIONS,
    PlannedSample,
    entry_bytes,
    plan_sample,
    plan_shards,
    tar_bytes,
)
from transforms.publish.shards import ShardInfo, write_shard
from transforms.publish.spool import Spool, pack
from transforms.publish.stage import Routed, WriteShards

FIELDS = ("answer.options", "steps", "grounding.boxes", "grounding.segments", "answer.intervals_s")


@st.composite
def planned(draw: st.DrawFn) -> list[PlannedSample]:
    """Samples of a few splits, with keys as samples have them."""
    found = []
    for number in range(draw(st.integers(0, 40))):
        split = draw(st.sampled_from(SPLITS[:2]))
        sample = PlannedSample(
            key=f"{split}-{content_id('t', number)}",
            split=split,
            partition=draw(st.sampled_from(PARTITIONS)),
            json_bytes=draw(st.integers(1, 5_000)),
            mp4_bytes=draw(st.integers(1, 60_000)),
            filled=tuple(sorted(draw(st.sets(st.sampled_from(FIELDS))))),
        )
        found.append(sample)
    return found


def table_of(samples: list[PlannedSample], shard_bytes: int, bucket_samples: int) -> ShardTable:
    """As `WriteShards` does it, without a pipeline."""
    parts: dict[Group, list[Outline]] = defaultdict(list)
    for one in samples:
        parts[one.split, one.partition].append(Outline(1, {one.filled: one.key}))
    outlines = {group: outline_together(own) for group, own in parts.items()}
    buckets: dict[tuple[Group, int], list[tuple[str, int]]] = defaultdict(list)
    for one in samples:
        group = one.split, one.partition
        bucket = outlines[group].bucket(one.key, bucket_samples)
        buckets[group, bucket].append((one.key, entry_bytes(one)))
    plans = [
        plan_bucket(group, bucket, sizes, outlines[group].lead if bucket == 0 else (), shard_bytes)
        for (group, bucket), sizes in buckets.items()
    ]
    return shard_table(plans)


def shards_of(samples: list[PlannedSample], table: ShardTable) -> dict[str, list[PlannedSample]]:
    """From the path of each shard to its samples in order."""
    shards: dict[str, list[tuple[Place, PlannedSample]]] = defaultdict(list)
    for one in samples:
        place = table.place(one.split, one.partition, one.key)
        shards[place.path].append((place, one))
    for path, own in shards.items():
        assert {place.samples for place, _ in own} == {len(own)}, path
    return {
        path: [one for _, one in sorted(own, key=lambda pair: (pair[0].rank, pair[1].key))]
        for path, own in sorted(shards.items())
    }


@given(planned(), st.integers(1, 200_000), st.randoms())
def test_one_bucket_is_as_all_at_once(
    samples: list[PlannedSample], shard_bytes: int, order: random.Random
) -> None:
    plans = plan_shards(samples, shard_bytes)
    order.shuffle(samples)
    shards = shards_of(samples, table_of(samples, shard_bytes, 1_000))
    assert shards == {plan.path: list(plan.samples) for plan in plans}


@given(planned(), st.integers(1, 200_000), st.integers(1, 12), st.randoms())
def test_any_number_of_buckets(
    samples: list[PlannedSample], shard_bytes: int, bucket_samples: int, order: random.Random
) -> None:
    shards = shards_of(samples, table_of(samples, shard_bytes, bucket_samples))
    shuffled = list(samples)
    order.shuffle(shuffled)
    assert shards_of(shuffled, table_of(shuffled, shard_bytes, bucket_samples)) == shards

    groups: dict[str, list[str]] = defaultdict(list)
    for path, own in shards.items():
        size = tar_bytes(sum(entry_bytes(one) for one in own))
        assert size <= shard_bytes or len(own) == 1
        groups[path.rsplit("-", 1)[0]].append(path)
        assert {f"{one.split}/{one.partition}" for one in own} == {path.rsplit("-", 1)[0]}
    for name, paths in groups.items():
        assert paths == [f"{name}-{number:06d}.tar" for number in range(len(paths))], "a gap"
        ordered = [one for path in paths for one in shards[path]]
        lead = {path for one in ordered[:LEAD_SAMPLES] for path in one.filled}
        assert lead == {path for one in ordered for path in one.filled}
        keys = [one.key for one in ordered[LEAD_SAMPLES:]]
        assert keys == sorted(keys)


def test_buckets_are_about_as_large_as_one_another() -> None:
    """Keys are hashes: ranges of them hold equal shares."""
    outline = Outline(20_000, {(): "sft-t"})
    sizes = [0] * 10
    for number in range(20_000):
        sizes[outline.bucket(f"sft-{content_id('t', number)}", 2_000)] += 1
    assert 1_800 < min(sizes) <= max(sizes) < 2_200


def test_the_same_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="two samples have the id a"):
        plan_bucket(("sft", "train"), 0, [("a", 10), ("b", 10), ("a", 20)], (), 1_000)


def test_more_shards_than_six_digits_count_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.publish.planning.MAX_SHARDS", 3)
    plan = plan_bucket(("sft", "train"), 0, [(key, 10) for key in "abcd"], (), 1)
    with pytest.raises(ValueError, match="sft/train would need 4 shards"):
        shard_table([plan])


# In a pipeline -----------------------------------------------------------------------------------


@pytest.fixture
def routed(clips: list[Clip], tmp_path: Path) -> list[Routed]:
    """Samples of two splits on real clips, in a memo store at `tmp_path / "store"`."""
    (tmp_path / "store").mkdir()
    for clip in clips:
        (tmp_path / "store" / clip.path.name).write_bytes(clip.path.read_bytes())
    found = []
    for number in range(24):
        split = SPLITS[number % 2]
        clip = clips[number % 3]
        filled = ("grounding.segments",) if number in (7, 12) else ()
        sample = make_sample(f"{split}-{content_id('t', number)}", clip, split=split, filled=filled)
        size = clip.path.stat().st_size
        found.append(
            Routed(
                sample,
                plan_sample(sample, "train", size, media_ref=clip.path.name),
                *("v", "c", "t"),
            )
        )
    return found


def written(
    routed: list[Routed], folder: Path, bucket_samples: int, shard_bytes: int = 60_000
) -> list[ShardInfo]:
    """The shards of a pipeline run."""
    store = MemoStore(str(folder.parent / "store"))
    with beam.Pipeline() as pipeline:
        shards = (
            pipeline
            | beam.Create(routed)
            | WriteShards(shard_bytes, str(folder), store, bucket_samples)
        )

        def note(found: list[ShardInfo]) -> None:
            (folder.parent / "infos").write_text("\n".join(one.to_json() for one in found))

        assert_that(shards, note)
    lines = (folder.parent / "infos").read_text().splitlines()
    infos = [ShardInfo.from_json(line) for line in lines]
    return sorted(infos, key=lambda info: info.path)


def test_a_run_writes_what_one_process_would(routed: list[Routed], tmp_path: Path) -> None:
    shards = written(routed, tmp_path / "run", 1_000)
    samples = {one.sample.id: one.sample for one in routed}
    media = {one.sample.id: tmp_path / "store" / one.planned.media_ref for one in routed}
    planned = [one.planned for one in routed]
    alone = [
        write_shard(plan, samples, media, tmp_path / "alone")
        for plan in plan_shards(planned, 60_000)
    ]
    assert shards == alone
    assert len(alone) > 4


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_damaged_clips_in_the_store_are_said_and_removed(
    number: int, gone: bool, routed: list[Routed], tmp_path: Path
) -> None:
    """So that the next run makes them anew; what is whole stays."""
    in_entries = [one_in_entry(one, tmp_path / "store") for one in routed]
    refs = sorted({one.planned.media_ref for one in in_entries})
    damaged, whole = refs[:number], refs[number:]
    for ref in damaged:
        path = tmp_path / "store" / ref
        path.unlink() if gone else path.write_bytes(bytes(path.stat().st_size))
    # One shard, which all of them are in.
    of_split = [one for one in in_entries if one.planned.split == SPLITS[0]]
    with pytest.raises(StopRunError) as caught:
        written(of_split, tmp_path / "run", 1_000, shard_bytes=10**9)
    told = str(caught.value)
    assert all(f"({ref})" in told for ref in damaged) and not any(ref in told for ref in whole)
    assert "the clip of " in told and " s on " in told
    were = "was damaged or gone and is" if number == 1 else "were damaged or gone and are"
    store = tmp_path / "store"
    assert f"in the memo store {store} {were} removed; run the same command again" in told
    for ref in refs:
        assert (tmp_path / "store" / ref).exists() == (ref in whole)


def one_in_entry(routed: Routed, store: Path) -> Routed:
    """The same with its clip in an entry, as runs have it."""
    name = routed.planned.media_ref
    place = store / "cut" / name[:-4] / "clip.mp4"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes((store / name).read_bytes())
    ref = place.relative_to(store).as_posix()
    return replace(routed, planned=routed.planned.model_copy(update={"media_ref": ref}))


def test_a_run_in_many_buckets(routed: list[Routed], tmp_path: Path) -> None:
    shards = written(routed, tmp_path / "run", 3)
    assert written(routed[::-1], tmp_path / "again", 3) == shards
    keys: dict[str, list[str]] = defaultdict(list)
    for shard in shards:
        split = shard.path.partition("/")[0]
        members = [name for name, _ in read_members(tmp_path / "run" / shard.path)]
        assert members == [f"{one.key}.{part}" for one in shard.entries for part in ("json", "mp4")]
        keys[split] += [one.key for one in shard.entries]
    for split, found in keys.items():
        wanted = [one.sample.id for one in routed if one.sample.split == split]
        assert sorted(found) == sorted(wanted)
        assert found[LEAD_SAMPLES:] == sorted(found[LEAD_SAMPLES:])
    at_once = plan_shards([one.planned for one in routed], 60_000)
    assert len(shards) > len(at_once), "there were no several buckets"


def test_a_run_without_samples_writes_nothing(tmp_path: Path) -> None:
    assert written([], tmp_path / "run", 3) == []
    assert not (tmp_path / "run").exists()


def test_texts_wait_on_disk_when_there_are_many(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.publish.spool.MEMORY_BYTES", 1_000)
    samples = [make_sample(f"s{number:02d}", clips[0]) for number in range(20)]
    size = clips[0].path.stat().st_size
    shuffled = random.Random(0).sample(samples, 20)
    packed = [
        pack(one, plan_sample(one, "train", size, media_ref="ref"), 0 if one.id == "s07" else 5)
        for one in shuffled
    ]
    with Spool(packed) as spool:
        assert spool._file._rolled  # type: ignore[attr-defined]
        rest = [one.id for one in samples if one.id != "s07"]
        assert [one.key for one in spool.planned] == ["s07", *rest]
        assert [spool[one.id] for one in samples] == samples
        wanted = plan_sample(samples[7], "train", size, media_ref="ref")
        assert spool.planned[0] == wanted.model_copy(update={"filled": ()})


def test_a_full_disk_for_temporary_files_is_named(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is not the dataset's, whose folder would be named where shards are written."""
    monkeypatch.setattr("transforms.publish.spool.MEMORY_BYTES", 1_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    samples = [make_sample(f"s{number:02d}", clips[0]) for number in range(20)]
    packed = [pack(one, plan_sample(one, "train", 1, media_ref="ref"), 5) for one in samples]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))
    try:
        with pytest.raises(StopRunError, match=f"the folder for temporary files {tmp_path}: a fil"):
            Spool(packed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
