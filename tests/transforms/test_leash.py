"""Children end with the process that is held responsible for them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import subprocess, sys, time
from transforms import leash
leash.GRACE_S = 0.1
before = subprocess.Popen(["sleep", "300"])
leash.hold_children()
leash.hold_children()
# A grandchild, in a session of its own: its parent is gone too.
script = "sleep 300 >&2 & echo $!"
shell = subprocess.run(["setsid", "sh", "-c", script], stdout=subprocess.PIPE, check=True)
print(before.pid, int(shell.stdout), flush=True)
{end}
"""


def runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as the engines are")
@pytest.mark.parametrize("end", ["time.sleep(300)", "raise SystemExit(3)"])
def test_children_end_with_their_process(end: str) -> None:
    script = PARENT.format(end=end)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert_child_ends(parent, killed="sleep" in end)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as the engines are")
def test_a_process_in_a_hurry_ends_them_before_itself() -> None:
    end = "leash.end_children(); print('after', flush=True); time.sleep(300)"
    script = PARENT.format(end=end)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert_child_ends(parent, killed=False, alive=True)


def assert_child_ends(
    parent: subprocess.Popen[bytes], *, killed: bool, alive: bool = False
) -> None:
    assert parent.stdout is not None
    stranger, child = map(int, parent.stdout.readline().split())
    try:
        if killed:
            assert runs(child)
            parent.send_signal(signal.SIGKILL)
        if alive:
            assert parent.stdout.readline() == b"after\n"
        else:
            parent.wait(20)
        deadline_s = time.monotonic() + 20
        while runs(child) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert not runs(child)
        assert runs(stranger), "what was started before is not touched"
    finally:
        parent.kill()
        parent.wait()
        for pid in (stranger, child):
            subprocess.run(["kill", "-9", str(pid)], stderr=subprocess.DEVNULL, check=False)
