"""What is read is what the shards hold; what is wrong with them is told, with shard and key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from publish_helpers import edit_manifest, edit_sample, find_shard, read_members, rewrite_shard
from reading_helpers import KEYS, SAMPLES, keys

from schemas.sample import Sample
from transforms.publish.files import sha256_file
from transforms.publish.index import INDEX_SCHEMA, write_parquet
from transforms.publish.manifest import INDEX_FILE, MANIFEST_FILE
from transforms.read.entry import Entry
from transforms.read.opening import open_dataset
from transforms.read.ranges import ReadError


def test_entries_are_those_of_the_shards_in_their_order(many: Path) -> None:
    shards = {f"sft/{path.name}": read_members(path) for path in many.glob("sft/train-*.tar")}
    members = [one for name in sorted(shards) for one in shards[name]]
    found = list(open_dataset(many))
    assert [f"{one.key}.{part}" for one in found for part in ("json", "mp4")] == [
        name for name, _ in members
    ]
    for entry, (_, text), (_, mp4) in zip(found, members[::2], members[1::2], strict=True):
        assert entry.json == json.loads(text)
        assert entry.mp4 == mp4
        assert (f"{entry.key}.json", text) in shards[entry.shard]
        assert entry.sample() == Sample.from_json(text)


def test_the_folder_of_the_run_will_do(many: Path) -> None:
    run = many.parent
    assert (
        keys(open_dataset(run))
        == keys(open_dataset(str(many) + "/"))
        == keys(open_dataset(many.as_uri()))
    )


def test_partitions_are_apart(many: Path) -> None:
    data = open_dataset(many, partition="validation")
    assert keys(data) == ["v00", "v01"]
    assert len(data) == 2


def test_a_shuffle_mixes_and_keeps_all(many: Path) -> None:
    data = open_dataset(many, shuffle=True, seed=1)
    first, again = keys(data), keys(data)
    data.set_epoch(1)
    second = keys(data)
    assert first == again
    assert len({tuple(first), tuple(second), tuple(KEYS)}) == 3
    assert sorted(first) == sorted(second) == KEYS
    small = keys(open_dataset(many, shuffle=True, seed=1, buffer_bytes=1))
    assert sorted(small) == KEYS
    assert small != first


def test_a_subset_by_query_and_by_ids(many: Path) -> None:
    with_sound = [one.key for one in open_dataset(many) if one.json["media"][0]["has_audio"]]
    assert keys(open_dataset(many, where=pc.field("clip_id") == "c2")) == with_sound
    assert keys(open_dataset(many, where=[("clip_id", "=", "c2")])) == with_sound
    assert keys(open_dataset(many, ids={"s07", "s03"})) == ["s03", "s07"]
    both = open_dataset(many, where=[("clip_id", "=", "c2")], ids=["s05"], verify=True)
    assert keys(both) == ["s05"]


def test_conditions_are_those_of_the_command_line(many: Path) -> None:
    second = keys(open_dataset(many, where=[("clip_id", "=", "c2")]))
    assert keys(open_dataset(many, where="clip_id=c2")) == second
    both = open_dataset(many, where=["clip_id=c2", "id!=s03"])
    assert keys(both) == [key for key in second if key != "s03"]
    assert keys(open_dataset(many, where="clip_id=c2", ids=["s05"])) == ["s05"]
    assert keys(open_dataset(many, where=("measures.brightness>0.1", "pass_rate>=0.5"))) == KEYS
    assert keys(open_dataset(many, where="scores.answer>=0", shuffle=True)) != KEYS


def test_ids_may_be_those_of_tasks_clips_and_videos(many: Path) -> None:
    rows = pq.read_table(many / INDEX_FILE).to_pylist()
    for column in ("id", "task_id", "clip_id", "video_id"):
        named = next(row for row in rows if row["id"] == "s04")[column]
        wanted = [row["id"] for row in rows if row[column] == named and row["id"] in KEYS]
        assert keys(open_dataset(many, ids=[named])) == wanted
        assert keys(open_dataset(many, ids=named)) == wanted


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"ids": ["s01", "gone", "v00"]}, "2 of 3 ids are not in sft/train .* such as gone"),
        ({"ids": []}, "no sample of sft/train"),
        ({"where": [("pass_rate", ">", 2.0)]}, "no sample of sft/train"),
        ({"where": [("passrate", ">", 0.5)]}, "where.* columns .*pass_rate"),
        ({"where": "pass_rate>2"}, "no sample of sft/train"),
        ({"where": "passrate>0.5"}, "where: .*no field 'passrate'; known are id"),
        ({"where": ["pass_rate>0.5", "x"]}, "where: 'x' is no condition; write FIELD"),
        ({"where": "license=mit"}, "license is not in the index; make a dataset"),
        ({"where": 5}, "where is 5; write it as for `proofreel subset --where`"),
        ({"where": {"a": 1}}, "where is .*; write it as for"),
        ({"where": ("pass_rate", ">", 0.5)}, "where is .*; write it as for"),
        ({"where": []}, r"where is \[\]; write it as for"),
        ({"ids": "gone"}, "1 of 1 ids are not in sft/train .* such as gone"),
        ({"ids": 3}, "ids is 3; give a list of ids"),
        ({"ids": [3]}, "ids holds 3; ids are texts"),
        ({"split": "rl"}, "has no rl/train; it has sft/train, sft/validation"),
        ({"split": "../sft"}, r"\.\./sft/train is none of sft, rl"),
        ({"partition": "test"}, "sft/test is none of"),
        ({"size_px": (8, 8)}, "give frames or fps"),
        ({"frames": 2, "fps": 2.0}, "one of frames, fps"),
        ({"even": "yes"}, "'pad', 'drop' or None"),
        ({"buffer_bytes": 0}, "above 0"),
        ({"rank": 1}, "both rank and world_size"),
        ({"rank": 2, "world_size": 2}, "rank 2 is none of 2"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told(many: Path, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        open_dataset(many, **asked)


def test_map_makes_of_each_entry_what_is_wanted(many: Path) -> None:
    def made(entry: Entry) -> tuple[str, int]:
        return entry.key, len(entry.mp4)

    assert dict(open_dataset(many, map=made)).keys() == set(KEYS)


def test_frames_are_decoded_while_reading(many: Path) -> None:
    lazy = {one.key: one for one in open_dataset(many)}
    for entry in open_dataset(many, frames=3, size_px=(32, 24)):
        assert entry.shown is not None
        assert entry.shown.frames.shape == (3, 24, 32, 3)
        again = lazy[entry.key].decode(frames=3, size_px=(32, 24))
        assert (entry.shown.frames == again.frames).all()
        assert entry.shown.times_s.tolist() == again.times_s.tolist()
        with pytest.raises(ValueError, match="not here"):
            entry.decode(frames=2)


def test_the_environment_of_a_launcher_is_heeded(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        found += keys(open_dataset(many))
        assert keys(open_dataset(many, rank=0, world_size=1)) == KEYS
    assert found == KEYS
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="RANK='first'"):
        open_dataset(many)


def test_it_goes_on_where_it_was(many: Path) -> None:
    options: dict[str, Any] = {"shuffle": True, "seed": 5, "buffer_bytes": 50_000}
    data = open_dataset(many, **options)
    data.set_epoch(3)
    whole = keys(data)
    for stop in (0, 1, 13, SAMPLES):
        running = iter(data)
        assert [next(running).key for _ in range(stop)] == whole[:stop]
        state = json.loads(json.dumps(data.state_dict()))
        other = open_dataset(many, **options)
        other.load_state_dict(state)
        assert other.state_dict() == state
        assert other.epoch == 3
        resumed = iter(other)
        assert other.state_dict() == state
        assert keys(resumed) == whole[stop:]
        assert keys(other) == whole, "a state counts once"
    other.load_state_dict(state)
    other.set_epoch(4)
    assert sorted(keys(other)) == KEYS, "and only for its epoch"


@pytest.mark.parametrize(
    "other", [{"seed": 6}, {"shuffle": False}, {"ids": KEYS[1:]}, {"even": "pad"}], ids=str
)
def test_a_state_of_something_else_is_refused(many: Path, other: dict[str, Any]) -> None:
    state = open_dataset(many, shuffle=True).state_dict()
    with pytest.raises(ValueError, match="of another dataset, or of one opened with"):
        open_dataset(many, **{"shuffle": True, **other}).load_state_dict(state)
    mine = open_dataset(many, shuffle=True, rank=1, world_size=2)
    mine.load_state_dict(state)
    with pytest.raises(ValueError, match=r"rank 0 of 1 .* but this is rank 1 of 2"):
        next(iter(mine))


@pytest.mark.parametrize("state", [{}, {"of": 1}, {"x": "y"}, None, 3, []], ids=str)
def test_what_is_no_state_is_told_in_one_line(many: Path, state: Any) -> None:
    data = open_dataset(many)
    with pytest.raises(ValueError, match=r"no state of reading a dataset \(") as raised:
        data.load_state_dict(state)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("give what state_dict() or state_after() gave")
    assert keys(data) == KEYS


def test_skipped_entries_are_not_read(changed: Path) -> None:
    """Going on is counting: the first shards may even be gone."""
    data = open_dataset(changed)
    running = iter(data)
    first = [next(running).shard for _ in range(20)]
    state = data.state_dict()
    for path in set(first) - {next(running).shard}:
        (changed / path).unlink()
    data.load_state_dict(state)
    assert keys(data) == KEYS[20:]


# What is wrong with a dataset.


def flip(changed: Path, key: str, part: str) -> str:
    """Change one byte in the middle of a member."""
    shard = find_shard(changed, key)
    row = next(r for r in pq.read_table(changed / INDEX_FILE).to_pylist() if r["id"] == key)
    at = row[f"{part}_offset"] + row[f"{part}_bytes"] // 2
    data = bytearray((changed / shard).read_bytes())
    data[at] ^= 1
    (changed / shard).write_bytes(data)
    return shard


@pytest.mark.parametrize("part", ["json", "mp4"])
def test_a_flipped_bit_is_found_when_asked_to_verify(changed: Path, part: str) -> None:
    shard = flip(changed, "s09", part)
    with pytest.raises(ReadError, match=rf"{shard}: s09: {part}: has sha256 .*, the index says"):
        keys(open_dataset(changed, verify=True))


def test_another_sample_in_its_place_is_told(changed: Path) -> None:
    shard = edit_sample(changed, "s04", lambda value: value.update(id="s94"))
    with pytest.raises(ReadError, match=f"{shard}: s04: json: is not that of this sample"):
        keys(open_dataset(changed))


def test_a_shard_that_was_cut_off(changed: Path) -> None:
    shard = find_shard(changed, "s30")
    os.truncate(changed / shard, 2_000)
    with pytest.raises(ReadError, match=rf"{shard}: s\d\d: {shard} ends before byte"):
        keys(open_dataset(changed))


def test_a_shard_that_is_gone_or_a_pipe(changed: Path) -> None:
    shard = find_shard(changed, "s00")
    (changed / shard).unlink()
    with pytest.raises(ReadError, match=f"{shard} can't be opened: No such file"):
        keys(open_dataset(changed))
    os.mkfifo(changed / shard)
    with pytest.raises(ReadError, match=f"{shard} is no file"):
        keys(open_dataset(changed))


def test_a_clip_that_is_none_names_its_sample(changed: Path) -> None:
    shard = find_shard(changed, "s02")
    rewrite_shard(
        changed,
        shard,
        lambda members: [
            (name, b"\1" * len(data) if name == "s02.mp4" else data) for name, data in members
        ],
    )
    with pytest.raises(ReadError, match=f"{shard}: s02: mp4: it does not"):
        list(open_dataset(changed, frames=2))


def test_a_sample_with_a_wrong_field_is_told_when_checked(changed: Path) -> None:
    # Same length, so that it lies where it lay.
    shard = find_shard(changed, "s05")
    rewrite_shard(
        changed,
        shard,
        lambda members: [
            (name, data.replace(b'"rule"', b'"wild"') if name == "s05.json" else data)
            for name, data in members
        ],
    )
    entry = next(one for one in open_dataset(changed) if one.key == "s05")
    with pytest.raises(ReadError, match=rf"{shard}: s05: reward\.style: "):
        entry.sample()


def edit_index(folder: Path, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Rewrite the index, and make the manifest's hash fit."""
    rows = pq.read_table(folder / INDEX_FILE).to_pylist()
    edit(rows)
    digest = write_parquet(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / INDEX_FILE)
    edit_manifest(folder, lambda value: value["files"].update({INDEX_FILE: digest}))


