"""What a process starts must not outlive it: an engine left behind keeps its GPU full.

A process that is killed has no time to clean up. So another one, small, waits until it is gone, and
then ends all that carry its mark, which every child inherits in its environment. Linux only, like
the engines that need it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import subprocess
import sys
import uuid

MARK = "PROOFREEL_LEASH"

GRACE_S = 5.0
"""How long those who are closing properly are given."""
HURRY_WITHIN_S = 3.0

_WATCHER = """
import os, pathlib, signal, sys, time
def end_all():
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if sys.argv[1].encode() in (folder / "environ").read_bytes().split(b"\\0"):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            pass
if sys.stdin.readline():
    end_all()
    print("ended", flush=True)
    sys.stdin.read()
else:
    time.sleep(float(sys.argv[2]))
end_all()
"""


@functools.cache
def hold_children() -> None:
    """From now on, what this process starts ends with it, however it ends."""
    if not sys.platform.startswith("linux"):
        return
    mark = uuid.uuid4().hex
    # Not a child's business: else it would end itself before the last of the others.
    bare = {name: value for name, value in os.environ.items() if name != MARK}
    _watchers.append(
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCHER, f"{MARK}={mark}", str(GRACE_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=bare,
            start_new_session=True,
        )
    )
    os.environ[MARK] = mark


def end_children() -> None:
    """End what this process started, at once; for a process that is about to end itself.

    So they have no time to complain that it is gone.
    """
    for watcher in _watchers:
        assert watcher.stdin is not None and watcher.stdout is not None
        with contextlib.suppress(OSError):
            watcher.stdin.write(b"now\n")
            watcher.stdin.flush()
            select.select([watcher.stdout], [], [], HURRY_WITHIN_S)


_watchers: list[subprocess.Popen[bytes]] = []
"""Their input closes when this process ends, and not before."""
