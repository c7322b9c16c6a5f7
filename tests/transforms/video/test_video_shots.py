"""Shots: our replay of the detectors is the detectors' own answer; clips cover all of a video."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

from schemas.source import GivenQuestion, Source, location
from schemas.video import Video
from transforms.memo import MemoStore
from transforms.video.analyse import Analyser, InputSettings, analyse
from transforms.video.decode import DecodePass, Frames
from transforms.video.ingest import ingest
from transforms.video.measures import read_rows
from transforms.video.segment import Segmenter, plan_spans, segment
from transforms.video.shots import (
    ClipUnit,
    Detector,
    ShotSettings,
    core_minutes_per_hour,
    make_scorer,
    scaled,
    shot_starts,
)

BIKES_CUTS_S = [1.20, 3.04, 5.48, 7.48, 9.68]


@pytest.fixture(scope="session")
def bikes_video(bikes: Path, tmp_path_factory: pytest.TempPathFactory) -> Video:
    store = MemoStore(str(tmp_path_factory.mktemp("probe")))
    return ingest(Source(uri="bikes.mp4", location=location(bikes)), store)


@pytest.fixture(scope="session")
def bikes_frames(bikes_video: Video) -> tuple[np.ndarray, Frames]:
    """Times and small frames of the whole video."""
    decoding = DecodePass(
        bikes_video.source.path,
        bikes_video.probe,
        sample_fps=1.0,
        timeout_s=60,
        on_sample=lambda *_: None,
    )
    batches = list(decoding.batches())
    return (
        np.concatenate([batch.times_s for batch in batches]),
        np.concatenate([batch.frames for batch in batches]),
    )


def scored(family: str, frames: Frames, batch: int) -> np.ndarray:
    scorer = make_scorer(family)
    for start in range(0, len(frames), batch):
        scorer.add(frames[start : start + batch])
    return scorer.scores().astype(np.float64)


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("detector", ["content", "adaptive"])
def test_shots_are_those_of_pyscenedetect(
    bikes_frames: tuple[np.ndarray, Frames], detector: str, factor: float
) -> None:
    times, frames = bikes_frames
    ours = scaled(ShotSettings(detector=detector, min_shot_s=0.0), factor)
    theirs: Any = (
        ContentDetector(threshold=ours.content_threshold, min_scene_len=0)
        if detector == "content"
        else AdaptiveDetector(adaptive_threshold=ours.adaptive_ratio, min_scene_len=1)
    )
    clock = FrameTimecode(0, fps=25.0)
    cuts = [
        cut.frame_num
        for row, frame in enumerate(frames)
        for cut in theirs.process_frame(clock + row, np.ascontiguousarray(frame))
    ]
    found = shot_starts(times, scored("content", frames, 64), ours)
    assert found == [0, *sorted(set(cuts))]
    assert factor != 1.0 or len(cuts) == len(BIKES_CUTS_S)


@pytest.mark.parametrize("detector", ["content", "adaptive"])
def test_cuts_of_a_real_video_through_the_whole_leg(
    bikes_video: Video, detector: str, store: MemoStore
) -> None:
    shots = ShotSettings(detector=detector, unit="shot", min_clip_s=0.3)
    leg = Analyser(InputSettings(), shots.score_family, 2.0, store)
    (footage,) = leg(bikes_video).outputs
    outcome = Segmenter(shots, store)(footage)
    assert outcome.rejections == []
    starts = [one.clip.start_s for one in outcome.outputs]
    assert starts == pytest.approx([0.0, *BIKES_CUTS_S], abs=1e-6)
    assert outcome.outputs[-1].clip.end_s == pytest.approx(10.0, abs=1e-6)


def test_transnetv2_finds_the_same_cuts_as_its_own_package(
    bikes_frames: tuple[np.ndarray, Frames],
) -> None:
    import cv2
    import torch

    from transforms.video.transnet import load_transnet

    times, frames = bikes_frames
    found = scored("transnetv2", frames, 7)
    small = np.stack([cv2.resize(f, (48, 27), interpolation=cv2.INTER_AREA) for f in frames])
    pixels = torch.from_numpy(small[..., ::-1].copy())
    net = load_transnet()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        whole, _ = net.model.predict_frames(pixels.to(net.device), quiet=True)
    torch.set_num_threads(before)
    assert len(found) == len(frames)
    np.testing.assert_allclose(found, whole.cpu().numpy(), atol=1e-4)
    starts = shot_starts(times, found, ShotSettings(detector="transnetv2"))
    assert times[starts].tolist() == pytest.approx([0.0, *BIKES_CUTS_S], abs=1e-6)


def test_windows_scored_together_are_those_scored_one_by_one(
    bikes_frames: tuple[np.ndarray, Frames],
) -> None:
    """As on a GPU: five windows, three at a time."""
    from transforms.video.transnet import TransNetScorer

    times, frames = bikes_frames
    found = []
    for windows in (1, 3):
        scorer = TransNetScorer(windows)
        scorer.add(frames)
        found.append(scorer.scores().astype(np.float64))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    shots = ShotSettings(detector="transnetv2")
    assert shot_starts(times, found[0], shots) == shot_starts(times, found[1], shots)


def test_torch_takes_one_thread_to_score_on_a_cpu_and_gives_the_others_back() -> None:
    import torch

    from transforms.video.transnet import load_transnet

    net = load_transnet()
    if net.device != "cpu":
        pytest.skip("there is a GPU")
    seen = []
    hook = net.model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    scored("transnetv2", np.zeros((1, 54, 96, 3), np.uint8), 20)
    hook.remove()
    assert seen == [1]
    assert torch.get_num_threads() == net.threads
    torch.set_num_threads(before)


class Echo:
    """Stands in for the network: the score of a frame is the mean level of 51 around it."""

    def __call__(self, windows: Any) -> tuple[Any, None]:
        import torch

        assert windows.shape[1:] == (100, 27, 48, 3)
        levels = torch.nn.functional.pad(windows.double().mean(dim=(2, 3, 4)), (25, 25))
        means = levels.unfold(1, 51, 1).mean(dim=2) / 255.0
        return torch.logit(means.clamp(0.001, 0.999))[..., None], None


@pytest.mark.parametrize("together", [1, 2, 8])
def test_every_frame_is_scored_once_with_its_own_neighbours(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many frames there are, and wherever windows and batches end."""
    from transforms.video import transnet

    net = transnet.TransNet(Echo(), "cpu", 1)
    monkeypatch.setattr(transnet, "load_transnet", lambda: net)
    levels = np.random.default_rng(1).integers(20, 235, 930).astype(np.uint8)
    for count in (0, 1, 2, 24, 25, 26, 49, 50, 51, 74, 75, 76, 99, 100, 101, 400, 401, 449, 930):
        frames = np.broadcast_to(levels[:count, None, None, None], (count, 54, 96, 3))
        scorer = transnet.TransNetScorer(together)
        for start in range(0, count, 64):
            scorer.add(frames[start : start + 64])
        found = scorer.scores()
        assert len(found) == count
        if count:
            padded = np.pad(levels[:count].astype(float), 25, mode="edge")
            expected = np.lib.stride_tricks.sliding_window_view(padded, 51).mean(axis=1) / 255
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_scoring_is_timed_per_hour_of_video() -> None:
    content = core_minutes_per_hour("content")
    assert 0 < content < 5
    assert core_minutes_per_hour("transnetv2") > 20 * content


