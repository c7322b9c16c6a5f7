"""The teacher behind a server, against a real server on the loopback, good and bad."""

from __future__ import annotations

import base64
import io
import json
import logging
import pickle
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from transforms.annotate import openai_teacher
from transforms.annotate.asking import TeacherUnavailable, seed_of
from transforms.annotate.openai_teacher import OpenAITeacher, retry_after_s
from transforms.annotate.prompts import load_templates, reply_model
from transforms.annotate.replies import SolveReply, read_reply
from transforms.annotate.seeing import look
from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id
from transforms.memo import MemoStore

KEY = "sk-very-secret-0123456789"
MODEL = "seer"
Answer = tuple[int, dict[str, str], bytes]


def completion(text: str | None, finish: str = "stop", **message: Any) -> Answer:
    choice = {"message": {"content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    return 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode()


def solved(reasoning: str) -> Answer:
    return completion(json.dumps({"reasoning": reasoning, "answer": "yes"}))


@dataclass
class Server:
    """A server whose answers are a function of the request's body and of how often it came."""

    answer: Callable[[dict[str, Any], int], Answer]
    models: Answer = (200, {}, json.dumps({"data": [{"id": MODEL}]}).encode())
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        with self.lock:
            times = sum(question_of(other) == question_of(body) for other in self.bodies)
            self.bodies.append(body)
            self.headers.append(headers)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.answer(body, times)
        finally:
            with self.lock:
                self.at_once -= 1


def question_of(body: dict[str, Any]) -> str:
    found = re.search(r"Question: (.*)", body["messages"][0]["content"][-1]["text"])
    return found[1] if found else ""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setattr(openai_teacher, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(openai_teacher, "LONGEST_WAIT_S", 0.05)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PROOFREEL_TEST_KEY", KEY)
    started: list[tuple[Server, ThreadingHTTPServer, threading.Thread]] = []

    def start(answer: Callable[[dict[str, Any], int], Answer], **fields: Any) -> Server:
        server = Server(answer, **fields)

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def send(self, answer: Answer) -> None:
                status, headers, content = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                pieces = [content[i : i + 1] for i in range(len(content))]
                for piece in pieces if "X-Drip" in headers else [content]:
                    self.wfile.write(piece)
                    if "X-Drip" in headers and server.closing.wait(0.05):
                        return

            def do_GET(self) -> None:
                server.headers.append(dict(self.headers))
                self.send(server.models if self.path == "/v1/models" else (404, {}, b"no"))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    assert self.path == "/v1/chat/completions"
                    self.send(server.reply(body, dict(self.headers)))
                except ConnectionAbortedError:
                    self.close_connection = True
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *args: Any) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        http.block_on_close = False
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_port}/v1"
        started.append((server, http, thread))
        return server

    yield start
    for server, http, thread in started:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join(5)


def teacher_of(server: Server, store: MemoStore, **fields: Any) -> OpenAITeacher:
    given = {
        "kind": "openai", "model": MODEL, "url": server.url, "api_key_env": "PROOFREEL_TEST_KEY",
        "frame_height_px": 64, "timeout_s": 20.0, "retries": 2,
    } | fields  # fmt: skip
    teacher = OpenAITeacher(TeacherSettings.model_validate(given), store)
    teacher.open()
    return teacher


def solving(scenes: ModuleType, store: MemoStore, *questions: str) -> list[Request]:
    scene = scenes.make_scene(store, 1)
    return [Request(scene=scene, task=scenes.make_task(scene, text)) for text in questions]


def ask(teacher: OpenAITeacher, requests: list[Request]) -> dict[str, Reply]:
    """Reply by question; every request has exactly one, its own."""
    replies = list(answers_by_id(teacher, requests))
    assert [reply.request_id for reply in replies] == [request.id for request in requests]
    by_id = {reply.request_id: reply for reply in replies}
    assert len(by_id) == len(requests)
    questions = [request.task.question if request.task else "" for request in requests]
    return {
        question: by_id[request.id] for question, request in zip(questions, requests, strict=True)
    }


def test_every_request_gets_its_own_reply_or_its_own_error(
    scenes: ModuleType, clip_store: MemoStore, serve: Callable[..., Server]
) -> None:
    def answer(body: dict[str, Any], times: int) -> Answer:
        question = question_of(body)
        match question.split():
            case ["slow", _]:
                time.sleep(0.3)
            case ["500"] if times == 0:
                return 500, {}, b"boom"
            case ["503"]:
                return 503, {}, b"always down"
            case ["429"] if times == 0:
                return 429, {"Retry-After": "0.4"}, b"later"
            case ["400"]:
                return 400, {}, b'{"error": "too many images"}'
            case ["envelope"]:
                return 200, {}, b"<html>not JSON"
            case ["list"]:
                return 200, {}, b"[1, 2]"
            case ["wrong"]:
                return 200, {}, b'{"choices": []}'
            case ["null"]:
                return completion(None)
            case ["surrogate"]:
                return completion("\ud800")
            case ["refusal"]:
                return completion(None, refusal="I would rather not")
            case ["cut"]:
                return completion('{"reasoning": "and then', "length")
            case ["cut-but-whole"]:
                return completion(json.dumps({"reasoning": question, "answer": "yes"}), "length")
            case ["prose"]:
                return completion("I think that it is red.")
            case ["never"]:
                server.closing.wait(10)
            case ["hangs-up"] if times == 0:
                raise ConnectionAbortedError
        return solved(question)

    server = serve(answer)
    troubles = [
        "500", "503", "429", "400", "envelope", "list", "wrong", "null", "surrogate", "refusal",
        "cut", "cut-but-whole", "prose", "never", "hangs-up",
    ]  # fmt: skip
    slow = [f"slow {number}" for number in range(3)]
    quick = [f"quick {number}" for number in range(10)]
    questions = [*slow, *troubles, *quick]
    requests = solving(scenes, clip_store, *questions)
    teacher = teacher_of(server, clip_store, timeout_s=1.5, in_flight=6)
    arrived = [reply.request_id for reply in teacher.ask(requests)]
    assert sorted(arrived) == sorted(request.id for request in requests)
    assert arrived != [request.id for request in requests], "they come in order of completion"

    server.bodies.clear()
    started = time.monotonic()
    replies = ask(teacher, requests)
    assert time.monotonic() - started < 15
    for question in (*slow, *quick, "500", "429", "hangs-up", "cut-but-whole"):
        reply = replies[question]
        assert not reply.error
        assert read_reply(reply.text, SolveReply).reasoning == question
        assert (reply.prompt_tokens, reply.completion_tokens) == (11, 7)
    expected = {
        "503": "HTTP 503: always down", "400": "too many images", "envelope": "not JSON",
        "list": "not a JSON object", "wrong": "no message", "null": "no text",
        "refusal": "I would rather not", "cut": "cut at teacher.max_tokens = 1024",
        "never": "no answer within 1.5 s", "surrogate": "surrogate",
    }  # fmt: skip
    for question, words in expected.items():
        assert words in replies[question].error and not replies[question].text
    assert replies["prose"].text == "I think that it is red."

    sent = [question_of(body) for body in server.bodies]
    tries = {question: sent.count(question) for question in questions}
    assert tries["503"] == 3 and tries["500"] == tries["429"] == tries["hangs-up"] == 2
    assert all(tries[name] == 1 for name in ("400", "envelope", "never", "cut", *quick))


def test_the_right_pixels_with_the_right_times_reach_the_right_request(
    scenes: ModuleType, clip_store: MemoStore, serve: Callable[..., Server]
) -> None:
    def read(body: dict[str, Any], times: int) -> Answer:
        """Says what is seen: nothing but the pictures and the texts beside them."""
        *shown, last = body["messages"][0]["content"]
        seen = []
        for label, image in zip(shown[::2], shown[1::2], strict=True):
            time_s = re.fullmatch(r"Frame at (\d+\.\d\d) s:", label["text"])
            prefix, _, data = image["image_url"]["url"].partition(",")
            assert time_s and prefix == "data:image/jpeg;base64"
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
            seen.append([*scenes.read_board(pixels), float(time_s[1])])
        said = re.findall(r"(\d+\.\d\d) s", last["text"].split("their times are:\n")[1])
        time.sleep(0.02 * (len(seen) % 3))
        return completion(json.dumps({"seen": seen, "said": said, "ask": question_of(body)}))

    server = serve(read)
    requests = []
    for code in range(1, 13):
        scene = scenes.make_scene(clip_store, code, num_frames=10 + code)
        for sample in range(3):
            task = scenes.make_task(scene, f"What of clip {code}, sample {sample}?")
            requests.append(Request(scene=scene, task=task, sample=sample))
    teacher = teacher_of(server, clip_store, in_flight=8, fps=3.0)
    for request, reply in zip(requests, answers_by_id(teacher, requests), strict=True):
        assert not reply.error
        answer = json.loads(reply.text)
        media = request.scene.media
        code = media.num_frames - 10
        frames = look(clip_store.path(media.ref), media, teacher.settings)
        assert len(frames.times_s) >= 3
        assert answer["seen"] == [
            [code, number, round(number / 8, 2)] for number in frames.indices
        ], "the picture's own number, at that frame's own time"
        assert request.task and answer["ask"] == request.task.question
        # All times in the prompt's list are those of the pictures.
        count = len(frames.times_s)
        assert answer["said"][:count] == [f"{time_s:.2f}" for time_s in frames.times_s]
    assert 2 <= server.most_at_once <= 8


def test_what_is_sent(
    scenes: ModuleType, clip_store: MemoStore, serve: Callable[..., Server]
) -> None:
    server = serve(lambda body, times: solved("ok"))
    extra = {"max_completion_tokens": 99, "max_tokens": None}
    teacher = teacher_of(server, clip_store, temperature=0.3, extra_body=extra)
    scene = scenes.make_scene(clip_store, 1)
    solve = Request(scene=scene, task=scenes.make_task(scene, gold="hidden-gold"), seed=5)
    others = [
        solve.model_copy(update=change)
        for change in ({"sample": 1}, {"round": 1}, {"seed": 6}, {"task": None, "wanted": 2})
    ]
    replies = list(answers_by_id(teacher, [solve, *others]))
    by_seed = {body["seed"]: body for body in server.bodies}
    assert len({seed_of(request) for request in [solve, *others[:3]]}) == 4
    assert set(by_seed) == {seed_of(request) for request in [solve, *others]}
    for body in server.bodies:
        assert body["model"] == MODEL and body["temperature"] == 0.3
        assert body["max_completion_tokens"] == 99 and "max_tokens" not in body
        assert body["response_format"]["type"] == "json_schema"
        assert "hidden-gold" not in json.dumps(body)
    names = [body["response_format"]["json_schema"]["name"] for body in server.bodies]
    assert sorted(names) == ["answer"] * 4 + ["questions"]
    params = json.loads(replies[0].params_json)
    assert params["seed"] == seed_of(solve) and params["extra_body"] == extra
    assert len({reply.prompt_sha256 for reply in replies}) == 2
    assert reply_model(others[3]) is not SolveReply


def test_retry_after_is_honoured(
    scenes: ModuleType, clip_store: MemoStore, serve: Callable[..., Server]
) -> None:
    def answer(body: dict[str, Any], times: int) -> Answer:
        came.append(time.monotonic())
        return (429, {"Retry-After": "0.5"}, b"") if times == 0 else solved("ok")

    came: list[float] = []
    teacher = teacher_of(serve(answer), clip_store)
    assert not ask(teacher, solving(scenes, clip_store, "Why?"))["Why?"].error
    assert came[1] - came[0] >= 0.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", -1.0), ("soon", -1.0), ("nan", -1.0),
        ("inf", -1.0), (formatdate(1_000_010, usegmt=True), 10.0),
        (formatdate(999_000, usegmt=True), 0.0), ("Mon, 99 Foo 2026 00:00:00 GMT", -1.0),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(value: str, expected: float) -> None:
    response = httpx.Response(429, headers={"Retry-After": value})
    assert retry_after_s(response, 1_000_000.0) == expected


def test_a_dripping_or_endless_answer_is_cut_off(
    scenes: ModuleType,
    clip_store: MemoStore,
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_teacher, "MAX_ANSWER_BYTES", 1000)

    def answer(body: dict[str, Any], times: int) -> Answer:
        status, headers, content = completion("x" * (5000 if question_of(body) == "long" else 500))
        return status, headers if question_of(body) == "long" else {"X-Drip": "1"}, content

    teacher = teacher_of(serve(answer), clip_store, timeout_s=1.0)
    started = time.monotonic()
    replies = ask(teacher, solving(scenes, clip_store, "long", "drip"))
    assert replies["long"].error == "the answer has more than 1000 bytes"
    assert replies["drip"].error == "no answer within 1 s"
    assert time.monotonic() - started < 5


def test_a_clip_that_is_gone_costs_only_its_own_requests(
    scenes: ModuleType, clip_store: MemoStore, serve: Callable[..., Server]
) -> None:
    teacher = teacher_of(serve(lambda body, times: solved("ok")), clip_store)
    good, lost = solving(scenes, clip_store, "here", "gone")
    media = lost.scene.media.model_copy(update={"ref": "not/there.mp4", "sha256": "0" * 64})
    lost = lost.model_copy(update={"scene": lost.scene.model_copy(update={"media": media})})
    outside = media.model_copy(update={"ref": "../../etc/passwd", "sha256": "1" * 64})
    leak = lost.model_copy(update={"scene": lost.scene.model_copy(update={"media": outside})})
    replies = list(answers_by_id(teacher, [good, lost, leak]))
    assert not replies[0].error
    assert "can't be decoded" in replies[1].error
    assert "leads outside" in replies[2].error


def test_the_key_is_sent_and_never_kept(
    scenes: ModuleType,
    clip_store: MemoStore,
    serve: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def echo(body: dict[str, Any], times: int) -> Answer:
        if question_of(body) == "error":
            return 401, {}, b"x" * 270 + f"wrong key {KEY}".encode()
        return completion(f"your key is {KEY}")

    caplog.set_level(logging.DEBUG)
    server = serve(echo)
    teacher = teacher_of(server, clip_store)
    replies = ask(teacher, solving(scenes, clip_store, "error", "text"))
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
    assert "HTTP 401" in replies["error"].error
    assert replies["text"].text == "your key is [key]"
    kept = "".join(reply.to_json() for reply in replies.values())
    kept += repr(teacher) + caplog.text + teacher.version() + str(teacher.settings.identity())
    assert "sk-very" not in kept
    travelled = pickle.dumps(teacher)
    assert KEY.encode() not in travelled
    again: OpenAITeacher = pickle.loads(travelled)
    with pytest.raises(TeacherUnavailable, match="not opened"):
        list(again.ask([]))
    again.open()
    assert ask(again, solving(scenes, clip_store, "text"))["text"].text
    again.close()


def test_a_server_without_key_is_sent_none(
    clip_store: MemoStore, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROOFREEL_TEST_KEY")
    server = serve(lambda body, times: solved("ok"))
    teacher_of(server, clip_store)
    assert "Authorization" not in server.headers[0]


def test_open_fails_early_and_says_why(
    clip_store: MemoStore, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble(server: Server, **fields: Any) -> str:
        with pytest.raises(TeacherUnavailable) as caught:
            teacher_of(server, clip_store, **fields)
        assert KEY not in str(caught.value)
        return str(caught.value)

    server = serve(lambda body, times: solved("ok"))
    said = trouble(server, model="other")
    assert f"{server.url}/models" in said and "'other'" in said and "it has: seer" in said
    assert "HTTP 404" in trouble(server, url=server.url.removesuffix("/v1"))
    assert "needs teacher.url" in trouble(server, url="")
    assert "needs teacher.url" in trouble(server, model="")
    assert "http://host:port/v1" in trouble(server, url="localhost:8000/v1")
    said = trouble(server, url="http://me:hidden@127.0.0.1/v1")
    assert "hidden" not in said and "PROOFREEL_TEST_KEY" in said
    said = trouble(server, url="http://127.0.0.1:9/v1", retries=1)
    assert "http://127.0.0.1:9/v1/models" in said and "no connection" in said
    server.models = 401, {}, f"bad key {KEY}".encode()
    assert "HTTP 401: bad key [key]" in trouble(server)
    server.models = 200, {}, b'{"data": [null, {"x": 1}, 3]}'
    assert "it has: none" in trouble(server)
    monkeypatch.setenv("PROOFREEL_TEST_KEY", "a\nb")
    assert "PROOFREEL_TEST_KEY does not hold a usable key" in trouble(server)


def test_the_version_follows_the_prompts(tmp_path: Any, clip_store: MemoStore) -> None:
    ours = OpenAITeacher(TeacherSettings(), clip_store)
    assert load_templates().version() in ours.version()
    for name in ("propose.v1.j2", "solve.v1.j2"):
        (tmp_path / name).write_text("hello", "utf-8")
    theirs = OpenAITeacher(TeacherSettings(prompts=str(tmp_path)), clip_store)
    assert theirs.version() != ours.version()
    assert theirs.settings.identity() == ours.settings.identity()
