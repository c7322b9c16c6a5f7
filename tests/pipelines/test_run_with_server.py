"""A run whose teacher is a server: asked once, and replayed from the store ever after."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import (
    FAST,
    bikes,
    funnel,
    index_rows,
    rejected_rows,
    run_here,
    samples,
    sha256_of_files,
)

from transforms.publish.check import check_dataset

PROPOSED = {
    "tasks": [
        {
            "kind": "mcq",
            "question": "What is being ridden in this clip?",
            "options": ["a bike", "a horse", "a camel"],
            "answer": "A",
            "evidence": [[0.0, 2.0]],
        },
        {"kind": "count", "question": "How many cameras are shown?", "answer": "0"},
    ]
}
QUESTION = "What is being ridden in this clip?"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, text: str) -> dict[str, Any]:
        """Knows the bike, and always takes the number of cameras for 7."""
        if QUESTION in text:
            [letter] = [line[0] for line in text.splitlines() if line.endswith(". a bike")]
        elif "How many cameras" in text:
            letter = "7"
        else:
            return PROPOSED
        return {
            "reasoning": f"From 0.50 to 1.00 s it is shown. So the answer is {letter}.",
            "answer": letter,
            "segments": [{"label": "it", "start_s": 0.5, "end_s": 1.0}],
        }


class Handler(BaseHTTPRequestHandler):
    server: Server

    def reply(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "seer"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = "\n".join(
            part["text"]
            for message in body["messages"]
            for part in message["content"]
            if isinstance(part, dict) and part["type"] == "text"
        )
        self.server.asked.append(text)
        content = json.dumps(self.server.answer(text))
        choice = {"message": {"content": content}, "finish_reason": "stop"}
        self.reply({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


def settings(server: Server) -> list[str]:
    teacher = {"kind": "openai", "model": "seer", "url": server.url, "samples": 2}
    return [
        *FAST,
        *(part for key, one in teacher.items() for part in ("--set", f"teacher.{key}={one}")),
    ]


def test_a_server_is_asked_once(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *settings(server)) == 0
    lines = funnel(out)
    assert lines["task"]["out"] == 2
    # One request to propose, two samples a task, and one more try for each that was wrong.
    assert len(server.asked) == 1 + 2 * 2 + 2
    assert lines["answer"]["in"] == 6
    assert check_dataset(out / "dataset") == []
    [bike] = [one for one in samples(out).values() if one["split"] == "sft"]
    assert bike["provenance"]["teacher"]
    assert QUESTION in json.dumps(bike["messages"])
    assert bike["answer"]["options"][bike["answer"]["option_index"]] == "a bike"
    assert {row["reason"] for row in rejected_rows(out) if row["stage"] == "route"} == {
        "no_accepted_rollout"
    }
    before = sha256_of_files(out / "dataset")
    assert run_here(bikes(), "--out", out, *settings(server)) == 0
    assert len(server.asked) == 7
    assert sha256_of_files(out / "dataset") == before


def test_one_more_sample_asks_only_for_that(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *settings(server)) == 0
    asked = len(server.asked)
    more = ("--set", "teacher.samples=3")
    assert run_here(bikes(), "--out", out, *settings(server), *more) == 0
    # One more sample of each of the two tasks; that of the wrong one gets its second try.
    assert len(server.asked) == asked + 3
    assert len({row["task_id"] for row in index_rows(out)}) == 1


def test_a_server_that_is_not_there_stops_the_run_before_any_work(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = settings(server)
    server.shutdown()
    server.server_close()
    out = tmp_path / "out"
    more = ("--set", "teacher.retries=0")
    assert run_here(bikes(), "--out", out, *arguments, *more) == 1
    said = capsys.readouterr().err
    assert "proofreel:" in said
    assert server.url in said
    assert "Traceback" not in said
    assert not (out / "work" / "memo").exists()
    assert not (out / "dataset").exists()
