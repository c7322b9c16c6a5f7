"""The vLLM teacher's own part, with an engine that is a puppet; tests/slow has the real one.

The puppet shows the faults that a real engine can't be made to show on demand: replies out of
order, twice, late, never, under another id; requests that kill the engine they are in.
"""

from __future__ import annotations

import json
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import pytest

from schemas.task import TaskKind
from transforms.annotate import seeing, vllm_loop, vllm_teacher
from transforms.annotate.asking import TeacherUnavailable, seed_of
from transforms.annotate.seeing import look
from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id
from transforms.annotate.vllm_engine import (
    Done,
    EngineDied,
    Facts,
    Finished,
    Sampling,
)
from transforms.annotate.vllm_loop import MAX_RESTARTS
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore

QUIET_S = 0.03
QUESTION = re.compile(r"Question: (.*)\n")
FACTS = Facts("qwen3_vl", frozenset({"image", "video"}), context_tokens=4096, room=64)


@dataclass
class Given:
    engine_id: str
    prompt: dict[str, Any]
    how: Sampling
    done: Done

    @property
    def question(self) -> str:
        found = QUESTION.search(self.prompt["prompt"])
        return found[1] if found else ""

    def answer(self) -> None:
        said, reason = {"prompt": self.prompt["prompt"], "seed": self.how.seed}, "stop"
        text = json.dumps(said)
        if "cut" in self.question:
            text, reason = '{"reasoning": "and', "length"
        if "abort" in self.question:
            reason = "abort"
        thinking = "hm" if "think" in self.question else ""
        if "only think" in self.question:
            text = ""
        self.done(self.engine_id, Finished(text, reason, 5, 6, thinking=thinking))


@dataclass
class Puppet:
    """Waits until nothing more comes, then answers from the last to the first."""

    stage: Stage
    facts: Facts
    given: list[Given] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self.lock = threading.Condition()
        threading.Thread(target=self._play, daemon=True).start()

    def chat_text(self, messages: Sequence[dict[str, Any]]) -> str:
        said = []
        for message in messages:
            parts = [part.get("text", f"[{part['type']}]") for part in message["content"]]
            said.append(f"<{message['role']}>" + "".join(parts))
        return "".join(said)

    def hand_in(self, engine_id: str, prompt: dict[str, Any], how: Sampling, done: Done) -> None:
        with self.lock:
            self.given.append(Given(engine_id, prompt, how, done))
            self.stage.log.append(self.given[-1].question)
            self.stage.most = max(self.stage.most, len(self.given))
            self.lock.notify_all()
        if self.closed:
            done(engine_id, EngineDied("closed"))

    def close(self) -> None:
        self.closed = True

    def _play(self) -> None:
        while not self.closed:
            with self.lock:
                if not self.given or self.lock.wait(QUIET_S) or not self.stage.go.wait(QUIET_S):
                    continue
                batch, self.given = self.given[::-1], []
            if any(self.stage.kills(one.question) for one in batch):
                self.stage.graveyard += batch
                for one in batch:
                    one.done(one.engine_id, EngineDied("gone"))
                return
            batch[0].done("9999", Finished("a stranger's", "stop", 1, 1))
            for one in batch:
                self._answer(one)

    def _answer(self, one: Given) -> None:
        if "never" in one.question:
            return
        if "too long" in one.question:
            one.done(one.engine_id, ValueError("longer than the maximum model length"))
        elif "fault" in one.question and self.stage.log.count(one.question) == 1:
            one.done(one.engine_id, Finished("", "error", 0, 0))
        elif "trips" in one.question and self.stage.log.count(one.question) == 1:
            one.done(one.engine_id, RuntimeError("Already borrowed"))
        else:
            one.answer()
        if "twice" in one.question:
            one.done(one.engine_id, Finished("the second", "stop", 1, 1))


