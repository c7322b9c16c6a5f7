"""vLLM's engine (0.32) behind a narrow interface; all that touches vLLM's API is in this module."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.teacher import Family, TeacherSettings
from transforms.annotate.vllm_advice import advice, gpu_memory
from transforms.leash import hold_children
from transforms.processor import cpu_has_bf16
from transforms.trouble import not_here

WAITING = 32
"""Requests handed to the engine beyond those that it works on at once, so that it never waits."""

CLOSING_S = 60.0
"""Longest wait for an engine that is given up."""


class EngineDied(RuntimeError):  # noqa: N818 - a state of the engine, told in words
    """The engine takes nothing any more, whatever the request."""


@dataclass(frozen=True)
class Sampling:
    """How one reply is sampled."""

    temperature: float
    max_tokens: int
    seed: int
    schema: dict[str, Any] | None
    """JSON schema that the reply is held to; None = free text."""


@dataclass(frozen=True)
class Finished:
    """What the engine made of one request."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    thinking: str = ""
    """What a model with native thinking thought first; no part of the text."""


Done = Callable[[str, Finished | Exception], None]
"""Called from a thread of the engine with the id of a request and what became of it."""


@dataclass(frozen=True)
class Facts:
    """What is known of an engine once it is loaded."""

    model_type: str
    """As the model's own configuration names it, such as qwen3_vl."""
    sees: frozenset[str]
    """Out of image, video."""
    context_tokens: int
    """Longest prompt and reply together."""
    room: int
    """Requests that may be in the engine at once."""


class Engine(Protocol):
    """What the teacher needs of an engine. Requests may be handed in from any thread."""

    facts: Facts

    def chat_text(self, messages: Sequence[dict[str, Any]]) -> str:
        """The messages in the form of the model's chat template, ready for the reply."""
        ...

    def hand_in(self, engine_id: str, prompt: dict[str, Any], how: Sampling, done: Done) -> None:
        """Start a request, in vLLM's form; `done` is called when it ends.

        A request that can't be taken is done with the error that says why; all requests of an
        engine that broke are done with EngineDied.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...


_VIDEO_WITH_TIMES = {"qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"}
_VIDEO_WITH_STEPS = {"qwen2_vl", "qwen2_5_vl"}


def family_of_type(model_type: str) -> Family:
    """How models of this type, as their own configuration names it, are told times."""
    if model_type in _VIDEO_WITH_TIMES:
        return Family.QWEN3_VL
    return Family.QWEN2_5_VL if model_type in _VIDEO_WITH_STEPS else Family.IMAGES


def family_of(settings: TeacherSettings, facts: Facts) -> Family:
    """How the model is told the times of frames. Raises TeacherUnavailable if it can't see them."""
    family = settings.family
    if family is Family.AUTO:
        family = family_of_type(facts.model_type)
    needed = "image" if family is Family.IMAGES else "video"
    if needed not in facts.sees:
        raise TeacherUnavailable(
            f"teacher.model {settings.model!r} ({facts.model_type}) takes no {needed}s"
            + (f", but {' and '.join(sorted(facts.sees))}s" if facts.sees else ", only text")
            + ": choose a model that sees"
            + (", or set teacher.family = images" if needed == "video" and facts.sees else "")
        )
    return family


def engine_arguments(settings: TeacherSettings) -> dict[str, Any]:
    """Arguments of vLLM's engine; those that the user gives come last."""
    if not settings.model:
        raise TeacherUnavailable("a teacher of kind vllm needs teacher.model: a hub id or a path")
    crops = settings.tool_calls
    images = settings.max_frames + crops * settings.tool_max_frames
    arguments: dict[str, Any] = {
        "model": settings.model,
        "gpu_memory_utilization": settings.gpu_memory_share,
        "tensor_parallel_size": settings.tensor_parallel,
        # The samples of a clip share the work on its frames.
        "enable_prefix_caching": True,
        # Room is kept for what a prompt may hold.
        "limit_mm_per_prompt": {
            "video": 0 if settings.family is Family.IMAGES else 1 + crops,
            "image": 0 if settings.family is Family.QWEN3_VL else images,
        },
        # Whitespace between tokens of JSON is where small models get lost until max_tokens.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "disable_log_stats": True,
    }
    if settings.revision:
        arguments |= {"revision": settings.revision, "tokenizer_revision": settings.revision}
    if settings.max_model_len:
        arguments["max_model_len"] = settings.max_model_len
    if settings.reasoning_parser:
        arguments["reasoning_parser"] = settings.reasoning_parser
    return arguments | settings.engine_args


