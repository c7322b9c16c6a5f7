"""The system's clock may jump: nothing waits, ends or is decided by the time of day."""

from __future__ import annotations

import ast
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.rejection import Reason, Rejected
from transforms.annotate.openai_pool import ServerPool
from transforms.annotate.openai_server import Server, TryAgain
from transforms.annotate.teacher import TeacherSettings
from transforms.outcome import Outcome
from transforms.retry import RetryPolicy, tried
from transforms.video.media_process import MediaProcess

ROOT = Path(__file__).parents[2]
FOLDERS = ("schemas", "transforms", "pipelines", "runners", "proofreel")
OF_DAY = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime"}
ALLOWED = {
    ("transforms/annotate/openai_server.py", "time.time"),
    ("transforms/cache.py", "time.time"),
}
"""A server may say until which date to wait; how long that is, is bounded. And how long ago a copy
of a remote file was used is told by the date of its folder: at worst it is fetched again."""

DAY_S = 86_400.0


def calls(path: Path) -> Iterator[str]:
    """What a module calls of the clocks of the day."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield f"from {node.module}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = ast.unparse(node.func)
            if node.func.attr in OF_DAY and name.split(".")[0] in ("time", "datetime", "date"):
                yield name


def test_nothing_asks_for_the_time_of_day() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for name in calls(path)
    }
    assert found == ALLOWED


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the system's clock finds it a day further back or ahead."""
    real, jumps = time.time, itertools.cycle([0.0, -DAY_S, DAY_S, -400 * DAY_S, 400 * DAY_S])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))


@pytest.mark.usefixtures("jumping")
def test_a_decoder_has_its_time_and_no_more() -> None:
    start = time.monotonic()
    with MediaProcess(["sleep", "0.5"], timeout_s=20.0) as process:
        assert process.wait() == 0
        process.raise_if_killed()
    with MediaProcess(["sleep", "20"], timeout_s=0.5) as process:
        process.wait()
        with pytest.raises(Rejected) as caught:
            process.raise_if_killed()
    assert caught.value.reason is Reason.DECODE_TIMEOUT
    assert 1.0 <= time.monotonic() - start < 10.0


class Busy(Server):
    """Stands for a server that is busy at first, and tells by date until when."""

    def __init__(self, times: int, after_s: float = -1.0) -> None:
        super().__init__("http://127.0.0.1:9/", "", TeacherSettings())
        self.times = times
        self.after_s = after_s

    def complete(self, body: dict[str, object]) -> dict[str, object]:
        self.times -= 1
        if self.times >= 0:
            raise TryAgain("busy", self.after_s)
        return body


@pytest.mark.usefixtures("jumping")
def test_waits_for_servers_and_between_tries_are_as_long_as_they_should_be() -> None:
    settings = TeacherSettings(
        first_wait_s=0.1, longest_wait_s=0.2, timeout_s=1.0, requests_per_minute=600
    )
    for after_s, longest_s in ((-1.0, 2.0), (400 * DAY_S, 4.0), (0.0, 2.0)):
        start = time.monotonic()
        pool = ServerPool([Busy(2, after_s)], settings)
        assert pool.send({"asked": 1}) == {"asked": 1}
        pool.close()
        # A date that lies a year ahead is not waited for, beyond the time for one answer.
        assert time.monotonic() - start < longest_s
    start, ends = time.monotonic(), iter([MemoryError(), None])

    def work() -> Outcome[int]:
        if (end := next(ends)) is not None:
            raise end
        return Outcome([1])

    tried(work, RetryPolicy(first_wait_s=0.2, longest_wait_s=0.2))
    assert 0.2 <= time.monotonic() - start < 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="asks for the system's clocks")
def test_deadlines_are_kept_by_a_clock_that_nobody_can_set() -> None:
    assert not time.get_clock_info("monotonic").adjustable
    assert not time.get_clock_info("perf_counter").adjustable
