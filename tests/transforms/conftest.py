"""What the tests of several rooms share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from object_store import objects  # noqa: F401 - a fixture
from small_disks import little_room, mount  # noqa: F401 - fixtures

from transforms.video.media_process import MediaProcess


@pytest.fixture
def count_processes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many media processes have been started since the fixture was asked for."""
    started: list[MediaProcess] = []
    enter = MediaProcess.__enter__

    def counted(process: MediaProcess) -> MediaProcess:
        started.append(process)
        return enter(process)

    monkeypatch.setattr(MediaProcess, "__enter__", counted)
    return lambda: len(started)
