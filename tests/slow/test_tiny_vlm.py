"""The small trained model through the product's teacher, against the same straight through vLLM.

What it knows is measured once on drawn frames, given to the engine by hand, and once on mp4 files
that the product decodes, samples, times and puts into its prompts. If the second is as good as the
first, pixels, times and ids arrive. Black frames, or those of another clip, must take it all away.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import pytest

pytest.importorskip("vllm", reason="needs an environment of its own: scripts/vllm_env.sh")

sys.path.insert(0, str(Path(__file__).parents[2] / "bench" / "tiny_vlm"))
import clips
import evaluate
import numpy as np
import talk
from vllm_rig import ENVIRONMENT, scenes

from schemas.case import Scene
from schemas.task import TaskKind
from transforms.annotate import vllm_teacher
from transforms.annotate.replies import SolveReply, read_reply
from transforms.annotate.teacher import Request, TeacherSettings, answers_by_id
from transforms.annotate.vllm_teacher import VLLMTeacher
from transforms.memo import MemoStore

pytestmark = pytest.mark.slow

TINY = Path(clips.__file__).parent

CLIPS = 100
TOPICS = ("colour", "count", "appears", "span")
"""What the model knows well; bench/tiny_vlm/README.md has all that it was measured on."""
AS_GOOD = 0.04
"""Largest loss on the way through the product, in the mean over all questions."""
BLACK = clips.Clip((), (0, 0, 0))

Asked = tuple[clips.Clip, talk.Question]


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    """Held-out clips with shapes, and the questions about each."""
    found: list[Asked] = []
    seed = 10_000
    while len({id(clip) for clip, _ in found}) < CLIPS:
        clip = clips.make_clip(clips.Split.TEST, seed)
        questions = talk.questions(clip, np.random.default_rng(seed))
        found += [(clip, one) for one in questions if clip.shapes and one.topic in TOPICS]
        seed += 1
    return found


@pytest.fixture(scope="module")
def straight(asked: list[Asked]) -> dict[str, float]:
    """Mean score by topic of the engine alone."""
    engine = evaluate.Engine(TINY / "checkpoint")
    pictures = {id(clip): clips.frames(clip) for clip, _ in asked}
    prompts = [talk.solve_prompt(one, clips.DURATION_S, clips.TIMES_S) for _, one in asked]
    texts = engine.ask(
        [
            (prompt, pictures[id(clip)], evaluate.SOLVE)
            for prompt, (clip, _) in zip(prompts, asked, strict=True)
        ]
    )
    engine.llm.llm_engine.engine_core.shutdown()
    return scores(asked, texts)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    return MemoStore(str(tmp_path_factory.mktemp("clips")))


@pytest.fixture(scope="module")
def teacher(store: MemoStore, straight: dict[str, float]) -> Iterator[VLLMTeacher]:
    """The product's teacher as a user sets it up; after `straight`, one engine at a time."""
    os.environ.update(ENVIRONMENT)
    settings = TeacherSettings.model_validate(
        {
            "kind": "vllm", "model": str(TINY / "checkpoint"), "prompts": str(TINY / "prompts"),
            "temperature": 0.0, "max_tokens": 400, "fps": 1 / clips.STEP_S,
            "frame_height_px": clips.SEEN_PX, "engine_args": {"max_num_seqs": 32},
        }
    )  # fmt: skip
    teacher = VLLMTeacher(settings, store)
    teacher.open()
    yield teacher
    vllm_teacher.close_engines()


def scores(asked: Sequence[Asked], texts: Sequence[str]) -> dict[str, float]:
    """Mean score by topic; every reply must be a valid one."""
    found: dict[str, list[float]] = defaultdict(list)
    for (_, question), text in zip(asked, texts, strict=True):
        found[question.topic].append(evaluate.score(question, read_reply(text, SolveReply).answer))
    return {topic: fmean(values) for topic, values in found.items()}


def scene_of(store: MemoStore, clip: clips.Clip, code: int) -> Scene:
    """A scene with the clip, encoded as the files that the product cuts are."""
    entry = store.entry("tiny_clip", code)
    with entry.building() as folder:
        clips.write_mp4(folder / "clip.mp4", clip)
        entry.finish(folder, {})
    ref = entry.ref("clip.mp4")
    content = store.path(ref).read_bytes()
    known = scenes.make_scene(
        store, code % 256, num_frames=round(clips.DURATION_S * clips.FILE_FPS),
        width_px=clips.FILE_PX, height_px=clips.FILE_PX,
    )  # fmt: skip
    media = {"ref": ref, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    scene: Scene = known.model_copy(update={"media": known.media.model_copy(update=media)})
    return scene


def through(
    teacher: VLLMTeacher,
    store: MemoStore,
    asked: Sequence[Asked],
    shown: Sequence[clips.Clip],
    first_code: int,
) -> dict[str, float]:
    """Mean score by topic when each question is asked of the clip that is shown in its place."""
    made: dict[int, Scene] = {}
    for clip in shown:
        if id(clip) not in made:
            made[id(clip)] = scene_of(store, clip, first_code + len(made))
    requests = []
    for (_, one), clip in zip(asked, shown, strict=True):
        scene = made[id(clip)]
        task = scenes.make_task(scene, one.text, kind=TaskKind(one.kind), options=one.options)
        requests.append(Request(scene=scene, task=task))
    # Two clips may be asked the same: what is asked once is answered once.
    replies = list(answers_by_id(teacher, requests))
    by_id = {reply.request_id: reply for reply in replies}
    assert not [reply.error for reply in replies if reply.error]
    return scores(asked, [by_id[request.id].text for request in requests])


def mean(found: dict[str, float]) -> float:
    return fmean(found.values())


def test_through_the_product_it_sees_as_well_as_straight_through_the_engine(
    teacher: VLLMTeacher, store: MemoStore, asked: list[Asked], straight: dict[str, float]
) -> None:
    found = through(teacher, store, asked, [clip for clip, _ in asked], 0)
    print(f"straight {straight}\nthrough {found}")
    assert mean(straight) > 0.7, "the checkpoint is what it was"
    assert mean(found) >= mean(straight) - AS_GOOD
    for topic, value in straight.items():
        assert found[topic] >= value - 2.5 * AS_GOOD, topic


def test_black_frames_show_it_nothing(
    teacher: VLLMTeacher, store: MemoStore, asked: list[Asked]
) -> None:
    found = through(teacher, store, asked, [BLACK] * len(asked), 200)
    print(f"black {found}")
    assert mean(found) < 0.1


def test_the_frames_of_another_clip_bring_it_to_chance(
    teacher: VLLMTeacher, store: MemoStore, asked: list[Asked], straight: dict[str, float]
) -> None:
    order = list({id(clip): clip for clip, _ in asked}.values())
    after = {id(clip): order[place - 1] for place, clip in enumerate(order)}
    found = through(teacher, store, asked, [after[id(clip)] for clip, _ in asked], 300)
    print(f"another {found}")
    # Of six colours, three numbers of shapes that there are mostly, six first moments.
    assert found["colour"] < 0.4 and found["count"] < 0.55 and found["appears"] < 0.4
    assert mean(found) < mean(straight) - 0.3
