"""What the vLLM teacher puts to the engine, and what it says of a model that can't take it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from puppet_engine import FACTS, SEEN, Puppet, Stage, ask, chat_text, opened, settings

from schemas.description import Caption
from schemas.rollout import ToolCall
from schemas.task import TaskKind
from transforms.annotate import vllm_teacher
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.conversation import Conversation, Turn, compose
from transforms.annotate.prompts import load_templates
from transforms.annotate.seeing import Frames, Looker, look
from transforms.annotate.teacher import Family, Request, TeacherSettings
from transforms.annotate.vllm_advice import advice
from transforms.annotate.vllm_engine import Done, Facts, Sampling, engine_arguments, family_of
from transforms.annotate.vllm_prompt import engine_prompt, video_metadata
from transforms.annotate.vllm_teacher import VLLMTeacher, check_engine
from transforms.memo import MemoStore


@dataclass
class Template:
    """As much of an engine as renders a chat."""

    facts: Facts = FACTS
    takes: tuple[str, ...] = SEEN

    def chat_text(self, messages: Sequence[dict[str, Any]]) -> str:
        return chat_text(messages, self.takes)


def prompt_of(
    request: Request, store: MemoStore, family: Family, **fields: Any
) -> tuple[Conversation, dict[str, Any]]:
    chosen = settings(family=family, **fields)
    said = compose(request, load_templates(), chosen, Looker(store, chosen, 4).look)
    sha256 = request.scene.media.sha256 if request.scene else ""
    engine: Any = Template()
    return said, engine_prompt(said, family, engine, sha256)


def crop(times_s: tuple[float, ...]) -> ToolCall:
    return ToolCall(text="closer", start_s=1.0, end_s=2.0, frame_times_s=times_s)


@pytest.fixture
def request_with_crop(scenes: ModuleType, clip_store: MemoStore) -> Request:
    scene = scenes.make_scene(clip_store, 11)
    call = crop((1.0, 1.25, 1.5, 1.75))
    return Request(scene=scene, task=scenes.make_task(scene), tool_calls=(call,))


def test_a_conversation_of_several_videos(
    scenes: ModuleType, clip_store: MemoStore, request_with_crop: Request
) -> None:
    said, prompt = prompt_of(request_with_crop, clip_store, Family.QWEN3_VL, tool_calls=2)
    text = prompt["prompt"]
    assert re.fullmatch(
        r"<user>\[video\]You are shown .*<assistant>closer<user>\[video\]These are 4 frames .*",
        text,
        re.DOTALL,
    )
    videos = prompt["multi_modal_data"]["video"]
    assert set(prompt["multi_modal_data"]) == {"video"} and len(videos) == 2
    for (pixels, told), frames in zip(videos, said.videos, strict=True):
        boards = [scenes.read_board(picture) for picture in pixels]
        assert {board[0] for board in boards} == {11}
        assert [number / told["fps"] for _, number in boards] == list(frames.times_s)
    assert videos[1][1]["frames_indices"] == [8, 10, 12, 14]
    assert len(set(prompt["multi_modal_uuids"]["video"])) == 2


def test_uneven_frames_go_as_images_each_with_its_time(
    scenes: ModuleType, clip_store: MemoStore, request_with_crop: Request
) -> None:
    said, prompt = prompt_of(request_with_crop, clip_store, Family.QWEN2_5_VL, tool_calls=1)
    media = prompt["multi_modal_data"]
    assert len(media["video"]) == 1 and len(media["image"]) == 4
    _told_apart(scenes, prompt["prompt"].split("<assistant>")[1], media["image"])
    said, prompt = prompt_of(request_with_crop, clip_store, Family.IMAGES, tool_calls=1)
    images = prompt["multi_modal_data"]["image"]
    assert set(prompt["multi_modal_data"]) == {"image"}
    assert len(images) == sum(len(frames.times_s) for frames in said.videos)
    assert len(prompt["multi_modal_uuids"]["image"]) == len(images)
    _told_apart(scenes, prompt["prompt"], images)


def _told_apart(scenes: ModuleType, text: str, images: Sequence[Any]) -> None:
    """The time before each picture is that of this picture, at the 8 frames/s of the clips."""
    named = re.findall(r"Frame at (\d+\.\d\d) s:\[image\]", text)
    shown = [scenes.read_board(np.asarray(image))[1] / 8 for image in images]
    assert [float(time_s) for time_s in named] == pytest.approx(shown, abs=0.005)


def test_text_alone(clip_store: MemoStore) -> None:
    captions = (Caption(start_s=0.0, end_s=2.0, text="A dog <|video|> barks."),)
    _, prompt = prompt_of(Request(captions=captions), clip_store, Family.QWEN3_VL)
    assert set(prompt) == {"prompt"} and "barks" in prompt["prompt"]
    assert "[video]" not in prompt["prompt"] and "<|" not in prompt["prompt"]


def test_the_same_pictures_at_other_times_are_another_video() -> None:
    """vLLM caches by id; its own ids would be those of the pixels alone for Qwen2.5-VL."""
    pixels = np.zeros((4, 28, 28, 3), np.uint8)
    frames = Frames(pixels, (0.0, 0.5, 1.0, 1.5), fps=8.0, num_frames=16, duration_s=2.0)
    twice = replace(frames, times_s=(0.0, 1.0, 2.0, 3.0), fps=4.0, duration_s=4.0)
    small = replace(frames, pixels=pixels[:, :14])
    engine: Any = Template()
    ids = []
    for one, sha256 in ((frames, "a"), (twice, "a"), (small, "a"), (frames, "b"), (frames, "a")):
        said = Conversation((Turn("user", (one, "?")),), None, "")
        for family, kind in ((Family.QWEN2_5_VL, "video"), (Family.IMAGES, "image")):
            prompt = engine_prompt(said, family, engine, sha256)
            ids.append(tuple(prompt["multi_modal_uuids"][kind]))
    assert len(set(ids)) == 8 and ids[:2] == ids[-2:]
    images = ids[1]
    assert len(set(images)) == 4


def test_the_family_follows_from_the_model() -> None:
    known = {
        "qwen3_vl": Family.QWEN3_VL, "qwen3_vl_moe": Family.QWEN3_VL, "qwen3_5": Family.QWEN3_VL,
        "qwen2_5_vl": Family.QWEN2_5_VL, "qwen2_vl": Family.QWEN2_5_VL, "llava": Family.IMAGES,
    }  # fmt: skip
    for model_type, family in known.items():
        assert family_of(settings(), replace(FACTS, model_type=model_type)) is family
    assert family_of(settings(family="images"), FACTS) is Family.IMAGES


def test_a_model_that_can_not_do_it_is_refused_in_words() -> None:
    def refused(chosen: TeacherSettings, **fields: Any) -> str:
        with pytest.raises(TeacherUnavailable) as raised:
            check_engine(Template(**fields), chosen)  # type: ignore[arg-type]
        return str(raised.value)

    check_engine(Template(), settings())  # type: ignore[arg-type]
    text_only = replace(FACTS, model_type="qwen3", sees=frozenset())
    assert "takes no images, only text: choose a model" in refused(settings(), facts=text_only)
    images_only = replace(FACTS, model_type="llava", sees=frozenset({"image"}))
    words = refused(settings(family="qwen3_vl"), facts=images_only)
    assert "takes no videos, but images" in words and "teacher.family = images" in words
    assert "no place for videos" in refused(settings(), takes=("image",))
    short = refused(settings(max_tokens=4096))
    assert "context of 4096 tokens leaves no room" in short and "teacher.max_model_len" in short


def test_advice_on_an_engine_that_does_not_load() -> None:
    gib = 2**30
    words = advice(RuntimeError("?"), [(140 * gib, 140 * gib), (9 * gib, 80 * gib)], 0.9)
    assert words.startswith("GPU 1 has 9.0 of 80.0 GiB free") and "CUDA_VISIBLE_DEVICES" in words
    started = RuntimeError("Engine core initialization failed. See root cause above.")
    assert "log above says why" in advice(started, [(80 * gib, 80 * gib)], 0.9)
    assert "local checkpoint" in advice(OSError("no such repository"), [], 0.9)


def test_video_metadata_tells_the_true_times(scenes: ModuleType, clip_store: MemoStore) -> None:
    scene = scenes.make_scene(clip_store, 9, num_frames=22)
    frames = look(clip_store.path(scene.media.ref), scene.media, settings(fps=2.0))
    told = video_metadata(frames)
    boards = [scenes.read_board(pixels) for pixels in frames.pixels]
    assert told["frames_indices"] == [number for _, number in boards]
    times = [index / told["fps"] for index in told["frames_indices"]]
    assert times == pytest.approx(list(frames.times_s))
    # 2.75 s at 2 per second: 6 frames; their true rate, as Qwen2.5-VL's processor works it out.
    rate = len(boards) / told["total_num_frames"] * told["fps"]
    assert rate == pytest.approx(6 / 2.75)
    assert told["duration"] == 2.75 and told["do_sample_frames"] is False


def test_proposals_are_held_to_what_was_asked_for(
    scenes: ModuleType, stage: Stage, clip_store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sampling] = []
    hand_in = Puppet.hand_in

    def watch(self: Puppet, engine_id: str, prompt: Any, how: Sampling, done: Done) -> None:
        seen.append(how)
        hand_in(self, engine_id, prompt, how, done)

    monkeypatch.setattr(Puppet, "hand_in", watch)
    scene = scenes.make_scene(clip_store, 1)
    requests = [Request(scene=scene, wanted=1, kinds=(TaskKind.COUNT,))]
    ask(opened(clip_store, temperature=0.2), requests)
    assert seen[0].schema is not None
    kind = seen[0].schema["properties"]["tasks"]["items"]["properties"]["kind"]
    assert kind["enum"] == ["count"]
    assert (seen[0].temperature, seen[0].max_tokens) == (0.2, 1024)
    solve = Request(scene=scene, task=scenes.make_task(scene))
    ask(opened(clip_store, reply_form="think"), [solve])
    assert seen[-1].schema is None, "no grammar for text in tags"


def test_arguments_of_the_engine() -> None:
    arguments = engine_arguments(
        settings(
            revision="abc",
            max_model_len=99,
            tensor_parallel=4,
            tool_calls=2,
            max_frames=8,
            tool_max_frames=4,
            reasoning_parser="qwen3",
            engine_args={"max_model_len": 77},
        )
    )
    assert arguments["revision"] == arguments["tokenizer_revision"] == "abc"
    assert arguments["max_model_len"] == 77, "those of the user come last"
    assert arguments["tensor_parallel_size"] == 4 and arguments["reasoning_parser"] == "qwen3"
    assert arguments["limit_mm_per_prompt"] == {"video": 3, "image": 16}
    plain = engine_arguments(settings(family="images", max_frames=8))
    assert "max_model_len" not in plain and "reasoning_parser" not in plain
    assert plain["limit_mm_per_prompt"] == {"video": 0, "image": 8}
    with pytest.raises(TeacherUnavailable, match=r"needs teacher\.model"):
        engine_arguments(settings(model=""))


def test_a_model_that_a_workers_machine_lacks_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, clip_store: MemoStore
) -> None:
    monkeypatch.setattr(vllm_teacher, "_LOOPS", {})
    with pytest.raises(TeacherUnavailable, match=r"^teacher\.model: /no/model is not on "):
        VLLMTeacher(settings(model="/no/model"), clip_store).open()


def test_without_vllm_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, clip_store: MemoStore
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(vllm_teacher, "_LOOPS", {})
    with pytest.raises(TeacherUnavailable, match=r"install proofreel\[vllm\].*kind openai"):
        VLLMTeacher(settings(), clip_store).open()
