"""One engine for all threads of a process: keeps it fed, and alive.

Requests are prepared (decoded, rendered) in a few threads ahead of the engine and handed in as
soon as they are ready; replies leave in the order in which they are done. When the engine dies,
it is loaded anew and what was in it is asked again: all together once, then in smaller lots, then
one at a time, so that a request that kills engines is found and fails alone.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.vllm_engine import Engine, EngineDied, Finished, Sampling

PREPARERS = 4
"""Threads that decode ahead; each holds the frames of one request at most."""

MAX_FRAME_BYTES = 4 * 2**30
"""Most bytes of frames in the engine at once."""

MAX_RESTARTS = 8
"""Engines that may die under the requests of one run."""

WATCH_S = 1.0


@dataclass(frozen=True)
class Prepared:
    """A request in vLLM's form, with its frames."""

    prompt: dict[str, Any]
    how: Sampling
    frame_bytes: int


@dataclass
class Run:
    """What belongs to one caller: its jobs share the number of engines that may die."""

    restarts: int = 0
    given_up: bool = False


@dataclass(eq=False)
class Job:
    """One request on its way. `deliver` is called exactly once, from any thread."""

    run: Run
    prepare: Callable[[Engine], Prepared]
    """Called again if the engine died; may raise what costs this request and no other."""
    deliver: Callable[[Finished | Exception], None]
    frame_bytes: int = 0
    deaths: int = 0
    """Engines that died while they had this request."""
    tried_again: bool = False


@dataclass
class _State:
    """What the threads share, under the lock of the loop."""

    in_flight: dict[str, Job] = field(default_factory=dict)
    """By the id that the engine knows, which is of one engine only."""
    frame_bytes: int = 0
    """Of all that is in flight."""
    sign_s: float = 0.0
    """When the engine last finished something, or was given the first thing to do."""
    died: bool = False
    repairing: bool = False
    broken: TeacherUnavailable | None = None
    closed: bool = False