def test_the_new_shot_begins_after_the_last_frame_of_a_transition() -> None:
    scores = np.array([0, 0.9, 0, 0, 0.6, 0.7, 0.8, 0, 0, 0.9])
    shots = ShotSettings(detector="transnetv2", min_shot_s=0.0)
    assert shot_starts(np.arange(10) / 10, scores, shots) == [0, 2, 7]


def test_flashes_are_no_cuts_however_fast_the_frames_come() -> None:
    scores = np.zeros(100)
    scores[[20, 22, 60]] = 100.0
    for step_s, expected in ((0.04, [0, 20, 60]), (0.3, [0, 20, 22, 60]), (0.01, [0, 60])):
        times = np.arange(100) * step_s
        assert shot_starts(times, scores, ShotSettings(min_shot_s=0.4)) == expected


def test_scores_do_not_depend_on_batches(bikes_frames: tuple[np.ndarray, Frames]) -> None:
    _, frames = bikes_frames
    np.testing.assert_array_equal(scored("content", frames, 64), scored("content", frames, 7))


def test_detectors_of_one_family_share_their_scores(bikes_video: Video, store: MemoStore) -> None:
    tables = {
        analyse(
            bikes_video,
            store,
            InputSettings(),
            score_family=ShotSettings(detector=detector).score_family,
            sample_fps=1.0,
        ).frames_ref
        for detector in ("content", "adaptive")
    }
    assert len(tables) == 1


def test_unknown_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="'telepathy'"):
        make_scorer("telepathy")


# From shots to clips.


@st.composite
def plans(draw: st.DrawFn) -> tuple[np.ndarray, list[int], ShotSettings]:
    """Edges of frames, rows at which shots begin, settings."""
    if draw(st.booleans()):
        count = draw(st.integers(1, 400))
        edges = np.arange(count + 1) / draw(st.sampled_from([10.0, 24_000 / 1_001, 25.0, 29.97]))
    else:
        steps = draw(st.lists(st.integers(1, 3_000), min_size=1, max_size=150))
        edges = np.concatenate([[0], np.cumsum(steps)]) / 1_000
    count = len(edges) - 1
    starts = draw(st.sets(st.integers(0, count - 1), max_size=8))
    chosen = ShotSettings(
        detector=draw(st.sampled_from(["content", "fixed"])),
        unit=draw(st.sampled_from(["shot", "scene"])),
        min_clip_s=0.1,
        max_clip_s=draw(st.sampled_from([0.5, 1.0, 2.0, 7.3])),
    )
    return edges, sorted({0, *starts}), chosen


