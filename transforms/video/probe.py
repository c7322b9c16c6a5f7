"""What a container claims about itself, asked in a process of its own."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

from schemas.rejection import Reason, Rejected
from schemas.video import Probe
from transforms.video.container_end import ends_early
from transforms.video.media_process import (
    ALLOWED_DEMUXERS,
    ALLOWED_PROTOCOLS,
    MediaProcess,
    opened,
    time_limit_s,
)

VERSION = "5"
_CHILD = Path(__file__).with_name("probe_child.py")


def probe(path: str, size_bytes: int) -> Probe:
    """Open a file and read its container's claims.

    Raises Rejected: not_a_video, no_video_stream, decode_timeout, decoder_crashed.
    """
    with ExitStack() as stack:
        source, descriptor = stack.enter_context(opened(path))
        command = [sys.executable, "-I", str(_CHILD), source, ALLOWED_PROTOCOLS, ALLOWED_DEMUXERS]
        limit_s = time_limit_s(size_bytes, 0.0)
        child = stack.enter_context(MediaProcess(command, timeout_s=limit_s, pass_fds=[descriptor]))
        output = child.stdout.readall()  # type: ignore[attr-defined]
        code = child.wait()
        child.raise_if_killed()
        if code != 0:
            raise Rejected(Reason.DECODER_CRASHED, child.complaint, lasting=False)
        with open(descriptor, "rb", closefd=False) as stream:
            early = ends_early(stream)
    answer = json.loads(output)
    if "reason" in answer:
        reason = Reason(answer["reason"])
        raise Rejected(reason, answer["detail"], lasting=reason is not Reason.DECODER_CRASHED)
    return Probe.model_validate({**answer, "ends_early": early})
