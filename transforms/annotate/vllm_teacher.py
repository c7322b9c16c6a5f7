"""A teacher that is vLLM in this process: one engine for all threads, fed without a pause."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import Any

from schemas.base import canonical_json
from transforms.annotate.asking import (
    TeacherUnavailable,
    at_scene,
    cut_short,
    failed,
    params_json,
    seed_of,
)
from transforms.annotate.conversation import compose, conversation_version
from transforms.annotate.prompts import Templates, load_templates
from transforms.annotate.seeing import Looker
from transforms.annotate.teacher import Family, Reply, Request, TeacherSettings
from transforms.annotate.vllm_engine import (
    Engine,
    Finished,
    Sampling,
    engine_arguments,
    family_of,
    load_engine,
)
from transforms.annotate.vllm_loop import PREPARERS, EngineLoop, Job, Prepared, Run
from transforms.annotate.vllm_prompt import engine_prompt
from transforms.memo import MemoStore
from transforms.outcome import StopRunError

VERSION = "2"
"""Raise when the same request would be put to the engine differently."""

CLIPS_KEPT = 2 * PREPARERS
"""Decoded clips kept for the next requests; requests about one clip mostly come together."""

SLOWEST_TOKEN_S = 1.0
"""An engine slower than that, on all its requests at once, hangs."""


@dataclass
class _Asked:
    """A request while the engine has it."""

    request: Request
    prompt_sha256: str = ""


@dataclass
class VLLMTeacher:
    """Holds nothing but settings and prompts until `open`, so that it can travel to workers."""

    settings: TeacherSettings
    store: MemoStore
    sent: InitVar[Templates | None] = None
    """The prompts as the run has read them: the folder of `settings` may be on its machine alone.
    """
    templates: Templates = field(init=False)

    def __post_init__(self, sent: Templates | None) -> None:
        self.templates = sent or load_templates(self.settings.prompts)
        self._looker: Looker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_looker": None}

    def version(self) -> str:
        return f"vllm-{VERSION}-{conversation_version(self.templates)}"

    def open(self) -> None:
        """Load the model, or share the engine that this process has loaded already.

        Raises TeacherUnavailable, with what to do, if vLLM is not installed, can't load the model,
        or the model can't do what the settings ask for.
        """
        engine = shared_loop(self.settings).engine
        check_engine(engine, self.settings)
        # How large frames are shown, and how many, follows from how the family counts them.
        family = {"family": family_of(self.settings, engine.facts)}
        self._looker = Looker(self.store, self.settings.model_copy(update=family), CLIPS_KEPT)

    def context_tokens(self) -> int:
        """Most tokens that prompt and reply may have together. The teacher must be open."""
        return shared_loop(self.settings).engine.facts.context_tokens

    def ask(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """One reply per request, as they come. A request that can't be answered costs only itself.

        Raises TeacherUnavailable if the engine dies and can't be replaced, or dies too often.
        """
        if self._looker is None:
            raise TeacherUnavailable("the teacher was not opened")
        return self._replies(self._looker, requests)

    def _replies(self, looker: Looker, requests: Sequence[Request]) -> Iterator[Reply]:
        run = Run()
        done: queue.SimpleQueue[tuple[_Asked, Finished | Exception]] = queue.SimpleQueue()
        together: dict[str, list[Job]] = {}
        different = {request.id: request for request in requests}
        for request in different.values():
            asked = _Asked(request)
            job = Job(
                run=run,
                prepare=_in_this_context(partial(self._prepare, looker, asked)),
                deliver=partial(_deliver, done, asked),
            )
            # Requests about one clip follow each other: they share its frames, decoded and
            # processed, and the prompt up to where they differ.
            about = request.id if request.scene is None else request.scene.media.sha256
            together.setdefault(about, []).append(job)
        loop = shared_loop(self.settings)
        for jobs in together.values():
            loop.put(jobs)
        try:
            for _ in different:
                yield self._reply(*done.get())
        finally:
            run.given_up = True

    def _prepare(self, looker: Looker, asked: _Asked, engine: Engine) -> Prepared:
        request = asked.request
        with at_scene(request.scene):
            said = compose(request, self.templates, self.settings, looker.look)
        asked.prompt_sha256 = said.prompt_sha256
        media = "" if request.scene is None else request.scene.media.sha256
        how = Sampling(
            temperature=self.settings.temperature,
            max_tokens=self.settings.max_tokens,
            seed=seed_of(request),
            schema=said.schema,
        )
        return Prepared(
            prompt=engine_prompt(said, family_of(self.settings, engine.facts), engine, media),
            how=how,
            frame_bytes=sum(frames.pixels.nbytes for frames in said.videos),
        )

    def _reply(self, asked: _Asked, outcome: Finished | Exception) -> Reply:
        request = asked.request
        if isinstance(outcome, StopRunError):
            raise outcome
        if isinstance(outcome, Exception):
            return failed(request, outcome)
        if outcome.finish_reason == "length":
            if error := cut_short(outcome.text, self.settings):
                return failed(request, error).model_copy(update={"lasting": True})
        elif outcome.finish_reason != "stop":
            return failed(request, f"the engine ended with {outcome.finish_reason!r}")
        if outcome.thinking and not outcome.text:
            return failed(request, "the model thought, but gave no reply")
        return Reply(
            request_id=request.id,
            text=outcome.text,
            thinking=outcome.thinking,
            prompt_sha256=asked.prompt_sha256,
            params_json=params_json(self.settings, seed_of(request)),
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=outcome.completion_tokens,
        )


def _in_this_context(prepare: Callable[[Engine], Prepared]) -> Callable[[Engine], Prepared]:
    """What the loop's threads log and note while they prepare is about what this one is at."""
    context = copy_context()
    return lambda engine: context.run(prepare, engine)


