"""One OpenAI-compatible server: a request in, its answer or a plain reason out.

Every request has a connection of its own, and the answer is what comes back on it: nothing that a
server says too late or twice can reach another request. The handshake is nothing beside the
seconds that a model takes.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from typing import Any

import httpx

from transforms.annotate.openai_messages import Refused, message_of, probe_body
from transforms.annotate.teacher import TeacherSettings

MAX_ANSWER_BYTES = 16_000_000
CONNECT_TIMEOUT_S = 15.0
RETRIED_STATUS = frozenset({408, 425, 429, *range(500, 600)})
CANNOT_CONNECT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


class TryAgain(Exception):  # noqa: N818 - not yet an error
    """The server can't answer now; `after_s` is how long it asks to wait, -1 if it does not say."""

    def __init__(self, words: str, after_s: float = -1.0) -> None:
        super().__init__(words)
        self.after_s = after_s


class Unreachable(TryAgain):
    """There is no server: nothing that was asked has reached it."""


class Unfit(Refused):
    """The server is there, and of no use to us whatever it is asked; the words say why."""


def base_url(given: str, api_key_env: str) -> str:
    """The address of a server as it is called, with a slash at its end.

    Raises ValueError, in words for the user and without a password that the address may hold.
    """
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL as error:
        raise ValueError(f"teacher.url is not a URL: {error}") from error
    if url.userinfo or url.query:
        # It would stand in logs and errors; the URL itself is not repeated here either.
        raise ValueError(
            "teacher.url holds a user, password or query: "
            f"put the key into the environment variable {api_key_env}"
        )
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"teacher.url {given!r} is not of the form http://host:port/v1")
    return str(url).rstrip("/") + "/"


class Server:
    """A server that is asked for one model. Safe for threads."""

    def __init__(self, url: str, key: str, settings: TeacherSettings) -> None:
        """`url` as `base_url` gives it; `key` may be "" and is never shown."""
        self.url = url
        self.context_tokens = 0
        """Longest prompt and reply together, if the server told so when it was checked."""
        self._key = key
        self._settings = settings
        headers = {"Connection": "close", "Accept-Encoding": "identity"}
        self._client = httpx.Client(
            base_url=url,
            headers=headers | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(
                settings.timeout_s,
                connect=min(CONNECT_TIMEOUT_S, settings.timeout_s),
                # Waiting for a connection is waiting for our own requests: no fault of the server.
                pool=None,
            ),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def close(self) -> None:
        self._client.close()

    def clean(self, text: str) -> str:
        """Some servers repeat the key in what they say; it must not be kept."""
        return text.replace(self._key, "[key]") if self._key else text

    def check(self) -> None:
        """Make sure that the server has the model, and that the model can be shown a picture.

        Raises TryAgain and Refused (Unfit if neither address nor key is to blame), in words.
        """
        answer = self._send("GET", "models")
        listed = answer.get("data")
        entries = listed if isinstance(listed, list) else []
        names = [name for entry in entries if (name := _name(entry))]
        if self._settings.model not in names:
            has = ", ".join(sorted(names)[:10]) or "none"
            raise Unfit(
                f"does not have the model {self._settings.model!r} (teacher.model); "
                f"it has: {self.clean(has)}"
            )
        [entry, *_] = [one for one in entries if _name(one) == self._settings.model]
        told = entry.get("max_model_len")
        self.context_tokens = told if type(told) is int and told > 0 else 0
        try:
            self._ask_probe(picture=True)
        except Refused as error:
            self._ask_probe(picture=False)
            raise Unfit(
                f"does not take pictures for the model {self._settings.model!r}: {error}. "
                "teacher.model must be a vision-language model, and its server must allow images"
            ) from error

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a chat request.

        Raises TryAgain when the same request may be answered later or elsewhere, Refused when not.
        """
        return self._send("POST", "chat/completions", body)

    def _ask_probe(self, *, picture: bool) -> None:
        message_of(self.complete(probe_body(self._settings, picture=picture)))

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        until = time.monotonic() + self._settings.timeout_s
        try:
            with self._client.stream(method, path, json=body) as response:
                content = _read(response, until)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            # Not tried again: the server is busy with it, and would do the same work twice.
            raise Refused(f"no answer within {self._settings.timeout_s:g} s") from error
        except CANNOT_CONNECT as error:
            raise Unreachable(self._words("no connection", error)) from error
        except httpx.TransportError as error:
            raise TryAgain(self._words("the connection broke", error)) from error
        # Cleaned before it is shortened: half a key would not be recognised.
        said = " ".join(self.clean(content.decode("utf-8", "replace")).split())[:300]
        status = response.status_code
        if status in RETRIED_STATUS:
            raise TryAgain(f"HTTP {status}: {said}", retry_after_s(response, time.time()))
        if status != httpx.codes.OK:
            raise Refused(f"HTTP {status}: {said}")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Refused(f"the answer is not JSON: {said!r}") from error
        if not isinstance(answer, dict):
            raise Refused(f"the answer is not a JSON object: {said!r}")
        return answer

    def _words(self, what: str, error: Exception) -> str:
        return self.clean(f"{what}: {type(error).__name__}: {error}")


def _name(entry: Any) -> str:
    """The name of a model in the server's list; "" if there is none."""
    return str(entry["id"]) if isinstance(entry, dict) and "id" in entry else ""


def retry_after_s(response: httpx.Response, now_s: float) -> float:
    """How long the server asks to wait, from its header in seconds or as a date; -1 if not said."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return -1.0
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = email.utils.parsedate_to_datetime(value).timestamp() - now_s
        except (ValueError, OverflowError, OSError):
            return -1.0
    return max(wait_s, 0.0) if math.isfinite(wait_s) else -1.0


def _read(response: httpx.Response, until: float) -> bytes:
    """The body, within bounds of size and time: a server that drips must not hold a worker."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        # Not asked for, and a few compressed bytes can become more than the memory holds.
        raise Refused("the answer is compressed")
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise Refused(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > until:
            raise httpx.ReadTimeout("the answer took too long")
    return bytes(content)
