"""A store of which every operation takes a while: the work is done once, and nothing times out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chat_server import MODEL, ChatServer, solved
from clock_video import LIMITS, SAMPLE_FPS, THIRDS, Work
from pipeline_helpers import Started

from schemas.case import PlannedClip
from schemas.description import Caption
from transforms.annotate import teachers
from transforms.annotate.teacher import Request, TeacherKind, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.memo import Entry, MemoStore
from transforms.video.analyse import Analyser
from transforms.video.cut import CutSettings, Cutter
from transforms.video.ingest import Ingester
from transforms.video.segment import Segmenter
from transforms.video.shots import ShotSettings

TAKES_S = 0.2


class Slow:
    """How many operations there were."""

    count = 0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Each operation of every store takes its time."""
    found = Slow()

    def taking(work: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*arguments: Any, **named: Any) -> Any:
            found.count += 1
            time.sleep(TAKES_S)
            return work(*arguments, **named)

        return wait

    for kind, names in ((Entry, ("get", "building", "finish")), (MemoStore, ("path", "scratch"))):
        for name in names:
            monkeypatch.setattr(kind, name, taking(getattr(kind, name)))
    return found


@pytest.fixture(scope="module")
def started() -> Started:
    return Started()


def through_all_legs(work: Work, store: MemoStore) -> list[str]:
    """From a source to the hashes of its clips."""
    [video] = Ingester(store)(work.video.source).outputs
    [footage] = Analyser(LIMITS, "content", SAMPLE_FPS, store)(video).outputs
    planned: list[PlannedClip] = list(Segmenter(THIRDS, store)(footage).outputs)
    scenes = Cutter(CutSettings(), store)(planned).outputs
    return [scene.media.sha256 for scene in scenes]


def test_media_are_worked_on_once(
    plain: Work, store: MemoStore, slow: Slow, started: Started
) -> None:
    with started.listening() as commands:
        first = through_all_legs(plain, store)
    assert len(first) == 3 and slow.count > 10
    told = [" ".join(command) for command in commands]
    for child in ("probe_child", "bgr24", "cut_child"):
        assert sum(child in one for one in told) == 1, child
    with started.listening() as commands:
        assert through_all_legs(plain, store) == first
    assert commands == []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one = ChatServer(lambda said: solved(said.question)).start()
    yield one
    one.stop()
    teachers._opened.cache_clear()


def test_a_teacher_is_asked_once(server: ChatServer, store: MemoStore, slow: Slow) -> None:
    """The answers wait longer for the store than a server may take for one."""
    settings = TeacherSettings(
        kind=TeacherKind.OPENAI, model=MODEL, url=server.url, timeout_s=1.0, retries=0, in_flight=2
    )
    requests = [
        Request(captions=(Caption(start_s=0.0, end_s=1.0, text=f"It is {number}."),))
        for number in range(8)
    ]
    started_s = time.monotonic()
    replies = ask_stored(settings, store, ShotSettings(), requests)
    assert time.monotonic() - started_s > 8 * TAKES_S > settings.timeout_s
    assert not [reply.error for reply in replies.values() if reply.error]
    assert len(server.asks) == len(requests)
