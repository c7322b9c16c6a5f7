"""The launcher is killed, its engine goes on: what that still writes comes into nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from far_engine import STATES, far_engine
from pipeline_helpers import FAST, carphone, left_half_built, run_here, sha256_of_files, start


def test_a_job_that_outlives_its_run_does_not_write_into_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = (carphone(), "--out", out, *FAST, "--set", "teacher.samples=2")
    with far_engine(tmp_path / "engine") as engine:
        with start("run", *run, *engine.options) as launcher:
            while STATES.RUNNING not in engine.states():
                assert launcher.poll() is None, launcher.communicate()
                time.sleep(0.01)
            engine.process.send_signal(signal.SIGSTOP)
            os.killpg(launcher.pid, signal.SIGKILL)
        [left] = (out / "work" / "partial").iterdir()
        assert run_here(*run) == 0
        whole = sha256_of_files(out)
        assert not left.exists()
        engine.process.send_signal(signal.SIGCONT)
        assert engine.end_of_jobs() == [STATES.FAILED]
        assert "another run into this output has begun" in (engine.folder / "log").read_text()
    changed = {name for name, one in sha256_of_files(out).items() if whole.get(name) != one}
    assert not any(name.startswith(("dataset/", "work/records/")) for name in changed), changed
    assert left_half_built(out) == []
