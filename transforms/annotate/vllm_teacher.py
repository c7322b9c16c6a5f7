"""A teacher that is vLLM in this process: one engine for all threads, requests in batches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.base import canonical_json
from schemas.clip import Media
from transforms.annotate.asking import TeacherUnavailable, cut_short, failed, params_json, seed_of
from transforms.annotate.prompts import (
    Prompt,
    Templates,
    load_templates,
    render_prompt,
    reply_schema,
)
from transforms.annotate.seeing import Frames, Recent, look
from transforms.annotate.teacher import Reply, Request, TeacherSettings
from transforms.memo import MemoStore

VERSION = "1"
"""Raise when the same request would be put to the engine differently."""

CLIPS_KEPT = 4
"""Decoded clips kept for the next requests; requests about one clip mostly come together."""


class Engine(Protocol):
    """What this module needs of vLLM; all that touches its API is in `_VLLMEngine`."""

    lock: threading.Lock

    def chat_text(self, prompt: str) -> str:
        """The prompt with a video before it, in the form of the model's chat template."""
        ...

    def enqueue(self, prompt: dict[str, Any], params: dict[str, Any]) -> str:
        """Hand in one request; returns the engine's id for it. Raises if it can't be taken."""
        ...

    def finish(self) -> list[Finished]:
        """Run until all requests handed in are done. Raises if the engine breaks."""
        ...

    def close(self) -> None:
        """Give back what the engine holds, as far as that is possible."""
        ...


class EngineDied(RuntimeError):  # noqa: N818 - its words are what is read
    """The engine takes nothing any more, whatever the request."""


@dataclass(frozen=True)
class Finished:
    """What the engine made of one request."""

    engine_id: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass
