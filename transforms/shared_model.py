"""One copy of a model for all worker processes of a machine.

Where workers are threads of one process, they share what it has loaded. Where they are processes,
the first that needs a model loads it and answers for the others, over a port on loopback, opened by
Beam's `MultiProcessShared`. If it ends, the next that asks loads the model and takes its place.

Beam keeps addresses of such ports in a folder that everybody may write to, behind a password that
is the same everywhere; whoever has an account on the machine could then have workers run what they
like. Here the folder is private, and so is the password.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import queue
import secrets
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from multiprocessing.managers import BaseProxy
from pathlib import Path
from typing import IO, Any, TypeVar

from schemas.base import content_hash
from transforms.outcome import StopRunError
from transforms.trouble import AGAIN

LOG = logging.getLogger(__name__)

ATTEMPTS = 5
LOAD_WAIT_S = 1_800.0
"""How long one waits for another process that loads a model, which may have to fetch it first."""
SIGN_AFTER_S = 60.0
"""An answer may take as long as it takes; after so long, and again, who owes it is asked for a sign
of life."""
SILENT_S = 1_800.0
"""How long one waits for such a sign, or to be connected, which takes a moment."""
TOLD_AFTER_S = 60.0
POLL_S = 0.1
MAX_TITLE_CHARS = 100
KEY_FILE = "key"
BEAMS_WORKER = "apache_beam.runners.worker.sdk_worker_main"

Found = TypeVar("Found")

_is_worker = False
_kept_open: list[IO[str]] = []
"""Locks of the models that this process has loaded; the system lets go of them when it ends."""


class _Asking:
    """A thread that asks another process in the name of one of ours, so that this one can stop
    waiting. It has a connection of its own, which stays."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]
        self._asked = queue.SimpleQueue()
        # A daemon: who never answers must not keep this process from its end.
        threading.Thread(target=_answer_all, args=(self._asked,), daemon=True).start()

    def begin(self, question: Callable[[], Found]) -> Future[Found]:
        answer: Future[Found] = Future()
        self._asked.put((question, answer))
        return answer

    def __del__(self) -> None:
        self._asked.put(None)


def _answer_all(
    asked: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None],
) -> None:
    while (one := asked.get()) is not None:
        question, answer = one
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked
            answer.set_exception(error)
        # Nothing of it is held while the next is waited for.
        del one, question, answer


class _OfThread(threading.local):
    """What asks in the name of a thread: for answers, and for signs of life meanwhile."""

    def __init__(self) -> None:
        self.questions = _Asking()
        self.signs = _Asking()


_of_thread = _OfThread()


def become_worker() -> None:
    """Said by the program of a worker process: there may be others beside it."""
    global _is_worker
    _is_worker = True


def is_worker() -> bool:
    """Whether this process is one of an engine's workers, and not the one that launched the run."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return _is_worker or (spec is not None and spec.name == BEAMS_WORKER)


class _Held:
    """The model, where it is loaded."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        return getattr(self._model, method)(*arguments)

    def read(self, attribute: str) -> Any:
        return getattr(self._model, attribute)

    def pid(self) -> int:
        return os.getpid()


