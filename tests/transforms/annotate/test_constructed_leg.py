"""The leg that constructs tasks: each clip gives as many tasks as asked for or says why not.

Every task keeps the rules; the same again has the same bytes and is looked up, not made; and a
process that crashes costs one task, a full disk the run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clock_video import Clock, run_ffmpeg, write_pictures
from constructed_clips import clock_scene, constructor, gold_frames, made, real_scene, scene_of
from plain_scene import plain_scene
from pydantic import ValidationError

import transforms.video.alter
from schemas.case import Scene
from schemas.description import Caption, Description
from schemas.rejection import Reason, Stage
from schemas.rewards import cited_times_in
from schemas.task import Origin
from schemas.transcript import TimedText
from transforms.annotate.constructed import MAX_FRAMES, ConstructedFamily, ConstructedSettings
from transforms.annotate.leaks import gives_away
from transforms.annotate.tasks import MAX_QUESTION_WORDS
from transforms.memo import MemoStore
from transforms.outcome import StopRunError

ALL = tuple(ConstructedFamily)


@pytest.fixture(scope="module")
def still(store: MemoStore, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Five seconds of one gray picture."""
    path = tmp_path_factory.mktemp("still") / "still.mp4"
    picture = np.full((96, 128, 3), 120, np.uint8)
    write_pictures(path, Clock("still.mp4", tuple(range(125))), [picture] * 125)
    return scene_of(path, store)


def test_every_family_gives_one_task_that_keeps_the_rules(
    carphone: Scene, store: MemoStore
) -> None:
    outcome = constructor(store, *ALL)(carphone)
    assert (len(outcome.outputs), outcome.rejections, outcome.entered) == (5, [], 5)
    families = [json.loads(case.task.spec_json)["family"] for case in outcome.outputs]
    assert sorted(families) == sorted(ALL)
    assert len({case.task.id for case in outcome.outputs}) == 5
    assert len({case.scene.media.sha256 for case in outcome.outputs}) == 5
    assert len({case.scene.media.ref for case in outcome.outputs}) == 5
    for case in outcome.outputs:
        task, media = case.task, case.scene.media
        assert task.origin is Origin.CONSTRUCTED and not task.is_measured
        assert task.clip_id == media.clip_id == carphone.clip.id
        assert len(task.question.split()) <= MAX_QUESTION_WORDS
        assert not cited_times_in(task.question)
        assert task.gold is not None and not gives_away(task.question, task.gold)
        assert task.gold.options == task.options
        spans = (*task.evidence_s, *task.gold.intervals_s)
        assert task.evidence_s and all(0 <= a < b <= media.duration_s + 1e-6 for a, b in spans)
        assert not media.has_audio and not media.copied


def test_what_was_said_of_the_clip_does_not_come_along(carphone: Scene, store: MemoStore) -> None:
    line = TimedText(start_s=0.0, end_s=1.0, text="first this", source="subtitle")
    caption = Caption(start_s=0.0, end_s=1.0, text="A man speaks.")
    told = carphone.model_copy(
        update={"lines": (line,), "description": Description(captions=(caption,))}
    )
    [case] = constructor(store, "order")(told).outputs
    assert not case.scene.lines and case.scene.description == Description()


def test_a_still_gray_clip_takes_no_family_but_shapes(still: Scene, store: MemoStore) -> None:
    maker = constructor(store, *ALL)
    outcome = maker(still)
    [case] = outcome.outputs
    assert json.loads(case.task.spec_json)["family"] == "shapes"
    assert outcome.entered == len(outcome.outputs) + len(outcome.rejections) == 5
    subjects = [one.subject for one in outcome.rejections]
    assert subjects == [subject for subject, _ in maker.subjects(still)[1:]]
    for rejection in outcome.rejections:
        assert rejection.stage is Stage.CONSTRUCT
        assert rejection.reason is Reason.CANNOT_CONSTRUCT
        assert rejection.parent == still.clip.id
        assert all(name in rejection.detail for name in ("anomaly", "order", "reversed", "speed"))


def test_a_family_that_does_not_fit_makes_room_for_the_next(still: Scene, store: MemoStore) -> None:
    for seed in range(6):
        mix = dict.fromkeys(ALL, 1.0)
        maker = replace(
            constructor(store, "shapes", seed=seed),
            settings=ConstructedSettings(per_clip=1, mix=mix),
        )
        outcome = maker(still)
        assert [json.loads(case.task.spec_json)["family"] for case in outcome.outputs] == ["shapes"]
        assert not outcome.rejections and outcome.entered == 1


def test_short_clips_are_turned_down(store: MemoStore, tmp_path: Path) -> None:
    scene = clock_scene(tmp_path, store, frames=30)
    outcome = constructor(store, *ALL)(scene)
    assert not outcome.outputs
    assert len(outcome.rejections) == outcome.entered == 5


