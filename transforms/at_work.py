"""What each worker is at, noted down: a run that dies at once can't say what it died of.

One small file per thread, overwritten with each element. It outlives its process, whatever ends
that, and the next run reads it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from schemas.rejection import Stage
from transforms.naming import named
from transforms.outcome import Subject

NOTE_BYTES = 1024
MAX_SUBJECTS = 4
MAX_NAME_CHARS = 60
_DONE = b"-"
"""Over the beginning of a note, so that it is none any more."""
_LOOK_S = 1.0
"""How often a worker looks whether its file is still the one in the folder."""
_held = threading.local()
_cleared: dict[str, int] = {}
"""How often this process has cleared a folder; others look at their files."""
_ended: set[str] = set()
"""Folders of runs of this process that have ended with a word; their threads may still work."""


@dataclass(frozen=True)
class AtWork:
    """Where it is noted down: a local folder that all workers share; "" = nowhere."""

    folder: str = ""

    @contextmanager
    def on(self, stage: Stage, subjects: Sequence[Subject]) -> Iterator[None]:
        """Inside of the block, this thread is at these subjects."""
        file = self._note(stage, subjects)
        try:
            yield
        finally:
            if file is not None:
                with suppress(OSError):
                    os.pwrite(file.fileno(), _DONE, 0)

    def _note(self, stage: Stage, subjects: Sequence[Subject]) -> IO[bytes] | None:
        """The file where it stands now; None if it can't be noted, which must not cost the work."""
        if not self.folder or self.folder in _ended:
            return None
        named = [[one[:MAX_NAME_CHARS] for one in subject] for subject in subjects[:MAX_SUBJECTS]]
        note = json.dumps([str(stage), named]).encode()
        try:
            file = self._file()
            os.pwrite(file.fileno(), note.ljust(NOTE_BYTES)[:NOTE_BYTES], 0)
        except OSError:
            return None
        return file

    def left(self) -> list[str]:
        """What was not finished when the processes ended, in words, in order."""
        found = set()
        for path in Path(self.folder).glob("*") if self.folder else ():
            text = path.read_text("utf-8", "replace").strip()
            try:
                stage, subjects = json.loads(text)
            except ValueError:
                # Blank, or longer than there was room for.
                continue
            found |= {f"{stage} of {subject} (of {parent})" for subject, parent in subjects}
        return sorted(found)

    def clear(self) -> None:
        """Forget all notes. Only while no other run uses the folder."""
        self._forget()
        _ended.discard(self.folder)

    def end(self) -> None:
        """Forget all notes and take no more, until the next `clear`: the run has said why it ends.

        Threads that are at something then are not waited for.
        """
        _ended.add(self.folder)
        self._forget()

    def _forget(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            _cleared[self.folder] = _cleared.get(self.folder, 0) + 1

    def _file(self) -> IO[bytes]:
        """The file of this thread; closed with the thread, or when it works for another run."""
        held: _Held | None = getattr(_held, "file", None)
        now_s = time.monotonic()
        mine = (self.folder, _cleared.get(self.folder, 0), os.getpid())
        if held is not None and held.of == mine:
            if now_s - held.looked_s < _LOOK_S:
                return held.file
            if os.fstat(held.file.fileno()).st_nlink:
                held.looked_s = now_s
                return held.file
        thread = f"{platform.node()}-{os.getpid()}-{threading.get_native_id()}"
        path = Path(self.folder, thread)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb", buffering=0)
        _held.file = _Held(mine, file, now_s)
        return file


@dataclass
class _Held:
    """The file of a thread."""

    of: tuple[str, int, int]
    """The folder, how often this process has cleared it, and the process."""
    file: IO[bytes]
    looked_s: float
    """When it was there, by a clock of its own."""


NOT_NOTED = AtWork()


@dataclass(frozen=True)
class AtLeg:
    """A leg that gives its work to other threads or processes, and where it is noted down."""

    stage: Stage
    at_work: AtWork


_leg: ContextVar[AtLeg | None] = ContextVar("leg", default=None)


def leg_at_work() -> AtLeg | None:
    """The one that this thread works for, if it was said."""
    return _leg.get()


@contextmanager
def working_for(leg: AtLeg | None) -> Iterator[None]:
    """What is done inside of the block, and by threads that run in its context, is for this leg."""
    token = _leg.set(leg)
    try:
        yield
    finally:
        _leg.reset(token)


@contextmanager
def at_alone(subject: Subject) -> Iterator[None]:
    """Inside of the block, this thread is at one of all that its leg is at: noted, and named in
    what is logged. Nothing where no leg was said."""
    leg = _leg.get()
    if leg is None:
        yield
        return
    held = getattr(_held, "file", None)
    try:
        with named(leg.stage, [subject]), leg.at_work.on(leg.stage, [subject]):
            yield
    finally:
        if held is None:
            # Threads that ask servers can be many, and each may need a connection.
            _held.file = None
