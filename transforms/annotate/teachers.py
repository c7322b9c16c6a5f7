"""Which teacher answers, loaded once per process; and the store of its replies."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

from transforms.annotate.teacher import (
    Reply,
    Request,
    Teacher,
    TeacherKind,
    TeacherSettings,
    answers_by_id,
)
from transforms.memo import MemoStore
from transforms.video.shots import ShotSettings

_LOADING = threading.Lock()


def make_teacher(settings: TeacherSettings, store: MemoStore, shots: ShotSettings) -> Teacher:
    """The teacher that the settings name, not yet opened."""
    if settings.kind is TeacherKind.OPENAI:
        from transforms.annotate.openai_teacher import OpenAITeacher

        return OpenAITeacher(settings, store)
    if settings.kind is TeacherKind.VLLM:
        from transforms.annotate.vllm_teacher import VLLMTeacher

        return VLLMTeacher(settings, store)
    from transforms.annotate.measure_teacher import MeasureTeacher

    return MeasureTeacher(settings, store, shots)


@functools.cache
def _opened(settings_json: str, root: str, shots_json: str) -> Teacher:
    teacher = make_teacher(
        TeacherSettings.model_validate_json(settings_json),
        MemoStore(root),
        ShotSettings.model_validate_json(shots_json),
    )
    teacher.open()
    return teacher


def open_teacher(settings: TeacherSettings, store: MemoStore, shots: ShotSettings) -> Teacher:
    """The teacher, opened once per process however many threads ask."""
    with _LOADING:
        return _opened(settings.model_dump_json(), store.root, shots.model_dump_json())


def _seen(settings: TeacherSettings, request: Request) -> Any:
    """What the teacher looks at, beyond the mp4 that is in the request's id."""
    if settings.kind is not TeacherKind.MEASURE:
        return ""
    # Which cuts joining dropped shows in the clip, though neither its span nor its id tell.
    return [request.scene.decoded.frames_ref, request.scene.clip.shot_starts_s]


def ask_stored(
    settings: TeacherSettings, store: MemoStore, shots: ShotSettings, requests: Sequence[Request]
) -> dict[str, Reply]:
    """One reply per request, by request id; only what the store does not hold is asked.

    Errors that need not come again are not stored: the next run asks once more. The teacher is
    opened only if there is something to ask.
    """
    version = make_teacher(settings, store, shots).version()
    replies: dict[str, Reply] = {}
    missing: list[Request] = []
    made_of = [version, settings.identity()]
    different = {request.id: request for request in requests}
    entries = {
        request_id: store.entry("reply", made_of, request_id, _seen(settings, request))
        for request_id, request in different.items()
    }
    for request_id, request in different.items():
        stored = entries[request_id].get()
        if stored is None:
            missing.append(request)
        else:
            replies[request_id] = Reply.model_validate(stored)
    if missing:
        for reply in answers_by_id(open_teacher(settings, store, shots), missing):
            if reply.lasting or not reply.error:
                entries[reply.request_id].put(reply.model_dump(mode="json"))
            replies[reply.request_id] = reply
    return replies
