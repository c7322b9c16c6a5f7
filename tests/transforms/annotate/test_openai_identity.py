"""No reply ever meets another request, whatever a server does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from asking_servers import ask, solving, teacher_of
from chat_server import SCENES, Answer, Ask, ChatServer, completion, completion_of, solved

from schemas.rejection import Rejected
from transforms.annotate.replies import SolveReply, read_reply
from transforms.annotate.seeing import look
from transforms.annotate.teacher import Request, answers_by_id
from transforms.memo import MemoStore

Serve = Callable[..., ChatServer]


def about_clips(
    store: MemoStore, count: int, samples: int = 1, questions: Callable[[int], str] = str
) -> list[Request]:
    """Requests about clips that tell their number, each of another length."""
    requests = []
    for code in range(1, count + 1):
        scene = SCENES.make_scene(store, code, num_frames=10 + code)
        for sample in range(samples):
            task = SCENES.make_task(scene, f"{questions(code)} of clip {code}, sample {sample}")
            requests.append(Request(scene=scene, task=task, sample=sample))
    return requests


def what_was_seen(said: Ask) -> dict[str, object]:
    """Nothing but the pictures, the times beside them, and the times in the prompt."""
    listed = said.text.split("their times are:\n")[1].split("\n")[0]
    return {"seen": said.seen, "listed": listed.split(", "), "question": said.question}


def assert_own(request: Request, answer: dict[str, object], store: MemoStore) -> None:
    """The answer was made of the pictures of this request's clip, each at its own time."""
    assert request.scene is not None and request.task is not None
    media = request.scene.media
    code = media.num_frames - 10
    [shown] = answer["seen"]  # type: ignore[misc]
    assert len(shown) >= 3
    assert all(one == [code, one[1], round(one[1] / 8, 2)] for one in shown)
    assert answer["listed"] == [f"{time_s:.2f} s" for _, _, time_s in shown]
    assert answer["question"] == request.task.question


def test_the_right_pixels_with_the_right_times_reach_the_right_request(
    clip_store: MemoStore, serve: Serve
) -> None:
    def read(said: Ask) -> Answer:
        time.sleep(0.02 * (len(said.seen[0]) % 3))
        return completion_of(what_was_seen(said))

    server = serve(read)
    requests = about_clips(clip_store, 12, samples=3)
    teacher = teacher_of(clip_store, server, in_flight=8, fps=3.0)
    for request, reply in zip(requests, answers_by_id(teacher, requests), strict=True):
        assert not reply.error
        answer = json.loads(reply.text)
        assert_own(request, answer, clip_store)
        assert request.scene is not None
        media = request.scene.media
        frames = look(clip_store.path(media.ref), media, teacher.settings)
        assert [number for _, number, _ in answer["seen"][0]] == list(frames.indices)
    assert 2 <= server.most_at_once <= 8


TROUBLES = {
    # what the server does: (what the reply's error says, or "" = its own reply; times asked)
    "500-once": ("", 2),
    "429-seconds": ("", 2),
    "reset-once": ("", 2),
    "truncated-once": ("", 2),
    "another-id": ("", 1),
    "text-plain": ("", 1),
    "NaN-count": ("", 1),
    "cut-but-whole": ("", 1),
    "503-ever": ("HTTP 503: always down", 3),
    "reset-ever": ("the connection broke: ", 3),
    "truncated-ever": ("the connection broke: ", 3),
    "400": ("too many images", 1),
    "html": ("not JSON: '<html>no model here'", 1),
    "half-JSON": ("not JSON", 1),
    "list": ("not a JSON object", 1),
    "no-choice": ("holds no message", 1),
    "NaN-message": ("holds no message", 1),
    "null": ("holds no text", 1),
    "number": ("holds no text", 1),
    "surrogate": ("surrogate", 1),
    "refusal": ("I would rather not", 1),
    "cut": ("cut at teacher.max_tokens = 1024", 1),
    "10-MB": ("10000000 characters, more than 200000", 1),
    "20-MB": ("more than 16000000 bytes", 1),
    "gzip": ("compressed", 1),
    "never": ("no answer within 4 s", 1),
    "drips": ("no answer within 4 s", 1),
}


