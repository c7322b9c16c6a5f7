"""`proofreel verify`: a finished run decided anew from its scores, without asking or decoding."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_server import ChatServer
from pipeline_helpers import (
    Started,
    funnel,
    index_rows,
    left_half_built,
    manifest,
    rejected_rows,
    run_here,
    sha256_of_files,
    start,
)
from served_run import answer, run_served

from pipelines import verify as command
from pipelines.cli import main
from pipelines.records import records
from pipelines.run import locked
from schemas.case import Case
from transforms.publish.check import check_dataset

Capture = pytest.CaptureFixture[str]
LAX = ("measured=0", "answer=0", "ends_in_answer=0")
STRICT = ("measured=1", "answer=1", "ends_in_answer=1")


def verify(out: Path, *thresholds: str, more: tuple[str, ...] = ()) -> int:
    given = (part for one in thresholds for part in ("--set", f"verify.thresholds.{one}"))
    return main(["verify", str(out), *given, *more])


def written(out: Path, *thresholds: str) -> None:
    assert verify(out, *thresholds, more=("--write",)) == 0
    assert check_dataset(out / "dataset") == []
    assert left_half_built(out) == []
    for stage, line in funnel(out).items():
        assert line["in"] == line["out"] + sum(line["rejected"].values()), stage


def dataset(out: Path) -> dict[str, str]:
    return sha256_of_files(out / "dataset")


def kept(out: Path) -> dict[str, str]:
    return sha256_of_files(out / "work" / "records")


def changes(out: Path, capsys: Capture, *thresholds: str, more: tuple[str, ...] = ()) -> Any:
    capsys.readouterr()
    assert verify(out, *thresholds, more=("--json", *more)) == 0
    return json.loads(capsys.readouterr().out)


# What would change -------------------------------------------------------------------------------


def test_without_write_nothing_is_written(finished: Path, capsys: Capture) -> None:
    before = sha256_of_files(finished)
    assert verify(finished, *LAX) == 0
    said = capsys.readouterr().out
    assert "nothing was written; --write makes it so" in said
    assert sha256_of_files(finished) == before
    assert verify(finished) == 0
    assert "nothing changes" in capsys.readouterr().out
    assert verify(finished, more=("--set", "publish.about.title=X")) == 0
    said = capsys.readouterr().out
    assert "no sample changes; of the settings: publish.about.title" in said
    assert "nothing changes" not in said


def test_what_is_told_is_what_then_is(out: Path, capsys: Capture) -> None:
    before = {row["id"]: row for row in index_rows(out)}
    old_failed = {row["subject"] for row in rejected_rows(out) if row["stage"] == "verify"}
    told = changes(out, capsys, *LAX)
    assert told["written"] is False
    written(out, *LAX)
    after = {row["id"]: row for row in index_rows(out)}
    for split, count in told["splits"].items():
        was, now = ({key for key in ids if key.startswith(f"{split}-")} for ids in (before, after))
        assert count["kept"] + count["other_reply"] == len(was & now)
        assert count["dropped"] == len(was - now)
        assert count["added"] == len(now - was)
    assert sum(count["added"] for count in told["splits"].values()) > 0
    assert told["splits"]["preference"]["dropped"] > 0
    splits = [{row["task_id"]: set() for row in rows.values()} for rows in (before, after)]
    for found, rows in zip(splits, (before, after), strict=True):
        for row in rows.values():
            found[row["task_id"]].add(row["split"])
    moved = [task for task in splits[0] if task in splits[1] and splits[0][task] != splits[1][task]]
    assert told["moved"]["number"] == len(moved) > 0
    assert set(told["moved"]["tasks"]) <= set(moved)
    assert told["checks"]["measured"]["now_pass"]["number"] == len(old_failed) > 0
    assert told["checks"]["measured"]["now_fail"]["number"] == 0
    assert funnel(out)["verify"]["rejected"] == {}
    # And back again it is told the other way round.
    again = changes(out, capsys, *STRICT)
    for split, count in told["splits"].items():
        assert again["splits"][split]["added"] == count["dropped"]
        assert again["splits"][split]["dropped"] == count["added"]


def test_partitions_and_shards_may_change(out: Path, capsys: Capture) -> None:
    more = ("--set", "publish.validation_share=0", "--set", "publish.shard_bytes=100000000")
    told = changes(out, capsys, more=more)
    was = {row["id"]: row["partition"] for row in index_rows(out)}
    assert told["other_partition"]["number"] == list(was.values()).count("validation") > 0
    assert main(["verify", str(out), "--write", *more]) == 0
    assert {row["partition"] for row in index_rows(out)} == {"train"}
    assert {row["id"] for row in index_rows(out)} == set(was)
    assert len(manifest(out)["shards"]) == len({row["split"] for row in index_rows(out)})
    assert check_dataset(out / "dataset") == []


# Writing -----------------------------------------------------------------------------------------


def test_the_same_thresholds_give_the_same_bytes(
    out: Path, started: Started, capsys: Capture
) -> None:
    before, records_before = dataset(out), kept(out)
    memo = sha256_of_files(out / "work" / "memo")
    with started.listening() as commands:
        written(out)
    assert commands == [], "nothing is decoded, encoded or even started"
    assert (dataset(out), kept(out)) == (before, records_before)
    written(out, *LAX)
    assert dataset(out) != before
    assert manifest(out)["config"]["verify"]["thresholds"]["measured"] == 0
    written(out, *STRICT)
    assert (dataset(out), kept(out)) == (before, records_before)
    assert sha256_of_files(out / "work" / "memo") == memo


def test_a_run_with_these_thresholds_gives_the_same(
    out: Path, videos: Path, settings: tuple[str, ...]
) -> None:
    """Where nothing is repaired, deciding anew and running again end in the same bytes."""
    once = (*settings, "--set", "verify.repair_rounds=0")
    inputs = (videos / "first", videos / "second")
    lax = tuple(part for one in LAX for part in ("--set", f"verify.thresholds.{one}"))
    assert run_here(*inputs, "--out", out, *once) == 0
    written(out, *LAX)
    decided, records_decided = dataset(out), kept(out)
    assert run_here(*inputs, "--out", out, *once, *lax) == 0
    assert (dataset(out), kept(out)) == (decided, records_decided)


def test_rejections_before_the_verdicts_stay(out: Path) -> None:
    def before_verdicts() -> list[dict[str, Any]]:
        decided = ("verify", "examine", "route")
        return [row for row in rejected_rows(out) if row["stage"] not in decided]

    rows, lines = before_verdicts(), funnel(out)
    written(out, *LAX)
    assert before_verdicts() == rows
    assert rows
    for stage in ("ingest", "cut", "propose", "task", "answer"):
        assert funnel(out)[stage] == lines[stage]
    assert funnel(out)["verify"]["in"] == lines["verify"]["in"]


def test_files_that_are_not_of_proofreel_stay(out: Path, tmp_path: Path, capsys: Capture) -> None:
    own = {"NOTES.md": "mine", "sft/why.txt": "so", "more/LICENSE": "free", ".hidden": "yes"}
    for name, text in own.items():
        path = out / "dataset" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "elsewhere").mkdir()
    (out / "dataset" / "link").symlink_to(tmp_path / "elsewhere")
    (out / "dataset" / "broken").symlink_to("nowhere")
    for thresholds in (LAX, STRICT):
        written(out, *thresholds)
        assert {name: (out / "dataset" / name).read_text() for name in own} == own
        assert (out / "dataset" / "link").readlink() == tmp_path / "elsewhere"
        assert (out / "dataset" / "broken").is_symlink()
    # What has a name that the new dataset needs is not lost either.
    shutil.rmtree(out / "dataset" / "preference")
    (out / "dataset" / "preference").write_text("mine, too")
    before = dataset(out)
    assert verify(out, *STRICT, more=("--write",)) == 1
    said = capsys.readouterr().err
    assert "dataset/preference is not of proofreel, but the new dataset needs its name" in said
    assert dataset(out) == before


@pytest.mark.parametrize("where", ["before", "between"])
def test_a_verify_that_is_interrupted_leaves_a_whole_dataset(
    where: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    before, records_before = dataset(out), kept(out)
    move = command.move_into_place

    def interrupted(built: Path, place: Path, work: Path) -> None:
        if where == "before" or place.name == "records":
            raise KeyboardInterrupt
        move(built, place, work)

    with monkeypatch.context() as patch:
        patch.setattr(command, "move_into_place", interrupted)
        assert verify(out, *LAX, more=("--write",)) == 130
    assert check_dataset(out / "dataset") == []
    assert (dataset(out) == before) is (where == "before")
    # Whichever of the two was moved: deciding anew ends in the same.
    written(out, *STRICT)
    assert (dataset(out), kept(out)) == (before, records_before)


def test_a_verify_that_is_killed_leaves_the_old_dataset(out: Path) -> None:
    before = dataset(out)
    given = [part for one in LAX for part in ("--set", f"verify.thresholds.{one}")]
    with start("verify", out, "--write", *given) as process:
        until = time.monotonic() + 60
        while not (out / "work" / "partial").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (out / "work" / "partial").exists()
    assert dataset(out) == before
    written(out)
    assert dataset(out) == before


def test_it_waits_for_nobody(out: Path, capsys: Capture) -> None:
    with locked(out / "work" / "lock"):
        assert verify(out, more=("--write",)) == 1
        assert "another run works on" in capsys.readouterr().err
        assert verify(out) == 0


# What can't be done ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("teacher.samples=9", "teacher.samples: was 4 in this run, now 9"),
        ("verify.conditions=[full]", "verify.conditions: was"),
        ("verify.repair_rounds=0", "verify.repair_rounds: was 1 in this run, now 0"),
        ("verifier.model=other", "verifier.kind: was not set in this run"),
        ("shots.max_clip_s=8", "shots.max_clip_s: was 10.0 in this run, now 8.0"),
        ("verify.thresholds.nonsense=1", "there is no such field"),
        ("verify.thresholds.answer=2", "verify.thresholds.answer"),
        ("seed=1", "seed: was 0 in this run, now 1"),
    ],
)
def test_anything_else_is_an_error_that_names_it(
    given: str, named: str, finished: Path, capsys: Capture
) -> None:
    before = sha256_of_files(finished)
    assert main(["verify", str(finished), "--set", given, "--write"]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "use proofreel run" in said or "thresholds" in said
    after = sha256_of_files(finished)
    after.pop("work/lock", None)
    before.pop("work/lock", None)
    assert after == before


def test_the_file_of_the_run_may_be_given_again(
    finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Fields that it does not name are those of the run, not the defaults."""
    file = tmp_path / "config.yaml"
    file.write_text("shots: {max_clip_s: 10}\nverify: {thresholds: {measured: 0.0}}\n")
    told = changes(finished, capsys, more=("--config", str(file)))
    assert told["checks"]["measured"]["now_pass"]["number"] > 0
    told = changes(finished, capsys, "measured=1", more=("--config", str(file)))
    assert told["checks"] == {}