@dataclass
class Stage:
    """All engines that were loaded, and what they were asked, in order."""

    engines: list[Puppet] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    graveyard: list[Given] = field(default_factory=list)
    most: int = 0
    kills: Callable[[str], bool] = lambda question: "poison" in question
    go: threading.Event = field(default_factory=threading.Event)
    unloadable_after: int = 1000
    room: int = FACTS.room

    def load(self, arguments: dict[str, Any], check: Callable[[Any], None]) -> Puppet:
        if len(self.engines) >= self.unloadable_after:
            raise TeacherUnavailable("the GPU fell off the bus")
        # What dead engines had is answered late: nobody may take it.
        for given in self.graveyard:
            given.done(given.engine_id, Finished("from the grave", "stop", 1, 1))
        puppet = Puppet(self, replace(FACTS, room=self.room))
        check(puppet)
        self.engines.append(puppet)
        return puppet


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage()
    made.go.set()
    monkeypatch.setattr(vllm_teacher, "_LOOPS", {})
    monkeypatch.setattr(vllm_teacher, "load_engine", made.load)
    monkeypatch.setattr(vllm_loop, "WATCH_S", 0.05)
    yield made
    made.go.set()
    vllm_teacher.close_engines()


def settings(**fields: Any) -> TeacherSettings:
    given = {"kind": "vllm", "model": "m", "frame_height_px": 64} | fields
    return TeacherSettings.model_validate(given)


def opened(store: MemoStore, **fields: Any) -> VLLMTeacher:
    teacher = VLLMTeacher(settings(**fields), store)
    teacher.open()
    return teacher


Solving = Callable[..., list[Request]]


@pytest.fixture
def solving(scenes: ModuleType, clip_store: MemoStore) -> Solving:
    def make(*questions: str) -> list[Request]:
        return [
            Request(scene=(scene := scenes.make_scene(clip_store, 1 + place % 3)),
                    task=scenes.make_task(scene, question), sample=place)
            for place, question in enumerate(questions)
        ]  # fmt: skip

    return make


def ask(teacher: VLLMTeacher, requests: list[Request]) -> list[Reply]:
    replies = list(answers_by_id(teacher, requests))
    assert [reply.request_id for reply in replies] == [request.id for request in requests]
    return replies


def is_own(request: Request, reply: Reply) -> bool:
    """Whether a reply is that of the puppet to this request."""
    assert request.task is not None
    said = json.loads(reply.text)
    return f"Question: {request.task.question}\n" in said["prompt"] and said["seed"] == seed_of(
        request
    )


def test_replies_meet_their_requests_by_id(
    stage: Stage, clip_store: MemoStore, solving: Solving
) -> None:
    questions = (
        "one",
        "too long",
        "twice",
        "cut",
        "three",
        "abort",
        "fault",
        "trips",
        "think",
        "only think",
    )
    requests = solving(*questions)
    replies = ask(opened(clip_store), requests)
    found = dict(zip(questions, zip(requests, replies, strict=True), strict=True))
    for question in ("one", "twice", "three", "fault", "trips", "think"):
        request, reply = found[question]
        assert is_own(request, reply)
        assert (reply.prompt_tokens, reply.completion_tokens) == (5, 6)
        assert json.loads(reply.params_json)["seed"] == seed_of(request)
        assert reply.thinking == ("hm" if question == "think" else "")
    assert found["too long"][1].error == "ValueError: longer than the maximum model length"
    assert found["cut"][1].error == "the reply was cut at teacher.max_tokens = 1024"
    assert found["cut"][1].lasting and not found["abort"][1].lasting
    assert found["abort"][1].error == "the engine ended with 'abort'"
    assert found["only think"][1].error == "the model thought, but gave no reply"
    for own_fault in ("fault", "trips"):
        assert stage.log.count(own_fault) == 2, "an engine's own fault is worth a second try"
    assert stage.log.count("too long") == 1, "what it refuses it refuses again"
    assert len(stage.engines) == 1


