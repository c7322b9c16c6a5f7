"""Datasets made of finished ones: ids and bytes stay, nothing vanishes, nothing leaks."""

from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from publish_helpers import (
    CONFIG,
    Clip,
    Item,
    build_dataset,
    edit_manifest,
    edit_sample,
    make_funnel,
    make_sample,
    rewrite_shard,
)

from schemas.base import canonical_json
from schemas.rejection import Reason, Stage
from transforms.publish import check_tables, chosen
from transforms.publish.check import check_dataset
from transforms.publish.derive import Request, derive
from transforms.publish.index import write_parquet
from transforms.publish.manifest import (
    INDEX_FILE,
    REJECTED_FILE,
    FunnelStage,
    Manifest,
    funnel_faults,
)
from transforms.publish.parents import DeriveError
from transforms.publish.where import parse_condition


def made(out: Path, *parents: Path, **request: Any) -> Manifest:
    request.setdefault("command", "merge")
    return derive(parents, out, Request(**request), "0.1.0")


def subset(out: Path, parent: Path, *conditions: str, **request: Any) -> Manifest:
    where = tuple(map(parse_condition, conditions))
    return made(out, parent, command="subset", where=where, **request)


def tars(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.tar"))
    }


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(folder / "index.parquet").to_pylist()}


def derive_line(manifest: Manifest) -> FunnelStage:
    [line] = [one for one in manifest.funnel if one.stage is Stage.DERIVE]
    return line


def left_out(folder: Path) -> dict[str, str]:
    """Detail of what the derivation itself left out, by sample."""
    table = pq.read_table(folder / REJECTED_FILE).to_pylist()
    return {row["subject"]: row["detail"] for row in table if row["stage"] == "derive"}


# Shards ------------------------------------------------------------------------------------------


def test_the_same_size_gives_the_same_shards(built: Path, tmp_path: Path) -> None:
    made(tmp_path / "same", built, command="reshard", shard_bytes=60_000)
    assert tars(tmp_path / "same") == tars(built)
    assert rows(tmp_path / "same") == rows(built)
    assert check_dataset(tmp_path / "same") == []


def test_another_size_and_back_gives_the_same_shards(built: Path, tmp_path: Path) -> None:
    one = made(tmp_path / "one", built, command="reshard", shard_bytes=10_000_000)
    assert len(one.shards) == 6 < len(tars(built))
    assert check_dataset(tmp_path / "one") == []
    assert one.config["publish"] == {"shard_bytes": 10_000_000}
    again = made(tmp_path / "again", tmp_path / "one", command="reshard", shard_bytes=60_000)
    assert tars(tmp_path / "again") == tars(built)
    assert check_dataset(tmp_path / "again") == []
    assert derive_line(again).in_ == derive_line(again).out == len(rows(built))


