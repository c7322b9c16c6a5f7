"""A worker process of the local runner: Beam's, which imports what ours do and no more."""

from __future__ import annotations

import sys

from apache_beam.runners.worker import sdk_worker_main

import transforms.inference  # noqa: F401 - before a step is unpacked that needs it
from runners.signatures import read_signatures_once
from transforms.shared_model import become_worker

if __name__ == "__main__":
    become_worker()
    read_signatures_once()
    sdk_worker_main.main(sys.argv)