def trouble(said: Ask, server: ChatServer) -> Answer:
    name = said.question.split()[0]
    good = completion_of(what_was_seen(said))
    first = said.times == 0
    match name:
        case "500-once" if first:
            return Answer(b"boom", 500)
        case "429-seconds" if first:
            return Answer(b"later", 429, {"Retry-After": "0.4"})
        case "reset-ever":
            return Answer(b"", is_reset=True)
        case "reset-once" if first:
            return Answer(b"", is_reset=True)
        case "truncated-ever":
            return Answer(good.content, upto=len(good.content) // 2)
        case "truncated-once" if first:
            return Answer(good.content, upto=len(good.content) // 2)
        case "another-id":
            content = json.loads(good.content) | {"id": "chatcmpl-1", "model": "somebody-else"}
            return Answer(json.dumps(content).encode())
        case "text-plain":
            return Answer(good.content, headers={"Content-Type": "text/plain"})
        case "NaN-count":
            content = json.loads(good.content) | {"usage": {"prompt_tokens": float("nan")}}
            return Answer(json.dumps(content).encode())
        case "cut-but-whole":
            return completion(json.dumps(what_was_seen(said)), "length")
        case "503-ever":
            return Answer(b"always down", 503)
        case "400":
            return Answer(b'{"error": "too many images"}', 400)
        case "html":
            return Answer(b"<html>no model here", headers={"Content-Type": "text/html"})
        case "half-JSON":
            return Answer(good.content[:-9])
        case "list":
            return Answer(b"[1, 2]")
        case "no-choice":
            return Answer(b'{"choices": []}')
        case "NaN-message":
            return Answer(b'{"choices": [{"message": NaN}]}')
        case "null":
            return completion(None)
        case "number":
            return Answer(b'{"choices": [{"message": {"content": 1e999}}]}')
        case "surrogate":
            return completion("\ud800")
        case "refusal":
            return completion(None, refusal="I would rather not")
        case "cut":
            return completion('{"reasoning": "and then', "length")
        case "10-MB":
            return completion("x" * 10_000_000)
        case "20-MB":
            return completion("x" * 20_000_000)
        case "gzip":
            return Answer(good.content, headers={"Content-Encoding": "gzip"})
        case "never":
            server.closing.wait(10)
        case "drips":
            return Answer(good.content, drip_s=0.05)
        case "late":
            time.sleep(0.3)
        case "late-twice":
            time.sleep(0.1)
            return Answer(good.content, copies=2)
    return good


def test_every_request_gets_its_own_reply_or_its_own_reason(
    clip_store: MemoStore, serve: Serve
) -> None:
    names = [*TROUBLES, *["late"] * 3, *["late-twice"] * 8, *["well"] * 12]
    requests = about_clips(clip_store, len(names), questions=lambda code: names[code - 1])
    server = serve(lambda said: trouble(said, server))
    teacher = teacher_of(clip_store, server, timeout_s=4, in_flight=6)
    arrived = list(teacher.ask(requests))
    assert sorted(one.request_id for one in arrived) == sorted(one.id for one in requests)
    order = [one.request_id for one in arrived]
    assert order != [one.id for one in requests], "they come in order of completion"

    by_id = {reply.request_id: reply for reply in arrived}
    asked = [said.question for said in server.asks]
    for name, request in zip(names, requests, strict=True):
        reply = by_id[request.id]
        words, times = TROUBLES.get(name, ("", 1))
        assert words in reply.error, name
        if words:
            assert not reply.text and reply.error
        else:
            assert not reply.error, name
            assert_own(request, json.loads(reply.text), clip_store)
        assert request.task is not None
        assert asked.count(request.task.question) == times, name
    assert by_id[requests[names.index("cut")].id].completion_tokens == 7, "it was paid for"
    assert by_id[requests[names.index("NaN-count")].id].prompt_tokens == -1


def test_an_answer_that_comes_twice_is_nobody_elses(clip_store: MemoStore, serve: Serve) -> None:
    server = serve(lambda said: Answer(completion_of(what_was_seen(said)).content, copies=3))
    requests = about_clips(clip_store, 12)
    teacher = teacher_of(clip_store, server, in_flight=1)
    for request, reply in zip(requests, answers_by_id(teacher, requests), strict=True):
        assert_own(request, json.loads(reply.text), clip_store)
    assert len(server.asks) == len(requests)


def test_a_server_that_dies_in_mid_batch_costs_no_other_server_s_requests(
    clip_store: MemoStore, serve: Serve
) -> None:
    def dying(said: Ask) -> Answer:
        if len(dies.asks) == 4:
            # From another thread: the server waits for itself otherwise.
            threading.Thread(target=dies.stop).start()
        if len(dies.asks) >= 4:
            return Answer(b"", is_reset=True)
        return completion_of(what_was_seen(said))

    dies, lives = serve(dying), serve(lambda said: completion_of(what_was_seen(said)))
    requests = about_clips(clip_store, 24)
    teacher = teacher_of(clip_store, dies, lives, in_flight=3)
    for request, reply in zip(requests, answers_by_id(teacher, requests), strict=True):
        assert not reply.error
        assert_own(request, json.loads(reply.text), clip_store)
    assert len(dies.asks) >= 4 and len(lives.asks) >= 12


def test_json_that_is_none_is_read_strictly_afterwards(clip_store: MemoStore, serve: Serve) -> None:
    said_as = {
        "nan": '{"reasoning": "r", "answer": "a", "segments": [{"label": "", "start_s": NaN}]}',
        "infinity": '{"reasoning": "r", "answer": "a", "boxes": [], "segments": Infinity}',
        "prose": "I think that it is red.",
        "half": '{"reasoning": "r", "ans',
    }
    server = serve(lambda said: completion(said_as[said.question]))
    replies = ask(teacher_of(clip_store, server), solving(clip_store, *said_as))
    for name, text in said_as.items():
        # It is what the model said, so it is kept as it is; reading it is what turns it down.
        assert replies[name].text == text and not replies[name].error
        with pytest.raises(Rejected):
            read_reply(replies[name].text, SolveReply)


def test_a_clip_that_is_gone_costs_only_its_own_requests(
    clip_store: MemoStore, serve: Serve
) -> None:
    teacher = teacher_of(clip_store, serve(lambda said: solved("ok")))
    good, lost = solving(clip_store, "here", "gone")
    assert lost.scene is not None
    media = lost.scene.media.model_copy(update={"ref": "not/there.mp4", "sha256": "0" * 64})
    lost = lost.model_copy(update={"scene": lost.scene.model_copy(update={"media": media})})
    outside = media.model_copy(update={"ref": "../../etc/passwd", "sha256": "1" * 64})
    assert lost.scene is not None
    leak = lost.model_copy(update={"scene": lost.scene.model_copy(update={"media": outside})})
    replies = list(answers_by_id(teacher, [good, lost, leak]))
    assert not replies[0].error
    assert "can't be decoded" in replies[1].error
    assert "leads outside" in replies[2].error