@settings(max_examples=400)
@given(plans())
def test_spans_cover_every_frame_once_in_order(
    plan: tuple[np.ndarray, list[int], ShotSettings],
) -> None:
    edges, starts, chosen = plan
    spans = plan_spans(edges, starts, chosen)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(edges) - 1
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    assert all(start < end for start, end in spans)


@settings(max_examples=400)
@given(plans())
def test_no_span_is_longer_than_allowed(plan: tuple[np.ndarray, list[int], ShotSettings]) -> None:
    edges, starts, chosen = plan
    for start, end in plan_spans(edges, starts, chosen):
        # A single frame can stand longer than a clip may; it can't be split.
        assert end - start == 1 or edges[end] - edges[start] <= chosen.max_clip_s + 1e-9


@settings(max_examples=400)
@given(plans())
def test_spans_are_shots_their_parts_or_runs_of_them(
    plan: tuple[np.ndarray, list[int], ShotSettings],
) -> None:
    edges, starts, chosen = plan
    spans = plan_spans(edges, starts, chosen)
    shots = list(itertools.pairwise([*starts, len(edges) - 1]))
    if chosen.unit is ClipUnit.SHOT:
        for start, end in spans:
            assert any(left <= start and end <= right for left, right in shots)
        return
    for (a, b), (_, c) in itertools.pairwise(spans):
        # Neighbours that would fit into one are one, unless a long shot was split between them.
        if b in starts and any((b, c) == shot for shot in shots):
            assert edges[c] - edges[a] > chosen.max_clip_s


def test_long_shots_are_split_evenly() -> None:
    edges = np.arange(1_001) / 25.0
    shots = ShotSettings(unit="shot", max_clip_s=15.0)
    assert plan_spans(edges, [0], shots) == [(0, 334), (334, 667), (667, 1_000)]
    fixed = ShotSettings(detector="fixed", unit="shot", max_clip_s=15.0)
    assert plan_spans(edges, [0], fixed) == [(0, 375), (375, 750), (750, 1_000)]
    assert plan_spans(edges[:751], [0], shots) == [(0, 375), (375, 750)]


def test_scenes_are_runs_of_neighbouring_shots() -> None:
    edges = np.arange(101) / 10.0
    starts = [0, 20, 45, 70, 90]
    shots = ShotSettings(unit="scene", min_clip_s=1.0, max_clip_s=5.0)
    assert plan_spans(edges, starts, shots) == [(0, 45), (45, 90), (90, 100)]
    single = ShotSettings(unit="shot", min_clip_s=1.0, max_clip_s=5.0)
    assert plan_spans(edges, starts, single) == [(0, 20), (20, 45), (45, 70), (70, 90), (90, 100)]


def test_clips_that_are_too_short_are_rejected_by_id(bikes_video: Video, store: MemoStore) -> None:
    shots = ShotSettings(unit="shot", min_clip_s=1.9)
    decoded = analyse(bikes_video, store, InputSettings(), score_family="content", sample_fps=2.0)
    clips, rejections = segment(bikes_video, decoded, store, shots)
    # Shots of 1.20, 1.84, 2.44, 2.00, 2.20 and 0.32 s.
    assert [clip.duration_s for clip in clips] == pytest.approx([2.44, 2.00, 2.20])
    assert [one.detail.split(" s")[0] for one in rejections] == ["1.200", "1.840", "0.320"]
    assert {one.parent for one in rejections} == {bikes_video.id}
    rows = read_rows(store.path(decoded.frames_ref), 0, decoded.num_frames)
    for clip in clips:
        assert rows["time_s"][clip.start_frame] == clip.start_s
        assert clip.shot_starts_s == (clip.start_s,)
        # The picture before the cut is no part of the clip, and cuts are no motion.
        inner = rows["difference"][clip.start_frame + 1 : clip.end_frame]
        assert clip.measures.motion == pytest.approx(inner.mean(), abs=1e-6)


def test_scenes_know_their_shots(bikes_video: Video, store: MemoStore) -> None:
    decoded = analyse(bikes_video, store, InputSettings(), score_family="content", sample_fps=2.0)
    clips, rejections = segment(bikes_video, decoded, store, ShotSettings())
    assert rejections == []
    (clip,) = clips
    assert clip.shot_starts_s == pytest.approx([0.0, *BIKES_CUTS_S])


def test_a_video_with_questions_stays_whole(bikes_video: Video, store: MemoStore) -> None:
    source = bikes_video.source.model_copy(update={"questions": (GivenQuestion(question="?"),)})
    video = bikes_video.model_copy(update={"source": source})
    decoded = analyse(video, store, InputSettings(), score_family="content", sample_fps=2.0)
    shots = ShotSettings(unit="shot", max_clip_s=4.0)
    (clip,), rejections = segment(video, decoded, store, shots)
    assert rejections == []
    assert (clip.start_frame, clip.end_frame) == (0, decoded.num_frames)


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="twice min_clip_s"):
        ShotSettings(min_clip_s=2.0, max_clip_s=3.0)
    assert Detector("content") is Detector.CONTENT