def test_a_fault_that_comes_again_is_the_request_s(
    stage: Stage, clip_store: MemoStore, solving: Solving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(self: Puppet, one: Given) -> None:
        one.done(one.engine_id, Finished("", "error", 0, 0))

    monkeypatch.setattr(Puppet, "_answer", faulty)
    (reply,) = ask(opened(clip_store), solving("one"))
    assert reply.error == "the engine ended with 'error'" and len(stage.log) == 2


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


def test_an_engine_that_dies_in_mid_batch_costs_nobody_a_reply(
    stage: Stage, clip_store: MemoStore, solving: Solving
) -> None:
    stage.kills = lambda question: "trip" in question and len(stage.engines) == 1
    requests = solving(*[f"trip {n}" for n in range(12)])
    replies = ask(opened(clip_store), requests)
    assert all(is_own(*pair) for pair in zip(requests, replies, strict=True))
    assert len(stage.engines) == 2 and stage.engines[0].closed and not stage.engines[1].closed
    assert len(stage.log) == 24, "all were asked again, once"


def test_poison_fails_alone(stage: Stage, clip_store: MemoStore, solving: Solving) -> None:
    questions = [f"number {n}" for n in range(30)]
    questions[7], questions[20] = "poison a", "poison b"
    requests = solving(*questions)
    replies = ask(opened(clip_store), requests)
    for question, request, reply in zip(questions, requests, replies, strict=True):
        if "poison" in question:
            assert re.search(r"the engine died \d times when asked this", reply.error)
        else:
            assert is_own(request, reply)
    assert len(stage.engines) <= MAX_RESTARTS
    # The loop is open again for others.
    more = solving("after")
    assert is_own(more[0], ask(opened(clip_store), more)[0])


def test_poison_of_one_thread_does_not_harm_the_others(
    stage: Stage, clip_store: MemoStore, solving: Solving
) -> None:
    teacher = opened(clip_store)
    found: dict[str, Reply] = {}

    def work(name: str) -> None:
        questions = [f"{name} {n}" for n in range(6)] + (["poison"] if name == "c" else [])
        requests = solving(*questions)
        for question, request, reply in zip(
            questions, requests, ask(teacher, requests), strict=True
        ):
            assert "poison" in question or is_own(request, reply), reply
            found[question] = reply

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 25 and "died" in found["poison"].error


def test_a_request_that_never_ends_is_found(
    stage: Stage, clip_store: MemoStore, solving: Solving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_teacher, "SLOWEST_TOKEN_S", 0.0)
    requests = solving("one", "never", "two")
    replies = ask(opened(clip_store, timeout_s=0.3), requests)
    assert is_own(requests[0], replies[0]) and is_own(requests[2], replies[2])
    assert "died" in replies[1].error and len(stage.engines) > 2


def test_a_machine_on_which_every_engine_dies_stops_the_run(
    stage: Stage, clip_store: MemoStore, solving: Solving
) -> None:
    stage.kills = lambda question: True
    with pytest.raises(TeacherUnavailable, match="died 9 times in one batch"):
        list(opened(clip_store).ask(solving(*[f"number {n}" for n in range(100)])))
    assert len(stage.engines) <= MAX_RESTARTS + 2


def test_an_engine_that_can_not_be_loaded_again_stops_the_run(
    stage: Stage, clip_store: MemoStore, solving: Solving
) -> None:
    stage.unloadable_after = 1
    teacher = opened(clip_store)
    with pytest.raises(TeacherUnavailable, match="fell off the bus"):
        list(teacher.ask(solving("one", "poison", "two", "three", "four", "five")))
    with pytest.raises(TeacherUnavailable, match="fell off the bus"):
        list(teacher.ask(solving("one")))
    stage.unloadable_after = 2
    requests = solving("one")
    assert is_own(requests[0], ask(teacher, requests)[0]), "a later run tries again"


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


def test_proposals_are_held_to_what_was_asked_for(
    scenes: ModuleType, stage: Stage, clip_store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sampling] = []
    hand_in = Puppet.hand_in

    def watch(self: Puppet, engine_id: str, prompt: Any, how: Sampling, done: Done) -> None:
        seen.append(how)
        hand_in(self, engine_id, prompt, how, done)

    monkeypatch.setattr(Puppet, "hand_in", watch)
    scene = scenes.make_scene(clip_store, 1)
    requests = [Request(scene=scene, wanted=1, kinds=(TaskKind.COUNT,))]
    ask(opened(clip_store, temperature=0.2), requests)
    assert seen[0].schema is not None
    kind = seen[0].schema["properties"]["tasks"]["items"]["properties"]["kind"]
    assert kind["enum"] == ["count"]
    assert (seen[0].temperature, seen[0].max_tokens) == (0.2, 1024)
    solve = Request(scene=scene, task=scenes.make_task(scene))
    ask(opened(clip_store, reply_form="think"), [solve])
    assert seen[-1].schema is None, "no grammar for text in tags"
