"""A real server of OpenAI's form on the loopback that sees what it is shown, good and bad.

What it answers is a function of what it was asked, so that a test can tell from a reply which
pictures with which times it was made of.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

MODEL = "seer"


def load_scenes() -> ModuleType:
    """The boards that tell clip and frame; see tests/transforms/annotate/scenes.py."""
    path = Path(__file__).parents[1] / "transforms" / "annotate" / "scenes.py"
    spec = importlib.util.spec_from_file_location("board_scenes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCENES = load_scenes()


@dataclass(frozen=True)
class Ask:
    """A chat request as the server got it."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    times: int
    """How often the same conversation with the same seed came before."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body["messages"]
        return found

    @cached_property
    def text(self) -> str:
        """All text of all turns."""
        return "\n".join(one for message in self.messages for one in texts_of(message))

    @property
    def is_probe(self) -> bool:
        return "test of the connection" in self.text

    @property
    def purpose(self) -> str:
        """What is asked for; tags are asked for without a schema."""
        form = self.body.get("response_format")
        return "solve" if form is None else str(form["json_schema"]["name"])

    @property
    def offers_tools(self) -> bool:
        """Whether the model may ask for a part of the clip in more detail."""
        return "anyOf" in self.body["response_format"]["json_schema"]["schema"]

    @property
    def times_s(self) -> list[float]:
        """Clip times of all pictures, from the text before each."""
        return [float(one) for one in re.findall(r"Frame at (\d+\.\d\d) s:", self.text)]

    def shows(self, start_s: float, end_s: float) -> bool:
        """Whether a picture of this span is among those shown."""
        return any(start_s <= time_s <= end_s for time_s in self.times_s)

    @property
    def question(self) -> str:
        found = re.search(r"^Question: (.*)$", self.text, re.MULTILINE)
        return found[1] if found else ""

    @cached_property
    def seen(self) -> list[list[tuple[int, int, float]]]:
        """Per turn with pictures: (code, frame number, time in the text before it) of each."""
        looks = [list(pictures_of(message)) for message in self.messages]
        return [
            [(*SCENES.read_board(pixels), time_s) for time_s, pixels in look]
            for look in looks
            if look
        ]


def texts_of(message: Mapping[str, Any]) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if part["type"] == "text"]


def pictures_of(message: Mapping[str, Any]) -> Iterator[tuple[float, Any]]:
    """Each picture of a turn with the time that the text right before it names."""
    content = message["content"]
    for before, part in pairwise(content):
        if isinstance(part, dict) and part["type"] == "image_url":
            said = re.fullmatch(r"Frame at (\d+\.\d\d) s:", before["text"])
            prefix, _, data = part["image_url"]["url"].partition(",")
            assert said is not None and prefix == "data:image/jpeg;base64"
            yield float(said[1]), np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@dataclass(frozen=True)
class Answer:
    """What goes back, and how."""

    content: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    copies: int = 1
    """Whole answers sent on one connection."""
    upto: int = -1
    """Bytes of the content that are sent before the server hangs up; -1 = all."""
    drip_s: float = 0.0
    """Wait after each byte."""
    is_reset: bool = False
    """Nothing is sent: the connection is reset."""


def completion(text: str | None, finish: str = "stop", **message: Any) -> Answer:
    choice = {"message": {"content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    return Answer(json.dumps({"choices": [choice], "usage": usage}).encode())


def completion_of(value: Any) -> Answer:
    return completion(json.dumps(value))


def solved(reasoning: str, answer: str = "yes") -> Answer:
    return completion_of({"reasoning": reasoning, "answer": answer, "segments": [], "boxes": []})


def looked_up(shown: str = "yes") -> Answer:
    """A reply to the request to check a claim."""
    return completion_of({"seen": "what is there", "shown": shown})


def listing(*names: str) -> Answer:
    return Answer(json.dumps({"data": [{"id": name} for name in names]}).encode())


@dataclass
class ChatServer:
    """Runs from `start` to `stop`; what it was asked stands in `asks`, probes apart."""

    answer: Callable[[Ask], Answer]
    models: Answer = field(default_factory=lambda: listing(MODEL))
    probe: Callable[[Ask], Answer] = lambda ask: completion('{"ready": true}')
    asks: list[Ask] = field(default_factory=list)
    probes: list[Ask] = field(default_factory=list)
    listed: int = 0
    """How often it was asked for its models."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    came: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> ChatServer:
        """Listen; after `stop` on the same port again."""
        self.closing.clear()
        self._http = _Http(self)
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self.closing.is_set():
            return
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def reply(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        with self.lock:
            self.headers.append(headers)
            said = json.dumps([body["messages"], body.get("seed")]).encode()
            key = hashlib.sha256(said).hexdigest()
            ask = Ask(body, headers, self.came[key])
            self.came[key] += 1
            if ask.is_probe:
                self.probes.append(ask)
            else:
                self.asks.append(ask)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
        if ask.is_probe:
            return self.probe(ask)
        try:
            return self.answer(ask)
        finally:
            with self.lock:
                self.at_once -= 1


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, chat: ChatServer) -> None:
        self.chat = chat
        super().__init__(("127.0.0.1", chat.port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is no news; anything else is a fault of these tests.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    # Connections are kept, as real servers do, so that what is sent late can do its harm.
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: _Http

    def do_GET(self) -> None:
        chat = self.server.chat
        chat.headers.append(dict(self.headers))
        chat.listed += self.path == "/v1/models"
        self._send(chat.models if self.path == "/v1/models" else Answer(b"no such page", 404))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(self.server.chat.reply(body, dict(self.headers)))

    def _send(self, answer: Answer) -> None:
        if answer.is_reset:
            # Lingering for no time makes the kernel send RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            self.close_connection = True
            return
        for _ in range(answer.copies):
            self.send_response(answer.status)
            for name, value in {
                "Content-Length": str(len(answer.content)),
                "Content-Type": "application/json",
                **answer.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self._send_content(answer)
        self.wfile.flush()

    def _send_content(self, answer: Answer) -> None:
        if answer.upto >= 0:
            self.wfile.write(answer.content[: answer.upto])
            self.close_connection = True
        elif not answer.drip_s:
            self.wfile.write(answer.content)
        else:
            for byte in answer.content:
                self.wfile.write(bytes([byte]))
                if self.server.chat.closing.wait(answer.drip_s):
                    return

    def log_message(self, *args: Any) -> None:
        pass
