"""Watches over what nobody may touch: servers, files, and processes that stay behind."""

from __future__ import annotations

import ctypes
import http.server
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

IN_OPEN = 0x20
IN_NONBLOCK = os.O_NONBLOCK
CAN_WATCH_FILES = sys.platform == "linux"


class Server(http.server.ThreadingHTTPServer):
    """Counts who connects, whatever is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.visits: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/video.ts"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.visits.append(str(client_address))
        super().process_request(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Opened:
    """How often a file was opened, by whomever, as the kernel (inotify) tells."""

    def __init__(self, path: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(IN_NONBLOCK)
        assert self._descriptor >= 0
        watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), IN_OPEN)
        assert watch >= 0, os.strerror(ctypes.get_errno())

    def count(self) -> int:
        """Since it was last asked for."""
        found = 0
        while True:
            try:
                data = os.read(self._descriptor, 65_536)
            except BlockingIOError:
                return found
            while data:
                _, _, _, length = struct.unpack_from("iIII", data)
                found += 1
                data = data[16 + length :]

    def close(self) -> None:
        os.close(self._descriptor)


def session_of(leader: int) -> list[str]:
    """Processes that are still there of all that a process started."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.info["name"])
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found
