"""The leg that constructs tasks: what fits, what is turned down, and that it is the same again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from clock_video import DARK, LIGHT, Clock, decoded_clock, run_ffmpeg, write_pictures
from constructed_clips import (
    CUT,
    ONE_CLIP,
    clock_scene,
    constructor,
    gold_frames,
    made,
    real_scene,
    scene_of,
)
from hypothesis import given
from hypothesis import strategies as st
from plain_scene import plain_scene
from pydantic import ValidationError

import transforms.annotate.construct_time as construct_time
import transforms.video.alter
from schemas.case import Scene
from schemas.description import Caption, Description
from schemas.rejection import Reason, Stage
from schemas.rewards import cited_times_in
from schemas.task import Origin
from schemas.transcript import TimedText
from transforms.annotate.construct_look import DoesNotFitError, Draw, Look, look_at
from transforms.annotate.construct_pictures import effect_change
from transforms.annotate.construct_time import backward, seams_tell, speed, speed_shows
from transforms.annotate.constructed import (
    MAX_FRAMES,
    PLANS,
    ConstructedFamily,
    ConstructedSettings,
)
from transforms.annotate.leaks import gives_away
from transforms.annotate.seeing import measure_changes
from transforms.annotate.tasks import MAX_QUESTION_WORDS
from transforms.memo import MemoStore
from transforms.video.alter import alter
from transforms.video.alter_request import Alteration, Effect, Stretch, passes
from transforms.video.cut import CutMode, CutSettings

ALL = tuple(ConstructedFamily)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    return MemoStore(str(tmp_path_factory.mktemp("constructed")))


@pytest.fixture(scope="module")
def carphone(store: MemoStore) -> Scene:
    return real_scene("carphone_pristine", store)


@pytest.fixture(scope="module")
def bikes(store: MemoStore) -> Scene:
    return real_scene("bikes", store)


@pytest.fixture(scope="module")
def still(store: MemoStore, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Five seconds of one gray picture."""
    path = tmp_path_factory.mktemp("still") / "still.mp4"
    picture = np.full((96, 128, 3), 120, np.uint8)
    write_pictures(path, Clock("still.mp4", tuple(range(125))), [picture] * 125)
    return scene_of(path, store)


def look(num_frames: int = 250, **values: object) -> Look:
    """A clip at 25 fps in which everything moves alike."""
    at = np.arange(6.0, num_frames, 6.0)
    plain = Look(
        num_frames=num_frames,
        fps=25.0,
        size_px=(320, 180),
        is_bt709=False,
        cuts=(),
        content_box=(0.0, 0.0, 1.0, 1.0),
        frozen_share=0.0,
        flow_at=at,
        flow=np.full(len(at), 0.2),
        read_small=lambda: np.zeros((num_frames, 3, 54, 96), np.uint8),
    )
    return replace(plain, **values)  # type: ignore[arg-type]


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


def test_edges_keep_away_from_cuts_and_ends(bikes: Scene, store: MemoStore) -> None:
    known = look_at(bikes, store, CUT)
    assert len(known.cuts) == 5
    for family in (ConstructedFamily.ANOMALY, ConstructedFamily.SPEED):
        placed = 0
        for seed in range(12):
            try:
                plan = PLANS[family](known, Draw((seed, "edges")))
            except DoesNotFitError:
                continue
            placed += 1
            start, end = plan.evidence[0]
            if family is ConstructedFamily.SPEED:
                first, changed, *rest = plan.alteration.stretches
                # Where the cuts lie is known for the clip, not for the altered one.
                start, end = changed.first, changed.first + changed.count * changed.step
                assert first.count == start and rest[0].first == end
            assert start >= 12 and end <= known.num_frames - 12
            assert all(abs(edge - cut) >= 7 for edge in (start, end) for cut in known.cuts)
        assert placed