@pytest.mark.parametrize("size", ["96x320", "320x96", "64x64", "34x34", "8x400", "2x2"])
def test_pictures_of_any_size(size: str, store: MemoStore, tmp_path: Path) -> None:
    path = tmp_path / "moving.mp4"
    run_ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:d=6:r=25", "-threads", "1", str(path))
    outcome = constructor(store, *ALL)(scene_of(path, store))
    assert len(outcome.outputs) + len(outcome.rejections) == outcome.entered == 5
    width, height = map(int, size.split("x"))
    assert len(outcome.outputs) >= 2 or min(width, height) < 64
    for case in outcome.outputs:
        media = case.scene.media
        assert (media.width_px, media.height_px) == (width, height)
        spec = json.loads(case.task.spec_json)
        assert spec["family"] != "order" or min(width, height) >= 64


def test_endless_clips_are_not_even_looked_at(
    carphone: Scene, store: MemoStore, count_processes: Callable[[], int]
) -> None:
    media = carphone.media.model_copy(update={"num_frames": MAX_FRAMES + 1})
    outcome = constructor(store, *ALL)(carphone.model_copy(update={"media": media}))
    assert not outcome.outputs and len(outcome.rejections) == 5
    assert count_processes() == 0


def test_the_mix_decides_what_is_made() -> None:
    with pytest.raises(ValidationError, match="names no family"):
        ConstructedSettings(per_clip=1, mix={ConstructedFamily.ORDER: 0.0})
    with pytest.raises(ValidationError):
        ConstructedSettings(per_clip=6)
    with pytest.raises(ValidationError):
        ConstructedSettings(mix={ConstructedFamily.ORDER: -1.0})
    two = {ConstructedFamily.ORDER: 1.0, ConstructedFamily.SPEED: 2.0, ConstructedFamily.SHAPES: 0}
    assert ConstructedSettings(per_clip=5, mix=two).wanted == 2
    assert ConstructedSettings().wanted == 0


def test_the_same_again_has_the_same_bytes(
    carphone: Scene, store: MemoStore, tmp_path: Path
) -> None:
    other = MemoStore(str(tmp_path))
    again = real_scene("carphone_pristine", other)
    ours, theirs = (
        constructor(place, *ALL)(scene) for place, scene in ((store, carphone), (other, again))
    )
    assert [case.to_json() for case in ours.outputs] == [case.to_json() for case in theirs.outputs]
    for case in ours.outputs:
        ref = case.scene.media.ref
        assert store.path(ref).read_bytes() == other.path(ref).read_bytes()


def test_what_the_store_holds_is_looked_up(
    carphone: Scene, still: Scene, store: MemoStore, count_processes: Callable[[], int]
) -> None:
    for scene in (carphone, still):
        maker = constructor(store, *ALL, seed=11)
        first = maker(scene)
        started = count_processes()
        assert started >= 1
        second = maker(scene)
        assert count_processes() == started
        assert list(second.outputs) == list(first.outputs)
        assert second.rejections == first.rejections


def test_another_seed_makes_other_tasks(carphone: Scene, store: MemoStore) -> None:
    specs = {made(carphone, store, "shapes", seed)[0].task.spec_json for seed in range(3)}
    assert len(specs) == 3


@pytest.fixture
def broken_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that dies in the middle of its work."""
    script = tmp_path / "child.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(transforms.video.alter, "CHILD", (sys.executable, "-I", str(script)))
    yield


def test_a_crash_costs_one_task_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_child: None
) -> None:
    store = MemoStore(str(tmp_path / "store"))
    scene = real_scene("carphone_pristine", store)
    maker = constructor(store, "shapes", "anomaly")
    outcome = maker(scene)
    assert not outcome.outputs and outcome.entered == len(outcome.rejections) == 2
    assert {one.reason for one in outcome.rejections} == {Reason.CANNOT_CONSTRUCT}
    assert "SIGKILL" in outcome.rejections[0].detail
    monkeypatch.undo()
    assert len(maker(scene).outputs) == 2


def test_a_full_disk_stops_the_run(
    carphone: Scene, store: MemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        "import errno\nfrom transforms.video.cut_request import ClipReport\n"
        "print(ClipReport(0, failed='full', errno=errno.ENOSPC).to_json(), flush=True)\n"
    )
    monkeypatch.setattr(transforms.video.alter, "CHILD", (sys.executable, "-I", str(script)))
    with pytest.raises(StopRunError, match="its disk is full"):
        constructor(store, "shapes", seed=500)(carphone)


def test_an_unreadable_clip_is_one_clips_trouble(store: MemoStore) -> None:
    with pytest.raises(OSError):
        constructor(store, "shapes")(plain_scene())


def test_spans_are_exact_to_the_frame(carphone: Scene, store: MemoStore) -> None:
    """At 29.97 frames a second no frame begins at a whole hundredth."""
    case, spec = made(carphone, store, "anomaly")
    assert carphone.media.fps_den == 1001
    assert gold_frames(case) == tuple(spec["frames"])
    assert case.task.gold is not None
    assert case.task.evidence_s == case.task.gold.intervals_s
