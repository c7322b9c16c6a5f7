"""Which teacher answers, loaded once per process; and the store of its replies."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.usage import Usage
from transforms.annotate.prompts import Templates
from transforms.annotate.teacher import (
    FramePolicy,
    Reply,
    Request,
    Teacher,
    TeacherKind,
    TeacherSettings,
    answers,
)
from transforms.at_work import AtLeg, leg_at_work, working_for
from transforms.memo import Entry, MemoStore
from transforms.progress import NOWHERE, ProgressLog
from transforms.shared_model import SharedModel, is_worker
from transforms.video.shots import ShotSettings

REPLY_STEP = "reply"
"""Of the memo store."""

_LOADING = threading.Lock()


def make_teacher(
    settings: TeacherSettings,
    store: MemoStore,
    shots: ShotSettings,
    templates: Templates | None = None,
) -> Teacher:
    """The teacher that the settings name, not yet opened; `templates`, if they were read before."""
    if settings.kind is TeacherKind.OPENAI:
        from transforms.annotate.openai_teacher import OpenAITeacher

        return OpenAITeacher(settings, store, templates)
    if settings.kind is TeacherKind.VLLM:
        from transforms.annotate.vllm_teacher import VLLMTeacher

        return VLLMTeacher(settings, store, templates)
    from transforms.annotate.measure_teacher import MeasureTeacher

    return MeasureTeacher(settings, store, shots)


@functools.cache
def _opened(
    settings_json: str, store: MemoStore, shots_json: str, templates: Templates | None
) -> Teacher:
    teacher = make_teacher(
        TeacherSettings.model_validate_json(settings_json),
        store,
        ShotSettings.model_validate_json(shots_json),
        templates,
    )
    teacher.open()
    return teacher


class SharedTeacher(SharedModel):
    """A teacher that one process of this machine has opened. Replies come when all are there."""

    def __init__(
        self, settings_json: str, store: MemoStore, shots_json: str, templates: Templates | None
    ) -> None:
        def make() -> _Answering:
            return _Answering(_opened(settings_json, store, shots_json, templates))

        version = templates.version() if templates else ""
        super().__init__(make, "teacher", settings_json, store.root, shots_json, version)
        self.settings = TeacherSettings.model_validate_json(settings_json)

    def version(self) -> str:
        return str(self.call("version"))

    def open(self) -> None:
        """Done by who answers."""

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        found: list[Reply] = self.call("ask", list(requests), leg_at_work())
        return found


@dataclass(frozen=True)
class _Answering:
    """Replies in a list: an iterator is bound to its process."""

    teacher: Teacher

    def version(self) -> str:
        return self.teacher.version()

    def ask(self, requests: Sequence[Request], leg: AtLeg | None) -> list[Reply]:
        with working_for(leg):
            return list(answers(self.teacher, requests))


_shared = functools.cache(SharedTeacher)


def open_teacher(
    settings: TeacherSettings,
    store: MemoStore,
    shots: ShotSettings,
    templates: Templates | None = None,
) -> Teacher:
    """The teacher, opened once however many threads ask; an engine in process once for all worker
    processes, too."""
    made_of = (settings.model_dump_json(), store, shots.model_dump_json(), templates)
    if settings.kind is TeacherKind.VLLM and is_worker():
        return _shared(*made_of)
    with _LOADING:
        return _opened(*made_of)


def _seen(settings: TeacherSettings, request: Request) -> Any:
    """What the teacher looks at, beyond the mp4 that is in the request's id."""
    if request.scene is None:
        return ""
    if settings.kind is not TeacherKind.MEASURE:
        # From where its shots begin follows which frames are shown.
        by_shots = settings.frames is FramePolicy.SHOTS
        return request.scene.clip.shot_starts_s if by_shots else ""
    # Which cuts joining dropped shows in the clip, though neither its span nor its id tell.
    return [request.scene.decoded.frames_ref, request.scene.clip.shot_starts_s]


def _entries(
    settings: TeacherSettings,
    store: MemoStore,
    shots: ShotSettings,
    requests: Sequence[Request],
    templates: Templates | None = None,
) -> dict[str, Entry]:
    """Where the reply to each request is kept, by request id."""
    made_of = [make_teacher(settings, store, shots, templates).version(), settings.identity()]
    return {
        request.id: store.entry(REPLY_STEP, made_of, request.id, _seen(settings, request))
        for request in requests
    }


def stored_replies(
    settings: TeacherSettings, store: MemoStore, shots: ShotSettings, requests: Sequence[Request]
) -> dict[str, Reply]:
    """The replies that the store holds, by request id; nothing is asked."""
    found = {
        request_id: entry.get()
        for request_id, entry in _entries(settings, store, shots, requests).items()
    }
    return {
        request_id: Reply.model_validate(stored)
        for request_id, stored in found.items()
        if stored is not None
    }


def _note_reply(progress: ProgressLog, settings: TeacherSettings, reply: Reply) -> None:
    usage = Usage(
        prompt_tokens=max(reply.prompt_tokens, 0),
        completion_tokens=max(reply.completion_tokens, 0),
    )
    progress.add_replies(
        asked=1,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost=usage.cost(settings.price_prompt, settings.price_completion),
    )


def ask_stored(
    settings: TeacherSettings,
    store: MemoStore,
    shots: ShotSettings,
    requests: Sequence[Request],
    progress: ProgressLog = NOWHERE,
    templates: Templates | None = None,
) -> dict[str, Reply]:
    """One reply per request, by request id; only what the store does not hold is asked.

    Errors that need not come again are not stored: the next run asks once more. The teacher is
    opened only if there is something to ask.
    """
    entries = _entries(settings, store, shots, requests, templates)
    replies: dict[str, Reply] = {}
    missing: list[Request] = []
    for request in {request.id: request for request in requests}.values():
        stored = entries[request.id].get()
        if stored is None:
            missing.append(request)
        else:
            replies[request.id] = Reply.model_validate(stored)
    progress.add_replies(reused=len(replies))
    if missing:
        for reply in answers(open_teacher(settings, store, shots, templates), missing):
            replies[reply.request_id] = reply
            if reply.lasting or not reply.error:
                # Where another run was given another reply first, that one holds for both.
                holds = entries[reply.request_id].put(reply.model_dump(mode="json"))
                replies[reply.request_id] = Reply.model_validate(holds)
            _note_reply(progress, settings, reply)
        progress.flush()
    return replies