def cpu_arguments() -> dict[str, Any]:
    """Arguments of vLLM's engine that a CPU needs, unless the user gives others."""
    arguments: dict[str, Any] = {
        # Compiling takes minutes and wants a C++ compiler; a CPU is for trying things out.
        "enforce_eager": True,
        # vLLM 0.32 dies on a CPU when a request with a seed is prefilled in chunks ("CPU Generator
        # does not use offset").
        "enable_chunked_prefill": False,
    }
    if not cpu_has_bf16():
        arguments["dtype"] = "float32"
    return arguments


def load_engine(arguments: dict[str, Any], check: Callable[[Engine], None]) -> Engine:
    """Load the model, unless `check` objects, which is asked before the weights are touched.

    Raises TeacherUnavailable, with what to do, if it can't be loaded, and what `check` raises.
    """
    model = str(arguments["model"])
    if Path(model).is_absolute() and not Path(model).exists():
        raise TeacherUnavailable(f"teacher.model: {not_here(model)}")
    # Forking a process with threads can leave the engine's process stuck from its first moment.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    try:
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: F401 - is it there, and of our kind?
    except ImportError as error:
        raise TeacherUnavailable(
            f"teacher.kind vllm needs vLLM, which can't be imported ({error}): install "
            "proofreel[vllm], or run `vllm serve` elsewhere and use teacher.kind openai"
        ) from error
    if current_platform.is_cpu():
        arguments = cpu_arguments() | arguments
    hold_children()
    try:
        return VLLMEngine(arguments, check)
    except TeacherUnavailable:
        raise
    except Exception as error:
        share = float(arguments.get("gpu_memory_utilization", 0.9))
        raise TeacherUnavailable(
            f"vLLM can't load teacher.model {arguments['model']!r}: "
            f"{type(error).__name__}: {error}. {advice(error, gpu_memory(), share)}"
        ) from error


class VLLMEngine:
    """`Engine` on `vllm.v1.engine.async_llm.AsyncLLM`, which lives in a thread of its own.

    Tokenizing and the model's processor run in vLLM's own threads, the model in its own process.
    """

    def __init__(self, arguments: dict[str, Any], check: Callable[[Engine], None]) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.engine.exceptions import EngineDeadError

        config = _config(arguments)
        self.facts = _facts(config)
        self._template = _template(config.model_config)
        self._thinking = _thinking_parser(config)
        check(self)

        self._dead = EngineDeadError
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="vllm")
        self._thread.start()
        self._llm: Any = None
        self._at_work = 0
        self._idle_since_s = self._idle_s = 0.0
        try:
            starting = _start(lambda: AsyncLLM.from_vllm_config(config, disable_log_stats=True))
            self._llm = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
            self._idle_since_s = time.perf_counter()
        except BaseException:
            self.close()
            raise

    @property
    def idle_s(self) -> float:
        """Seconds since it was loaded in which the engine had no request."""
        waiting_s = 0.0 if self._at_work else time.perf_counter() - self._idle_since_s
        return self._idle_s + waiting_s

    def chat_text(self, messages: Sequence[dict[str, Any]]) -> str:
        text: str = self._template.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )
        return text

    def hand_in(self, engine_id: str, prompt: dict[str, Any], how: Sampling, done: Done) -> None:
        work = self._answer(engine_id, prompt, how, done)
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            done(engine_id, EngineDied("vLLM's engine is closed"))

    async def _answer(
        self, engine_id: str, prompt: dict[str, Any], how: Sampling, done: Done
    ) -> None:
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        at_work = False
        try:
            parsed = parse_model_prompt(self._llm.model_config, prompt)
            (rendered,) = await self._llm.renderer.render_cmpl_async([parsed])
            sampling = sampling_params(how, keep_marks=self._thinking is not None)
            collector = await self._llm.add_request(engine_id, rendered, sampling)
            # The frames are with the engine now; the reply can take minutes.
            del prompt, parsed, rendered
            at_work = True
            self._begin()
            output = await collector.get()
            done(engine_id, self._finished(output))
        except Exception as error:  # noqa: BLE001 - every request ends with a word to who asked
            if isinstance(error, self._dead) or self._llm.errored:
                error = EngineDied("vLLM's engine died; its log says why")
            done(engine_id, error)
        finally:
            if at_work:
                self._end()

    def _begin(self) -> None:
        if not self._at_work:
            self._idle_s += time.perf_counter() - self._idle_since_s
        self._at_work += 1

    def _end(self) -> None:
        self._at_work -= 1
        if not self._at_work:
            self._idle_since_s = time.perf_counter()

    def _finished(self, output: Any) -> Finished:
        completion = output.outputs[0]
        prompt_ids = output.prompt_token_ids or []
        text, thinking = str(completion.text), ""
        if self._thinking is not None:
            mark, ended_by = self._thinking
            if not ended_by(prompt_ids):
                thinking, _, text = text.partition(mark)
        return Finished(
            text=text.strip() if thinking else text,
            thinking=thinking.strip(),
            finish_reason=str(completion.finish_reason),
            prompt_tokens=len(prompt_ids),
            completion_tokens=len(completion.token_ids),
        )

    def close(self) -> None:
        llm, self._llm = self._llm, None
        with contextlib.suppress(Exception):
            if llm is not None:
                asyncio.run_coroutine_threadsafe(_close(llm), self._loop).result(CLOSING_S)
        self._loop.call_soon_threadsafe(self._loop.stop)