def _deliver(
    done: queue.SimpleQueue[tuple[_Asked, Finished | Exception]],
    asked: _Asked,
    outcome: Finished | Exception,
) -> None:
    done.put((asked, outcome))


# One engine per process --------------------------------------------------------------------------


def check_engine(engine: Engine, settings: TeacherSettings) -> None:
    """Raise TeacherUnavailable, with what to do, if a model can't do what is asked for."""
    family = family_of(settings, engine.facts)
    kind = "image" if family is Family.IMAGES else "video"
    words = "what is seen here"
    content = [{"type": kind}, {"type": "text", "text": words}]
    bare = engine.chat_text([{"role": "user", "content": content[1:]}])
    shown = engine.chat_text([{"role": "user", "content": content}])
    if words not in shown or "'type'" in shown or shown == bare:
        raise TeacherUnavailable(
            f"the chat template of teacher.model {settings.model!r} has no place for {kind}s: "
            "choose a model whose template has, or another teacher.family"
        )
    if engine.facts.context_tokens <= settings.max_tokens:
        raise TeacherUnavailable(
            f"the context of {engine.facts.context_tokens} tokens leaves no room for a prompt "
            f"beside teacher.max_tokens = {settings.max_tokens}: lower it, or raise "
            "teacher.max_model_len"
        )


_LOOPS: dict[str, EngineLoop] = {}
_LOADING = threading.Lock()


def shared_loop(settings: TeacherSettings) -> EngineLoop:
    """The engine for these settings, loaded at the first call in this process.

    Raises TeacherUnavailable.
    """
    arguments = engine_arguments(settings)
    stall_s = settings.timeout_s + settings.max_tokens * SLOWEST_TOKEN_S
    key = canonical_json(arguments)
    with _LOADING:
        if key not in _LOOPS or _LOOPS[key].broken:
            check = partial(check_engine, settings=settings)
            _LOOPS[key] = EngineLoop(lambda: load_engine(arguments, check), stall_s)
            # Last in, first out: engines are closed before vLLM's and Python's own last orders.
            atexit.unregister(close_engines)
            atexit.register(close_engines)
        return _LOOPS[key]


def close_engines() -> None:
    """Give back all engines of this process."""
    with _LOADING:
        while _LOOPS:
            _, loop = _LOOPS.popitem()
            loop.close()
