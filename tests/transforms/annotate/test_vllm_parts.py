"""The vLLM teacher's own part, with an engine that is a puppet; tests/slow has the real one."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from schemas.task import TaskKind
from transforms.annotate import vllm_teacher
from transforms.annotate.asking import TeacherUnavailable, seed_of
from transforms.annotate.seeing import look
from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id
from transforms.annotate.vllm_teacher import (
    EngineDied,
    Finished,
    VLLMTeacher,
    engine_arguments,
    video_metadata,
)
from transforms.memo import MemoStore


@dataclass
class Puppet:
    """Answers with what it was given; finishes in reverse order, with a stranger among them."""

    lock: Any = field(default_factory=threading.Lock)
    waiting: list[tuple[str, dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    count: int = 0
    breaks: str = ""
    closed: bool = False
    busy: bool = False

    def chat_text(self, prompt: str) -> str:
        return f"<user>{prompt}</user>"

    def enqueue(self, prompt: dict[str, Any], params: dict[str, Any]) -> str:
        assert self.lock.locked() and not self.closed
        if self.breaks == "enqueue":
            raise EngineDied("gone")
        if "too long" in prompt["prompt"]:
            raise ValueError("the prompt is longer than the maximum model length")
        self.count += 1
        self.waiting.append((str(self.count), prompt, params))
        return str(self.count)

    def finish(self) -> list[Finished]:
        if self.breaks == "finish":
            raise RuntimeError("the engine broke")
        assert not self.busy, "one batch at a time"
        self.busy = True
        done = [Finished("9999", "from an earlier batch", "stop", 1, 1)]
        for engine_id, prompt, params in reversed(self.waiting):
            text, reason = json.dumps({"prompt": prompt["prompt"], "seed": params["seed"]}), "stop"
            if "cut here" in prompt["prompt"]:
                text, reason = '{"reasoning": "and', "length"
            if "abort here" in prompt["prompt"]:
                reason = "abort"
            if "vanish" not in prompt["prompt"]:
                done.append(Finished(engine_id, text, reason, 5, 6))
        self.waiting.clear()
        self.busy = False
        return done

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def puppets(monkeypatch: pytest.MonkeyPatch) -> list[Puppet]:
    made: list[Puppet] = []

    def load(arguments: dict[str, Any]) -> Puppet:
        made.append(Puppet())
        return made[-1]

    monkeypatch.setattr(vllm_teacher, "_ENGINES", {})
    monkeypatch.setattr(vllm_teacher, "_load", load)
    return made


def settings(**fields: Any) -> TeacherSettings:
    given = {"kind": "vllm", "model": "m", "frame_height_px": 64} | fields
    return TeacherSettings.model_validate(given)


@pytest.fixture
def solving(scenes: ModuleType, clip_store: MemoStore) -> Callable[..., list[Request]]:
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


def test_replies_meet_their_requests_by_id(
    puppets: list[Puppet], clip_store: MemoStore, solving: Callable[..., list[Request]]
) -> None:
    questions = ("one", "too long", "two", "cut here", "three", "abort here", "vanish", "four")
    requests = solving(*questions)
    teacher = VLLMTeacher(settings(), clip_store)
    teacher.open()
    replies = dict(zip(questions, ask(teacher, requests), strict=True))
    seeds = {
        question: seed_of(request) for question, request in zip(questions, requests, strict=True)
    }
    for question in ("one", "two", "three", "four"):
        answer = json.loads(replies[question].text)
        assert f"Question: {question}\n" in answer["prompt"]
        assert answer["seed"] == seeds[question]
        assert (replies[question].prompt_tokens, replies[question].completion_tokens) == (5, 6)
        assert json.loads(replies[question].params_json)["seed"] == seeds[question]
    assert "longer than the maximum" in replies["too long"].error
    assert replies["cut here"].error == "the reply was cut at teacher.max_tokens = 1024"
    assert replies["abort here"].error == "the engine ended with 'abort'"
    assert replies["vanish"].error == "the teacher gave no reply"


def test_the_engine_is_told_the_true_times(
    scenes: ModuleType, puppets: list[Puppet], clip_store: MemoStore
) -> None:
    scene = scenes.make_scene(clip_store, 9, num_frames=22)
    frames = look(clip_store.path(scene.media.ref), scene.media, settings(fps=2.0))
    told = video_metadata(frames)
    boards = [scenes.read_board(pixels) for pixels in frames.pixels]
    assert told["frames_indices"] == [number for _, number in boards]
    times = [index / told["fps"] for index in told["frames_indices"]]
    assert times == pytest.approx(list(frames.times_s))
    # 2.75 s at 2 per second: 6 frames; their true rate, as Qwen2.5-VL's processor works it out.
    rate = len(boards) / told["total_num_frames"] * told["fps"]
    assert rate == pytest.approx(6 / 2.75)
    assert told["duration"] == 2.75 and told["do_sample_frames"] is False


def test_a_broken_engine_costs_its_batch_and_is_replaced(
    puppets: list[Puppet], clip_store: MemoStore, solving: Callable[..., list[Request]]
) -> None:
    teacher = VLLMTeacher(settings(), clip_store)
    teacher.open()
    requests = solving("one", "two")
    for number, breaks in enumerate(("enqueue", "finish"), start=1):
        puppets[-1].breaks = breaks
        assert all("the teacher failed" in reply.error for reply in ask(teacher, requests))
        assert puppets[-1].closed
        assert all(reply.text for reply in ask(teacher, requests))
        assert len(puppets) == number + 1


def test_one_engine_for_all_threads_and_teachers(
    puppets: list[Puppet], clip_store: MemoStore, solving: Callable[..., list[Request]]
) -> None:
    teachers = [VLLMTeacher(settings(), clip_store) for _ in range(4)]
    found: list[list[Reply]] = []

    def work(teacher: VLLMTeacher) -> None:
        teacher.open()
        found.extend(ask(teacher, solving("one", "two", "three")) for _ in range(3))

    threads = [threading.Thread(target=work, args=(teacher,)) for teacher in teachers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(puppets) == 1 and len(found) == 12
    assert all(reply.text for replies in found for reply in replies)
    other = VLLMTeacher(settings(model="another"), clip_store)
    other.open()
    assert len(puppets) == 2


def test_it_travels_closed(
    puppets: list[Puppet], clip_store: MemoStore, solving: Callable[..., list[Request]]
) -> None:
    teacher = VLLMTeacher(settings(), clip_store)
    teacher.open()
    again: VLLMTeacher = pickle.loads(pickle.dumps(teacher))
    assert again.version() == teacher.version() and "vllm" in again.version()
    with pytest.raises(TeacherUnavailable, match="not opened"):
        again.ask(solving("one"))


def test_proposals_are_held_to_what_was_asked_for(
    scenes: ModuleType, puppets: list[Puppet], clip_store: MemoStore
) -> None:
    seen: list[dict[str, Any]] = []
    teacher = VLLMTeacher(settings(temperature=0.2), clip_store)
    teacher.open()
    puppet = puppets[0]
    enqueue = puppet.enqueue

    def watch(prompt: dict[str, Any], params: dict[str, Any]) -> str:
        seen.append(params)
        return enqueue(prompt, params)

    puppet.enqueue = watch  # type: ignore[method-assign]
    scene = scenes.make_scene(clip_store, 1)
    ask(teacher, [Request(scene=scene, wanted=1, kinds=(TaskKind.COUNT,))])
    kind = seen[0]["json_schema"]["properties"]["tasks"]["items"]["properties"]["kind"]
    assert kind["enum"] == ["count"]
    assert seen[0]["temperature"] == 0.2 and seen[0]["max_tokens"] == 1024


def test_arguments_of_the_engine() -> None:
    arguments = engine_arguments(
        settings(revision="abc", max_model_len=99, engine_args={"tensor_parallel_size": 4})
    )
    assert arguments["revision"] == arguments["tokenizer_revision"] == "abc"
    assert arguments["max_model_len"] == 99 and arguments["tensor_parallel_size"] == 4
    assert "max_model_len" not in engine_arguments(settings())
    with pytest.raises(TeacherUnavailable, match=r"needs teacher\.model"):
        engine_arguments(settings(model=""))


def test_without_vllm_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, clip_store: MemoStore
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(vllm_teacher, "_ENGINES", {})
    with pytest.raises(TeacherUnavailable, match=r"install proofreel\[vllm\].*kind openai"):
        VLLMTeacher(settings(), clip_store).open()
