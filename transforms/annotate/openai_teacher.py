"""A teacher behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, a hosted service)."""

from __future__ import annotations

import base64
import email.utils
import io
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import httpx
import tenacity
from PIL import Image

from schemas.base import canonical_json
from schemas.clip import Media
from transforms.annotate.asking import TeacherUnavailable, cut_short, failed, params_json, seed_of
from transforms.annotate.prompts import Templates, load_templates, render_prompt, reply_schema
from transforms.annotate.seeing import Recent, look
from transforms.annotate.teacher import Reply, Request, TeacherSettings
from transforms.memo import MemoStore

VERSION = "1"
"""Raise when the same request would be sent differently."""

JPEG_QUALITY = 90
MAX_ANSWER_BYTES = 16_000_000
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
CONNECT_TIMEOUT_S = 15.0
RETRIED_STATUS = frozenset({408, 425, 429, *range(500, 600)})


@dataclass(frozen=True)
class Shown:
    """A clip as a server is shown it: JPEG data URLs and the time of each, clip time."""

    images: tuple[str, ...]
    times_s: tuple[float, ...]
    duration_s: float


class TryAgain(Exception):  # noqa: N818 - not yet an error
    """The server can't answer now; `after_s` is how long it asks to wait, -1 if it does not say."""

    def __init__(self, words: str, after_s: float = -1.0) -> None:
        super().__init__(words)
        self.after_s = after_s


class Refused(Exception):  # noqa: N818 - its words are what is read
    """The server's answer is of no use, and asking again would not change that."""


