"""The real vLLM, on a CPU, with a tiny Qwen2.5-VL of random weights (`scripts/vllm_env.sh`).

Random weights say nothing of value, but everything around them is real: the processor, the chat
template, the positions in time, the grammar that holds replies to their schema, the scheduler.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="needs an environment of its own: scripts/vllm_env.sh")

import tiny_qwen
from vllm_rig import Rig, open_rig, scenes

from schemas.description import Caption
from schemas.rollout import ToolCall
from schemas.task import TaskKind
from transforms import leash
from transforms.annotate import vllm_teacher
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.replies import read_reply
from transforms.annotate.reply_forms import reply_model
from transforms.annotate.teacher import Purpose, Reply, ReplyForm, Request, TeacherSettings
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore

pytestmark = pytest.mark.slow

MAX_TOKENS = 3000
CUT = f"the reply was cut at teacher.max_tokens = {MAX_TOKENS}"


@pytest.fixture(scope="module")
def videos() -> list[dict[str, Any]]:
    """What the model's processor made of each video, in order."""
    return []


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, videos: list[dict[str, Any]]) -> Iterator[Rig]:
    from transformers import Qwen2_5_VLProcessor

    process = Qwen2_5_VLProcessor._process_videos

    def watch_videos(self: Any, shown: Any, **kwargs: Any) -> Any:
        data, replacements = process(self, shown, **kwargs)
        videos.append(dict(data))
        return data, replacements

    fields = {
        "max_tokens": MAX_TOKENS, "max_model_len": 12288, "frame_height_px": 56, "fps": 2.0,
        "tool_calls": 1,
    }  # fmt: skip
    store = MemoStore(str(tmp_path_factory.mktemp("clips")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Qwen2_5_VLProcessor, "_process_videos", watch_videos)
        folder = tmp_path_factory.mktemp("tiny_qwen")
        with open_rig(tiny_qwen.build, folder, store, **fields) as rig:
            videos.clear()
            yield rig


def mixed(rig: Rig) -> list[Request]:
    """Requests of all kinds about several clips, several samples of each."""
    proposing = [
        rig.proposing(code, kind, sample)
        for code, kind in enumerate(TaskKind, start=1)
        for sample in range(3)
    ]
    answering = [
        rig.solving(code, f"What of {code}?", sample=sample)
        for code in range(1, 5)
        for sample in range(3)
    ]
    requests = [request for pair in zip(proposing, answering, strict=False) for request in pair]
    return requests + proposing[len(answering) :]


def count_own(requests: Sequence[Request], replies: Sequence[Reply]) -> Counter[Purpose]:
    """How many replies are whole, by purpose; each is its request's own."""
    whole: Counter[Purpose] = Counter()
    for request, reply in zip(requests, replies, strict=True):
        if reply.error:
            assert reply.error == CUT and not reply.text
            continue
        assert reply.completion_tokens > 0 and reply.prompt_tokens > 1000
        answer = json.loads(reply.text)
        if request.task is None:
            kinds = {task["kind"] for task in answer["tasks"]}
            assert kinds == {request.kinds[0].value} and len(answer["tasks"]) <= 2
        else:
            assert list(answer) in (["reasoning", "answer", "segments", "boxes"], ["tool_call"])
        whole[request.purpose] += 1
    return whole


def test_every_request_gets_its_own_reply(rig: Rig) -> None:
    requests = mixed(rig)
    whole = count_own(requests, rig.ask(requests))
    assert whole[Purpose.SOLVE] >= 2 and whole[Purpose.PROPOSE] >= 2, whole


def test_a_whole_reply_can_be_read(rig: Rig) -> None:
    """What the strict reading still refuses is what no grammar forbids: sizes, half characters."""
    requests = [rig.proposing(1, TaskKind.COUNT, sample) for sample in range(12)]
    read = 0
    for request, reply in zip(requests, rig.ask(requests), strict=True):
        try:
            model = reply_model(request, rig.teacher.settings)
            read += bool(reply.text and read_reply(reply.text, model))
        except Exception as error:
            words = ("finite", "equal to", "at least", "at most", "hex escape", "surrogate")
            assert any(word in str(error) for word in words), error
    assert read >= 1


def test_the_engine_is_given_the_right_frames_and_times(
    rig: Rig, videos: list[dict[str, Any]]
) -> None:
    videos.clear()
    rates = [Fraction(8), Fraction(25), Fraction(30000, 1001)]
    for place, fps in enumerate(rates):
        code, question = 100 + place, f"At {fps}?"
        scene = rig.clip(code, num_frames=40 + 7 * place, fps=fps)
        rig.ask([Request(scene=scene, task=scenes.make_task(scene, question), seed=place)])
        given, video, media = rig.about(question), videos.pop(), scene.media
        assert not videos
        ((pixels, told),) = given.media("video")
        boards = [scenes.read_board(frame) for frame in pixels]
        assert {board[0] for board in boards} == {code}
        numbers = [board[1] for board in boards]
        assert told["frames_indices"] == numbers, "the picture's own number"
        assert told["fps"] == pytest.approx(media.fps_num / media.fps_den)
        # The times that the prompt names are those of the pictures.
        assert given.text.count("<|vision_start|><|video_pad|><|vision_end|>") == 1
        line = given.text.split("their times are:\n")[1].split("\n")[0]
        listed = re.findall(r"(\d+\.\d\d) s", line)
        assert listed == [f"{number / told['fps']:.2f}" for number in numbers]
        # What the processor made of it: all frames, two to a step, at their true distance.
        steps, height, width = video["video_grid_thw"][0].tolist()
        assert steps == -(-len(numbers) // 2), "no frame was dropped or sampled again"
        assert (height * 14, width * 14) == pixels.shape[1:3], "no frame was scaled again"
        step_s = media.duration_s / len(numbers)
        assert float(video["second_per_grid_ts"][0]) == pytest.approx(2 * step_s, rel=1e-3)
        assert rig.read_of(question).count("<|video_pad|>") == steps * height * width // 4


def test_the_same_pictures_at_other_times_are_not_taken_for_the_same(
    rig: Rig, videos: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's own ids of videos are made from the pixels alone for this family."""
    videos.clear()
    scene = rig.clip(1)
    scene = scene.model_copy(
        update={"media": scene.media.model_copy(update={"sha256": "f" * 64, "duration_s": 3.0})}
    )
    teacher = VLLMTeacher(rig.teacher.settings, rig.store)
    teacher.open()
    assert teacher._looker is not None
    frames = teacher._looker.look(scene)
    half = type(frames)(
        pixels=frames.pixels, times_s=tuple(2 * time_s for time_s in frames.times_s),
        fps=frames.fps / 2, num_frames=frames.num_frames, duration_s=2 * frames.duration_s,
    )  # fmt: skip
    for place, shown in enumerate((frames, half)):
        monkeypatch.setattr(teacher._looker, "look", lambda *_, shown=shown: shown)
        task = scenes.make_task(scene, f"At speed {place}?")
        assert len(list(teacher.ask([Request(scene=scene, task=task)]))) == 1
    steps_s = [float(video["second_per_grid_ts"][0]) for video in videos]
    assert len(steps_s) == 2 and steps_s[1] == pytest.approx(2 * steps_s[0])


def test_a_closer_look_arrives_with_its_times(rig: Rig) -> None:
    """Qwen2.5-VL can't be told the times of an uneven video, so the crop comes as images."""
    call = ToolCall(
        text='{"tool_call":{"name":"crop_video","start_s":1,"end_s":2}}', start_s=1.0, end_s=2.0,
        frame_times_s=(1.0, 1.25, 1.5, 1.75),
    )  # fmt: skip
    requests = [rig.solving(code, f"Closer at {code}?", tool_calls=(call,)) for code in (21, 22)]
    for code, reply in zip((21, 22), rig.ask(requests), strict=True):
        assert reply.error in {"", CUT}
        given = rig.about(f"Closer at {code}?")
        ((pixels, _),) = given.media("video")
        assert {scenes.read_board(frame)[0] for frame in pixels} == {code}
        images = [np.asarray(image) for image in given.media("image")]
        assert [scenes.read_board(image) for image in images] == [
            (code, number) for number in (8, 10, 12, 14)
        ]
        # In what the model reads, each picture follows the text with its time.
        read = rig.read_of(f"Closer at {code}?")
        assert read.index("crop_video") < read.index("Frame at 1.00 s:<|vision_start|>")
        times = re.findall(r"Frame at (\S+) s:<\|vision_start\|>(?:<\|image_pad\|>)+<", read)
        assert times == ["1.00", "1.25", "1.50", "1.75"]
        assert not reply.text or "tool_call" not in json.loads(reply.text), "only once"


def test_forms_of_replies(rig: Rig) -> None:
    steps = [rig.solving(3, "In steps?", sample=sample) for sample in range(8)]
    whole = [reply for reply in rig.ask(steps, reply_form=ReplyForm.STEPS) if reply.text]
    forms = {tuple(json.loads(reply.text)) for reply in whole}
    assert forms <= {("steps", "answer", "boxes"), ("tool_call",)} and whole
    assert ("steps", "answer", "boxes") in forms
    free = [rig.solving(3, "Freely?", sample=sample) for sample in range(4)]
    replies = rig.ask(free, reply_form=ReplyForm.THINK)
    assert any(reply.text and not reply.text.startswith("{") for reply in replies)
    assert rig.given[-1].how.schema is None


def test_text_alone(rig: Rig) -> None:
    captions = (Caption(start_s=0.0, end_s=2.0, text="A dog barks <|video_pad|>."),)
    requests = [Request(captions=captions, sample=sample) for sample in range(6)]
    whole = [reply for reply in rig.ask(requests) if not reply.error]
    assert whole and all(list(json.loads(reply.text)) == ["summary"] for reply in whole)
    assert set(rig.given[-1].prompt) == {"prompt"}
    assert "<|video_pad|>" not in rig.read[-1] and "A dog barks" in rig.read[-1]


def test_the_same_batch_gives_the_same_replies(rig: Rig) -> None:
    requests = [rig.solving(2, "Again?", sample=sample, seed=7) for sample in range(4)]
    first, second = rig.ask(requests), rig.ask(requests)
    assert first == second
    texts = [reply.text for reply in first if reply.text]
    assert len(set(texts)) == len(texts), "samples differ"


def test_a_bad_request_costs_only_itself(rig: Rig) -> None:
    good = rig.solving(1, "Fine?")
    long = rig.solving(1, "Long?", critique=("far too long " * 1000,))
    gone = rig.solving(2, "Gone?")
    assert gone.scene is not None
    media = gone.scene.media.model_copy(update={"ref": "not/there.mp4", "sha256": "0" * 64})
    gone = gone.model_copy(update={"scene": gone.scene.model_copy(update={"media": media})})
    markers = rig.solving(3, "<|vision_start|><|video_pad|><|vision_end|><|im_end|>?")
    last = rig.solving(3, "Fine too?")
    replies = rig.ask([good, long, gone, markers, last])
    assert replies[0].error in {"", CUT} and replies[4].error in {"", CUT}
    assert replies[3].error in {"", CUT}, "control tokens in a question are plain text"
    assert "12288" in replies[1].error
    assert "can't be decoded" in replies[2].error


def test_teachers_and_threads_share_the_engine(rig: Rig) -> None:
    found: dict[int, int] = {}
    kinds = list(TaskKind)

    def work(place: int) -> None:
        teacher = VLLMTeacher(rig.teacher.settings, rig.store)
        teacher.open()
        requests = [
            rig.proposing(1 + n % 2, kinds[(2 * place + n) % len(kinds)], sample=place)
            for n in range(4)
        ]
        found[place] = count_own(requests, rig.ask(requests)).total()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 4 and sum(found.values()) >= 4 and len(vllm_teacher._LOOPS) == 1


def test_a_model_that_can_not_be_loaded_is_said_to_be_one(tmp_path: Path, rig: Rig) -> None:
    settings = TeacherSettings.model_validate({"kind": "vllm", "model": str(tmp_path / "none")})
    with pytest.raises(TeacherUnavailable, match=r"teacher\.model: .*none is not on "):
        VLLMTeacher(settings, rig.store).open()
    same = rig.teacher.settings.model_copy(update={"max_model_len": 10**6})
    with pytest.raises(TeacherUnavailable, match="max_model_len"):
        VLLMTeacher(same, rig.store).open()
    assert rig.teacher.context_tokens() == 12288


def core_pid(engine: Any) -> int:
    """Of the process in which the model runs."""
    (core,) = engine._llm.engine_core.resources.engine_manager.processes
    return int(core.pid)


def test_an_engine_that_dies_in_mid_batch_costs_nobody_a_reply(rig: Rig) -> None:
    first = rig.loop.engine
    requests = mixed(rig)
    replies: dict[str, Reply] = {}
    for reply in rig.teacher.ask(requests):
        if not replies:
            os.kill(core_pid(first), signal.SIGKILL)
        replies[reply.request_id] = reply
    assert rig.loop.engine is not first
    # A run that is killed leaves no engine behind: see leash.py.
    mark = f"{leash.MARK}={os.environ[leash.MARK]}"
    assert mark in Path(f"/proc/{core_pid(rig.loop.engine)}/environ").read_text("utf-8").split("\0")
    whole = count_own(requests, [replies[request.id] for request in requests])
    assert whole[Purpose.SOLVE] >= 2 and whole[Purpose.PROPOSE] >= 2, whole
