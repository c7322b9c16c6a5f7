"""The lock that keeps two runs out of one output folder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from pipelines.run import BusyError, locked


def test_of_two_the_second_is_told(tmp_path: Path) -> None:
    place = tmp_path / "out" / "work" / "lock"
    place.parent.mkdir(parents=True)
    with locked(place), pytest.raises(BusyError, match=f"works on {tmp_path}/out; "), locked(place):
        pass
    with locked(place):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_where_there_are_no_locks_that_is_said_and_the_work_goes_on(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(descriptor: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    place = tmp_path / "out" / "work" / "lock"
    place.parent.mkdir(parents=True)
    worked = False
    with locked(place):
        worked = True
    assert worked
    [said] = caplog.messages
    assert said.startswith(f"the file system of {tmp_path}/out has no locks (")
    assert "no other run" in said


def test_a_lock_that_fails_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: object, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(tmp_path / "lock"):
        pass
