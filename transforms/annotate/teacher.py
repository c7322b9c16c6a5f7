"""What every teacher is: requests with ids in, replies with ids out, in any order.

A teacher never sees Beam. A reply meets its request by id, whatever the order or number of
replies; a request that got no reply is an error of that request alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Record, content_hash
from schemas.case import Scene
from schemas.task import Task, TaskKind
from transforms.outcome import is_fatal


class TeacherKind(StrEnum):
    MEASURE = "measure"
    OPENAI = "openai"
    VLLM = "vllm"


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
    url: str = Field("", description="base URL of the server, such as http://localhost:8000/v1")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; never stored"
    )
    samples: int = Field(4, ge=1, le=64, description="rollouts per task")
    temperature: float = Field(1.0, ge=0.0, le=2.0, description="sampling temperature")
    max_tokens: int = Field(1024, ge=16, description="longest reply, in tokens")
    fps: float = Field(2.0, gt=0.0, description="frames per second shown to a model")
    max_frames: int = Field(64, ge=2, description="most frames shown to a model")
    frame_height_px: int = Field(336, ge=28, description="height of the frames shown to a model")
    in_flight: int = Field(8, ge=1, description="requests to a server at the same time")
    timeout_s: float = Field(300.0, gt=0.0, description="longest wait for a server's reply")
    retries: int = Field(4, ge=0, description="tries after a request to a server failed")
    batch: int = Field(64, ge=1, description="requests given to a teacher at once")
    max_model_len: int = Field(0, ge=0, description="context length for vllm; 0 = the model's own")
    gpu_memory_share: float = Field(0.9, gt=0.0, le=1.0, description="share of GPU memory, vllm")
    prompts: str = Field(
        "", description="folder with prompt templates of your own; empty = those of proofreel"
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="more fields for the body of a request (openai); null takes a field away",
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="more arguments of vllm.LLM, such as tensor_parallel_size",
    )

    def identity(self) -> dict[str, Any]:
        """What of the settings changes replies, and so belongs into the key of a stored reply."""
        speed_only = {"url", "api_key_env", "in_flight", "timeout_s", "retries", "batch"}
        speed_only |= {"gpu_memory_share", "samples"}
        # The text of the prompts counts, not where it lies: it is part of Teacher.version().
        speed_only |= {"prompts"}
        return self.model_dump(mode="json", exclude=speed_only)


class Request(Record):
    """One question to a teacher about one clip.

    Without a task it asks for `wanted` questions of the given kinds (proposing); with a task it
    asks for reasoning and answer.
    """

    scene: Scene
    task: Task | None = None
    wanted: int = 0
    kinds: tuple[TaskKind, ...] = ()
    sample: int = 0
    round: int = 0
    critique: tuple[str, ...] = ()
    """What the verifier found wrong with the attempt before, in plain words."""
    seed: int = 0

    @property
    def id(self) -> str:
        """Derived from all that the request says, so that a stored reply is found again."""
        return content_hash(
            self.scene.clip.id,
            self.scene.media.sha256,
            None if self.task is None else self.task.model_dump(mode="json"),
            self.wanted,
            list(self.kinds),
            self.sample,
            self.round,
            list(self.critique),
            self.seed,
        )


class Reply(Record):
    """What came back for one request: a text, or an error in words."""

    request_id: str
    text: str = ""
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


def answers_by_id(teacher: Teacher, requests: Sequence[Request]) -> Iterator[Reply]:
    """Ask, and give back exactly one reply per request, joined by id.

    A second reply to the same request and a reply to a request that was not made are dropped; a
    request without a reply gets one that says so.
    """
    waiting = {request.id for request in requests}
    order = [request.id for request in requests]
    found: dict[str, Reply] = {}
    trouble = "the teacher gave no reply"
    try:
        for reply in teacher.ask(requests):
            if reply.request_id in waiting and reply.request_id not in found:
                found[reply.request_id] = reply
    except Exception as error:
        if is_fatal(error):
            raise
        trouble = f"the teacher failed: {type(error).__name__}: {error}"
    for request_id in dict.fromkeys(order):
        yield found.get(request_id) or Reply(request_id=request_id, error=trouble)
