"""`check_dataset` names every fault, also when hashes were made to fit, and crashes on none."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from publish_helpers import (
    Clip,
    Members,
    build_dataset,
    edit_manifest,
    edit_sample,
    find_shard,
    fix_croissant,
    fix_hash,
    make_items,
    read_members,
    rewrite_shard,
)

from schemas.sample import Sample
from transforms.publish.check import check_dataset
from transforms.publish.index import write_parquet
from transforms.publish.manifest import Manifest


def faults(dataset: Path) -> str:
    return "\n".join(str(fault) for fault in check_dataset(dataset))


def test_whole_dataset_has_no_fault(built: Path) -> None:
    assert faults(built) == ""


def test_empty_dataset_has_no_fault(tmp_path: Path) -> None:
    build_dataset(tmp_path, [])
    assert faults(tmp_path) == ""


@pytest.mark.parametrize("where", [600, -1500, 0.5])
def test_flipped_byte(dataset: Path, where: float) -> None:
    path = dataset / find_shard(dataset, "s00")
    data = bytearray(path.read_bytes())
    at = int(len(data) * where) if isinstance(where, float) else int(where)
    data[at] ^= 0x40
    path.write_bytes(data)
    assert f"{path.relative_to(dataset)}: has sha256" in faults(dataset)


def test_flipped_byte_in_the_video_is_named_by_its_sample(dataset: Path) -> None:
    shard = find_shard(dataset, "s00")

    def flip(members: Members) -> Members:
        at = [name for name, _ in members].index("s00.mp4")
        data = bytearray(members[at][1])
        data[len(data) // 2] ^= 1
        return [*members[:at], ("s00.mp4", bytes(data)), *members[at + 1 :]]

    rewrite_shard(dataset, shard, flip)
    found = faults(dataset)
    assert f"{shard}: s00: mp4: has sha256" in found
    assert f"{shard}: s00: mp4_sha256: is" in found
    assert f"{shard}: has sha256" not in found


def test_removed_sample(dataset: Path) -> None:
    shard = find_shard(dataset, "s90")
    rewrite_shard(dataset, shard, lambda members: [m for m in members if "s90" not in m[0]])
    found = faults(dataset)
    assert f"index.parquet: s90: is not in {shard}: it is missing" in found
    assert f"{shard}: holds" in found


def test_removed_sample_with_fixed_up_count(dataset: Path) -> None:
    shard = find_shard(dataset, "s90")
    rewrite_shard(dataset, shard, lambda members: [m for m in members if "s90" not in m[0]])
    fix_hash(dataset, shard, samples=len(read_members(dataset / shard)) // 2)
    assert f"index.parquet: s90: is not in {shard}: it is missing" in faults(dataset)


def first_check(sample: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(sample, "verdict")["checks"][0]  # type: ignore[no-any-return]


EDITS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("passed", lambda s: first_check(s).update(passed=False), "verdict.checks.answer: passed is"),
    (
        "failed",
        lambda s: first_check(s).update(passed=False, score=0.0),
        "verdict.checks.answer: failed, so",
    ),
    (
        "score",
        lambda s: first_check(s).update(score=0.9),
        "verdict.checks.answer: score is 0.9, but mcq grades the answer 1.0",
    ),
    (
        "threshold",
        lambda s: first_check(s).update(threshold=0.1),
        "verdict.checks.answer: threshold 0.1 is not the 0.5 of verify.thresholds.answer",
    ),
    ("no checks", lambda s: s["verdict"].update(checks=[]), "verdict.checks: is empty"),
    ("pass rate", lambda s: s["verdict"].update(pass_rate=0.9), "pass_rate: is 0.9, but index"),
    ("pass rate above 1", lambda s: s["verdict"].update(pass_rate=2.0), "verdict.pass_rate: is 2"),
    ("answer", lambda s: s["answer"].update(text="A", option_index=0), "grades the answer 0.0"),
    ("letter", lambda s: s["answer"].update(option_index=3), "is not the letter of option 3"),
    ("option", lambda s: s["answer"].update(option_index=9), "9 is none of 4 options"),
    ("reward", lambda s: s["reward"].update(fn="os.system"), "reward: can't grade the answer"),
    ("spec", lambda s: s["reward"].update(spec_json="[" * 9999), "spec_json: is no JSON object"),
    (
        "span past the end",
        lambda s: s["grounding"].update(
            segments=[{"label": "", "media_id": "clip", "start_s": 0.5, "end_s": 99.0}]
        ),
        "grounding.segments.0: 99 s is outside of the clip, which lasts",
    ),
    (
        "reversed span",
        lambda s: s["answer"].update(intervals_s=[[0.9, 0.2]]),
        "answer.intervals_s.0: span 0.9..0.2 s ends before it begins",
    ),
    (
        "negative time",
        lambda s: s["answer"].update(intervals_s=[[-0.2, 0.2]]),
        "answer.intervals_s.0: -0.2 s is outside",
    ),
    (
        "box",
        lambda s: s["grounding"].update(
            boxes=[{"ref": "", "media_id": "clip", "t_s": 9.0, "xyxy_norm": [0.5, 0, 0.2, 1]}]
        ),
        "grounding.boxes.0: corners 0.5, 0, 0.2, 1 are no box",
    ),
    (
        "box time",
        lambda s: s["answer"].update(boxes=[{"t_s": 9.0, "xyxy_norm": [0.1, 0, 0.2, 1]}]),
        "answer.boxes.0: 9 s is outside",
    ),
    ("medium", lambda s: s["messages"][0]["parts"][0].update(media_id="x"), "names 'x', which"),
    ("null", lambda s: s["answer"].update(tolerance=None), "answer.tolerance: is null"),
    ("unknown field", lambda s: s.update(more=1), "more: Extra inputs are not permitted"),
    ("missing field", lambda s: s.pop("steps"), "steps: Field required"),
    ("id", lambda s: s.update(id="other"), "id: is 'other', the entry's key is 's00'"),
    ("split", lambda s: s.update(split="rl"), "split: is 'rl', the shard belongs to 'sft'"),
    ("version", lambda s: s.update(schema_version="0"), "schema_version: is '0'"),
    ("path", lambda s: s["media"][0].update(uri="/etc/passwd"), "media.0.uri: is an absolute"),
    ("way out", lambda s: s["media"][0].update(uri="../a.mp4"), "media.0.uri: is not relative"),
    ("width", lambda s: s["media"][0].update(width_px=66), "width_px: says 66, the mp4 has 64"),
    (
        "frames",
        lambda s: s["media"][0].update(num_frames=16),
        "num_frames: says 16, the mp4 has 15",
    ),
    ("duration", lambda s: s["media"][0].update(duration_s=9.0), "duration_s: says 9, the mp4"),
    ("rate", lambda s: s["media"][0].update(fps_num=12), "fps_num: says 12/1, the mp4 has 10"),
    ("rate 0", lambda s: s["media"][0].update(fps_num=0), "frame rate is not above 0"),
    ("audio", lambda s: s["media"][0].update(has_audio=True), "has_audio: says True"),
    ("sha", lambda s: s["media"][0].update(sha256="0" * 64), "the sample says 000000"),
    ("no media", lambda s: s.update(media=[]), "media: not exactly one medium is in the part mp4"),
    (
        "crop box",
        lambda s: s["media"][0]["measures"].update(crop_box=[0.0, 0.5, 1.0, 0.5]),
        "media.0.measures.crop_box: corners 0, 0.5, 1, 0.5 are no box",
    ),
    (
        "measure",
        lambda s: s["media"][0]["measures"].update(motion_speed=0.3),
        "measures_json: is",
    ),
    (
        "measure that is none",
        lambda s: s["media"][0]["measures"].update(loudness_lufs=None),
        "media.0.measures.loudness_lufs: is null",
    ),
    ("number", lambda s: s["media"][0].update(width_px="64"), "json: is not in the canonical form"),
]


@pytest.mark.parametrize(("edit", "named"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_edited_sample_with_fixed_up_hashes(
    dataset: Path, edit: Callable[[dict[str, Any]], Any], named: str
) -> None:
    shard = edit_sample(dataset, "s00", edit)
    found = faults(dataset)
    assert f"{shard}: s00: json_sha256: is" in found, "the index knows the JSON too"
    assert f"{shard}: s00: " in found
    assert named in found, found
    assert f"{shard}: has sha256" not in found


def test_edited_verdict_with_index_made_to_fit(dataset: Path) -> None:
    """Who rewrites shard, index and manifest still has to answer for what the answer is worth."""
    shard = edit_sample(dataset, "s00", lambda s: first_check(s).update(score=0.75))
    members = dict(read_members(dataset / shard))
    table = pq.read_table(dataset / "index.parquet")
    rows = table.to_pylist()
    row = next(row for row in rows if row["id"] == "s00")
    row["json_sha256"] = hashlib.sha256(members["s00.json"]).hexdigest()
    row["json_bytes"] = len(members["s00.json"])
    row["scores_json"] = row["scores_json"].replace('"answer":1.0', '"answer":0.75')
    digest = write_parquet(table.from_pylist(rows, schema=table.schema), dataset / "index.parquet")
    edit_manifest(dataset, lambda value: value["files"].update({"index.parquet": digest}))
    fix_croissant(dataset)
    found = [str(fault) for fault in check_dataset(dataset)]
    assert [one for one in found if "mcq grades the answer 1.0" in one] == found


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda m: m["shards"][0].update(samples=9), "samples, the manifest says 9"),
        (
            lambda m: m["funnel"][3].update({"in": 7}),
            "funnel: select: in 7 is not out 4 + rejected 2",
        ),
        (
            lambda m: m["funnel"][3].update({"in": 7, "rejected": {"too_dark": 3}}),
            "rejected.parquet: select: too_dark: 1 rows, but the funnel says 3",
        ),
        (
            lambda m: m["funnel"][1].update({"in": 3, "out": 3}),
            "in 3 is not the 2 that came out of",
        ),
        (
            lambda m: [one.update({"in": 14, "out": 14}) for one in m["funnel"][5:]],
            "funnel: route: out 14, but the samples come from 17 tasks",
        ),
        (lambda m: m["funnel"].append(m["funnel"][0]), "ingest: the stage is listed twice"),
        (lambda m: m["funnel"][0].update(unit="clip"), "unit is 'clip', not 'input'"),
        (lambda m: m["files"].pop("rewards.py"), "does not list rewards.py"),
        (lambda m: m["files"].update({"../x": "0"}), "'../x' is no name of a file"),
        (lambda m: m["files"].update({"x.html": "0"}), "x.html: is listed in the manifest, but"),
        (
            lambda m: m["shards"].append({**m["shards"][0], "path": "/etc/passwd"}),
            "'/etc/passwd' is no",
        ),
        (lambda m: m["shards"].append(m["shards"][0]), "is listed twice in the manifest"),
        (lambda m: m["shards"][0].update(bytes=1), "bytes, the manifest says 1"),
        (lambda m: m.update(schema_version="9"), "schema_version: is '9'"),
    ],
)
def test_edited_manifest(dataset: Path, edit: Callable[[dict[str, Any]], Any], named: str) -> None:
    edit_manifest(dataset, edit)
    assert named in faults(dataset)


def test_missing_and_extra_shards(dataset: Path) -> None:
    gone = find_shard(dataset, "s01")
    (dataset / gone).rename(dataset / "sft" / "train-000099.tar")
    found = faults(dataset)
    assert f"{gone}: is listed in the manifest, but not there" in found
    assert "sft/train-000099.tar: is not listed in the manifest" in found
    edit_manifest(
        dataset,
        lambda m: m.update(
            shards=[one for one in m["shards"] if one["path"] != "sft/train-000000.tar"]
        ),
    )
    assert "sft/train-000000.tar: is missing in the sequence of shards" in faults(dataset)


def test_split_that_leads_out_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    (dataset / "rl").rename(tmp_path / "elsewhere")
    (dataset / "rl").symlink_to(tmp_path / "elsewhere")
    assert faults(dataset) == "rl: is a link; a split is a folder inside of the dataset"


def test_half_written_shard(dataset: Path) -> None:
    (dataset / "sft" / ".train-000000.tar.0.partial").write_bytes(b"x")
    assert ".train-000000.tar.0.partial: was left half-written" in faults(dataset)


def test_sample_moved_to_another_shard(dataset: Path) -> None:
    shard, other = find_shard(dataset, "s00"), find_shard(dataset, "r01")
    moved = [one for one in read_members(dataset / shard) if one[0].startswith("s00.")]
    rewrite_shard(dataset, other, lambda members: members + moved)
    found = faults(dataset)
    assert f"s00: shard: is '{other}', but index.parquet says '{shard}'" in found
    assert f"{shard}: s00: the key is in {other} too" in found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m[1:], "s92.mp4: has no .json right before it"),
        (lambda m: [m[0], *m[2:]], "s92.json: has no .mp4 right after it"),
        (lambda m: m[:-1], "has no .mp4 right after it"),
        (lambda m: [*m, ("../../x", b"")], "'../../x': is no KEY.json and no KEY.mp4"),
        (lambda m: [*m, ("/etc/x.json", b"")], "'/etc/x.json': is no KEY.json"),
        (lambda m: [*m, ("a.b.json", b"")], "'a.b.json': is no KEY.json"),
        (lambda m: [], "is empty"),
        (lambda m: [("a.json", b"{"), ("a.mp4", b"")], "a: json: Invalid JSON"),
        (lambda m: [("a.json", b"[" * 99_999), ("a.mp4", b"")], "a: json: Invalid JSON"),
        (lambda m: [("a.json", b"\xff"), ("a.mp4", b"")], "a: json: Invalid JSON"),
        (lambda m: [("a.json", b"5"), ("a.mp4", b"")], "a: has no row in index.parquet"),
        (lambda m: [m[0], (m[1][0], b"#EXTM3U\n/etc/passwd\n")], "mp4: it does not open as mp4"),
        (lambda m: [m[0], (m[1][0], m[1][1][:100])], "mp4: it"),
    ],
)
def test_hostile_shard(dataset: Path, change: Callable[[Members], Members], named: str) -> None:
    shard = "sft/train-000000.tar"
    assert read_members(dataset / shard)[0][0] == "s92.json"
    rewrite_shard(dataset, shard, change)
    assert named in faults(dataset)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.XHDTYPE, tarfile.DIRTYPE]
)
def test_entries_that_are_no_plain_files(dataset: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a.json")
    info.type, info.linkname = kind, "/etc/passwd"
    data = info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240)
    (dataset / "rl" / "train-000000.tar").write_bytes(data)
    assert "rl/train-000000.tar: entry 'a.json' at byte 0 is no plain file" in faults(dataset)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "the tar ends at byte 0"),
        (b"no tar" * 200, "no tar header at byte 0"),
        (bytes(512 * 40), "data after the end mark"),
    ],
)
def test_files_that_are_no_tar(dataset: Path, data: bytes, named: str) -> None:
    (dataset / "rl" / "train-000000.tar").write_bytes(data)
    assert f"rl/train-000000.tar: {named}" in faults(dataset)


def test_size_in_a_header_is_not_believed(dataset: Path) -> None:
    info = tarfile.TarInfo("a.json")
    info.size = 8**11 - 1
    path = dataset / "rl" / "train-000000.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240))
    assert "reaches past the end of the tar" in faults(dataset)


@pytest.mark.parametrize("name", ["index.parquet", "rejected.parquet"])
@pytest.mark.parametrize("data", [b"", b"PAR1" + bytes(100) + b"PAR1"])
def test_table_that_is_none(dataset: Path, name: str, data: bytes) -> None:
    (dataset / name).write_bytes(data)
    found = faults(dataset)
    assert f"{name}: has sha256" in found
    assert f"{name}: is no readable Parquet file" in found


def test_tables_swapped(dataset: Path) -> None:
    (dataset / "index.parquet").write_bytes((dataset / "rejected.parquet").read_bytes())
    assert "index.parquet: does not have the columns" in faults(dataset)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "Invalid JSON"),
        ("{}", "manifest.json: shards: Field required"),
        ("[" * 99_999, "Invalid JSON"),
        ("null", "manifest.json"),
    ],
)
def test_manifest_that_is_none(dataset: Path, text: str, named: str) -> None:
    (dataset / "manifest.json").write_text(text)
    assert named in faults(dataset)


def test_no_dataset_at_all(tmp_path: Path) -> None:
    assert "give the folder that holds it" in faults(tmp_path)
    assert "manifest.json: is not there" in faults(tmp_path / "nowhere")


def test_changed_rewards(dataset: Path) -> None:
    (dataset / "rewards.py").write_text("def grade(*a, **k): return 1.0\n")
    assert "rewards.py: has sha256" in faults(dataset)


def test_removed_files(dataset: Path) -> None:
    for name in ("README.md", "index.parquet", "rejected.parquet", "rewards.py"):
        (dataset / name).unlink()
    found = faults(dataset)
    for name in ("README.md", "index.parquet", "rejected.parquet", "rewards.py"):
        assert f"{name}: is listed in the manifest, but not there" in found


def test_list_goes_on_after_the_first_fault(dataset: Path) -> None:
    edit_sample(dataset, "s00", lambda s: first_check(s).update(passed=False))
    edit_sample(dataset, "r01", lambda s: s["answer"].update(intervals_s=[[0.2, 50.0]]))
    edit_manifest(dataset, lambda m: m["funnel"][0].update({"in": 4}))
    (dataset / "README.md").write_text("")
    found = faults(dataset)
    for named in (
        "s00: verdict.checks.answer",
        "r01: answer.intervals_s.0: 50 s",
        "funnel: ingest",
    ):
        assert named in found
    assert "README.md: has sha256" in found


def test_span_to_the_very_end_is_inside(clips: list[Clip], tmp_path: Path) -> None:
    def to_the_end(sample: Sample) -> Sample:
        interval = (0.2, clips[0].duration_s + 0.04)  # half a frame is 0.05 s
        text = f"0.2 to {interval[1]}"
        answer = sample.answer.model_copy(update={"text": text, "intervals_s": (interval,)})
        return sample.model_copy(update={"answer": answer})

    items = [one for one in make_items(clips) if one.sample.id == "r01"]
    items = [type(one)(to_the_end(one.sample), one.partition, one.clip) for one in items]
    build_dataset(tmp_path, items)
    assert faults(tmp_path) == ""


def test_video_on_both_sides(clips: list[Clip], tmp_path: Path) -> None:
    items = make_items(clips)
    build_dataset(tmp_path, items)
    table = pq.read_table(tmp_path / "index.parquet")
    rows = [{**row, "video_id": "v1"} for row in table.to_pylist()]
    digest = write_parquet(table.from_pylist(rows, schema=table.schema), tmp_path / "index.parquet")
    edit_manifest(tmp_path, lambda value: value["files"].update({"index.parquet": digest}))
    assert "v1: the video is in both train and validation" in faults(tmp_path)


def test_manifest_text_is_one_form(built: Path) -> None:
    text = (built / "manifest.json").read_text("utf-8")
    manifest = Manifest.model_validate_json(text)
    assert manifest.to_text() == text
    assert '"in": 3' in text
    assert str(built) not in text
    assert io.StringIO(text).readlines()[-1] == "}\n"
