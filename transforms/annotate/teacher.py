"""What every teacher is: requests with ids in, replies with ids out, in any order.

A teacher never sees Beam. A reply meets its request by id, whatever the order or number of
replies; a request that got no reply is an error of that request alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Record, content_hash
from schemas.case import Scene
from schemas.description import Caption
from schemas.rollout import ToolCall
from schemas.task import Task, TaskKind
from schemas.view import WHOLE, View
from transforms.outcome import is_fatal
from transforms.retry import RetryPolicy


class TeacherKind(StrEnum):
    MEASURE = "measure"
    OPENAI = "openai"
    VLLM = "vllm"


class Family(StrEnum):
    """How a model is told the times of the frames that it is shown."""

    AUTO = "auto"
    """vllm: by the model's architecture; openai: images."""
    QWEN3_VL = "qwen3_vl"
    """A video with the place of each frame in its file; the model writes the times itself."""
    QWEN2_5_VL = "qwen2_5_vl"
    """A video with its seconds per step, so for evenly spaced frames; images for others."""
    IMAGES = "images"
    """A list of images, each after a text with its time."""


class FramePolicy(StrEnum):
    """Which frames of a clip a model is shown; all stay within fps, max_frames and the budget."""

    UNIFORM = "uniform"
    """Evenly over the clip."""
    SHOTS = "shots"
    """Every shot at least once, the rest by the length of the shots."""
    DETAIL = "detail"
    """Half of the frames over the whole clip, half where most changes."""


class ReplyForm(StrEnum):
    """In what form a model is asked to reason and answer."""

    TEXT = "text"
    """JSON with the reasoning as one text."""
    STEPS = "steps"
    """JSON with the reasoning as a list of steps, each with its span."""
    THINK = "think"
    """`<think>...</think><answer>...</answer>` as plain text, without a grammar."""


