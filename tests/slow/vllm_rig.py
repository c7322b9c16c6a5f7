"""An opened teacher on a tiny model, and what went into its engine."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from schemas.task import TaskKind
from transforms.annotate import vllm_teacher
from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id
from transforms.annotate.vllm_engine import Done, Sampling, VLLMEngine
from transforms.annotate.vllm_loop import EngineLoop
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR",
}  # fmt: skip


def load(name: str, path: Path) -> ModuleType:
    """A module of another test folder: test folders are not packages."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


scenes = load("slow_scenes", Path(__file__).parent.parent / "transforms" / "annotate" / "scenes.py")


@dataclass
class Given:
    """One request as it went to vLLM."""

    prompt: dict[str, Any]
    how: Sampling

    @property
    def text(self) -> str:
        return str(self.prompt["prompt"])

    def media(self, kind: str) -> list[Any]:
        return list(self.prompt.get("multi_modal_data", {}).get(kind, []))


@dataclass
class Rig:
    """A teacher that is open."""

    teacher: VLLMTeacher
    store: MemoStore
    given: list[Given] = field(default_factory=list)
    """Handed in, in order."""
    read: list[str] = field(default_factory=list)
    """What the model read, decoded from its tokens, of the requests that are done."""

    @property
    def loop(self) -> EngineLoop:
        return vllm_teacher.shared_loop(self.teacher.settings)

    def ask(self, requests: list[Request], **changed: Any) -> list[Reply]:
        """One reply per request, in order; `changed` are settings that need no other engine."""
        teacher = self.teacher
        if changed:
            teacher = VLLMTeacher(teacher.settings.model_copy(update=changed), self.store)
            teacher.open()
        replies = list(answers_by_id(teacher, requests))
        assert [reply.request_id for reply in replies] == [request.id for request in requests]
        return replies

    def clip(self, code: int, **fields: Any) -> Any:
        return scenes.make_scene(self.store, code, **fields)

    def solving(self, code: int, question: str, **fields: Any) -> Request:
        """A request for the answer to a question about a clip."""
        scene = self.clip(code)
        return Request(scene=scene, task=scenes.make_task(scene, question), **fields)

    def proposing(self, code: int, kind: TaskKind, sample: int = 0) -> Request:
        """A request for questions: the grammar lets its reply hold no kind but this."""
        return Request(scene=self.clip(code), wanted=2, kinds=(kind,), sample=sample)

    def about(self, question: str) -> Given:
        """The only request with this question that was handed in."""
        (found,) = [given for given in self.given if f"Question: {question}\n" in given.text]
        return found

    def read_of(self, question: str) -> str:
        """What the model read of it."""
        (found,) = [read for read in self.read if f"Question: {question}\n" in read]
        return found


@contextmanager
def open_rig(
    build: Callable[[Path], None], folder: Path, store: MemoStore, **fields: Any
) -> Iterator[Rig]:
    """A checkpoint built on the spot, and a teacher on it, for as long as the block runs."""
    os.environ.update(ENVIRONMENT)
    build(folder)
    settings = TeacherSettings.model_validate({"kind": "vllm", "model": str(folder)} | fields)
    rig = Rig(VLLMTeacher(settings, store), store)
    hand_in, finished = VLLMEngine.hand_in, VLLMEngine._finished

    def watch(
        self: VLLMEngine, engine_id: str, prompt: dict[str, Any], how: Sampling, done: Done
    ) -> None:
        rig.given.append(Given(dict(prompt), how))
        hand_in(self, engine_id, prompt, how, done)

    def watch_tokens(self: VLLMEngine, output: Any) -> Any:
        tokenizer = self._llm.renderer.get_tokenizer()
        rig.read.append(tokenizer.decode(output.prompt_token_ids))
        return finished(self, output)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VLLMEngine, "hand_in", watch)
        patch.setattr(VLLMEngine, "_finished", watch_tokens)
        rig.teacher.open()
        try:
            yield rig
        finally:
            vllm_teacher.close_engines()
