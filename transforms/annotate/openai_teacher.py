"""A teacher behind OpenAI-compatible servers (vLLM, SGLang, llama.cpp, a hosted service)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import InitVar, dataclass, field
from typing import Any

from schemas.base import canonical_json
from schemas.case import Scene
from schemas.view import View
from transforms.annotate.asking import TeacherUnavailable, at_scene, failed, params_json, seed_of
from transforms.annotate.conversation import compose, conversation_version
from transforms.annotate.openai_messages import (
    Pictures,
    Refused,
    chat_body,
    count_tokens,
    encode,
    read_completion,
)
from transforms.annotate.openai_pool import ServerPool
from transforms.annotate.openai_server import Server, TryAgain, Unfit, base_url
from transforms.annotate.prompts import Templates, load_templates
from transforms.annotate.seeing import Looker, Recent
from transforms.annotate.teacher import Reply, Request, TeacherSettings
from transforms.memo import MemoStore
from transforms.outcome import is_fatal

LOG = logging.getLogger(__name__)

VERSION = "2"
"""Raise when the same request would be sent differently."""

READY_AHEAD = 4
"""Requests that are made ready while as many as may be are at the servers."""


@dataclass
class OpenAITeacher:
    """Asks servers, several requests at a time; each failure is the failure of one request.

    Holds nothing but its settings and its prompts until `open`, so that it can travel to workers;
    the key is read from the environment of the worker and lives only in the open connection.
    """

    settings: TeacherSettings
    store: MemoStore
    sent: InitVar[Templates | None] = None
    """The prompts as the run has read them: the folder of `settings` may be on its machine alone.
    """
    templates: Templates = field(init=False)

    def __post_init__(self, sent: Templates | None) -> None:
        self.templates = sent or load_templates(self.settings.prompts)
        self._link: _Link | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_link": None}

    def version(self) -> str:
        return f"openai-{VERSION}-{conversation_version(self.templates)}"

    def open(self) -> None:
        """Connect, and make sure that there is a server whose model can be asked with pictures.

        Servers that can't be used now are named in a warning. Raises TeacherUnavailable, with the
        address and what to do, if there is none that can.
        """
        self.close()
        key = self._read_key()
        servers = [Server(url, key, self.settings) for url in self._base_urls()]
        link = _Link(servers, self.settings, self.store)
        try:
            troubles = [self._in_words(*one) for one in link.pool.open().items()]
        except BaseException:
            link.close()
            raise
        if len(troubles) == len(servers):
            link.close()
            raise TeacherUnavailable("; ".join(troubles))
        for trouble in troubles:
            LOG.warning("%s. It is left aside and looked at again later", trouble)
        self._link = link

    def context_tokens(self) -> int:
        """Most tokens that prompt and reply may have together; 0 if no server tells.

        The teacher must be open.
        """
        if self._link is None:
            raise TeacherUnavailable("the teacher was not opened")
        return self._link.context_tokens

    def close(self) -> None:
        """Let go of the connections and of the key."""
        if self._link is not None:
            self._link.close()
        self._link = None

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """One reply per request, in order of completion."""
        link = self._link
        if link is None:
            raise TeacherUnavailable("the teacher was not opened")
        # What those threads log and note is about what this one is at.
        asked = [
            link.threads.submit(copy_context().run, self._answer, link, request)
            for request in requests
        ]
        try:
            for done in as_completed(asked):
                yield done.result()
        finally:
            for one in asked:
                one.cancel()

    # One request -----------------------------------------------------------------------------

    def _answer(self, link: _Link, request: Request) -> Reply:
        try:
            return self._ask_servers(link, request)
        except Exception as error:
            if is_fatal(error):
                raise
            # It costs this request and no other.
            plain = isinstance(error, Refused | TryAgain)
            words = str(error) if plain else f"{type(error).__name__}: {error}"
            return failed(request, link.clean(words))

    def _ask_servers(self, link: _Link, request: Request) -> Reply:
        with at_scene(request.scene):
            conversation = compose(request, self.templates, self.settings, link.look)
        seed = seed_of(request)
        body = chat_body(conversation, self.settings, seed=seed, name=request.purpose.value)
        answer = link.pool.send(body)
        tokens = count_tokens(answer)
        json_wanted = conversation.schema is not None
        try:
            completion = read_completion(answer, self.settings, json_wanted=json_wanted)
        except Refused as error:
            # It was of no use, and took its tokens all the same.
            return failed(request, link.clean(str(error))).model_copy(update=tokens)
        return Reply(
            request_id=request.id,
            text=link.clean(completion.text),
            thinking=link.clean(completion.thinking),
            prompt_sha256=conversation.prompt_sha256,
            params_json=self._params(seed),
            **tokens,
        )

    def _params(self, seed: int) -> str:
        params = json.loads(params_json(self.settings, seed))
        if self.settings.extra_body:
            params["extra_body"] = self.settings.extra_body
        return canonical_json(params)

    # The servers -----------------------------------------------------------------------------

    def _read_key(self) -> str:
        key = os.environ.get(self.settings.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise TeacherUnavailable(f"{self.settings.api_key_env} does not hold a usable key")
        return key

    def _base_urls(self) -> list[str]:
        """Addresses of the servers, each once."""
        if not self.settings.model or not self.settings.urls:
            raise TeacherUnavailable("a teacher of kind openai needs teacher.url and teacher.model")
        try:
            urls = [base_url(one, self.settings.api_key_env) for one in self.settings.urls]
        except ValueError as error:
            raise TeacherUnavailable(str(error)) from error
        return list(dict.fromkeys(urls))

    def _in_words(self, url: str, error: TryAgain | Refused) -> str:
        if isinstance(error, Unfit):
            return f"the teacher's server at {url} {error}"
        key = "set" if self._read_key() else "not set"
        return (
            f"the teacher's server at {url} can't be used: {error}. Start the server or mend "
            f"teacher.url (it mostly ends in /v1); the key {self.settings.api_key_env} is {key}"
        )


class _Link:
    """What an open teacher holds: connections, threads, and the pictures of the last clips."""

    def __init__(
        self, servers: Sequence[Server], settings: TeacherSettings, store: MemoStore
    ) -> None:
        places = len(servers) * settings.in_flight
        self._servers = servers
        self.pool = ServerPool(servers, settings)
        # One set of threads for all who ask: as many requests are held ready as are needed.
        self.threads = ThreadPoolExecutor(places + READY_AHEAD, thread_name_prefix="teacher")
        self._looker = Looker(store, settings, kept=1)
        self._pictures: Recent[tuple[str, tuple[float, ...] | None, View], Pictures | None]
        self._pictures = Recent(2 * places)

    def look(self, scene: Scene, times_s: tuple[float, ...] | None, view: View) -> Pictures | None:
        """The frames of a scene as they are sent, encoded once for all requests about them."""
        key = (scene.media.ref, times_s, view)
        return self._pictures.of(key, lambda: self._encoded(scene, times_s, view))

    def _encoded(
        self, scene: Scene, times_s: tuple[float, ...] | None, view: View
    ) -> Pictures | None:
        frames = self._looker.look(scene, times_s, view)
        return None if frames is None else encode(frames)

    @property
    def context_tokens(self) -> int:
        """Of the server with the shortest context; 0 if none tells."""
        told = [server.context_tokens for server in self._servers if server.context_tokens]
        return min(told, default=0)

    def clean(self, text: str) -> str:
        """Without the key, which is the same for all servers."""
        return self._servers[0].clean(text)

    def close(self) -> None:
        self.pool.close()
        self.threads.shutdown(wait=False, cancel_futures=True)
