"""The real vLLM, on a CPU, with a tiny Qwen2.5-VL of random weights (`scripts/vllm_env.sh`).

Random weights say nothing of value, but everything around them is real: the processor, the chat
template, the positions in time, the grammar that holds replies to their schema, the scheduler.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from schemas.task import TaskKind
from transforms.annotate import vllm_teacher
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.prompts import reply_model
from transforms.annotate.replies import read_reply
from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore

pytest.importorskip("vllm", reason="needs an environment of its own: scripts/vllm_env.sh")
pytestmark = pytest.mark.slow

MAX_TOKENS = 3000
CUT = f"the reply was cut at teacher.max_tokens = {MAX_TOKENS}"


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


scenes = load("slow_scenes", Path(__file__).parent.parent / "transforms" / "annotate" / "scenes.py")


@dataclass
class Rig:
    """An opened teacher, and what went into the engine and into the model's processor."""

    teacher: VLLMTeacher
    store: MemoStore
    prompts: list[dict[str, Any]]
    videos: list[dict[str, Any]]

    def ask(self, requests: list[Request]) -> list[Reply]:
        replies = list(answers_by_id(self.teacher, requests))
        assert [reply.request_id for reply in replies] == [request.id for request in requests]
        return replies


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    os.environ.update(
        VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1",
        HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR",
    )  # fmt: skip
    from transformers import Qwen2_5_VLProcessor

    folder = tmp_path_factory.mktemp("tiny_qwen")
    load("tiny_qwen", Path(__file__).with_name("tiny_qwen.py")).build(folder)
    store = MemoStore(str(tmp_path_factory.mktemp("clips")))
    settings = TeacherSettings.model_validate(
        {
            "kind": "vllm", "model": str(folder), "max_tokens": MAX_TOKENS, "max_model_len": 8192,
            "frame_height_px": 56, "fps": 2.0,
        }
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        rig = Rig(VLLMTeacher(settings, store), store, [], [])
        process = Qwen2_5_VLProcessor._process_videos

        def watch_videos(self: Any, videos: Any, **kwargs: Any) -> Any:
            data, replacements = process(self, videos, **kwargs)
            rig.videos.append(dict(data))
            return data, replacements

        patch.setattr(Qwen2_5_VLProcessor, "_process_videos", watch_videos)
        rig.teacher.open()
        (engine,) = vllm_teacher._ENGINES.values()
        enqueue = engine.llm.enqueue  # type: ignore[attr-defined]

        def watch_prompts(prompts: Any, params: Any, **kwargs: Any) -> Any:
            rig.prompts.append({"seed": params.seed, **prompts[0]})
            return enqueue(prompts, params, **kwargs)

        patch.setattr(engine.llm, "enqueue", watch_prompts)  # type: ignore[attr-defined]
        yield rig
        for engine in list(vllm_teacher._ENGINES.values()):
            vllm_teacher.forget_engine(engine)


def clip(rig: Rig, code: int, **fields: Any) -> Any:
    return scenes.make_scene(rig.store, code, **fields)


def solving(rig: Rig, code: int, question: str, **fields: Any) -> Request:
    scene = clip(rig, code)
    return Request(scene=scene, task=scenes.make_task(scene, question), **fields)


def test_every_request_gets_its_own_reply(rig: Rig) -> None:
    # The grammar lets a request's reply hold no kind but its own: so a reply shows whose it is.
    proposing = [
        Request(scene=clip(rig, code), wanted=2, kinds=(kind,), sample=sample)
        for code, kind in enumerate(TaskKind, start=1)
        for sample in range(3)
    ]
    answering = [
        solving(rig, code, f"What of {code}?", sample=sample)
        for code in range(1, 5)
        for sample in range(3)
    ]
    requests = [request for pair in zip(proposing, answering, strict=False) for request in pair]
    requests += proposing[len(answering) :]
    whole = {"SolveReply": 0, "ProposeReply": 0}
    for request, reply in zip(requests, rig.ask(requests), strict=True):
        if reply.error:
            assert reply.error == CUT and not reply.text
            continue
        assert reply.completion_tokens > 0 and reply.prompt_tokens > 1000
        answer = json.loads(reply.text)
        if request.task is None:
            kinds = {task["kind"] for task in answer["tasks"]}
            assert kinds == {request.kinds[0].value} and len(answer["tasks"]) <= 2
        else:
            assert list(answer) == ["reasoning", "answer", "segments", "boxes"]
        whole[reply_model(request).__name__] += 1
    assert whole["SolveReply"] >= 2 and whole["ProposeReply"] >= 2, whole


def test_a_whole_reply_can_be_read(rig: Rig) -> None:
    """What the strict reading still refuses is what no grammar forbids: the size of numbers."""
    requests = [solving(rig, 1, "Why?", sample=sample) for sample in range(12)]
    read = 0
    for request, reply in zip(requests, rig.ask(requests), strict=True):
        try:
            read += bool(reply.text and read_reply(reply.text, reply_model(request)))
        except Exception as error:
            assert "finite" in str(error) or "equal to" in str(error) or "at least" in str(error)
    assert read >= 1


def test_the_engine_is_given_the_right_frames_and_times(rig: Rig) -> None:
    rig.prompts.clear()
    rig.videos.clear()
    rates = [Fraction(8), Fraction(25), Fraction(30000, 1001)]
    requests = []
    for place, fps in enumerate(rates):
        scene = clip(rig, 100 + place, num_frames=40 + 7 * place, fps=fps)
        requests.append(
            Request(scene=scene, task=scenes.make_task(scene, f"At {fps}?"), seed=place)
        )
    rig.ask(requests)
    assert len(rig.prompts) == len(rig.videos) == len(requests)
    given = zip(requests, rig.prompts, rig.videos, strict=True)
    for code, (request, prompt, video) in enumerate(given, start=100):
        media = request.scene.media
        ((pixels, told),) = prompt["multi_modal_data"]["video"]
        boards = [scenes.read_board(frame) for frame in pixels]
        assert {board[0] for board in boards} == {code}
        numbers = [board[1] for board in boards]
        assert told["frames_indices"] == numbers, "the picture's own number"
        assert told["fps"] == pytest.approx(media.fps_num / media.fps_den)
        # The times that the prompt names are those of the pictures.
        text = prompt["prompt"]
        assert request.task is not None and f"Question: {request.task.question}\n" in text
        assert text.count("<|vision_start|><|video_pad|><|vision_end|>") == 1
        listed = re.findall(r"(\d+\.\d\d) s", text.split("their times are:\n")[1].split("\n")[0])
        assert listed == [f"{number / told['fps']:.2f}" for number in numbers]
        # What the processor made of it: all frames, two to a step, at their true distance.
        steps, height, width = video["video_grid_thw"][0].tolist()
        assert steps == -(-len(numbers) // 2), "no frame was dropped or sampled again"
        assert (height, width) == (4, 6), "56x74 pixels, rounded to fields of 28"
        step_s = media.duration_s / len(numbers)
        assert float(video["second_per_grid_ts"][0]) == pytest.approx(2 * step_s, rel=1e-3)


def test_the_same_batch_gives_the_same_replies(rig: Rig) -> None:
    requests = [solving(rig, 2, "Again?", sample=sample, seed=7) for sample in range(4)]
    first, second = rig.ask(requests), rig.ask(requests)
    assert first == second
    texts = [reply.text for reply in first if reply.text]
    assert len(set(texts)) == len(texts), "samples differ"


def test_a_bad_request_costs_only_itself(rig: Rig) -> None:
    good = solving(rig, 1, "Fine?")
    long = solving(rig, 1, "Long?", critique=("far too long " * 1000,))
    gone = solving(rig, 2, "Gone?")
    media = gone.scene.media.model_copy(update={"ref": "not/there.mp4", "sha256": "0" * 64})
    gone = gone.model_copy(update={"scene": gone.scene.model_copy(update={"media": media})})
    markers = solving(rig, 3, "<|vision_start|><|video_pad|><|vision_end|><|im_end|>?")
    last = solving(rig, 3, "Fine too?")
    replies = rig.ask([good, long, gone, markers, last])
    assert replies[0].error in {"", CUT} and replies[4].error in {"", CUT}
    assert replies[3].error in {"", CUT}, "control tokens in a question are plain text"
    assert "8192" in replies[1].error
    assert "can't be decoded" in replies[2].error


def test_teachers_and_threads_share_the_engine(rig: Rig) -> None:
    found: dict[int, list[Reply]] = {}

    def work(place: int) -> None:
        teacher = VLLMTeacher(rig.teacher.settings, rig.store)
        teacher.open()
        requests = [solving(rig, 1 + place, "Shared?", sample=sample) for sample in range(2)]
        found[place] = list(answers_by_id(teacher, requests))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 3 and len(vllm_teacher._ENGINES) == 1
    assert all(reply.error in {"", CUT} for replies in found.values() for reply in replies)


def test_a_model_that_can_not_be_loaded_is_said_to_be_one(tmp_path: Path, rig: Rig) -> None:
    settings = TeacherSettings.model_validate({"kind": "vllm", "model": str(tmp_path / "none")})
    with pytest.raises(TeacherUnavailable, match=r"can't load teacher\.model .*local checkpoint"):
        VLLMTeacher(settings, rig.store).open()


def test_an_engine_that_died_is_replaced(rig: Rig) -> None:
    (engine,) = vllm_teacher._ENGINES.values()
    engine.close()
    requests = [solving(rig, 1, "After?", sample=sample) for sample in range(2)]
    assert all(reply.error for reply in rig.ask(requests))
    assert all(reply.error in {"", CUT} for reply in rig.ask(requests))
    (other,) = vllm_teacher._ENGINES.values()
    assert other is not engine
