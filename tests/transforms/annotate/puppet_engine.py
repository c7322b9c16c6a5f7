"""A puppet in the place of the vLLM engine, and teachers on it; tests/slow has the real one.

The puppet shows the faults that a real engine can't be made to show on demand: replies out of
order, twice, late, never, under another id; requests that kill the engine they are in.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transforms.annotate.asking import TeacherUnavailable, seed_of
from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id
from transforms.annotate.vllm_engine import Done, EngineDied, Facts, Finished, Sampling
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore

QUIET_S = 0.03
IDLE_S = 0.5
QUESTION = re.compile(r"Question: (.*)\n")
SEEN = ("image", "video")
FACTS = Facts("qwen3_vl", frozenset(SEEN), context_tokens=4096, room=64)

Solving = Callable[..., list[Request]]
"""One request per question, each with a sample number of its own, about three clips in turn."""


def chat_text(messages: Sequence[dict[str, Any]], seen: Collection[str] = SEEN) -> str:
    """A chat as text; kinds of media that are not seen leave no trace in it."""
    said = []
    for message in messages:
        parts = [
            part.get("text", f"[{part['type']}]")
            for part in message["content"]
            if part["type"] in ("text", *seen)
        ]
        said.append(f"<{message['role']}>" + "".join(parts))
    return "".join(said)


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
        return chat_text(messages)

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
                if not self.given:
                    # Without it, one that nobody closes takes a core from all that follows.
                    self.lock.wait(IDLE_S)
                    continue
                if self.lock.wait(QUIET_S) or not self.stage.go.wait(QUIET_S):
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


def settings(**fields: Any) -> TeacherSettings:
    given = {"kind": "vllm", "model": "m", "frame_height_px": 64} | fields
    return TeacherSettings.model_validate(given)


def opened(store: MemoStore, **fields: Any) -> VLLMTeacher:
    teacher = VLLMTeacher(settings(**fields), store)
    teacher.open()
    return teacher


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