@dataclass
class OpenAITeacher:
    """Asks a server, several requests at a time; each failure is the failure of one request.

    Holds nothing but its settings and its prompts until `open`, so that it can travel to workers;
    the key is read from the environment of the worker and lives only in the open client.
    """

    settings: TeacherSettings
    store: MemoStore
    templates: Templates = field(init=False)

    def __post_init__(self) -> None:
        self.templates = load_templates(self.settings.prompts)
        self._client: httpx.Client | None = None
        self._key = ""
        self._seen: Recent[Shown] | None = None

    def __getstate__(self) -> dict[str, Any]:
        closed = {"_client": None, "_key": "", "_seen": None}
        return self.__dict__ | closed

    def version(self) -> str:
        return f"openai-{VERSION}-{self.templates.version()}"

    def open(self) -> None:
        """Connect, and make sure that the server has the model.

        Raises TeacherUnavailable with the address and what to do.
        """
        url = self._base_url()
        self._key = os.environ.get(self.settings.api_key_env, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise TeacherUnavailable(f"{self.settings.api_key_env} does not hold a usable key")
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(
                self.settings.timeout_s,
                connect=min(CONNECT_TIMEOUT_S, self.settings.timeout_s),
                # Waiting for a connection is waiting for our own requests: no fault of the server.
                pool=None,
            ),
            limits=httpx.Limits(max_connections=self.settings.in_flight),
        )
        self._seen = Recent(self._show, size=2 * self.settings.in_flight)
        try:
            self._find_model(url)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connections and of the key."""
        if self._client is not None:
            self._client.close()
        self._client, self._key, self._seen = None, "", None

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """One reply per request, in order of completion."""
        if self._client is None:
            raise TeacherUnavailable("the teacher was not opened")
        pool = ThreadPoolExecutor(self.settings.in_flight, thread_name_prefix="teacher")
        try:
            for done in as_completed([pool.submit(self._answer, request) for request in requests]):
                yield done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    # One request -----------------------------------------------------------------------------

    def _answer(self, request: Request) -> Reply:
        try:
            return self._ask_server(request)
        except Exception as error:  # noqa: BLE001 - it costs this request and no other
            plain = isinstance(error, Refused | TryAgain)
            words = str(error) if plain else f"{type(error).__name__}: {error}"
            return failed(request, self._clean(words))

    def _ask_server(self, request: Request) -> Reply:
        assert self._seen is not None
        shown = self._seen.of(request.scene.media)
        prompt = render_prompt(
            request, self.templates, duration_s=shown.duration_s, frame_times_s=shown.times_s
        )
        seed = seed_of(request)
        answer = self._send("POST", "chat/completions", self._body(request, shown, prompt.text))
        text = read_answer(answer, self.settings)
        usage = answer.get("usage")
        tokens = usage if isinstance(usage, dict) else {}
        return Reply(
            request_id=request.id,
            text=self._clean(text),
            prompt_sha256=prompt.sha256,
            params_json=self._params(seed),
            prompt_tokens=_count(tokens.get("prompt_tokens")),
            completion_tokens=_count(tokens.get("completion_tokens")),
        )

    def _params(self, seed: int) -> str:
        params = json.loads(params_json(self.settings, seed))
        if self.settings.extra_body:
            params["extra_body"] = self.settings.extra_body
        return canonical_json(params)

    def _body(self, request: Request, shown: Shown, prompt: str) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        for time_s, image in zip(shown.times_s, shown.images, strict=True):
            content.append({"type": "text", "text": f"Frame at {time_s:.2f} s:"})
            content.append({"type": "image_url", "image_url": {"url": image}})
        content.append({"type": "text", "text": prompt})
        name = "questions" if request.task is None else "answer"
        body = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            "seed": seed_of(request),
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": name, "strict": True, "schema": reply_schema(request)},
            },
        } | self.settings.extra_body
        return {key: value for key, value in body.items() if value is not None}

    def _show(self, media: Media) -> Shown:
        frames = look(self.store.path(media.ref), media, self.settings)
        images = []
        for pixels in frames.pixels:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
            encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
            images.append(f"data:image/jpeg;base64,{encoded}")
        return Shown(tuple(images), frames.times_s, frames.duration_s)

    # The server ------------------------------------------------------------------------------

    def _base_url(self) -> str:
        if not self.settings.model or not self.settings.url:
            raise TeacherUnavailable("a teacher of kind openai needs teacher.url and teacher.model")
        try:
            url = httpx.URL(self.settings.url)
        except httpx.InvalidURL as error:
            raise TeacherUnavailable(f"teacher.url is not a URL: {error}") from error
        if url.userinfo or url.query:
            # It would stand in logs and errors; the URL itself is not repeated here either.
            raise TeacherUnavailable(
                "teacher.url holds a user, password or query: "
                f"put the key into the environment variable {self.settings.api_key_env}"
            )
        if url.scheme not in {"http", "https"} or not url.host:
            raise TeacherUnavailable(
                f"teacher.url {self.settings.url!r} is not of the form http://host:port/v1"
            )
        return str(url).rstrip("/") + "/"

    def _find_model(self, url: str) -> None:
        place = f"the teacher's server at {url}models"
        try:
            answer = self._send("GET", "models")
        except (TryAgain, Refused) as error:
            key = "set" if self._key else "not set"
            raise TeacherUnavailable(
                f"{place} can't be used: {self._clean(str(error))}. Start the server or mend "
                f"teacher.url (it mostly ends in /v1); the key {self.settings.api_key_env} is {key}"
            ) from None
        listed = answer.get("data")
        entries = listed if isinstance(listed, list) else []
        names = [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]
        if self.settings.model not in names:
            has = ", ".join(sorted(names)[:10]) or "none"
            raise TeacherUnavailable(
                f"{place} does not have the model {self.settings.model!r} (teacher.model); "
                f"it has: {self._clean(has)}"
            )

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The server's JSON object; tries again as the settings say.

        Raises TryAgain when the tries are used up, Refused when another try would not help.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.settings.retries + 1),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(TryAgain),
            reraise=True,
        )
        return retrying(self._send_once, method, path, body)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.after_s if isinstance(error, TryAgain) else -1.0
        if asked_s >= 0:
            return min(asked_s, self.settings.timeout_s)
        # Jitter: many workers that were turned away together should not come back together.
        backed_off = tenacity.wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
        return (backed_off + tenacity.wait_random(0, FIRST_WAIT_S))(state)

    def _send_once(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        assert self._client is not None
        until = time.monotonic() + self.settings.timeout_s
        try:
            with self._client.stream(method, path, json=body) as response:
                content = _read(response, until)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            # Not tried again: the server is busy with it, and would do the same work twice.
            raise Refused(f"no answer within {self.settings.timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise TryAgain(f"no connection: {type(error).__name__}: {error}") from error
        # Cleaned before it is shortened: half a key would not be recognised.
        said = " ".join(self._clean(content.decode("utf-8", "replace")).split())[:300]
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

    def _clean(self, text: str) -> str:
        """Some servers repeat the key in what they say; it must not be kept."""
        return text.replace(self._key, "[key]") if self._key else text


def read_answer(answer: dict[str, Any], settings: TeacherSettings) -> str:
    """The text in a chat completion. Raises Refused when there is none that can be used."""
    try:
        choice = answer["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise Refused(f"the answer holds no message: {canonical_json(answer)[:200]}") from error
    if refusal:
        raise Refused(f"the model refused: {refusal}")
    if finish == "length" and (cut := cut_short(text or "", settings)):
        raise Refused(cut)
    if not isinstance(text, str) or not text.strip():
        raise Refused(f"the answer holds no text (finish reason: {finish})")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused("the answer holds lone surrogates, which are no text") from error
    return text


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
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise Refused(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > until:
            raise httpx.ReadTimeout("the answer took too long")
    return bytes(content)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else -1