@pytest.mark.parametrize(
    "lie",
    [
        {"mp4_bytes": 1 << 40},
        {"mp4_bytes": -5},
        {"json_bytes": 1 << 30},
        {"json_offset": 0},
        {"json_offset": (1 << 63) - 1},
        {"mp4_offset": 512},
    ],
    ids=str,
)
def test_an_index_that_leads_elsewhere_is_refused(changed: Path, lie: dict[str, int]) -> None:
    edit_index(changed, lambda rows: rows[7].update(lie))
    with pytest.raises(ReadError, match=r"sft/train-\d+.tar: s\d\d can't lie there"):
        open_dataset(changed)


def test_entries_that_share_bytes_are_refused(changed: Path) -> None:
    def onto(rows: list[dict[str, Any]]) -> None:
        names = ("shard", "json_offset", "json_bytes", "mp4_offset", "mp4_bytes")
        rows[3].update({name: rows[2][name] for name in names})

    edit_index(changed, onto)
    with pytest.raises(ReadError, match="can't lie there"):
        open_dataset(changed)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda rows: rows[1].update(shard="sft/train-000777.tar"), "is no shard of sft/train"),
        (lambda rows: rows[1].update(shard="../../etc/passwd"), "is no shard of sft/train"),
        (lambda rows: rows[1].update(id=rows[2]["id"]), "an id has two rows"),
        (lambda rows: rows[1].update(id="../x"), "an id is no key"),
    ],
)
def test_an_index_with_wrong_names_is_refused(
    changed: Path, edit: Callable[[list[dict[str, Any]]], Any], told: str
) -> None:
    edit_index(changed, edit)
    with pytest.raises(ReadError, match=told):
        open_dataset(changed)


