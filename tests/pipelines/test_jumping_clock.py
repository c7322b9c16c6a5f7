"""A run in which the system's clock is set back and ahead gives the same bytes as any other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline_helpers import FAST, bikes, call, samples, sha256_of_files

CLOCK = r"""
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Set anew twice a second: by a day, or by more than a year, back or ahead. */
static long jump(void) {
    static const long days[] = {0, -1, 1, -400, 400};
    struct timespec steady;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
    return days[(steady.tv_sec * 2 + steady.tv_nsec / 500000000) % 5] * 86400;
}
int clock_gettime(clockid_t which, struct timespec *found) {
    int failed = syscall(SYS_clock_gettime, which, found);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        found->tv_sec += jump();
    return failed;
}
int gettimeofday(struct timeval *found, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
"""
"""Stands before the system's own clocks, for all that a process and its children ask."""

LOOK = "import time; print(*(time.sleep(0.5) or time.time() for _ in range(5)))"


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose clock jumps."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler: nobody may set the clock of the machine")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    library = folder / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "clock.c"]
    subprocess.run(command, check=True)
    return dict(os.environ, LD_PRELOAD=str(library))


def test_the_bytes_are_the_same(tmp_path: Path, jumping: dict[str, str]) -> None:
    seen = subprocess.run(
        [sys.executable, "-c", LOOK], env=jumping, capture_output=True, text=True, check=True
    )
    assert len({round((float(one) - time.time()) / 86_400) for one in seen.stdout.split()}) == 5
    given = ("run", bikes(), *FAST)
    found = {}
    for name, environment in (("steady", None), ("jumping", jumping)):
        code, _, stderr = call(*given, "--out", tmp_path / name, env=environment)
        assert code == 0, stderr
        found[name] = sha256_of_files(tmp_path / name / "dataset")
    assert samples(tmp_path / "steady")
    assert found["steady"] == found["jumping"]