def test_media_do_not_lie_in_memory(clips: list[Clip], tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    clip = Clip(large, hashlib.sha256(large.read_bytes()).hexdigest(), 1.5, False)
    build_dataset(tmp_path / "one", [Item(make_sample("s1", clip), "train", clip)])
    tracemalloc.start()
    made(tmp_path / "out", tmp_path / "one", command="reshard", shard_bytes=100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20  # of 64 MiB: what waits to be written and hashed
    assert tars(tmp_path / "out") == tars(tmp_path / "one")


def test_memory_does_not_grow_with_the_samples(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (check_tables, chosen):
        monkeypatch.setattr(module, "READ_ROWS", 16)
    peaks = []
    for number in (20, 40, 240):  # the first one warms up
        parent, out = tmp_path / f"of{number}", tmp_path / f"out{number}"
        build_dataset(parent, [item(f"s{n:04}", clips[0], "v1") for n in range(number)])
        tracemalloc.start()
        made(out, parent, command="reshard", shard_bytes=100_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(rows(out)) == number
    # Of 200 samples more; that of shards grows. Rows and counts as objects took 7 kB a sample.
    assert peaks[2] - peaks[1] < 200 * 2_500


# A part ------------------------------------------------------------------------------------------


def test_a_part_keeps_ids_and_says_why_the_rest_is_not_in_it(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = subset(out, built, "split=sft", "task_kind=mcq,count", "license=cc by 3.0")
    assert check_dataset(out) == []
    before, after = rows(built), rows(out)
    wanted = {
        key
        for key, row in before.items()
        if row["split"] == "sft" and row["task_kind"] in ("mcq", "count")
    }
    assert set(after) == wanted
    assert all(
        row[name] == before[key][name]
        for key, row in after.items()
        for name in ("json_sha256", "mp4_sha256", "video_id", "partition")
    )
    lost = left_out(out)
    assert set(lost) == set(before) - wanted
    assert lost["r01"] == "asked for split=sft, has rl"
    assert lost["s92"] == "asked for task_kind=mcq,count, has temporal_grounding"
    line = derive_line(manifest)
    assert (line.in_, line.out) == (len(before), len(wanted))
    assert line.rejected == {Reason.NOT_CHOSEN: len(lost)}
    assert manifest.derived is not None
    assert manifest.derived.options["where"][0] == "split=sft"
    card = (out / "README.md").read_text("utf-8")
    assert "proofreel subset" in card
    assert "| where | split\\=sft |" in card


def test_a_part_by_ids_of_samples_and_of_what_they_come_from(built: Path, tmp_path: Path) -> None:
    ids = frozenset({"s01", "t-s02", "v-validation"})
    subset(tmp_path / "out", built, ids=ids)
    assert set(rows(tmp_path / "out")) == {"s01", "s02", "s95"}
    assert check_dataset(tmp_path / "out") == []
    with pytest.raises(DeriveError, match="2 ids are of no sample, task, clip or video: s1, s2"):
        subset(tmp_path / "two", built, ids=ids | {"s1", "s2"})
    with pytest.raises(DeriveError, match="1 id is of no sample, task, clip or video: s1"):
        subset(tmp_path / "two", built, ids=ids | {"s1"})


def test_a_part_of_a_part_still_adds_up(built: Path, tmp_path: Path) -> None:
    subset(tmp_path / "one", built, "split=sft")
    manifest = subset(tmp_path / "two", tmp_path / "one", "task_kind=count")
    assert set(rows(tmp_path / "two")) == {"s91"}
    line = derive_line(manifest)
    assert (line.in_, line.out) == (len(rows(built)), 1)
    assert check_dataset(tmp_path / "two") == []


def test_nothing_left_is_an_error_and_leaves_nothing(built: Path, tmp_path: Path) -> None:
    with pytest.raises(DeriveError, match=r"no sample is left: asked for pass_rate>=0\.9, has"):
        subset(tmp_path / "out", built, "pass_rate>=0.9")
    assert list(tmp_path.iterdir()) == []


# Several in one ----------------------------------------------------------------------------------


def two_halves(built: Path, folder: Path) -> tuple[Path, Path]:
    """Two parts of a dataset that overlap."""
    subset(folder / "one", built, "split=sft")
    subset(folder / "two", built, "task_kind=mcq")
    return folder / "one", folder / "two"


def test_what_several_hold_is_there_once(built: Path, tmp_path: Path) -> None:
    one, two = two_halves(built, tmp_path)
    manifest = made(tmp_path / "out", one, two)
    assert set(rows(tmp_path / "out")) == set(rows(one)) | set(rows(two))
    assert check_dataset(tmp_path / "out") == []
    line = derive_line(manifest)
    both = set(rows(one)) & set(rows(two))
    assert line.rejected[Reason.DUPLICATE] == len(both) > 0
    assert line.in_ == 2 * len(rows(built)) == line.out + sum(line.rejected.values())


def test_the_order_of_naming_does_not_matter(built: Path, tmp_path: Path) -> None:
    one, two = two_halves(built, tmp_path)
    for out, parents in (("a", (one, two)), ("b", (two, one))):
        made(tmp_path / out, *parents)
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")}
    assert files == {path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.*")}
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def item(key: str, clip: Clip, video_id: str, partition: str = "train", **changes: Any) -> Item:
    sample = make_sample(key, clip).model_copy(update=changes)
    return Item(sample, partition, clip, video_id)


def test_one_id_with_two_contents_is_refused(clips: list[Clip], tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    build_dataset(one, [item("s1", clips[0], "v1")])
    build_dataset(two, [item("s1", clips[0], "v1", data_source="elsewhere")])
    with pytest.raises(DeriveError, match=r"s1 is in .* but its json is not the same") as raised:
        made(tmp_path / "out", one, two)
    assert str(one) in str(raised.value)
    assert str(two) in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("same", ["video", "bytes"])
def test_what_validation_shows_does_not_get_into_train(
    same: str, clips: list[Clip], tmp_path: Path
) -> None:
    """A video is in validation of one run and, by another seed, in train of another; or the same
    clip comes from two files."""
    one, two = tmp_path / "one", tmp_path / "two"
    clip = clips[1] if same == "video" else clips[0]
    build_dataset(one, [item("s1", clips[0], "v1", "validation"), item("s2", clips[2], "v2")])
    train = item("s3", clip, "v1" if same == "video" else "v3")
    build_dataset(two, [train, item("s4", clips[1], "v4")])
    with pytest.raises(DeriveError, match=r"s3 is in train .* s1, .* in validation .*--on-leak"):
        made(tmp_path / "out", one, two)
    manifest = made(tmp_path / "out", one, two, drop_leaks=True)
    assert set(rows(tmp_path / "out")) == {"s1", "s2", "s4"}
    assert derive_line(manifest).rejected == {Reason.IN_VALIDATION: 1}
    assert "s1, which is in validation" in left_out(tmp_path / "out")["s3"]
    assert check_dataset(tmp_path / "out") == []


def test_the_same_sample_on_both_sides_stays_in_validation(
    clips: list[Clip], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    build_dataset(one, [item("s1", clips[0], "v1", "validation")])
    build_dataset(two, [item("s1", clips[0], "v1", "train"), item("s2", clips[1], "v2")])
    made(tmp_path / "out", one, two, drop_leaks=True)
    assert {key: row["partition"] for key, row in rows(tmp_path / "out").items()} == {
        "s1": "validation",
        "s2": "train",
    }
    assert check_dataset(tmp_path / "out") == []


def test_a_clip_on_both_sides_is_found_by_check(clips: list[Clip], tmp_path: Path) -> None:
    items = [item("s1", clips[0], "v1", "validation"), item("s2", clips[0], "v2")]
    build_dataset(tmp_path / "one", items)
    [fault] = check_dataset(tmp_path / "one")
    assert "has the bytes of that of s1, in validation" in str(fault)


def test_settings_that_differ_are_named_and_each_sample_is_held_to_its_own(
    clips: list[Clip], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    build_dataset(one, [item("s1", clips[0], "v1")])
    other = make_sample("s2", clips[1])
    check = other.verdict.checks[0].model_copy(update={"threshold": 0.25})
    verdict = other.verdict.model_copy(update={"checks": [check, *other.verdict.checks[1:]]})
    lower = {**CONFIG, "verify": {"samples": 4, "thresholds": {"answer": 0.25, "spans": 1.0}}}
    lenient = other.model_copy(update={"verdict": verdict})
    build_dataset(two, [Item(lenient, "train", clips[1], "v2")], config=lower)
    manifest = made(tmp_path / "out", one, two)
    assert manifest.config["verify"] == {"samples": 4, "thresholds": {"spans": 1.0}}
    assert check_dataset(tmp_path / "out") == []
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    [row] = [line for line in card.splitlines() if "thresholds.answer" in line]
    assert "0.25" in row
    assert "0.5" in row

    def raise_it(value: dict[str, Any]) -> None:
        value["verdict"]["checks"][0]["threshold"] = 0.3

    edit_sample(tmp_path / "out", "s2", raise_it)
    assert any("threshold 0.3 is not the" in str(one) for one in check_dataset(tmp_path / "out"))


def test_another_grader_is_refused(built: Path, clips: list[Clip], tmp_path: Path) -> None:
    two = tmp_path / "two"
    build_dataset(two, [item("s1", clips[0], "v-train")])
    older = b"# an older grader\n"
    (two / "rewards.py").write_bytes(older)
    sha256 = hashlib.sha256(older).hexdigest()
    edit_manifest(two, lambda value: value["files"].update({"rewards.py": sha256}))
    with pytest.raises(DeriveError, match=r"graded by different versions of rewards\.py"):
        made(tmp_path / "out", built, two)
    made(tmp_path / "alone", two, command="reshard", shard_bytes=100_000)
    assert (tmp_path / "alone" / "rewards.py").read_bytes() == older


def test_a_dataset_twice_is_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(DeriveError, match="are the same dataset"):
        made(tmp_path / "out", built, built)


# The funnel --------------------------------------------------------------------------------------


def test_a_stage_that_only_one_parent_has_lets_the_others_pass(
    clips: list[Clip], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    build_dataset(one, [item("s1", clips[0], "v1")])
    described = FunnelStage(
        stage=Stage.DESCRIBE, unit="clip", in_=4, out=3, rejected={Reason.BAD_REPLY: 1}
    )
    built_here = FunnelStage(stage=Stage.CONSTRUCT, unit="task", in_=1, out=1, rejected={})
    lines = {line.stage: line for line in [*make_funnel(1), described, built_here]}
    lines[Stage.TASK] = lines[Stage.TASK].model_copy(update={"in_": 0, "out": 0})
    build_dataset(
        two, [item("s2", clips[1], "v2")], funnel=[lines[one] for one in Stage if one in lines]
    )
    manifest = made(tmp_path / "out", one, two)
    assert funnel_faults(manifest.funnel) == []
    found = {line.stage: (line.in_, line.out) for line in manifest.funnel}
    assert found[Stage.CUT] == (8, 8)
    assert found[Stage.DESCRIBE] == (8, 7)
    assert found[Stage.CONSTRUCT] == (1, 1)
    assert found[Stage.ROUTE] == (2, 2)
    counted = Counter(
        row["stage"] for row in pq.read_table(tmp_path / "out" / REJECTED_FILE).to_pylist()
    )
    assert counted == {"ingest": 2, "select": 4}, "those of both"


def change_funnel(stage: str, **changes: int) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for line in value["funnel"]:
            if line["stage"] == stage:
                for name, by in changes.items():
                    line[name] += by

    return change


def forget_parents(value: dict[str, Any]) -> None:
    value["derived"] = None


def name_no_parents(value: dict[str, Any]) -> None:
    value["derived"]["parents"] = []


def claim_a_threshold(value: dict[str, Any]) -> None:
    value["config"]["verify"]["thresholds"]["answer"] = 0.9


def claim_less_usage(value: dict[str, Any]) -> None:
    value["usage"] = {"answer": {"replies": 1, "prompt_tokens": 1, "completion_tokens": 1}}


def claim_another_grader(value: dict[str, Any]) -> None:
    value["files"]["rewards.py"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (claim_a_threshold, "config: is not what the parents agree on"),
        (claim_less_usage, "usage: is not the sum of the parents"),
        (claim_another_grader, "files: rewards.py: is not that of the parents"),
        (change_funnel("ingest", **{"in": 1, "out": 1}), "funnel: ingest: is not the sum"),
        (change_funnel("derive", **{"in": 1, "out": 1}), "in 18, out 16, but the parents"),
        (forget_parents, "derive: the dataset names no parents"),
        (name_no_parents, "derived: parents: is empty"),
    ],
)
def test_a_false_account_of_how_it_came_about_is_found(
    change: Callable[[dict[str, Any]], None], told: str, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    subset(out, built, "split=sft,rl,online")
    assert check_dataset(out) == []
    edit_manifest(out, change)
    assert told in "\n".join(map(str, check_dataset(out)))


def test_a_parent_that_is_gone_or_another_is_found(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    subset(tmp_path / "first", built, "split=sft,rl")
    subset(out, tmp_path / "first", "split=sft")
    cards, manifests = sorted(out.glob("parent-*.md")), sorted(out.glob("parent-*.json"))
    assert len(cards) == len(manifests) == 2, "of the parent and of its own"
    for path in [*cards, *manifests]:
        data = path.read_bytes()
        path.unlink()
        assert any(path.name in fault.where for fault in check_dataset(out))
        path.write_bytes(data.replace(b"sft", b"stf"))
        assert any(path.name in fault.where for fault in check_dataset(out))
        path.write_bytes(data)
    assert check_dataset(out) == []
    # Told of in no list, a forebear can't vouch for anything.
    edit_manifest(out, lambda value: [value["files"].pop(path.name) for path in manifests])
    assert any("does not list parent-" in str(fault) for fault in check_dataset(out))


def test_a_parent_named_by_a_path_leads_nowhere(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    subset(out, built, "split=sft")

    def lead_away(value: dict[str, Any]) -> None:
        value["derived"]["parents"] = ["/../../x"]
        value["files"]["parent-/../../x.json"] = "/../../x"

    edit_manifest(out, lead_away)
    told = "\n".join(map(str, check_dataset(out)))
    assert "does not list parent-/../../x.json" in told


# Parents that are not what they say --------------------------------------------------------------


def swap(members: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [*members[2:], *members[:2]]


def garble(members: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(name, data[::-1] if name.endswith(".mp4") else data) for name, data in members]


def edit_text(members: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(name, data.replace(b"square", b"circle")) for name, data in members]


@pytest.mark.parametrize("change", [swap, garble, edit_text])
def test_a_parent_that_is_not_true_gives_nothing(
    change: Callable[[Any], Any], dataset: Path, tmp_path: Path
) -> None:
    rewrite_shard(dataset, "sft/train-000000.tar", change)
    with pytest.raises(DeriveError, match="proofreel check"):
        made(tmp_path / "out", dataset, command="reshard", shard_bytes=60_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def to_validation(dataset: Path) -> str:
    """Say in the index that all is for validation; gives the hash of the file."""
    table = pq.read_table(dataset / INDEX_FILE)
    there = table.schema.get_field_index("partition")
    held = pa.array(["validation"] * table.num_rows)
    table = table.set_column(there, table.schema.field(there), held)
    return write_parquet(table, dataset / INDEX_FILE)


@pytest.mark.parametrize("fits", [False, True], ids=["as_it_was", "made_to_fit"])
def test_an_index_that_is_not_true_gives_nothing(fits: bool, dataset: Path, tmp_path: Path) -> None:
    """It says what is train and what is validation, and of which video a sample is."""
    sha256 = to_validation(dataset)
    if fits:
        edit_manifest(dataset, lambda value: value["files"].update({INDEX_FILE: sha256}))
    said = "by the index" if fits else "index.parquet: has sha256"
    with pytest.raises(DeriveError, match=f"{said}.*proofreel check"):
        subset(tmp_path / "out", dataset, "split=sft")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def test_an_index_can_not_give_a_sample_another_video(clips: list[Clip], tmp_path: Path) -> None:
    """Otherwise a leak from train into validation could be hidden there."""
    sample = make_sample("s1", clips[0])
    extra = {"video_id": "v1", "clip_id": clips[0].path.stem, "task_id": "t-s1"}
    sample = sample.model_copy(update={"extra_json": canonical_json(extra)})
    true, false = (Item(sample, "train", clips[0], video_id=video) for video in ("v1", "v2"))
    build_dataset(tmp_path / "true", [true])
    assert check_dataset(tmp_path / "true") == []
    build_dataset(tmp_path / "false", [false])
    (fault,) = check_dataset(tmp_path / "false")
    assert "s1: video_id: is 'v1', but index.parquet says 'v2'" in str(fault)
    with pytest.raises(DeriveError, match="'v1', the index says 'v2'"):
        made(tmp_path / "out", tmp_path / "false", command="reshard")


@pytest.mark.parametrize("publish", [None, "x", [1]])
def test_settings_that_are_none_break_nothing(
    publish: object, clips: list[Clip], tmp_path: Path
) -> None:
    """A manifest of somebody else may hold anything where settings are looked for."""
    parent, out = tmp_path / "parent", tmp_path / "out"
    items = [Item(make_sample("s1", clips[0]), "train", clips[0])]
    build_dataset(parent, items, config={**CONFIG, "publish": publish})
    made(out, parent, command="reshard", shard_bytes=100_000)
    assert check_dataset(out) == []


def test_a_name_that_is_none_is_said(clips: list[Clip], tmp_path: Path) -> None:
    items = [Item(make_sample("s1", clips[0]), "train", clips[0])]
    build_dataset(tmp_path / "parent", items)
    about = {"publish": {"about": {"editor": "me"}}}
    edit_manifest(tmp_path / "parent", lambda value: value["config"].update(about))
    with pytest.raises(DeriveError, match=r"publish\.about\.editor: Extra inputs"):
        made(tmp_path / "out", tmp_path / "parent", command="reshard")
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


def test_no_dataset_and_no_free_place_are_said(built: Path, tmp_path: Path) -> None:
    with pytest.raises(DeriveError, match=r"manifest\.json: is not there"):
        made(tmp_path / "out", tmp_path)
    with pytest.raises(DeriveError, match="is there already"):
        made(built, built)


def test_a_run_folder_stands_for_its_dataset(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "run" / "dataset")
    (tmp_path / "out").mkdir()
    made(tmp_path / "out", tmp_path / "run", command="reshard", shard_bytes=60_000)
    assert tars(tmp_path / "out") == tars(built)
    value = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert str(tmp_path) not in json.dumps(value)
