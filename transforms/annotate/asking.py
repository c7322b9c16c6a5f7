"""What the teachers that are models have in common, whichever way they are reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from schemas.base import canonical_json, content_hash
from schemas.case import Scene
from transforms.annotate.teacher import Reply, Request, TeacherSettings
from transforms.at_work import at_alone
from transforms.outcome import StopRunError

MAX_ERROR_CHARS = 500


@contextmanager
def at_scene(scene: Scene | None) -> Iterator[None]:
    """Inside of the block, this thread looks at this scene for the leg that asks, if at any."""
    if scene is None:
        yield
        return
    with at_alone((scene.clip.id, scene.clip.video_id)):
        yield


class TeacherUnavailable(StopRunError):  # noqa: N818 - a state, told to the user in one line
    """A teacher can't be opened: says what is wrong and what to do."""


def seed_of(request: Request) -> int:
    """Seed of a request's sampling: 31 bits, so that every server takes it."""
    return int(content_hash(request.seed, request.sample, request.round)[:8], 16) & 0x7FFFFFFF


def params_json(settings: TeacherSettings, seed: int) -> str:
    """How a reply was sampled, for the record."""
    params: dict[str, Any] = {
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "seed": seed,
        "fps": settings.fps,
        "max_frames": settings.max_frames,
        "frame_height_px": settings.frame_height_px,
    }
    return canonical_json(params)


def failed(request: Request, error: object) -> Reply:
    """The reply that says in words why there is none."""
    if isinstance(error, BaseException):
        error = f"{type(error).__name__}: {error}"
    # What a server says can hold lone surrogates, which no record takes.
    words = " ".join(str(error).encode("utf-8", "replace").decode("utf-8").split())
    return Reply(request_id=request.id, error=words[:MAX_ERROR_CHARS] or "unknown error")


def cut_short(text: str, settings: TeacherSettings) -> str:
    """What to say of a reply that met the limit of its length; "" if it is whole all the same."""
    try:
        json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return f"the reply was cut at teacher.max_tokens = {settings.max_tokens}"
    return ""
