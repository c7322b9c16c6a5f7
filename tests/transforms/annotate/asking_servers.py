"""Teachers behind the servers of the tests, and what they are asked."""

from __future__ import annotations

from typing import Any

from chat_server import MODEL, SCENES, ChatServer

from schemas.case import Scene
from transforms.annotate.openai_teacher import OpenAITeacher
from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id
from transforms.memo import MemoStore

KEY = "sk-very-secret-0123456789"
KEY_ENV = "PROOFREEL_TEST_KEY"


def settings_of(*servers: ChatServer, **fields: Any) -> TeacherSettings:
    given = {
        "kind": "openai", "model": MODEL, "url": [server.url for server in servers],
        "api_key_env": KEY_ENV, "frame_height_px": 64, "timeout_s": 20.0, "retries": 2,
        "first_wait_s": 0.01, "longest_wait_s": 0.05,
    } | fields  # fmt: skip
    return TeacherSettings.model_validate(given)


def teacher_of(store: MemoStore, *servers: ChatServer, **fields: Any) -> OpenAITeacher:
    """An opened teacher."""
    teacher = OpenAITeacher(settings_of(*servers, **fields), store)
    teacher.open()
    return teacher


def solving(store: MemoStore, *questions: str, code: int = 1) -> list[Request]:
    """One request per question, all about one clip."""
    scene: Scene = SCENES.make_scene(store, code)
    return [Request(scene=scene, task=SCENES.make_task(scene, text)) for text in questions]


def ask(teacher: OpenAITeacher, requests: list[Request]) -> dict[str, Reply]:
    """Reply by question; every request has exactly one, its own."""
    replies = list(answers_by_id(teacher, requests))
    assert [reply.request_id for reply in replies] == [request.id for request in requests]
    assert len({reply.request_id for reply in replies}) == len(requests)
    questions = [request.task.question if request.task else "" for request in requests]
    return dict(zip(questions, replies, strict=True))