class TeacherSettings(BaseModel):
    """Section `teacher` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: TeacherKind = Field(
        TeacherKind.MEASURE,
        description="measure: embedded, writes only what it measured in the pixels; "
        "openai: any OpenAI-compatible server; vllm: vLLM in this process",
    )
    model: str = Field("", description="model name (openai) or hub id or path (vllm)")
    revision: str = Field("", description="revision of the model, for the record and the cache")
    url: str | tuple[str, ...] = Field(
        "",
        description="base URL of the server, such as http://localhost:8000/v1; a list of several "
        "servers with the same model shares the requests out",
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; never stored"
    )
    samples: int = Field(4, ge=1, le=64, description="rollouts per task")
    temperature: float = Field(1.0, ge=0.0, le=2.0, description="sampling temperature")
    max_tokens: int = Field(1024, ge=16, description="longest reply, in tokens")
    reply_form: ReplyForm = Field(
        ReplyForm.TEXT,
        description="text: JSON with the reasoning as one text; steps: JSON with a list of steps, "
        "each with its span; think: <think> and <answer> tags, without a grammar",
    )
    reasoning_parser: str = Field(
        "",
        description="vllm: name of its parser for a model with native thinking, such as qwen3; "
        "the thinking is kept apart from the reply",
    )
    tool_calls: int = Field(
        0,
        ge=0,
        le=8,
        description="how often per rollout the model may ask for a part of the clip in more "
        "detail, crop_video(start_s, end_s); 0 = never",
    )
    tool_fps: float = Field(4.0, gt=0.0, description="frames per second shown after crop_video")
    tool_max_frames: int = Field(16, ge=2, description="most frames shown after crop_video")
    family: Family = Field(
        Family.AUTO,
        description="how the model is told the times of frames: auto, qwen3_vl, qwen2_5_vl or "
        "images (each image after a text with its time)",
    )
    frames: FramePolicy = Field(
        FramePolicy.UNIFORM,
        description="which frames a model is shown: uniform; shots: every shot at least once; "
        "detail: half over the whole clip, half where most changes",
    )
    fps: float = Field(2.0, gt=0.0, description="frames per second shown to a model")
    max_frames: int = Field(64, ge=2, description="most frames shown to a model")
    max_visual_tokens: int = Field(
        0,
        ge=0,
        description="most tokens that the frames of a clip may take, by the family's rule; "
        "fewer frames are shown to meet it; 0 = no limit",
    )
    frame_height_px: int = Field(336, ge=28, description="height of the frames shown to a model")
    in_flight: int = Field(8, ge=1, description="requests at the same time, per server")
    requests_per_minute: int = Field(
        0, ge=0, description="most requests started per minute, per server; 0 = no limit"
    )
    timeout_s: float = Field(300.0, gt=0.0, description="longest wait for a server's reply")
    retries: int = Field(
        7,
        ge=0,
        description="tries after a request to a server failed; with the waits below, a server may "
        "be away for a minute",
    )
    first_wait_s: float = Field(
        0.5, ge=0.0, description="wait after the first failure; each further one doubles it"
    )
    longest_wait_s: float = Field(
        30.0, ge=0.0, description="no wait is longer, unless the server asks for it"
    )
    batch: int = Field(64, ge=1, description="clips or tasks given to a teacher at once")
    max_model_len: int = Field(0, ge=0, description="context length for vllm; 0 = the model's own")
    gpu_memory_share: float = Field(0.9, gt=0.0, le=1.0, description="share of GPU memory, vllm")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that one vllm engine is spread over")
    price_prompt: float = Field(
        0.0, ge=0.0, description="price of a million prompt tokens, in the currency you like"
    )
    price_completion: float = Field(0.0, ge=0.0, description="price of a million completion tokens")
    prompts: str = Field(
        "",
        description="folder with prompt templates of your own; those that it does not hold, or "
        "all of them if empty, are those of proofreel",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="more fields for the body of a request (openai); null takes a field away",
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict, description="more arguments of vllm.LLM, such as quantization"
    )

    @property
    def urls(self) -> tuple[str, ...]:
        """Base URLs of the servers, in the order given."""
        return ((self.url,) if self.url else ()) if isinstance(self.url, str) else self.url

    @property
    def retry(self) -> RetryPolicy:
        """What is done about a server that can't answer now."""
        return RetryPolicy(
            attempts=self.retries + 1,
            first_wait_s=self.first_wait_s,
            longest_wait_s=self.longest_wait_s,
        )

    def identity(self) -> dict[str, Any]:
        """What of the settings changes replies, and so belongs into the key of a stored reply."""
        speed_only = {"url", "api_key_env", "in_flight", "timeout_s", "retries", "batch"}
        speed_only |= {"gpu_memory_share", "samples", "requests_per_minute", "tensor_parallel"}
        speed_only |= {"price_prompt", "price_completion", "first_wait_s", "longest_wait_s"}
        # The text of the prompts counts, not where it lies: it is part of Teacher.version().
        speed_only |= {"prompts"}
        return self.model_dump(mode="json", exclude=speed_only)


class Purpose(StrEnum):
    """What a request asks for."""

    DESCRIBE = "describe"
    """Captions of a clip."""
    SUMMARIZE = "summarize"
    """One text of several captions, without frames."""
    PROPOSE = "propose"
    """Questions about a clip."""
    SOLVE = "solve"
    """Reasoning and answer to a task."""
    CHECK = "check"
    """Whether frames show what a statement says."""
    CONCLUDE = "conclude"
    """The answer to a task that follows from a reasoning, without frames."""