def test_an_index_that_the_manifest_does_not_name(changed: Path) -> None:
    path = changed / INDEX_FILE
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    with pytest.raises(ReadError, match="not the one that the manifest names"):
        open_dataset(changed)
    edit_manifest(changed, lambda value: value["files"].update({INDEX_FILE: sha256_file(path)}))
    assert len(open_dataset(changed)) == 5
    path.write_bytes(b"PAR1 no parquet")
    edit_manifest(changed, lambda value: value["files"].update({INDEX_FILE: sha256_file(path)}))
    with pytest.raises(ReadError, match="can't be read"):
        open_dataset(changed)
    pq.write_table(pa.table({"id": ["a"]}), path)
    edit_manifest(changed, lambda value: value["files"].update({INDEX_FILE: sha256_file(path)}))
    with pytest.raises(ReadError, match="does not have the columns"):
        open_dataset(changed)
    path.unlink()
    with pytest.raises(ReadError, match="is not there"):
        open_dataset(changed)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda value: value.update(schema_version="2"), "schema version '2'"),
        (lambda value: value["shards"][0].update(path="../x.tar"), "no path of a shard"),
        (lambda value: value["shards"][0].update(path="/etc/x.tar"), "no path of a shard"),
        (lambda value: value.update(surprise=1), "surprise: Extra inputs"),
    ],
)
def test_a_manifest_that_is_not_ours(
    changed: Path, edit: Callable[[dict[str, Any]], Any], told: str
) -> None:
    path = changed / MANIFEST_FILE
    value = json.loads(path.read_text("utf-8"))
    edit(value)
    path.write_text(json.dumps(value), "utf-8")
    with pytest.raises(ReadError, match=told):
        open_dataset(changed)


def test_no_dataset_at_all(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"holds no dataset: neither manifest.json nor"):
        open_dataset(tmp_path)
    with pytest.raises(ReadError, match="nosuch://x can't be opened"):
        open_dataset("nosuch://x")
    os.mkfifo(tmp_path / MANIFEST_FILE)
    with pytest.raises(ReadError, match="holds no dataset"):
        open_dataset(tmp_path)
