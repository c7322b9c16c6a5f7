"""A second family in the real vLLM: a tiny Qwen3-VL of random weights that thinks first.

Its processor writes the times into the prompt, one for every two frames. So a clock video shows
what the model was told: each frame says which it is, and the text before it must say when that was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="needs an environment of its own: scripts/vllm_env.sh")

import tiny_qwen
from vllm_rig import ENVIRONMENT, Given, Rig, open_rig, scenes

from schemas.rollout import ToolCall
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.teacher import Family, Request, TeacherSettings
from transforms.annotate.vllm_engine import family_of
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore

pytestmark = pytest.mark.slow

MAX_TOKENS = 3000
CUT = f"the reply was cut at teacher.max_tokens = {MAX_TOKENS}"
STAMP = re.compile(r"<(\d+\.\d) seconds><\|vision_start\|>((?:<\|video_pad\|>)+)<\|vision_end\|>")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    fields = {
        "max_tokens": MAX_TOKENS, "max_model_len": 12288, "frame_height_px": 64, "fps": 2.0,
        "reasoning_parser": "qwen3", "tool_calls": 1,
    }  # fmt: skip
    store = MemoStore(str(tmp_path_factory.mktemp("clips")))
    folder = tmp_path_factory.mktemp("tiny_qwen3")
    with open_rig(tiny_qwen.build_qwen3_vl, folder, store, **fields) as rig:
        yield rig


def stamps(numbers: Sequence[int], fps: Fraction) -> list[str]:
    """What the model must be told of frames with these numbers: a step is at its middle."""
    times_s = [float(number / fps) for number in numbers]
    times_s += times_s[-1:] * (len(times_s) % 2)
    pairs = zip(times_s[::2], times_s[1::2], strict=True)
    return [f"{(first + second) / 2:.1f}" for first, second in pairs]


def shown(given: Given) -> list[list[tuple[int, int]]]:
    """(clip, number) of each frame of each video that was handed in."""
    return [[scenes.read_board(frame) for frame in pixels] for pixels, _ in given.media("video")]


def test_the_model_is_told_the_true_times(rig: Rig) -> None:
    assert family_of(rig.teacher.settings, rig.loop.engine.facts) is Family.QWEN3_VL
    rates = [Fraction(8), Fraction(25), Fraction(30000, 1001), Fraction(5)]
    requests = []
    for place, fps in enumerate(rates):
        scene = rig.clip(100 + place, num_frames=40 + 7 * place, fps=fps)
        requests.append(Request(scene=scene, task=scenes.make_task(scene, f"At {fps}?")))
    # All at once: no clip may be told the times of another.
    rig.ask(requests)
    for place, fps in enumerate(rates):
        (boards,) = shown(rig.about(f"At {fps}?"))
        assert {code for code, _ in boards} == {100 + place}
        told = STAMP.findall(rig.read_of(f"At {fps}?"))
        assert [time_s for time_s, _ in told] == stamps([number for _, number in boards], fps)
        assert len({len(pads) for _, pads in told}) == 1
        assert len(told) == -(-len(boards) // 2), "no frame was dropped or sampled again"


def test_uneven_frames_of_two_looks(rig: Rig) -> None:
    """A crop, and times that lie anywhere: both as video, with the times of just these frames."""
    question, fps = "Uneven?", Fraction(8)
    times_s = (0.5, 0.625, 1.5, 2.125, 2.25, 2.75)
    call = ToolCall(text="closer", start_s=0.5, end_s=2.9, frame_times_s=times_s)
    rig.ask([rig.solving(31, question, tool_calls=(call,))])
    whole, crop = shown(rig.about(question))
    assert crop == [(31, round(time_s * 8)) for time_s in times_s]
    told = [time_s for time_s, _ in STAMP.findall(rig.read_of(question))]
    wanted = stamps([number for _, number in whole], fps), stamps([n for _, n in crop], fps)
    assert told == [*wanted[0], *wanted[1]]
    assert wanted[1] == ["0.6", "1.8", "2.5"]


def test_thinking_is_kept_apart(rig: Rig) -> None:
    requests = [rig.solving(place % 3, "Think?", sample=place, seed=place) for place in range(16)]
    ended = 0
    for request, reply in zip(requests, rig.ask(requests), strict=True):
        if reply.error:
            assert reply.error in (CUT, "the model thought, but gave no reply")
            continue
        # The grammar began after the thinking, which random weights end by chance.
        assert list(json.loads(reply.text)) in (
            ["reasoning", "answer", "segments", "boxes"],
            ["tool_call"],
        )
        assert reply.thinking and "</think>" not in reply.thinking
        assert request.id == reply.request_id
        ended += 1
    assert ended >= 2


def test_a_model_that_sees_nothing_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name, words in (
        ("blind", "takes no images, only text"),
        ("mute", "it has no chat template"),
    ):
        folder = tmp_path / name
        tiny_qwen.build_text_only(folder)
        (folder / "model.safetensors").unlink()
        if name == "mute":
            (folder / "chat_template.jinja").unlink()
        settings = TeacherSettings.model_validate({"kind": "vllm", "model": str(folder)})
        with pytest.raises(TeacherUnavailable, match=words):
            VLLMTeacher(settings, MemoStore(str(tmp_path / "store"))).open()