class VLLMTeacher:
    """Holds nothing but settings and prompts until `open`, so that it can travel to workers."""

    settings: TeacherSettings
    store: MemoStore
    templates: Templates = field(init=False)

    def __post_init__(self) -> None:
        self.templates = load_templates(self.settings.prompts)
        self._seen: Recent[Frames] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_seen": None}

    def version(self) -> str:
        return f"vllm-{VERSION}-{self.templates.version()}"

    def open(self) -> None:
        """Load the model, or share the engine that this process has loaded already.

        Raises TeacherUnavailable if vLLM is not installed or can't load the model.
        """
        shared_engine(self.settings)
        self._seen = Recent(self._look, CLIPS_KEPT)

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request. A request that the engine does not take costs only itself."""
        if self._seen is None:
            raise TeacherUnavailable("the teacher was not opened")
        engine = shared_engine(self.settings)
        # The engine is not made for several threads; those that wait here lose nothing, since it
        # works on a whole batch at a time.
        with engine.lock:
            try:
                return self._ask(engine, requests)
            except Exception:
                # A dead engine stays dead: this batch is lost, the next one loads a new engine.
                forget_engine(engine)
                raise

    def _ask(self, engine: Engine, requests: Sequence[Request]) -> list[Reply]:
        replies: list[Reply] = []
        handed_in: dict[str, tuple[Request, Prompt]] = {}
        for request in requests:
            try:
                engine_id, prompt = self._hand_in(engine, request)
            except EngineDied:
                raise
            except Exception as error:  # noqa: BLE001 - it costs this request and no other
                replies.append(failed(request, error))
            else:
                handed_in[engine_id] = request, prompt
        for finished in engine.finish():
            # By id: what an earlier batch left behind in the engine is nobody's reply.
            if finished.engine_id in handed_in:
                replies.append(self._reply(*handed_in.pop(finished.engine_id), finished))
        return replies

    def _hand_in(self, engine: Engine, request: Request) -> tuple[str, Prompt]:
        assert self._seen is not None
        frames = self._seen.of(request.scene.media)
        prompt = render_prompt(
            request, self.templates, duration_s=frames.duration_s, frame_times_s=frames.times_s
        )
        engine_prompt = {
            "prompt": engine.chat_text(prompt.text),
            "multi_modal_data": {"video": [(frames.pixels, video_metadata(frames))]},
        }
        params = {
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            "seed": seed_of(request),
            "json_schema": reply_schema(request),
        }
        return engine.enqueue(engine_prompt, params), prompt

    def _reply(self, request: Request, prompt: Prompt, finished: Finished) -> Reply:
        error = ""
        if finished.finish_reason == "length":
            error = cut_short(finished.text, self.settings)
        elif finished.finish_reason != "stop":
            error = f"the engine ended with {finished.finish_reason!r}"
        if error:
            cut = finished.finish_reason == "length"
            return failed(request, error).model_copy(update={"lasting": cut})
        return Reply(
            request_id=request.id,
            text=finished.text,
            prompt_sha256=prompt.sha256,
            params_json=params_json(self.settings, seed_of(request)),
            prompt_tokens=finished.prompt_tokens,
            completion_tokens=finished.completion_tokens,
        )

    def _look(self, media: Media) -> Frames:
        return look(self.store.path(media.ref), media, self.settings)


def video_metadata(frames: Frames) -> dict[str, Any]:
    """What a model is told of the frames: from this it computes their times.

    The indices are places in the clip's file at its own frame rate, so that index / fps is the
    true time (Qwen3-VL), and frames / total * fps the true rate of the frames shown (Qwen2.5-VL).
    """
    return {
        "fps": frames.fps,
        "total_num_frames": frames.num_frames,
        "frames_indices": list(frames.indices),
        "duration": frames.duration_s,
        "video_backend": "pyav",
        "do_sample_frames": False,
    }


# The engine ------------------------------------------------------------------------------------

_ENGINES: dict[str, Engine] = {}
_LOADING = threading.Lock()


def shared_engine(settings: TeacherSettings) -> Engine:
    """The engine for these settings, loaded at the first call in this process.

    Raises TeacherUnavailable.
    """
    arguments = engine_arguments(settings)
    key = canonical_json(arguments)
    with _LOADING:
        if key not in _ENGINES:
            _ENGINES[key] = _load(arguments)
        return _ENGINES[key]


def forget_engine(engine: Engine) -> None:
    """Close an engine that broke, so that the next `shared_engine` loads another."""
    with _LOADING:
        for key in [key for key, held in _ENGINES.items() if held is engine]:
            del _ENGINES[key]
    engine.close()


def engine_arguments(settings: TeacherSettings) -> dict[str, Any]:
    """Arguments of `vllm.LLM`; those that the user gives come last."""
    if not settings.model:
        raise TeacherUnavailable("a teacher of kind vllm needs teacher.model: a hub id or a path")
    arguments: dict[str, Any] = {
        "model": settings.model,
        "gpu_memory_utilization": settings.gpu_memory_share,
        # Room is kept for what a prompt may hold: one video, no images.
        "limit_mm_per_prompt": {"video": 1, "image": 0},
        # Whitespace between tokens of JSON is where small models get lost until max_tokens.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if settings.revision:
        arguments |= {"revision": settings.revision, "tokenizer_revision": settings.revision}
    if settings.max_model_len:
        arguments["max_model_len"] = settings.max_model_len
    return arguments | settings.engine_args


def _load(arguments: dict[str, Any]) -> Engine:
    try:
        import vllm
        from vllm.platforms import current_platform
    except ImportError as error:
        raise TeacherUnavailable(
            f"teacher.kind vllm needs vLLM, which can't be imported ({error}): install "
            "proofreel[vllm], or run `vllm serve` elsewhere and use teacher.kind openai"
        ) from error
    if current_platform.is_cpu():
        # Compiling takes minutes and wants a C++ compiler; a CPU is for trying things out. And
        # vLLM 0.32 dies on a CPU when a request with a seed is prefilled in chunks ("CPU
        # Generator does not use offset").
        arguments = {"enforce_eager": True, "enable_chunked_prefill": False} | arguments
    try:
        return _VLLMEngine(vllm, vllm.LLM(**arguments))
    except Exception as error:
        raise TeacherUnavailable(
            f"vLLM can't load teacher.model {arguments['model']!r}: {type(error).__name__}: "
            f"{error}. If the model hub can't be reached, give the path of a local checkpoint"
        ) from error


class _VLLMEngine:
    """`Engine` on `vllm.LLM` (0.32)."""

    def __init__(self, vllm: Any, llm: Any) -> None:
        from vllm.sampling_params import StructuredOutputsParams
        from vllm.transformers_utils.processor import cached_processor_from_config
        from vllm.v1.engine.exceptions import EngineDeadError

        self.lock = threading.Lock()
        self.llm = llm
        self._sampling = vllm.SamplingParams
        self._structured = StructuredOutputsParams
        self._dead = EngineDeadError
        if not llm.model_config.is_multimodal_model:
            raise ValueError("it is a model of text only, it can't be shown a video")
        processor = cached_processor_from_config(llm.model_config)
        has_template = getattr(processor, "chat_template", None)
        self._template = processor if has_template else llm.get_tokenizer()
        if not getattr(self._template, "chat_template", None):
            raise ValueError("it has no chat template")

    def chat_text(self, prompt: str) -> str:
        content = [{"type": "video"}, {"type": "text", "text": prompt}]
        text: str = self._template.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return text

    def enqueue(self, prompt: dict[str, Any], params: dict[str, Any]) -> str:
        sampling = self._sampling(
            temperature=params["temperature"],
            max_tokens=params["max_tokens"],
            seed=params["seed"],
            structured_outputs=self._structured(json=params["json_schema"]),
        )
        # `LLM.generate` is `enqueue` and `wait_for_completion`, but it gives up a whole batch for
        # one bad prompt, and returns its outputs by position.
        try:
            (engine_id,) = self.llm.enqueue([prompt], sampling, use_tqdm=False)
        except self._dead as error:
            raise EngineDied("vLLM's engine died; its log says why") from error
        return _outer(engine_id)

    def finish(self) -> list[Finished]:
        done = []
        for output in self.llm.wait_for_completion(use_tqdm=False):
            completion = output.outputs[0]
            done.append(
                Finished(
                    engine_id=_outer(output.request_id),
                    text=completion.text,
                    finish_reason=str(completion.finish_reason),
                    prompt_tokens=len(output.prompt_token_ids or ()),
                    completion_tokens=len(completion.token_ids),
                )
            )
        return done

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.llm.llm_engine.engine_core.shutdown()


def _outer(engine_id: str) -> str:
    """vLLM appends a random part to an id when a request goes in, and takes it off again."""
    return engine_id.partition("-")[0]
