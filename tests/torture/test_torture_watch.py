"""The watches of the torture tests notice what they watch for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from torture_watch import CAN_WATCH_FILES, Opened, serving, session_of


def test_a_visit_is_noticed() -> None:
    with serving() as server:
        assert server.visits == []
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(server.url, timeout=5)
        assert len(server.visits) == 1


@pytest.mark.skipif(not CAN_WATCH_FILES, reason="inotify is of Linux")
def test_a_reader_is_noticed_a_look_at_its_facts_is_not(tmp_path: Path) -> None:
    path = tmp_path / "canary"
    path.write_bytes(b"tweet")
    opened = Opened(path)
    path.stat()
    assert list(tmp_path.iterdir()) == [path]
    assert opened.count() == 0
    path.read_bytes()
    assert opened.count() == 1
    assert opened.count() == 0
    subprocess.run(["cat", str(path)], check=True, capture_output=True)
    assert opened.count() == 1
    opened.close()


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within five seconds")


def test_a_process_that_stays_behind_is_noticed() -> None:
    command = ["sh", "-c", "sleep 30 & exit"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as leader:
        leader.wait()
        # What was forked is called `sh` until it has become `sleep`.
        wait_for(lambda: session_of(leader.pid) == ["sleep"])
        os.killpg(leader.pid, signal.SIGKILL)
        # It takes a moment to go.
        wait_for(lambda: session_of(leader.pid) == [])
