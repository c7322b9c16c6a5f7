"""The whole way on Prism: the same bytes as on the local runner, also when it is killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from engine_runs import TIMEOUT_S, dataset_of, started
from interrupts import interrupted
from pipeline_helpers import funnel, memo_entries
from small_disks import ROOMY_KIB, remount, size_kib, small_disk
from worker_processes import child_of, wait_until_in

from schemas.rejection import Stage

pytestmark = pytest.mark.slow


def test_prism_gives_the_same_bytes(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    """And tells how far it is by Beam's metrics, which agree with the funnel."""
    out, told = tmp_path / "out", tmp_path / "told.jsonl"
    prism = ("--runner", "prism", "--progress-json", told)
    assert dataset_of(engine_videos, out, *prism) == on_direct
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert lines[-1]["event"] == "done"
    shown = lines[-2]["stages"]
    assert {"decode", "cut", "answer", "route"} <= shown.keys()
    for stage, count in shown.items():
        assert count["entered"] == funnel(out)[stage]["in"]
    # Not only at the end.
    assert any(line["stages"] for line in lines[:-2])
    assert lines[-1]["legs"]["cut"]["elements"] == 2


def test_after_prism_is_killed_the_same_command_goes_on(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with started(engine_videos, out, "--runner", "prism") as process:
        wait_until_in(Stage.DECODE, out, process)
        child_of(process, "--job_port").kill()
        _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    [said] = [line for line in stderr.splitlines() if line.startswith("proofreel: ")]
    assert "the engine is gone" in said
    assert not (out / "dataset").exists()
    done = memo_entries(out)
    assert done
    assert dataset_of(engine_videos, out, "--runner", "prism") == on_direct
    assert done.items() <= memo_entries(out).items(), "what was done is not done again"


def test_ctrl_c_and_sigterm_end_it_and_the_same_command_goes_on(
    engine_videos: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for number in (signal.SIGTERM, signal.SIGINT):
        with started(engine_videos, out, "--runner", "prism") as process:
            said = interrupted(process, number).assert_orderly(number)
        assert "the run has ended, and all that it had started" in said
        assert not (out / "dataset").exists()
    assert dataset_of(engine_videos, out, "--runner", "prism") == on_direct


def test_a_store_whose_disk_is_full_is_named_and_the_same_command_goes_on(
    engine_videos: Path, direct_out: Path, on_direct: dict[str, str], tmp_path: Path
) -> None:
    memo, out = direct_out / "work" / "memo", tmp_path / "out"
    # Room for all that comes before decoding, and for half of that.
    room = size_kib(memo / "probe") + size_kib(memo / "decode") // 2
    with small_disk(tmp_path / "disk", room) as store:
        ways = ("--store", store, "--runner", "prism")
        with started(engine_videos, out, *ways) as process:
            _, stderr = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 1
        assert "Traceback" not in stderr
        [said] = [line for line in stderr.splitlines() if line.startswith("proofreel: ")]
        assert said.startswith(f"proofreel: the memo store {store}: its disk is full (")
        assert "run the same command again" in said
        assert not (out / "dataset").exists()
        remount(store, f"size={ROOMY_KIB}k")
        assert dataset_of(engine_videos, out, *ways) == on_direct
