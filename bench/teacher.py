"""The teacher leg against the floor: vLLM's own `LLM.generate`.

Ours: `ask_stored` with an empty store, from mp4 clips to stored replies (decode, prompt, processor,
engine, reading). Floor: the very same prompts, with frames already decoded and the same sampling,
given to `vllm.LLM.generate` all at once. Both engines are loaded with the same arguments, and take
turns in this one call on the same machine; their caches are emptied before each turn. What counts
is the ratio of tokens per second. On a CPU the decoding and the model share the cores, so that what
decoding takes is missing from the model; CPU seconds tell how much that is.

Usage: python bench/teacher.py [--model FOLDER_OR_ID] [--clips N] [--samples N] [--rounds N]

Without --model: the small trained checkpoint of bench/tiny_vlm, on the CPU. Needs the environment
of scripts/vllm_env.sh, or vLLM for a GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import psutil

from schemas.task import TaskKind
from transforms.annotate import vllm_teacher
from transforms.annotate.seeing import Looker
from transforms.annotate.teacher import Request, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.annotate.vllm_engine import (
    Sampling,
    VLLMEngine,
    cpu_arguments,
    engine_arguments,
    family_of,
    sampling_params,
)
from transforms.annotate.vllm_loop import EngineLoop
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore
from transforms.video.shots import ShotSettings

BENCH = Path(__file__).parent
TINY = BENCH / "tiny_vlm"
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}  # fmt: skip
QUESTIONS = ("What appears first?", "Which way does it move?", "What is seen at the end?")


@dataclass
class Turn:
    """What one turn took and gave."""

    wall_s: float = 0.0
    here_cpu_s: float = 0.0
    """In this process: decoding, prompts, processor."""
    engine_cpu_s: float = 0.0
    """In the processes of the engines."""
    idle_s: float = 0.0
    """In which our engine had no request; -1 = not measured."""
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens_per_s(self) -> float:
        return (self.prompt_tokens + self.completion_tokens) / self.wall_s


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


scenes = load("scenes", BENCH.parent / "tests" / "transforms" / "annotate" / "scenes.py")


def write_noise(path: Path, code: int, frames: int, fps: Fraction, width: int, height: int) -> None:
    """A clip in which a coarse random picture moves under fine noise: about as hard as film."""
    rng = np.random.default_rng(code)
    coarse = rng.integers(0, 200, (height // 20 + 2, width // 20 + 40, 3), np.uint8)
    wide = coarse.repeat(20, axis=0).repeat(20, axis=1)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = wide[:height, 4 * number % 700 :][:, :width]
            noisy = picture + rng.integers(0, 24, picture.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_requests(store: MemoStore, options: argparse.Namespace) -> list[Request]:
    """Several samples of a few questions about each clip."""
    shape: dict[str, Any] = {
        "num_frames": 200, "fps": Fraction(25), "width_px": 640, "height_px": 360,
    }  # fmt: skip
    write: Callable[..., None] = write_noise
    if options.tiny:
        sys.path.insert(0, str(TINY))
        clips = load("clips", TINY / "clips.py")
        frames, fps, side_px = clips.DURATION_S * clips.FILE_FPS, clips.FILE_FPS, clips.FILE_PX
        shape = {
            "num_frames": round(frames), "fps": Fraction(fps), "width_px": side_px,
            "height_px": side_px,
        }  # fmt: skip

        def write(path: Path, code: int, *_: Any) -> None:
            clips.write_mp4(path, clips.make_clip(clips.Split.TEST, code))

    scenes.write_clip = write  # type: ignore[attr-defined]
    made = [scenes.make_scene(store, code, **shape) for code in range(options.clips)]
    return [
        Request(scene=scene, task=scenes.make_task(scene, question, kind=TaskKind.FREE_TEXT),
                sample=sample)
        for scene in made
        for question in QUESTIONS
        for sample in range(options.samples)
    ]  # fmt: skip


def make_settings(options: argparse.Namespace) -> TeacherSettings:
    fields: dict[str, Any] = {
        "kind": "vllm", "model": options.model, "max_tokens": options.max_tokens,
        "gpu_memory_share": 0.45,
    }  # fmt: skip
    if options.tiny:
        fields |= {
            "prompts": str(TINY / "prompts"), "frame_height_px": 112, "max_model_len": 2048,
            "engine_args": {"max_num_seqs": 64},
        }  # fmt: skip
    return TeacherSettings.model_validate(fields)


def cpu_seconds() -> tuple[float, float]:
    """CPU seconds of this process, and of those that it started and that still run."""
    me = psutil.Process()
    own = me.cpu_times()
    others = 0.0
    for child in me.children(recursive=True):
        with_children = child.cpu_times()
        others += with_children.user + with_children.system
    return own.user + own.system, others


@contextmanager
def measured(turn: Turn, engine: VLLMEngine) -> Iterator[None]:
    here_s, engine_s = cpu_seconds()
    idle_s, start_s = engine.idle_s, time.perf_counter()
    yield
    turn.wall_s = time.perf_counter() - start_s
    turn.idle_s = engine.idle_s - idle_s
    after = cpu_seconds()
    turn.here_cpu_s, turn.engine_cpu_s = after[0] - here_s, after[1] - engine_s


def ours(
    engine: VLLMEngine, settings: TeacherSettings, store: MemoStore, requests: Sequence[Request]
) -> Turn:
    turn = Turn()
    shutil.rmtree(Path(store.root, "reply"), ignore_errors=True)
    reset(engine)
    finished = VLLMEngine._finished

    def count(self: VLLMEngine, output: Any) -> Any:
        # Replies that were cut hold no counts.
        done = finished(self, output)
        turn.prompt_tokens += done.prompt_tokens
        turn.completion_tokens += done.completion_tokens
        return done

    VLLMEngine._finished = count  # type: ignore[method-assign]
    try:
        with measured(turn, engine):
            replies = ask_stored(settings, store, ShotSettings(), requests)
    finally:
        VLLMEngine._finished = finished  # type: ignore[method-assign]
    errors = {reply.error for reply in replies.values() if reply.error and not reply.lasting}
    assert not errors, errors
    turn.replies = len(replies)
    return turn


def reset(engine: VLLMEngine) -> None:
    async def empty() -> None:
        await engine._llm.reset_mm_cache()
        await engine._llm.reset_prefix_cache()

    asyncio.run_coroutine_threadsafe(empty(), engine._loop).result()


def floor(
    engine: VLLMEngine, llm: Any, prepared: Sequence[tuple[dict[str, Any], Sampling]]
) -> Turn:
    turn = Turn()
    llm.reset_mm_cache()
    llm.reset_prefix_cache()
    with measured(turn, engine):
        outputs = llm.generate(
            [prompt for prompt, _ in prepared],
            [sampling_params(how) for _, how in prepared],
            use_tqdm=False,
        )
    turn.idle_s = -1.0
    turn.replies = len(outputs)
    turn.prompt_tokens = sum(len(output.prompt_token_ids) for output in outputs)
    turn.completion_tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    return turn


def prepare(
    teacher: VLLMTeacher, loop: EngineLoop, requests: Sequence[Request]
) -> list[tuple[dict[str, Any], Sampling]]:
    """What our leg hands to its engine, made beforehand."""
    family = {"family": family_of(teacher.settings, loop.engine.facts)}
    looker = Looker(teacher.store, teacher.settings.model_copy(update=family), len(requests))
    done = []
    for request in requests:
        asked = vllm_teacher._Asked(request)
        one = teacher._prepare(looker, asked, loop.engine)
        done.append((one.prompt, one.how))
    return done


def show(name: str, turn: Turn) -> None:
    idle = (
        f", engine without a request {turn.idle_s / turn.wall_s:5.1%}" if turn.idle_s >= 0 else ""
    )
    print(
        f"  {name:6} {turn.wall_s:6.2f} s, {turn.replies} replies, {turn.prompt_tokens} + "
        f"{turn.completion_tokens} tokens, {turn.tokens_per_s:8.0f} tokens/s; CPU here "
        f"{turn.here_cpu_s:.2f} s, engine {turn.engine_cpu_s:.2f} s{idle}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        options.tiny = not options.model and (TINY / "checkpoint").is_dir()
        if not options.model:
            os.environ.update(CPU_ENVIRONMENT)
            options.model = str(TINY / "checkpoint" if options.tiny else Path(scratch, "random"))
        if options.model == str(Path(scratch, "random")):
            slow = BENCH.parent / "tests" / "slow" / "tiny_qwen.py"
            load("tiny_qwen", slow).build(Path(options.model))
        run(options, MemoStore(str(Path(scratch, "memo"))))


def run(options: argparse.Namespace, store: MemoStore) -> None:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    import vllm
    from vllm.platforms import current_platform

    settings = make_settings(options)
    requests = make_requests(store, options)
    teacher = VLLMTeacher(settings, store)
    teacher.open()
    loop = vllm_teacher.shared_loop(settings)
    engine = loop.engine
    assert isinstance(engine, VLLMEngine)
    arguments = engine_arguments(settings)
    if current_platform.is_cpu():
        arguments = cpu_arguments() | arguments
    llm = vllm.LLM(**arguments)
    prepared = prepare(teacher, loop, requests)
    print(
        f"{len(requests)} requests about {options.clips} clips; vLLM {vllm.__version__} on "
        f"{current_platform.get_device_name()}, {len(os.sched_getaffinity(0))} cores "
        f"({platform.machine()}), load {os.getloadavg()[0]:.1f}; {Path(options.model).name}"
    )
    print("warm-up")
    show("ours", ours(engine, settings, store, requests))
    show("floor", floor(engine, llm, prepared))
    turns: list[tuple[Turn, Turn]] = []
    for number in range(options.rounds):
        print(f"round {number + 1}")
        if number % 2:
            straight = floor(engine, llm, prepared)
            own = ours(engine, settings, store, requests)
        else:
            own = ours(engine, settings, store, requests)
            straight = floor(engine, llm, prepared)
        show("ours", own)
        show("floor", straight)
        turns.append((own, straight))
    report(turns, is_cpu=current_platform.is_cpu())
    # Left to the end of the process, the floor's engine would wait for word that never comes.
    llm.llm_engine.engine_core.shutdown()


def report(turns: Sequence[tuple[Turn, Turn]], *, is_cpu: bool) -> None:
    wall = [own.tokens_per_s / straight.tokens_per_s for own, straight in turns]
    print(
        f"teacher leg / LLM.generate, tokens per second: {statistics.median(wall):.2f} (median of "
        f"{len(wall)}: {', '.join(f'{one:.2f}' for one in sorted(wall))}; aim: 0.90)"
    )
    idle = sum(own.idle_s for own, _ in turns) / sum(own.wall_s for own, _ in turns)
    print(f"engine without a request in our leg: {idle:.1%} of the time")
    if is_cpu:
        cpu = [
            (straight.here_cpu_s + straight.engine_cpu_s)
            / (own.here_cpu_s + own.engine_cpu_s)
            * (own.prompt_tokens + own.completion_tokens)
            / (straight.prompt_tokens + straight.completion_tokens)
            for own, straight in turns
        ]
        print(
            f"tokens per CPU second, ours / floor: {statistics.median(cpu):.2f}. On a CPU the "
            "decoding takes cores from the model; on a GPU it does not."
        )


if __name__ == "__main__":
    main()
