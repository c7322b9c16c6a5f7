"""The records of a run beside its memo store: all there, found by id, the same bytes each time."""

from __future__ import annotations

import random
from pathlib import Path

import apache_beam as beam
import pytest
from pipeline_helpers import funnel, index_rows, run_here, sha256_of_files

from pipelines.records import (
    FILE_RECORDS,
    MAX_DIGITS,
    KeepRecords,
    digits,
    find_record,
    records,
    write_records,
)
from schemas.case import Case, Footage
from schemas.clip import Clip
from schemas.rejection import Reason, Rejection, Stage


def some(count: int) -> list[Rejection]:
    return [
        Rejection(stage=Stage.CUT, reason=Reason.CUT_FAILED, subject=f"c{number}", detail="é\n" * 3)
        for number in range(count)
    ]


def named(rejection: Rejection) -> tuple[str, Rejection]:
    return rejection.id, rejection


def keep(folder: Path, kept: list[Rejection], file_records: int = FILE_RECORDS) -> None:
    folder.mkdir()
    with beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create(kept) | KeepRecords(str(folder), "loss", named, file_records)


@pytest.mark.parametrize(("file_records", "told_by"), [(FILE_RECORDS, 1), (4, 2)])
def test_what_is_kept_is_found_again(file_records: int, told_by: int, tmp_path: Path) -> None:
    kept = some(100)
    keep(tmp_path / "records", kept, file_records)
    files = {path.name for path in (tmp_path / "records").iterdir()}
    assert files == {f"loss-{one.id[1 : 1 + told_by]}.parquet" for one in kept}
    assert dict(records(tmp_path / "records", "loss")) == {
        one.id: one.model_dump_json() for one in kept
    }
    for one in kept:
        text = find_record(tmp_path / "records", "loss", one.id)
        assert text is not None
        assert Rejection.from_json(text) == one


def test_files_stay_small_however_many_records_there_are() -> None:
    assert [digits(16**number * FILE_RECORDS) for number in (0, 1, 2, 3)] == [1, 1, 2, 3]
    assert digits(16 * FILE_RECORDS + 1) == 2
    assert digits(10**12) == MAX_DIGITS


@pytest.mark.parametrize("identity", ["x", "", "x0123456789", "*", "[", "../x", "x/../../x", "é"])
def test_what_was_not_kept_is_not_found(identity: str, tmp_path: Path) -> None:
    keep(tmp_path / "records", some(40))
    assert find_record(tmp_path / "records", "loss", identity) is None
    assert find_record(tmp_path / "records", "gain", some(1)[0].id) is None
    assert find_record(tmp_path / "nowhere", "loss", identity) is None


def test_files_of_fewer_digits_hide_nothing(tmp_path: Path) -> None:
    """A job that its engine began anew may have left one."""
    one, other = ("tab" + "0" * 30, "tab" + "1" * 30)
    write_records(tmp_path, "case", "a", [(one, "{}")])
    write_records(tmp_path, "case", "ab", [(other, "[]")])
    assert find_record(tmp_path, "case", one) == "{}"
    assert find_record(tmp_path, "case", other) == "[]"
    assert find_record(tmp_path, "case", "tab" + "2" * 30) is None


def test_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    kept = some(60)
    keep(tmp_path / "one", kept)
    random.Random(1).shuffle(kept)
    keep(tmp_path / "other", kept)
    assert sha256_of_files(tmp_path / "one") == sha256_of_files(tmp_path / "other")


def test_a_run_keeps_every_video_clip_and_case(finished: Path) -> None:
    folder = finished / "work" / "records"
    videos = {key: Footage.from_json(text) for key, text in records(folder, "video")}
    clips = {key: Clip.from_json(text) for key, text in records(folder, "clip")}
    cases = {key: Case.from_json(text) for key, text in records(folder, "case")}
    lines = funnel(finished)
    assert len(videos) == lines["decode"]["out"]
    assert len(clips) == lines["segment"]["out"]
    assert len(cases) == lines["task"]["out"]
    for key, footage in videos.items():
        assert (footage.video.id, footage.decoded.video_id) == (key, key)
    for key, clip in clips.items():
        assert clip.id == key
        assert clip.video_id in videos
    for key, case in cases.items():
        assert case.task.id == key
        assert case.task.clip_id in clips
    attempts = [one for case in cases.values() for one in case.attempts]
    assert len(attempts) == lines["verify"]["in"]
    assert sum(one.verdict.accepted for one in attempts) == lines["verify"]["out"]
    for row in index_rows(finished):
        assert {row["video_id"]} <= videos.keys()
        assert clips[row["clip_id"]].video_id == row["video_id"]
        assert cases[row["task_id"]].task.clip_id == row["clip_id"]


def test_a_rerun_keeps_no_records_of_the_run_before(
    out: Path, videos: Path, settings: tuple[str, ...]
) -> None:
    assert run_here(videos / "second", "--out", out, *settings) == 0
    folder = out / "work" / "records"
    assert len(dict(records(folder, "video"))) == funnel(out)["decode"]["out"] == 2
    assert len(dict(records(folder, "case"))) == funnel(out)["task"]["out"]
