"""Where the workers of an engine run: threads of this process, or processes on its machines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

from runners.loopback import LOOPBACK

PROCESS = "PROCESS"
WORKER = "proofreel-worker"
KEPT_MS = 20_000
"""How long a worker waits for its next stage: to start one takes seconds, and a model with it far
more. Engines end it with its stage unless told, and heed this only where Beam's classes lie on
their own class path. One that has died is kept as long, so a restart has to wait longer than this.
"""


def choose(options: PipelineOptions, *, local: bool) -> None:
    """Set what the options leave open: LOOPBACK on this machine, else PROCESS.

    Engines start processes as this one is installed, so proofreel has to be at the same place on
    each of their machines.
    """
    portable = options.view_as(PortableOptions)
    if portable.environment_type is None:
        portable.environment_type = LOOPBACK if local else PROCESS
        if not local:
            command = str(Path(sys.executable).with_name(WORKER))
            portable.environment_config = json.dumps({"command": command})
    if not portable.environment_cache_millis:
        portable.environment_cache_millis = KEPT_MS