class EngineLoop:
    """Owns the engine. Raises TeacherUnavailable if it can't be loaded."""

    def __init__(self, load: Callable[[], Engine], stall_s: float) -> None:
        """`stall_s`: an engine that finishes nothing for so long, with work to do, is dead."""
        self._load = load
        self._stall_s = stall_s
        self._lock = threading.Condition()
        self._state = _State()
        self._ids = itertools.count()
        self._todo: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        self.engine = load()
        # Daemons: a run that is broken off must not wait for an engine.
        for _ in range(PREPARERS):
            threading.Thread(target=self._feed, daemon=True, name="vllm-prepare").start()
        threading.Thread(target=self._watch, daemon=True, name="vllm-watch").start()

    @property
    def broken(self) -> bool:
        """Whether it is closed, or its engine died and could not be loaded again."""
        return self._state.broken is not None or self._state.closed

    def put(self, jobs: Sequence[Job]) -> None:
        """Take jobs in; those of one call go to the engine one after another, in order."""
        self._todo.put(jobs)

    def close(self) -> None:
        """Give the engine back; jobs that are not done fail."""
        with self._lock:
            self._state.closed = True
            self._lock.notify_all()
        for _ in range(PREPARERS):
            self._todo.put(None)
        self._fail_all(TeacherUnavailable("the engine was closed"))
        self.engine.close()

    # Handing in ----------------------------------------------------------------------------------

    def _feed(self) -> None:
        while (jobs := self._todo.get()) is not None:
            for job in jobs:
                if job.run.given_up:
                    job.deliver(EngineDied("the run was given up"))
                elif (prepared := self._prepared(job)) is not None:
                    self._hand_in(job, prepared)

    def _prepared(self, job: Job) -> Prepared | None:
        try:
            prepared = job.prepare(self.engine)
        except Exception as error:  # noqa: BLE001 - it costs this request and no other
            job.deliver(error)
            return None
        job.frame_bytes = prepared.frame_bytes
        return prepared

    def _hand_in(self, job: Job, prepared: Prepared) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self.broken or self._has_room(job))
            refused = self._state.broken
            if self._state.closed:
                refused = TeacherUnavailable("the engine was closed")
            if refused is None:
                engine_id = self._register(job)
                engine = self.engine
        if refused is not None:
            job.deliver(refused)
        else:
            engine.hand_in(engine_id, prepared.prompt, prepared.how, self._done)

    def _has_room(self, job: Job) -> bool:
        state = self._state
        if state.repairing or state.died:
            return False
        number, size = len(state.in_flight), state.frame_bytes + job.frame_bytes
        return not number or (number < self.engine.facts.room and size <= MAX_FRAME_BYTES)

    def _register(self, job: Job) -> str:
        if not self._state.in_flight:
            self._state.sign_s = time.monotonic()
        engine_id = str(next(self._ids))
        self._state.in_flight[engine_id] = job
        self._state.frame_bytes += job.frame_bytes
        return engine_id

    def _take_all(self) -> list[Job]:
        jobs = list(self._state.in_flight.values())
        self._state.in_flight.clear()
        self._state.frame_bytes = 0
        return jobs

    # Replies -------------------------------------------------------------------------------------

    def _done(self, engine_id: str, outcome: Finished | Exception) -> None:
        with self._lock:
            job = self._state.in_flight.get(engine_id)
            if job is None:
                # Nobody's: a second reply, or one of an engine that was given up.
                return
            if isinstance(outcome, EngineDied):
                self._state.died = True
                self._lock.notify_all()
                return
            del self._state.in_flight[engine_id]
            self._state.frame_bytes -= job.frame_bytes
            self._state.sign_s = time.monotonic()
            self._lock.notify_all()
        if _may_pass(outcome) and not job.tried_again:
            job.tried_again = True
            self.put([job])
        else:
            job.deliver(outcome)

    def _fail_all(self, error: Exception) -> None:
        with self._lock:
            jobs = self._take_all()
        for job in jobs:
            job.deliver(error)

    # Repair --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self.broken:
            with self._lock:
                self._lock.wait_for(lambda: self._state.died or self._state.closed, WATCH_S)
                self._state.repairing = self._is_dead() and not self._state.closed
            if not self._state.repairing:
                continue
            try:
                self._repair()
            except Exception as error:  # noqa: BLE001 - else all threads would wait for ever
                self._break(error)
            with self._lock:
                self._state.repairing = False
                self._lock.notify_all()

    def _break(self, error: Exception) -> None:
        if not isinstance(error, TeacherUnavailable):
            error = TeacherUnavailable(f"vLLM's engine died, and can't be replaced: {error!r}")
        self._state.broken = error
        self._fail_all(error)

    def _is_dead(self) -> bool:
        state = self._state
        stalled = time.monotonic() - state.sign_s > self._stall_s
        return state.died or (bool(state.in_flight) and stalled)

    def _repair(self) -> None:
        """Load the engine anew and ask what was in it again; nothing else comes in meanwhile.

        Raises TeacherUnavailable if the engine can't be loaded.
        """
        lots = deque(self._replace_engine())
        while lots:
            lot = lots.popleft()
            if not self._ask_together(lot):
                continue
            alone = len(lot) == 1 and lot[0].deaths > 0
            again = self._replace_engine()
            if alone and again:
                times = lot[0].deaths
                lot[0].deliver(EngineDied(f"the engine died {times} times when asked this"))
            else:
                lots.extendleft(reversed(again))

    def _replace_engine(self) -> list[list[Job]]:
        """A new engine, and in which lots to ask it what the old one had."""
        with self._lock:
            lost = self._take_all()
            self._state.died = False
        for run in {id(job.run): job.run for job in lost}.values():
            run.restarts += 1
        kept: list[Job] = []
        for job in lost:
            job.deaths += 1
            if job.run.restarts <= MAX_RESTARTS:
                kept.append(job)
            else:
                job.deliver(
                    TeacherUnavailable(
                        f"vLLM's engine died {job.run.restarts} times in one batch; its log says "
                        "why. If memory is short, lower teacher.gpu_memory_share or max_model_len"
                    )
                )
        self.engine.close()
        try:
            self.engine = self._load()
        except Exception:
            with self._lock:
                self._state.in_flight = {str(next(self._ids)): job for job in kept}
            raise
        return smaller_lots(kept)

    def _ask_together(self, lot: Sequence[Job]) -> bool:
        """Ask these and nothing else, until all are done; returns whether the engine died."""
        for job in lot:
            prepared = self._prepared(job)
            if prepared is None:
                continue
            with self._lock:
                if self._state.closed:
                    job.deliver(TeacherUnavailable("the engine was closed"))
                    continue
                engine_id = self._register(job)
            self.engine.hand_in(engine_id, prepared.prompt, prepared.how, self._done)
        with self._lock:
            while self._state.in_flight and not self._is_dead():
                self._lock.wait(WATCH_S)
            return self._is_dead()


def _may_pass(outcome: Finished | Exception) -> bool:
    """Whether it is a fault of vLLM's that need not come again.

    What it refuses, such as a prompt that is too long, it refuses with a ValueError.
    """
    if isinstance(outcome, Exception):
        return not isinstance(outcome, ValueError)
    return outcome.finish_reason == "error"


def smaller_lots(lost: Sequence[Job]) -> list[list[Job]]:
    """In which lots to ask again what engines died of, in order.

    The first time together, since it was most likely nobody's fault; then in lots of the square
    root, so that those without blame come through soon; then one at a time.
    """
    if not lost:
        return []
    deaths = max(job.deaths for job in lost)
    size = {1: len(lost), 2: math.isqrt(len(lost) - 1) + 1}.get(deaths, 1)
    return [list(lost[start : start + size]) for start in range(0, len(lost), size)]
