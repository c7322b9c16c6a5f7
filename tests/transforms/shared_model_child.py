"""A worker process for the tests of shared models: does as it is told, line by line."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from transforms import shared_model
from transforms.outcome import StopRunError
from transforms.shared_model import SharedModel


class Teller:
    """Says who it is; a model that takes its time to load."""

    name = "teller"

    def __init__(self) -> None:
        time.sleep(0.3)
        if Path(tempfile.gettempdir(), "hang").exists():
            print("hangs", flush=True)
            time.sleep(1_000.0)
        print("loaded", flush=True)

    def pid(self) -> int:
        return os.getpid()

    def fail(self, words: str) -> None:
        raise ValueError(words)

    def long(self) -> int:
        print("asked", flush=True)
        time.sleep(2.0)
        return os.getpid()


def main() -> None:
    shared_model.LOAD_WAIT_S = float(os.environ.get("LOAD_WAIT_S", shared_model.LOAD_WAIT_S))
    shared_model.SILENT_S = float(os.environ.get("SILENT_S", shared_model.SILENT_S))
    shared_model.SIGN_AFTER_S = float(os.environ.get("SIGN_AFTER_S", shared_model.SIGN_AFTER_S))
    model = SharedModel(Teller, "teller")
    print("ready", os.getpid(), flush=True)
    for line in sys.stdin:
        method, *arguments = line.split()
        try:
            found = model.read("name") if method == "name" else model.call(method, *arguments)
        except (ValueError, StopRunError) as error:
            found = f"{type(error).__name__} {error}"
        print("->", found, flush=True)


if __name__ == "__main__":
    main()
