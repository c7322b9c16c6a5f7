"""One server: what is told before the work starts, and that the key stays where it belongs."""

from __future__ import annotations

import io
import json
import logging
import pickle
from base64 import b64decode
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from asking_servers import KEY, KEY_ENV, ask, settings_of, solving, teacher_of
from chat_server import MODEL, Answer, Ask, ChatServer, completion, listing, solved
from PIL import Image

from transforms.annotate import openai_server
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.openai_server import base_url, retry_after_s
from transforms.annotate.openai_teacher import OpenAITeacher
from transforms.memo import MemoStore

Serve = Callable[..., ChatServer]


@pytest.fixture
def server(serve: Serve) -> ChatServer:
    return serve(lambda said: solved("ok"))


def trouble(store: MemoStore, server: ChatServer, **fields: Any) -> str:
    """What the person at the keyboard is told when the teacher can't be opened."""
    with pytest.raises(TeacherUnavailable) as caught:
        teacher_of(store, server, **fields)
    said = str(caught.value)
    assert KEY not in said and "\n" not in said
    return said


def test_a_wrong_address_is_told_in_words(clip_store: MemoStore, server: ChatServer) -> None:
    bare = server.url.removesuffix("/v1")
    said = trouble(clip_store, server, url=bare)
    assert f"{bare}/ can't be used: HTTP 404" in said and "mostly ends in /v1" in said
    said = trouble(clip_store, server, url=f"{server.url}/chat/completions")
    assert "HTTP 404" in said and "mostly ends in /v1" in said
    said = trouble(clip_store, server, url="http://127.0.0.1:9/v1", retries=1)
    assert "http://127.0.0.1:9/v1/ can't be used: no connection" in said
    assert f"{KEY_ENV} is set" in said
    said = trouble(clip_store, server, url="http://no-such-host.invalid/v1", retries=0)
    assert "no connection" in said
    assert "needs teacher.url" in trouble(clip_store, server, url="")
    assert "needs teacher.url" in trouble(clip_store, server, url=[])
    assert "needs teacher.url" in trouble(clip_store, server, model="")
    assert "http://host:port/v1" in trouble(clip_store, server, url="localhost:8000/v1")
    assert "http://host:port/v1" in trouble(clip_store, server, url=[server.url, ""])
    assert not server.asks and not server.probes


def test_a_password_in_the_address_is_not_repeated(
    clip_store: MemoStore, server: ChatServer
) -> None:
    for url in ("http://me:hidden@127.0.0.1/v1", "http://127.0.0.1/v1?key=hidden"):
        said = trouble(clip_store, server, url=[server.url, url])
        assert "hidden" not in said and KEY_ENV in said


def test_a_wrong_model_is_told_with_those_there_are(
    clip_store: MemoStore, server: ChatServer
) -> None:
    server.models = listing(*(f"m{number:02}" for number in range(30)))
    said = trouble(clip_store, server, model="other")
    assert (
        f"{server.url}/ does not have the model 'other' (teacher.model); it has: m00, m01" in said
    )
    assert "m09" in said and "m10" not in said and "mostly ends" not in said
    server.models = Answer(b'{"data": [null, {"x": 1}, 3]}')
    assert "it has: none" in trouble(clip_store, server)
    server.models = Answer(b"<html>welcome to the web page of our server")
    assert "not JSON" in trouble(clip_store, server)


def test_a_model_that_can_t_see_is_told_before_the_work(
    clip_store: MemoStore, server: ChatServer
) -> None:
    def blind(said: Ask) -> Answer:
        if isinstance(said.messages[0]["content"], str):
            return completion('{"ready": true}')
        return Answer(b'{"error": "seer is not a multimodal model"}', 400)

    server.probe = blind
    said = trouble(clip_store, server)
    assert f"{server.url}/ does not take pictures for the model 'seer': HTTP 400" in said
    assert "not a multimodal model" in said and "vision-language" in said
    assert len(server.probes) == 2


def test_a_server_that_lists_its_models_but_takes_no_request_is_told_before_the_work(
    clip_store: MemoStore, server: ChatServer
) -> None:
    server.probe = lambda said: Answer(f"wrong key {KEY}".encode(), 401)
    said = trouble(clip_store, server)
    assert "can't be used: HTTP 401: wrong key [key]" in said and f"{KEY_ENV} is set" in said
    assert "pictures" not in said
    server.probe = lambda said: Answer(b'{"error": {"message": "no credit left"}}')
    assert "no credit left" in trouble(clip_store, server)