class SharedModel:
    """A model that one process of this machine has loaded.

    What it is asked and what it answers is pickled, so it must be the same from whichever process.
    """

    def __init__(self, make: Callable[[], Any], *made_of: Any) -> None:
        """`make` loads the model, or raises what speaks against it. `made_of` tells it from others;
        processes that see other GPUs or run other packages have others anyway."""
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        self._name = content_hash("shared", sys.prefix, gpus, *made_of)[:32]
        self._title = " ".join(map(str, made_of))[:MAX_TITLE_CHARS]
        self._make = make
        self._lock = threading.Lock()
        self._found: Any = None

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the model returns or raises."""
        return self._ask(lambda held: held.call(method, arguments))

    def read(self, attribute: str) -> Any:
        """An attribute of the model."""
        return self._ask(lambda held: held.read(attribute))

    def host(self) -> int:
        """The process that has it loaded."""
        return int(self._ask(lambda held: held.pid()))

    def _ask(self, question: Callable[[Any], Found]) -> Found:
        for attempt in range(ATTEMPTS):
            held = self._held()
            try:
                if not isinstance(held.get_auto_proxy_object(), BaseProxy):
                    # This process has it.
                    return question(held)
                return self._asked(held, question)
            except (ConnectionError, EOFError):
                # Who had it has ended, be it in the middle of the answer.
                self._lost(held)
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _asked(self, held: Any, question: Callable[[Any], Found]) -> Found:
        """What another process answers. Raises StopRunError if it gives no sign of life."""
        answer = _of_thread.questions.begin(lambda: question(held))
        while not wait([answer], SIGN_AFTER_S).done:
            sign = _of_thread.signs.begin(lambda: held.pid())
            if not wait([answer, sign], SILENT_S, FIRST_COMPLETED).done:
                raise _silent(self._name, self._title)
        return answer.result()

    def _held(self) -> Any:
        with self._lock:
            if self._found is None:
                self._found = _acquire(self._name, self._title, self._make)
            return self._found

    def _lost(self, held: Any) -> None:
        with self._lock:
            if self._found is held:
                self._found = None


def _acquire(name: str, title: str, make: Callable[[], Any]) -> Any:
    # Beam takes its time to import, and processes without workers need none of this.
    from apache_beam.utils import multi_process_shared

    folder = private_folder()
    multi_process_shared.AUTH_KEY = _key(folder)

    def load() -> _Held:
        held = _Held(make())
        lock = (folder / f"{name}.host").open("a+")
        _lock(lock, f"gives the model {title} to others and does not answer")
        _kept_open.append(lock)
        return held

    with _locked(folder / f"{name}.choice", f"is loading the model {title}"):
        shared: Any = multi_process_shared.MultiProcessShared(load, tag=name, path=str(folder))
        if not _is_hosted(folder / f"{name}.host"):
            # Left by one that was killed; by now somebody else may listen there.
            (folder / f"{name}.address").unlink(missing_ok=True)
            return shared.acquire()
        found = _of_thread.questions.begin(shared.acquire)
        if not wait([found], SILENT_S).done:
            raise _silent(name, title)
        return found.result()


def _silent(name: str, title: str) -> StopRunError:
    """That who has a model does not even say that it lives."""
    holder = (private_folder() / f"{name}.host").read_text()
    return _waited_for(holder, f"gives the model {title} to others and does not answer", SILENT_S)


def _waited_for(holder: str, at: str, waited_s: float) -> StopRunError:
    return StopRunError(
        f"process {holder or 'unknown'} of this machine {at}; it was waited for for {waited_s:g} "
        "s. Look what it waits for (a hub, a disk, a GPU), or whether it was stopped; end it by "
        f"`kill -9 {holder or 'PID'}`, {AGAIN}"
    )


@contextmanager
def _locked(path: Path, at: str) -> Iterator[None]:
    with path.open("a+") as file:
        _lock(file, at)
        yield


def _lock(file: IO[str], at: str) -> None:
    """Lock a file for this process, or wait until it can be; it says who has it.

    `at`: what one that has it is at. Raises StopRunError if the same process has it for too long:
    it hangs, and this one would for ever, too.
    """
    holder, since_s, told = "", time.monotonic(), False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return
        file.seek(0)
        now_s = time.monotonic()
        if (has_it := file.read(20)) != holder:
            holder, since_s, told = has_it, now_s, False
        waited_s = now_s - since_s
        if waited_s > LOAD_WAIT_S:
            raise _waited_for(holder, at, LOAD_WAIT_S)
        if waited_s > TOLD_AFTER_S and not told:
            LOG.warning("process %s %s; it is waited for", holder or "unknown", at)
            told = True
        time.sleep(POLL_S)


def _is_hosted(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def private_folder() -> Path:
    """A folder of this user alone, the same for all processes of this machine.

    Raises StopRunError if others can write there.
    """
    # With the machine's name: several may have one TMPDIR, and ports are of one machine.
    folder = Path(tempfile.gettempdir(), f"proofreel-{os.getuid()}-{platform.node()}")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    private = stat.S_ISDIR(facts.st_mode) and not stat.S_IMODE(facts.st_mode) & 0o077
    if not private or facts.st_uid != os.getuid():
        raise StopRunError(
            f"{folder}: others may write there, and worker processes would trust what they find; "
            "remove it, or set TMPDIR to another place"
        )
    return folder


def _key(folder: Path) -> bytes:
    """The password of this user's workers; whoever comes first makes it."""
    place = folder / KEY_FILE
    if not place.exists():
        made = folder / f"{KEY_FILE}-{secrets.token_hex(8)}"
        made.write_bytes(secrets.token_bytes(32))
        with suppress(FileExistsError):
            os.link(made, place)
        made.unlink()
    return place.read_bytes()
