"""One engine serves all threads and teachers: who waits for room, in which order, and until when.

Replies come as they are done; frames that wait take bounded memory; the requests about a clip stay
together; who stops listening stops the work; and a teacher travels without its engine.
"""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any

import pytest
from puppet_engine import Given, Puppet, Solving, Stage, ask, is_own, opened, settings

from transforms.annotate import seeing, vllm_loop, vllm_teacher
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.seeing import look
from transforms.annotate.teacher import Reply, Request
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore


def test_replies_come_as_they_are_done(
    stage: Stage, clip_store: MemoStore, solving: Solving, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    answer = Puppet._answer

    def wait_for_slow(self: Puppet, one: Given) -> None:
        if one.question == "slow":
            threading.Thread(target=lambda: (slow.wait(10), answer(self, one))).start()
        else:
            answer(self, one)

    monkeypatch.setattr(Puppet, "_answer", wait_for_slow)
    coming = iter(opened(clip_store).ask(solving("slow", "one", "two")))
    first = [next(coming), next(coming)]
    assert all(reply.text for reply in first)
    slow.set()
    assert next(coming).text and next(coming, None) is None


def test_what_is_ready_waits_for_room(
    stage: Stage, clip_store: MemoStore, solving: Solving, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.room = 3
    composed: list[str] = []
    compose = vllm_teacher.compose

    def count(request: Request, *rest: Any) -> Any:
        composed.append(request.id)
        return compose(request, *rest)

    monkeypatch.setattr(vllm_teacher, "compose", count)
    stage.go.clear()
    requests = solving(*[f"number {n}" for n in range(30)])
    found: list[list[Reply]] = []
    thread = threading.Thread(target=lambda: found.append(ask(opened(clip_store), requests)))
    thread.start()
    # Three clips: three threads hold the next request each, and there they stop.
    deadline_s = time.monotonic() + 20
    while len(composed) < 6 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(0.2)
    assert (stage.most, len(composed)) == (3, 6)
    stage.go.set()
    thread.join(30)
    assert len(found[0]) == 30 and stage.most == 3
    assert all(is_own(*pair) for pair in zip(requests, found[0], strict=True))


def test_the_memory_for_frames_is_bounded(
    stage: Stage, clip_store: MemoStore, solving: Solving, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = solving(*[f"number {n}" for n in range(9)])
    assert requests[0].scene is not None
    media = requests[0].scene.media
    frames = look(clip_store.path(media.ref), media, settings(family="qwen3_vl"))
    monkeypatch.setattr(vllm_loop, "MAX_FRAME_BYTES", 2 * frames.pixels.nbytes)
    assert all(reply.text for reply in ask(opened(clip_store), requests))
    assert stage.most == 2
    # More than fits at all still gets its turn.
    monkeypatch.setattr(vllm_loop, "MAX_FRAME_BYTES", 1)
    assert all(reply.text for reply in ask(opened(clip_store), requests))


def test_requests_about_a_clip_stay_together(
    stage: Stage, clip_store: MemoStore, solving: Solving, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    see = seeing.look

    def count(path: Any, *rest: Any, **more: Any) -> Any:
        decoded.append(str(path))
        return see(path, *rest, **more)

    monkeypatch.setattr(seeing, "look", count)
    monkeypatch.setattr(vllm_loop, "PREPARERS", 1)
    requests = solving(*[f"{place % 3} {place}" for place in range(12)])
    assert len(ask(opened(clip_store), requests)) == 12
    assert len(decoded) == len(set(decoded)) == 3, "each clip is decoded once"
    assert [question[0] for question in stage.log] == list("000011112222")
    assert [int(question[2:]) for question in stage.log[:4]] == [0, 3, 6, 9], "in order"


def test_one_engine_for_all_threads_and_teachers(
    stage: Stage, clip_store: MemoStore, solving: Solving
) -> None:
    teachers = [VLLMTeacher(settings(), clip_store) for _ in range(4)]
    found: list[Reply] = []

    def work(teacher: VLLMTeacher) -> None:
        teacher.open()
        for _ in range(3):
            found.extend(ask(teacher, solving("one", "two", "three")))

    threads = [threading.Thread(target=work, args=(teacher,)) for teacher in teachers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(stage.engines) == 1 and len(found) == 36 and all(reply.text for reply in found)
    opened(clip_store, model="another")
    assert len(stage.engines) == 2


def test_who_stops_listening_stops_the_work(
    stage: Stage, clip_store: MemoStore, solving: Solving
) -> None:
    stage.room = 2
    teacher = opened(clip_store)
    coming = teacher.ask(solving(*[f"number {n}" for n in range(60)]))
    next(coming)
    coming.close()
    requests = solving("after")
    assert is_own(requests[0], ask(teacher, requests)[0])
    assert len(stage.log) < 30


def test_it_travels_closed(stage: Stage, clip_store: MemoStore, solving: Solving) -> None:
    teacher = opened(clip_store)
    assert teacher.context_tokens() == 4096
    again: VLLMTeacher = pickle.loads(pickle.dumps(teacher))
    assert again.version() == teacher.version() and "vllm" in again.version()
    with pytest.raises(TeacherUnavailable, match="not opened"):
        again.ask(solving("one"))