class Request(Record):
    """One thing asked of a teacher; what it is follows from what is set (`purpose`)."""

    scene: Scene | None = None
    """None only for SUMMARIZE and CONCLUDE."""
    task: Task | None = None
    """Set only for SOLVE and CONCLUDE."""
    wanted: int = 0
    """How many questions; above 0 only for PROPOSE."""
    kinds: tuple[TaskKind, ...] = ()
    captions: tuple[Caption, ...] = ()
    """What is to be summed up (SUMMARIZE), in source time."""
    sample: int = 0
    round: int = 0
    critique: tuple[str, ...] = ()
    """What the verifier found wrong with the attempt before, in plain words."""
    tool_calls: tuple[ToolCall, ...] = ()
    """What the model asked to see more of so far, and was shown (SOLVE)."""
    view: View = WHOLE
    """What of the clip the model is shown (SOLVE, CHECK)."""
    statement: str = ""
    """What the frames are said to show (CHECK)."""
    reasoning: str = ""
    """What the answer must follow from (CONCLUDE)."""
    seed: int = 0

    @property
    def purpose(self) -> Purpose:
        """What the request asks for."""
        if self.scene is None:
            return Purpose.SUMMARIZE if self.task is None else Purpose.CONCLUDE
        if self.statement:
            return Purpose.CHECK
        if self.task is not None:
            return Purpose.SOLVE
        return Purpose.PROPOSE if self.wanted > 0 else Purpose.DESCRIBE

    @cached_property
    def id(self) -> str:
        """Derived from all that the request says, so that a stored reply is found again."""
        scene = self.scene
        return content_hash(
            self.purpose,
            "" if scene is None else [scene.clip.id, scene.media.sha256],
            [] if scene is None else _plain(scene.lines),
            # A description stands only in the prompt that asks for questions.
            scene.description.model_dump(mode="json", exclude={"error"})
            if scene is not None and self.purpose is Purpose.PROPOSE
            else {},
            None if self.task is None else self.task.model_dump(mode="json"),
            self.wanted,
            list(self.kinds),
            _plain(self.captions),
            self.sample,
            self.round,
            list(self.critique),
            _plain(self.tool_calls),
            _plain([self.view]),
            self.statement,
            self.reasoning,
            self.seed,
        )


def _plain(records: Sequence[Record]) -> list[Any]:
    return [record.model_dump(mode="json") for record in records]


class Reply(Record):
    """What came back for one request: a text, or an error in words."""

    request_id: str
    text: str = ""
    thinking: str = ""
    """What a model with native thinking thought first; no part of the text."""
    error: str = ""
    lasting: bool = False
    """Of an error: the same request would meet it again, so it is remembered like an answer."""
    prompt_sha256: str = ""
    params_json: str = "{}"
    prompt_tokens: int = -1
    completion_tokens: int = -1


class Teacher(Protocol):
    """Answers requests. Loading is `open`'s work, done once per worker."""

    settings: TeacherSettings

    def version(self) -> str:
        """Changes whenever the same request could be answered differently by new code."""
        ...

    def open(self) -> None:
        """Load what is needed; called once per worker before `ask`, from one thread."""
        ...

    def ask(self, requests: Sequence[Request]) -> Iterable[Reply]:
        """Answer the requests, in any order. May raise: then every unanswered one failed."""
        ...


def answers(teacher: Teacher, requests: Sequence[Request]) -> Iterator[Reply]:
    """Ask, and give back exactly one reply per request as they come, joined by id.

    A second reply to the same request and a reply to a request that was not made are dropped; a
    request without a reply gets one that says so.
    """
    waiting = dict.fromkeys(request.id for request in requests)
    trouble = "the teacher gave no reply"
    try:
        for reply in teacher.ask(requests):
            if reply.request_id in waiting:
                del waiting[reply.request_id]
                # At once, so that it is stored even if the run is killed during the batch.
                yield reply
    except Exception as error:
        if is_fatal(error):
            raise
        trouble = f"the teacher failed: {type(error).__name__}: {error}"
    for request_id in waiting:
        yield Reply(request_id=request_id, error=trouble)


def answers_by_id(teacher: Teacher, requests: Sequence[Request]) -> list[Reply]:
    """All `answers`, in the order of the requests."""
    found = {reply.request_id: reply for reply in answers(teacher, requests)}
    return [found[request_id] for request_id in dict.fromkeys(one.id for one in requests)]
