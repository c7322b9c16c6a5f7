"""A worker process for the tests of shared models: does as it is told, line by line."""

from __future__ import annotations

import os
import sys
import time

from transforms.shared_model import SharedModel


class Teller:
    """Says who it is; a model that takes its time to load."""

    name = "teller"

    def __init__(self) -> None:
        time.sleep(0.3)
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
    model = SharedModel(Teller, "teller")
    print("ready", os.getpid(), flush=True)
    for line in sys.stdin:
        method, *arguments = line.split()
        try:
            found = model.read("name") if method == "name" else model.call(method, *arguments)
        except ValueError as error:
            found = f"ValueError {error}"
        print("->", found, flush=True)


if __name__ == "__main__":
    main()