def sampling_params(how: Sampling, *, keep_marks: bool = False) -> Any:
    """vLLM's form of it; `keep_marks` keeps special tokens, such as the end of thinking."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    # As text: vLLM copies the parameters of each request, and a schema has many parts.
    form = None if how.schema is None else StructuredOutputsParams(json=json.dumps(how.schema))
    return SamplingParams(
        temperature=how.temperature,
        max_tokens=how.max_tokens,
        seed=how.seed,
        structured_outputs=form,
        skip_special_tokens=not keep_marks,
        spaces_between_special_tokens=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


async def _start(make: Callable[[], Any]) -> Any:
    return make()


async def _close(llm: Any) -> None:
    if llm.output_handler is not None:
        # Else it reports the end of the engine as a fault.
        llm.output_handler.cancel()
        await asyncio.gather(llm.output_handler, return_exceptions=True)
    llm.shutdown(timeout=0)


def _config(arguments: dict[str, Any]) -> Any:
    """vLLM's configuration of an engine: the model's is read, its weights are not."""
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    structured = arguments.get("structured_outputs_config")
    if isinstance(structured, dict):
        structured = StructuredOutputsConfig(**structured)
        arguments = arguments | {"structured_outputs_config": structured}
    # The context of `vllm.LLM`: batch sizes are chosen for throughput.
    return AsyncEngineArgs(**arguments).create_engine_config(UsageContext.LLM_CLASS)


def _facts(config: Any) -> Facts:
    from vllm.multimodal import MULTIMODAL_REGISTRY

    model = config.model_config
    sees: set[str] = set()
    if model.is_multimodal_model:
        sees = set(MULTIMODAL_REGISTRY.create_processor(model).info.supported_mm_limits)
    return Facts(
        model_type=str(model.hf_config.model_type),
        sees=frozenset(sees & {"image", "video"}),
        context_tokens=int(model.max_model_len),
        room=int(config.scheduler_config.max_num_seqs) + WAITING,
    )


def _template(model: Any) -> Any:
    """What holds the chat template, of the model's processor and its tokenizer."""
    from vllm.tokenizers import cached_tokenizer_from_config
    from vllm.transformers_utils.processor import cached_processor_from_config

    holders = [cached_tokenizer_from_config(model)]
    if model.is_multimodal_model:
        holders.insert(0, cached_processor_from_config(model))
    for holder in holders:
        if getattr(holder, "chat_template", None):
            return holder
    raise ValueError("it has no chat template; choose the instruct variant of the model")


def _thinking_parser(config: Any) -> tuple[str, Callable[[list[int]], bool]] | None:
    """The text that ends native thinking, and whether a prompt ends it already."""
    from vllm.reasoning import ReasoningParserManager
    from vllm.tokenizers import cached_tokenizer_from_config

    name = config.structured_outputs_config.reasoning_parser
    if not name:
        return None
    parser = ReasoningParserManager.get_reasoning_parser(name)
    tokenizer = cached_tokenizer_from_config(config.model_config)
    mark = parser(tokenizer).reasoning_end_str
    if not mark:
        raise ValueError(f"vLLM's reasoning parser {name!r} does not tell what ends the thinking")
    # A parser can have a state, so each request has its own.
    return mark, lambda prompt_ids: bool(parser(tokenizer).is_reasoning_end(prompt_ids))
