"""Which of several servers takes the next request, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import tenacity

from transforms.annotate.openai_messages import Refused
from transforms.annotate.openai_server import Server, TryAgain, Unreachable
from transforms.annotate.teacher import TeacherSettings

FIRST_CHECKS = 5
"""How often a server is looked at before the work: a wrong address is to be told soon."""


def wait_s(error: BaseException | None, failures: int, settings: TeacherSettings) -> float:
    """How long to wait after this many failures: what the server asks for, else by the policy."""
    if isinstance(error, TryAgain) and error.after_s >= 0:
        return min(error.after_s, settings.timeout_s)
    return settings.retry.wait_s(failures)


@dataclass
class _Lane:
    """A server and what goes on there; times are of the monotonic clock."""

    server: Server
    in_flight: int = 0
    started: int = 0
    next_start_s: float = 0.0
    """The rate limit: starts are spaced evenly, so no minute sees more than it may."""
    paused_until_s: float = 0.0
    """The server asked for a pause, or is left aside because it could not be used."""
    failures: int = 0
    """Times in a row that it could not be used; 0 = it works."""
    trial: bool = False
    """Somebody is finding out whether it can be used again."""
    words: str = ""


class ServerPool:
    """Shares requests out over servers with the same model, however many threads ask.

    Each server has at most `in_flight` requests at a time and `requests_per_minute` starts. The
    next request goes to the server that has the least to do. One that can't be connected to is left
    aside, longer each time, and checked before it is used again; after more than `retries` failures
    in a row it is given up between those checks, and requests fail at once when all are.
    """

    def __init__(self, servers: Sequence[Server], settings: TeacherSettings) -> None:
        self._settings = settings
        self._lanes = [_Lane(server) for server in servers]
        self._changed = threading.Condition()
        self._closed = False

    def open(self) -> dict[str, TryAgain | Refused]:
        """Check all servers; gives those that can't be used now, by URL, with what is wrong."""
        with ThreadPoolExecutor(len(self._lanes), thread_name_prefix="check") as threads:
            found = list(threads.map(self._first_check, self._lanes))
        return {
            lane.server.url: error
            for lane, error in zip(self._lanes, found, strict=True)
            if error is not None
        }

    def close(self) -> None:
        """Let go of the connections; whoever still waits is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.server.close()

    def send(self, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a chat request, from whichever server.

        Raises TryAgain when the tries are used up or no server is left, Refused when another try
        would not help.
        """
        rests: dict[str, float] = {}
        failures = 0
        while True:
            lane = self._take(rests)
            try:
                return lane.server.complete(body)
            except TryAgain as error:
                failures += 1
                pause_s = wait_s(error, failures, self._settings)
                # This request stays away from this server for so long; it may go elsewhere at once.
                rests[lane.server.url] = time.monotonic() + pause_s
                self._note(lane, error, pause_s)
                if failures > self._settings.retries:
                    raise
            finally:
                self._give(lane)

    # Checks ----------------------------------------------------------------------------------

    def _first_check(self, lane: _Lane) -> TryAgain | Refused | None:
        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return wait_s(error, state.attempt_number, self._settings)

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(min(self._settings.retry.attempts, FIRST_CHECKS)),
            wait=wait,
            retry=tenacity.retry_if_exception_type(TryAgain),
            reraise=True,
        )
        try:
            retrying(lane.server.check)
        except (TryAgain, Refused) as error:
            with self._changed:
                lane.failures = self._settings.retries
                self._fail(lane, error)
            return error
        with self._changed:
            # The check was a request as well.
            lane.next_start_s = time.monotonic() + self._spacing_s()
        return None

    def _check_again(self, lane: _Lane) -> None:
        trouble: Exception | None = None
        try:
            lane.server.check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not used
            trouble = error
        with self._changed:
            lane.trial = False
            if trouble is None:
                lane.failures, lane.words = 0, ""
            else:
                self._fail(lane, trouble)

    def _fail(self, lane: _Lane, error: Exception) -> None:
        lane.failures += 1
        lane.words = str(error)
        pause_s = wait_s(error, lane.failures, self._settings)
        lane.paused_until_s = time.monotonic() + pause_s
        self._changed.notify_all()

    # Whose turn it is ------------------------------------------------------------------------

    def _take(self, rests: Mapping[str, float]) -> _Lane:
        """Wait until a server may be asked; `rests` says until when which is not to be.

        Raises TryAgain if all are given up.
        """
        while True:
            lane, is_trial = self._next(rests)
            if not is_trial:
                return lane
            try:
                self._check_again(lane)
            finally:
                self._give(lane)

    def _next(self, rests: Mapping[str, float]) -> tuple[_Lane, bool]:
        """The next server, with a place taken on it, and whether it must be checked first."""
        with self._changed:
            while True:
                if self._closed:
                    raise Refused("the teacher was closed")
                now_s = time.monotonic()
                opens_s = {
                    place: self._opens_s(lane, rests)
                    for place, lane in enumerate(self._lanes)
                    if not lane.trial and lane.in_flight < self._settings.in_flight
                }
                ready = [self._lanes[place] for place in opens_s if opens_s[place] <= now_s]
                if ready:
                    return self._start(min(ready, key=lambda one: _preference(one, rests)), now_s)
                # While one is looked at, there is hope.
                if all(self._is_given_up(lane) for lane in self._lanes):
                    said = "; ".join(f"{lane.server.url} {lane.words}" for lane in self._lanes)
                    raise TryAgain(f"no server can be used: {said}")
                # Without a time, somebody who gives a place back will wake us.
                self._changed.wait(min(opens_s.values()) - now_s if opens_s else None)

    def _is_given_up(self, lane: _Lane) -> bool:
        return lane.failures > self._settings.retries and not lane.trial

    def _opens_s(self, lane: _Lane, rests: Mapping[str, float]) -> float:
        if lane.failures:
            # A check is nobody's request: it waits for the server alone.
            return lane.paused_until_s
        return max(lane.paused_until_s, lane.next_start_s, rests.get(lane.server.url, 0.0))

    def _start(self, lane: _Lane, now_s: float) -> tuple[_Lane, bool]:
        lane.trial = lane.failures > 0
        lane.in_flight += 1
        lane.started += 1
        lane.next_start_s = now_s + self._spacing_s()
        return lane, lane.trial

    def _spacing_s(self) -> float:
        per_minute = self._settings.requests_per_minute
        return 60.0 / per_minute if per_minute else 0.0

    def _give(self, lane: _Lane) -> None:
        with self._changed:
            lane.in_flight -= 1
            self._changed.notify_all()

    def _note(self, lane: _Lane, error: TryAgain, pause_s: float) -> None:
        """What one request met there that is of concern to all others."""
        with self._changed:
            if isinstance(error, Unreachable):
                # Several requests on their way meet the same end: it is one failure.
                if not lane.failures:
                    self._fail(lane, error)
            elif error.after_s >= 0:
                until_s = time.monotonic() + pause_s
                lane.paused_until_s = max(lane.paused_until_s, until_s)


def _preference(lane: _Lane, rests: Mapping[str, float]) -> tuple[bool, bool, int, int]:
    """A server that may be back is checked first; else one that has not turned this request away
    yet, and of those the one with the least to do."""
    return lane.failures == 0, lane.server.url in rests, lane.in_flight, lane.started