def test_what_is_played_faster_keeps_its_cuts_away_from_its_edges() -> None:
    cuts = tuple(range(20, 250, 33))
    known = look(cuts=cuts)
    placed = 0
    for seed in range(60):
        try:
            plan = speed(known, Draw((seed, "cuts")))
        except DoesNotFitError:
            continue
        placed += 1
        before, changed, after = plan.alteration.stretches
        start, end = changed.first, after.first
        assert before.count == start
        assert all(abs(edge - cut) >= 7 for edge in (start, end) for cut in cuts)
        inside = [cut - start for cut in cuts if start < cut < end]
        shown = [cut / changed.step for cut in inside]
        length = (end - start) / changed.step
        assert all(7 <= cut <= length - 7 for cut in shown if changed.step > 1)
    assert placed > 10


def test_a_picture_that_is_its_own_mirror_is_not_mirrored() -> None:
    half = np.random.default_rng(0).integers(16, 235, (4, 3, 30, 24), np.uint8)
    symmetrical = np.concatenate([half, half[..., ::-1]], axis=3)
    assert effect_change(symmetrical, "mirrored").max() == 0.0
    assert effect_change(symmetrical, "turned").min() > 0.2
    colorless = symmetrical.copy()
    colorless[:, 1:] = 128
    assert effect_change(colorless, "gray").max() == effect_change(colorless, "swapped").max() == 0


@given(st.integers(3, 6), st.integers(0, 1000))
def test_seams_tell_only_what_follows_smoothly(pieces: int, seed: int) -> None:
    rough = np.random.default_rng(seed).uniform(0.2, 0.4, (pieces, pieces))
    smooth = rough.copy()
    for piece in range(pieces - 1):
        smooth[piece, piece + 1] = 0.02
    assert seams_tell(smooth)
    # A cut at each seam: every order is as good as the true one.
    assert not seams_tell(np.full((pieces, pieces), 0.3))
    # The end looks like the beginning: the video could as well begin elsewhere.
    looping = smooth.copy()
    looping[-1, 0] = 0.01
    assert not seams_tell(looping)


def test_another_speed_must_show() -> None:
    assert speed_shows(look(), 80, 160, 2) and speed_shows(look(), 80, 160, 1 / 3)
    # What moves half as fast by itself would look even when played twice as fast.
    slow = look().flow.copy()
    slow[(look().flow_at >= 80) & (look().flow_at < 160)] /= 2
    assert not speed_shows(look(flow=slow), 80, 160, 2)
    assert speed_shows(look(flow=slow), 80, 160, 4)
    assert not speed_shows(look(flow=look().flow * 0.01), 80, 160, 4), "nothing moves"
    assert not speed_shows(look(cuts=(81, 159)), 80, 160, 4), "nothing known of the edges' shots"


def test_half_of_the_clips_are_played_backward() -> None:
    plans = [backward(look(), Draw((seed, "half"))) for seed in range(400)]
    assert 160 < sum(plan.params["backward"] for plan in plans) < 240
    letters = Counter(plan.answer for plan in plans)
    assert set(letters) == {"A", "B"} and min(letters.values()) > 160
    for still in (look(frozen_share=0.5), look(flow=look().flow * 0.1)):
        with pytest.raises(DoesNotFitError):
            backward(still, Draw((0,)))