def test_the_probe_is_one_small_request_like_the_real_ones(
    clip_store: MemoStore, server: ChatServer
) -> None:
    server.probe = lambda said: completion(None, "length")
    extra = {"max_completion_tokens": 99, "max_tokens": None}
    teacher_of(clip_store, server, extra_body=extra, temperature=0.3)
    [probe] = server.probes
    assert len(json.dumps(probe.body)) < 3_000
    [_, image, _] = probe.messages[0]["content"]
    assert Image.open(io.BytesIO(b64decode(image["image_url"]["url"].split(",")[1]))).size == (
        64,
        64,
    )
    assert probe.body["max_completion_tokens"] == 99 and "max_tokens" not in probe.body
    assert probe.body["temperature"] == 0.3 and probe.body["model"] == MODEL
    assert probe.body["response_format"]["json_schema"]["name"] == "probe"
    # Where answers go without a grammar, a server need not know any.
    teacher_of(clip_store, server, reply_form="think")
    assert "response_format" not in server.probes[1].body


def test_opening_is_tried_again_while_a_server_comes_up(
    clip_store: MemoStore, server: ChatServer
) -> None:
    busy = iter([Answer(b"loading", 503), Answer(b"", 429, {"Retry-After": "0.1"})])
    server.probe = lambda said: next(busy, completion("ok"))
    teacher = teacher_of(clip_store, server)
    assert len(server.probes) == 3
    assert ask(teacher, solving(clip_store, "Why?"))["Why?"].text


def test_a_context_that_is_too_short_is_the_reason_of_that_request(
    clip_store: MemoStore, serve: Serve
) -> None:
    words = "maximum context length is 4096 tokens, your request has 5000 input tokens"

    def answer(said: Ask) -> Answer:
        return Answer(words.encode(), 400) if said.question == "long" else solved("ok")

    server = serve(answer)
    replies = ask(teacher_of(clip_store, server), solving(clip_store, "long", "short"))
    assert replies["long"].error == f"HTTP 400: {words}"
    # A longer context may be given to the server: it is no trait of the request.
    assert not replies["long"].lasting and not replies["short"].error
    assert len(server.asks) == 2


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


@pytest.mark.parametrize(
    "given", ["http://host:8000/v1", "http://host:8000/v1/", "HTTP://HOST:8000/v1"]
)
def test_one_server_has_one_address(given: str) -> None:
    assert base_url(given, KEY_ENV) == "http://host:8000/v1/"


def test_an_endless_answer_is_cut_off(
    clip_store: MemoStore, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_server, "MAX_ANSWER_BYTES", 1000)
    teacher = teacher_of(clip_store, serve(lambda said: completion("x" * 5000)))
    replies = ask(teacher, solving(clip_store, "long"))
    assert replies["long"].error == "the answer has more than 1000 bytes"


def test_the_key_is_sent_and_never_kept(
    clip_store: MemoStore, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def echo(said: Ask) -> Answer:
        if said.question == "error":
            return Answer(b"x" * 270 + f"wrong key {KEY}".encode(), 401)
        if said.question == "refusal":
            return completion(None, refusal=f"not with {KEY}")
        return completion(f"your key is {KEY}", reasoning=f"the key is {KEY}")

    caplog.set_level(logging.DEBUG)
    server = serve(echo)
    teacher = teacher_of(clip_store, server)
    replies = ask(teacher, solving(clip_store, "error", "refusal", "text"))
    assert len(server.headers) == 5
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
    assert "HTTP 401" in replies["error"].error
    assert replies["refusal"].error == "the model refused: not with [key]"
    assert replies["text"].text == "your key is [key]"
    assert replies["text"].thinking == "the key is [key]"
    kept = "".join(reply.to_json() for reply in replies.values())
    kept += repr(teacher) + caplog.text + teacher.version() + str(teacher.settings.identity())
    assert "sk-very" not in kept
    travelled = pickle.dumps(teacher)
    assert KEY.encode() not in travelled
    again: OpenAITeacher = pickle.loads(travelled)
    with pytest.raises(TeacherUnavailable, match="not opened"):
        list(again.ask([]))
    again.open()
    assert ask(again, solving(clip_store, "text"))["text"].text
    again.close()


def test_a_server_without_key_is_sent_none(
    clip_store: MemoStore, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_ENV)
    teacher_of(clip_store, server)
    assert len(server.headers) == 2
    assert all("Authorization" not in headers for headers in server.headers)
    monkeypatch.setenv(KEY_ENV, "a\nb")
    teacher = OpenAITeacher(settings_of(server), clip_store)
    with pytest.raises(TeacherUnavailable, match=f"{KEY_ENV} does not hold a usable key"):
        teacher.open()