def test_what_is_no_finished_run_is_told(out: Path, tmp_path: Path, capsys: Capture) -> None:
    assert verify(tmp_path) == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert verify(tmp_path / "nowhere", more=("--write",)) == 2
    [first, *_] = (out / "work" / "records").glob("case-?.parquet")
    aside = first.rename(tmp_path / first.name)
    assert verify(out) == 2
    assert "use proofreel run" in capsys.readouterr().err
    shutil.move(aside, first)
    for mp4 in (out / "work" / "memo" / "cut").rglob("*.mp4"):
        mp4.unlink()
    before = dataset(out)
    assert verify(out, *LAX, more=("--write",)) == 2
    assert "its clip is gone" in capsys.readouterr().err
    assert dataset(out) == before
    text = json.dumps(manifest(out) | {"proofreel_version": "0.0.0"})
    (out / "dataset" / "manifest.json").write_text(text)
    assert verify(out) == 2
    assert "another version" in capsys.readouterr().err


# A run whose rollouts were examined --------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChatServer, Path]]:
    """A finished run of one clip, not to be changed, and the server that was asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        server = ChatServer(answer).start()
        out = tmp_path_factory.mktemp("examined") / "out"
        assert run_served(server, out) == 0
        yield server, out
        server.stop()


@pytest.fixture
def examined(served: tuple[ChatServer, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(served[1], tmp_path / "examined"))


def cases(out: Path) -> list[Case]:
    return [Case.from_json(text) for _, text in records(out / "work" / "records", "case")]


def test_an_examined_run_is_decided_anew_without_asking(
    served: tuple[ChatServer, Path], examined: Path, capsys: Capture
) -> None:
    server, _ = served
    asked, before, records_before = len(server.asks), dataset(examined), kept(examined)
    lines = funnel(examined)
    assert lines["examine"]["in"] == lines["verify"]["out"] > 0
    written(examined)
    assert (dataset(examined), kept(examined)) == (before, records_before)
    # The blind view was answered wrongly each time: nothing is stricter than that, but this.
    told = changes(examined, capsys, "sufficient=1", "necessary=1")
    assert told["checks"] == {}
    spent = manifest(examined)["usage"]
    assert spent["examine"]["replies"] > 0
    written(examined, "concludes=0", "confirmed=0", "needs_video=1")
    assert manifest(examined)["usage"] == spent
    written(examined, "concludes=0.5", "confirmed=0.5", "needs_video=0.5")
    assert (dataset(examined), kept(examined)) == (before, records_before)
    assert len(server.asks) == asked


def test_thresholds_of_the_examination_decide(examined: Path, capsys: Capture) -> None:
    """What half of those who were asked came to is enough, or is not."""
    table = {
        case.task.id: case for case in cases(examined) if any(a.examined for a in case.attempts)
    }
    [case] = table.values()
    half = tuple(
        row.model_copy(update={"answers": ("?",) * 2 + row.answers[2:]})
        if row.condition.value == "evidence"
        else row
        for row in case.examination.rows
    )
    table_of_half = case.examination.model_copy(update={"rows": half})
    replace_case(examined, case.model_copy(update={"examination": table_of_half}))
    accepted = len(case.accepted)
    written(examined, "sufficient=0.2")
    assert funnel(examined)["examine"]["out"] == accepted
    told = changes(examined, capsys, "sufficient=0.9")
    assert told["checks"]["sufficient"]["now_fail"] == {"number": accepted, "tasks": [case.task.id]}
    written(examined, "sufficient=0.9")
    assert funnel(examined)["examine"]["rejected"] == {"check_failed": accepted}
    rows = [row for row in rejected_rows(examined) if row["stage"] == "examine"]
    assert {row["detail"] for row in rows} == {"sufficient"}
    assert not [row for row in index_rows(examined) if row["split"] == "sft"]


def replace_case(out: Path, case: Case) -> None:
    """Put another record in the place of a kept one."""
    path = out / "work" / "records" / f"case-{case.task.id[1]}.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        if row["id"] == case.task.id:
            row["json"] = case.to_json()
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_what_was_never_examined_does_not_slip_in(
    served: tuple[ChatServer, Path], examined: Path, capsys: Capture
) -> None:
    """The wrong count of cameras passes now, but nobody asked again about it."""
    server, _ = served
    before = dataset(examined)
    failed = [row for row in rejected_rows(examined) if row["stage"] == "verify"]
    assert {row["detail"] for row in failed} == {"answer"}
    told = changes(examined, capsys, "answer=0")
    assert told["not_examined"]["number"] == len(failed)
    assert verify(examined, "answer=0") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"not examined: {len(failed)} attempts" in said
    assert "proofreel run with these settings examines them" in said
    written(examined, "answer=0")
    rows = [row for row in rejected_rows(examined) if row["reason"] == "not_examined"]
    assert {row["subject"] for row in rows} == {row["subject"] for row in failed}
    assert all("proofreel run" in row["detail"] for row in rows)
    assert not any(row["task_id"] == rows[0]["parent"] for row in index_rows(examined))
    # A run with these settings asks, and nothing is left unexamined.
    asked = len(server.asks)
    lax = ("--set", "verify.thresholds.answer=0")
    assert run_served(server, examined, *lax) == 0
    assert len(server.asks) > asked
    assert not [row for row in rejected_rows(examined) if row["reason"] == "not_examined"]
    assert changes(examined, capsys)["not_examined"]["number"] == 0
    assert run_served(server, examined) == 0
    assert dataset(examined) == before