def test_numbers_of_shapes_and_pieces_are_spread(
    carphone: Scene, store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(construct_time, "seams_tell", lambda differences: True)
    known = look_at(carphone, store, CUT)
    shapes = Counter(PLANS[ConstructedFamily.SHAPES](known, Draw((n,))).answer for n in range(60))
    assert set(shapes) == {"2", "3", "4", "5", "6", "7"}
    orders = {PLANS[ConstructedFamily.ORDER](known, Draw((n,))).answer for n in range(40)}
    assert len(orders) > 12


def test_shots_begin_where_the_altered_clip_shows_them(bikes: Scene, store: MemoStore) -> None:
    """On real cuts: around each start the picture changes more than anywhere within shots."""
    known = look_at(bikes, store, CUT)
    for family in (ConstructedFamily.ORDER, ConstructedFamily.REVERSED, ConstructedFamily.SPEED):
        for seed in range(3):
            outcome = constructor(store, family, seed=seed)(bikes)
            for case in outcome.outputs:
                clip, media = case.scene.clip, case.scene.media
                assert clip.id == bikes.clip.id and clip.shot_starts_s[0] == clip.start_s
                fps = media.fps_num / media.fps_den
                starts = [round((one - clip.start_s) * fps) for one in clip.shot_starts_s]
                assert starts[-1] < media.num_frames
                changes = measure_changes(store, media)
                within = np.delete(changes, starts)
                cuts = [one for one in starts[1:] if changes[one] > 15]
                assert len(cuts) >= len(known.cuts)
                assert np.percentile(within, 95) < min(changes[one] for one in cuts)
                assert starts[1:] == cuts or family is ConstructedFamily.ORDER
    plain = Alteration((Stretch(0, 40, repeat=1), Stretch(40, 10, repeat=3), Stretch(50, 50)))
    assert plain.shot_starts([45]) == [0, 55]
    assert Alteration((Stretch(99, 100, -1),)).shot_starts([30]) == [0, 70]
    assert Alteration((Stretch(50, 50), Stretch(0, 50))).shot_starts([]) == [0, 50]


def test_copied_clips_are_altered_too(store: MemoStore, tmp_path: Path) -> None:
    options = {"bf": "2", "x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=0"}
    exact = clock_scene(tmp_path, store, options=options)
    copy = CutSettings(mode=CutMode.COPY)
    scene = scene_of(tmp_path / "clock.mp4", store, copy, ONE_CLIP)
    assert scene.media.copied and not exact.media.copied
    media = alter(scene, Alteration((Stretch(199, 200, -1),)), store, copy)
    numbers = [number for _, number in decoded_clock(store.path(media.ref))]
    assert numbers == list(range(199, -1, -1))
    assert not media.copied


@pytest.mark.parametrize("mode", CutMode)
def test_full_range_pictures_keep_their_brightness(
    mode: CutMode, store: MemoStore, tmp_path: Path
) -> None:
    options = {"color_range": "pc", "x264-params": "keyint=10:min-keyint=10:scenecut=0"}
    clock_scene(tmp_path, store, 100, pix_fmt="yuvj420p", options=options)
    settings = CutSettings(mode=mode)
    scene = scene_of(tmp_path / "clock.mp4", store, settings, ONE_CLIP)
    assert scene.video.probe.pix_fmt == "yuvj420p"
    shown = Alteration((Stretch(0, 100),), effects=(Effect("mirrored", 50, 100),))
    media = alter(scene, shown, store, settings)
    # Dark and light fields as anybody sees them, whatever range the file is in.
    for ref in (scene.media.ref, media.ref):
        with av.open(str(store.path(ref))) as container:
            for frame in container.decode(video=0):
                levels = frame.to_ndarray(format="rgb24")
                assert np.median(levels[levels < 128]) == pytest.approx(DARK, abs=4)
                assert np.median(levels[levels > 128]) == pytest.approx(LIGHT, abs=4)


def test_frames_that_do_not_fit_into_memory_are_decoded_again(
    store: MemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms.video.alter, "HELD_BYTES", 23 * 320 * 240 * 3 // 2)
    scene = clock_scene(tmp_path, store, frames=100)
    shown = Alteration((Stretch(99, 100, -1), Stretch(30, 40), Stretch(0, 7, 2, 3)))
    media = alter(scene, shown, store, CUT)
    numbers = [number for _, number in decoded_clock(store.path(media.ref))]
    assert numbers == shown.shown()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=80), st.integers(1, 20))
def test_passes_cover_all_and_hold_no_more_than_they_may(shown: list[int], held: int) -> None:
    spans = passes(shown, held)
    assert [place for start, end in spans for place in range(start, end)] == list(range(len(shown)))
    for start, end in spans:
        wanted = shown[start:end]
        assert wanted == sorted(wanted) or len(wanted) <= held


def test_frames_that_there_are_not_are_refused(carphone: Scene, store: MemoStore) -> None:
    with pytest.raises(ValueError, match="that there are not"):
        alter(carphone, Alteration((Stretch(0, 121),)), store, CUT)


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
    with pytest.raises(OSError, match="No space left"):
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
