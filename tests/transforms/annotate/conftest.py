"""Clips, servers and a puppet engine for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from types import ModuleType
from typing import Any

import pytest
from asking_servers import KEY, KEY_ENV
from chat_server import SCENES, Answer, Ask, ChatServer
from clock_video import Clock, write_clock
from constructed_clips import real_scene
from puppet_engine import Solving, Stage
from shown_clips import Cut, cut_whole

from schemas.case import Scene
from transforms.annotate import vllm_loop, vllm_teacher
from transforms.annotate.teacher import Request
from transforms.memo import MemoStore

# What they assert is told in full when it fails, as in a file of tests.
pytest.register_assert_rewrite("answers_of_kinds", "measured_questions")


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    """The module `scenes`, which is loaded by its path: test folders are not packages."""
    return SCENES


@pytest.fixture(scope="session")
def clip_store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    """A store for the clips of the whole session: they do not change."""
    return MemoStore(str(tmp_path_factory.mktemp("clips")))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    """A store that the tests of one file share."""
    return MemoStore(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def carphone(store: MemoStore) -> Scene:
    """Four seconds of one shot, cut as usual."""
    return real_scene("carphone_pristine", store)


@pytest.fixture(scope="module")
def bikes(store: MemoStore) -> Scene:
    """Ten seconds of six shots as one clip, cut as usual."""
    return real_scene("bikes", store)


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Fraction], Cut]:
    """Clock videos of seven seconds at a rate, with a keyframe at least every two seconds."""
    made: dict[Fraction, Cut] = {}

    def cut_at(rate: Fraction) -> Cut:
        if rate not in made:
            folder = tmp_path_factory.mktemp("clock")
            clock = Clock("clock.mp4", tuple(range(round(7 * rate))), 1 / rate, rate)
            made[rate] = cut_whole(write_clock(folder, clock), MemoStore(str(folder / "store")))
        return made[rate]

    return cut_at


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatServer]]:
    """Starts servers that answer by a function; they stop with the test. Waits are short."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(KEY_ENV, KEY)
    started: list[ChatServer] = []

    def start(answer: Callable[[Ask], Answer], **fields: Any) -> ChatServer:
        started.append(ChatServer(answer, **fields).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Engines that are puppets, with no other engine beside them; they end with the test."""
    made = Stage()
    made.go.set()
    monkeypatch.setattr(vllm_teacher, "_LOOPS", {})
    monkeypatch.setattr(vllm_teacher, "load_engine", made.load)
    monkeypatch.setattr(vllm_loop, "WATCH_S", 0.05)
    yield made
    made.go.set()
    vllm_teacher.close_engines()


@pytest.fixture
def solving(scenes: ModuleType, clip_store: MemoStore) -> Solving:
    """Makes one request per question, about three clips in turn."""

    def make(*questions: str) -> list[Request]:
        return [
            Request(scene=(scene := scenes.make_scene(clip_store, 1 + place % 3)),
                    task=scenes.make_task(scene, question), sample=place)
            for place, question in enumerate(questions)
        ]  # fmt: skip

    return make
