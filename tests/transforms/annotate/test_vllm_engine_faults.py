"""Whatever an engine does wrong, each request gets its own reply or its own error.

Replies meet their requests by id; an engine that dies is loaded again and costs nobody a reply
but the request that kills it; and what no new engine can help stops the run.
"""

from __future__ import annotations

import json
import re
import threading

import pytest
from puppet_engine import Given, Puppet, Solving, Stage, ask, is_own, opened

from transforms.annotate import vllm_teacher
from transforms.annotate.asking import TeacherUnavailable, seed_of
from transforms.annotate.teacher import Reply
from transforms.annotate.vllm_engine import Finished
from transforms.annotate.vllm_loop import MAX_RESTARTS
from transforms.memo import MemoStore


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
