"""While a teacher looks at a clip, in whichever thread, the clip is noted and named in the log."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from asking_servers import settings_of, teacher_of
from chat_server import ChatServer, solved
from puppet_engine import Solving, Stage, opened
from puppet_engine import settings as puppet_settings

from schemas.rejection import Stage as Leg
from transforms.annotate import seeing, teachers
from transforms.annotate.handler import StoredTeacher, TeacherHandler
from transforms.annotate.openai_pool import ServerPool
from transforms.annotate.teacher import Reply, Request, Teacher, TeacherSettings
from transforms.annotate.teachers import SharedTeacher, _Answering
from transforms.at_work import AtLeg, AtWork, at_alone, leg_at_work, working_for
from transforms.memo import MemoStore
from transforms.outcome import Outcome
from transforms.progress import NOWHERE
from transforms.video.shots import ShotSettings

Serve = Callable[..., ChatServer]
QUESTIONS = ("one", "two", "three")
"""About a clip each."""


class Solver:
    """What is asked about a request is the request."""

    def requests(self, request: Request, replies: Any) -> list[Request]:
        return [request]

    def read(self, request: Request, replies: Any) -> Outcome[Any]:
        raise NotImplementedError


@pytest.fixture(params=["openai", "vllm"])
def teacher(
    request: pytest.FixtureRequest,
    clip_store: MemoStore,
    serve: Serve,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TeacherSettings]:
    """Settings of one that looks at clips in threads of its own."""
    one: Teacher
    if request.param == "openai":
        server = serve(lambda _: solved("ok"))
        one, settings = teacher_of(clip_store, server), settings_of(server)
    else:
        one, settings = opened(clip_store), puppet_settings()
    monkeypatch.setattr(teachers, "make_teacher", lambda *_: one)
    monkeypatch.setattr(teachers, "open_teacher", lambda *_: one)
    yield settings
    getattr(one, "close", lambda: None)()


def subject(request: Request) -> tuple[str, str]:
    assert request.scene is not None
    return request.scene.clip.id, request.scene.clip.video_id


def asked(
    requests: list[Request], settings: TeacherSettings, store: MemoStore, at_work: AtWork
) -> None:
    stored = StoredTeacher(settings, store, ShotSettings(), NOWHERE)
    handler = TeacherHandler(
        Leg.ANSWER, Solver(), lambda one: [subject(one)], stored, at_work=at_work
    )
    answered = list(handler.run_inference(requests, handler.load_model()))
    assert [reply.error for one in answered for reply in one.replies.values()] == [""] * 3


def test_the_clip_that_is_looked_at_is_noted_and_named(
    teacher: TeacherSettings,
    solving: Solving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    at_work = AtWork(str(tmp_path / "at-work"))
    requests = solving(*QUESTIONS)
    look, one_at_a_time = seeing.look, threading.Lock()
    seen: list[tuple[bool, list[str]]] = []

    def watched(path: Path, *rest: Any, **more: Any) -> Any:
        with one_at_a_time:
            logging.getLogger("a.library").warning("at %s", path.name)
            elsewhere = threading.current_thread() is not threading.main_thread()
            seen.append((elsewhere, at_work.left()))
        return look(path, *rest, **more)

    monkeypatch.setattr(seeing, "look", watched)
    asked(requests, teacher, MemoStore(str(tmp_path / "store")), at_work)
    names = {f"answer of {clip} (of {video})" for clip, video in map(subject, requests)}
    assert len(names) == len(seen) == 3
    assert all(elsewhere for elsewhere, _ in seen)
    assert {note for _, left in seen for note in left} == names
    assert at_work.left() == []
    said = [one.getMessage() for one in caplog.records if one.name == "a.library"]
    assert {one.rpartition(": at ")[0] for one in said} == names


def test_what_is_logged_around_a_request_names_those_that_are_asked_about(
    clip_store: MemoStore,
    serve: Serve,
    solving: Solving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    send = ServerPool.send

    def watched(pool: ServerPool, body: Any) -> Any:
        logging.getLogger("a.library").warning("slow")
        return send(pool, body)

    monkeypatch.setattr(ServerPool, "send", watched)
    server = serve(lambda _: solved("ok"))
    one = teacher_of(clip_store, server)
    monkeypatch.setattr(teachers, "open_teacher", lambda *_: one)
    requests = solving(*QUESTIONS)
    asked(requests, settings_of(server), MemoStore(str(tmp_path / "store")), AtWork())
    said = [one.getMessage() for one in caplog.records if one.name == "a.library"]
    first, second, _ = (f"{clip} (of {video})" for clip, video in map(subject, requests))
    assert said == [f"answer of {first}, {second} and 1 more: slow"] * 3
    one.close()


def test_a_teacher_in_another_process_is_told_for_which_leg_it_looks(
    clip_store: MemoStore, solving: Solving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[AtLeg | None] = []

    class Told:
        settings = puppet_settings()

        def ask(self, requests: Sequence[Request]) -> list[Reply]:
            told.append(leg_at_work())
            return [Reply(request_id=one.id, text="ok") for one in requests]

    def call(_: SharedTeacher, method: str, *arguments: Any) -> Any:
        requests, leg = arguments
        with working_for(None):
            answering = _Answering(cast("Teacher", Told()))
            return getattr(answering, method)(requests, pickle.loads(pickle.dumps(leg)))

    monkeypatch.setattr(SharedTeacher, "call", call)
    far = SharedTeacher(Told.settings.model_dump_json(), clip_store, "", None)
    monkeypatch.setattr(teachers, "open_teacher", lambda *_: far)
    at_work = AtWork(str(tmp_path / "at-work"))
    asked(solving(*QUESTIONS), Told.settings, MemoStore(str(tmp_path / "store")), at_work)
    assert told == [AtLeg(Leg.ANSWER, at_work)]


def test_without_a_leg_nothing_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As where a prompt is only shown."""
    with at_alone(("c1", "v1")):
        logging.getLogger("a.library").warning("dark")
    assert caplog.messages == ["dark"]
