"""Cutting: frames on ticks, the same bytes each time, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clock_video import Clock, Work, analysed, decoded_clock, taken_for, work_through, write_clock
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.case import Footage, PlannedClip
from schemas.clip import Clip, Media
from schemas.rejection import Reason, Rejected, Stage
from schemas.video import Probe
from transforms.memo import MemoStore
from transforms.video.analyse import STANDARD_RATES, fit_frame_rate
from transforms.video.cut import CutEnd, CutSettings, Cutter, clip_size_px, cut
from transforms.video.ticks import repeats

rates = st.one_of(st.sampled_from(STANDARD_RATES), st.fractions(1, 120, max_denominator=1_001))
steps_s = st.lists(st.integers(1, 400_000), min_size=1, max_size=80)


def recut(work: Work, store: MemoStore, clips: list[Clip], crf: int = 20) -> dict[str, CutEnd]:
    return cut(work.video, work.decoded, clips, store, CutSettings(crf=crf))


@pytest.fixture
def fresh(plain: Work, tmp_path: Path) -> Work:
    """The plain video, analysed in a store of its own, with no clip cut yet."""
    store = MemoStore(str(tmp_path / "fresh"))
    video, decoded = analysed(plain.path, store)
    return Work(plain.path, store, video, decoded, plain.clips, {})


# Which frame stands at which tick.


@given(rate=rates, frames=st.integers(1, 300), start_us=st.integers(0, 10**9))
def test_a_constant_rate_shows_each_frame_once(rate: Fraction, frames: int, start_us: int) -> None:
    start_s = start_us / 1e6
    edges = np.round(start_s + np.arange(frames + 1) / float(rate), 6)
    assert repeats(edges[:-1], edges[0], edges[-1], rate) == [1] * frames


@given(rate=st.sampled_from(STANDARD_RATES), frames=st.integers(1, 300))
def test_times_in_milliseconds_show_each_frame_once(rate: Fraction, frames: int) -> None:
    edges = np.round(np.arange(frames + 1) / float(rate), 3)
    assert repeats(edges[:-1], edges[0], edges[-1], rate) == [1] * frames


@settings(max_examples=300)
@given(rate=rates, steps_us=steps_s, last_us=st.integers(1, 400_000))
def test_each_tick_shows_the_frame_of_its_time(
    rate: Fraction, steps_us: list[int], last_us: int
) -> None:
    times = np.concatenate([[0], np.cumsum(steps_us)]) / 1e6 + 3.0
    end_s = float(times[-1]) + last_us / 1e6
    counts = repeats(times, 3.0, end_s, rate)
    assert len(counts) == len(times)
    assert min(counts) >= 0
    assert sum(counts) == max(1, round((end_s - 3.0) * rate))
    shown = np.repeat(np.arange(len(times)), counts)
    half_s = 0.5 / float(rate)
    slack_s = 1e-3 / float(rate)
    for tick, row in enumerate(shown):
        tick_s = 3.0 + tick / float(rate)
        distances = np.abs(times - tick_s)
        if tick == 0:
            assert row == 0
        elif distances.min() < half_s - slack_s:
            # Some frame lies at this tick: the nearest is shown.
            assert distances[row] <= distances.min() + slack_s
        else:
            # None does: the last one stands.
            assert row == np.searchsorted(times, tick_s) - 1 or distances[row] <= half_s + slack_s


def test_the_first_frame_of_a_clip_is_always_shown_first() -> None:
    # The second frame is nearer to no tick than the first is to tick 0.
    assert repeats(np.array([0.0, 0.001, 0.04]), 0.0, 0.08, Fraction(25))[0] == 1


# The rate that fits.


@pytest.mark.parametrize("rate", STANDARD_RATES, ids=str)
@pytest.mark.parametrize("digits", [3, 6])
def test_standard_rates_are_recognized_after_rounding(rate: Fraction, digits: int) -> None:
    times = np.round(np.arange(240) / float(rate), digits)
    assert fit_frame_rate(times) == (rate, False)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Fraction(17), Fraction(17)),
        (Fraction(240), Fraction(120)),
        (Fraction(1, 5), Fraction(1)),
        (Fraction(25) * Fraction(1_001, 1_000), Fraction(25)),
    ],
)
def test_other_rates(rate: Fraction, expected: Fraction) -> None:
    assert fit_frame_rate(np.arange(100) / float(rate))[0] == expected


def test_gaps_do_not_change_the_rate_but_are_said() -> None:
    times = np.arange(100) / 30
    times[50:] += 2.0
    assert fit_frame_rate(times) == (Fraction(30), False), "one gap is no variable rate"
    times = np.cumsum(np.where(np.arange(100) % 10 == 0, 0.2, 1 / 30))
    assert fit_frame_rate(times) == (Fraction(30), True)


def test_too_few_frames_for_a_rate() -> None:
    assert fit_frame_rate(np.array([3.0])) == (Fraction(25), False)


@given(
    st.lists(st.floats(1e-6, 100, allow_nan=False), min_size=1, max_size=50),
)
def test_any_times_give_a_rate_that_can_be_encoded(steps: list[float]) -> None:
    rate, _ = fit_frame_rate(np.cumsum([0.0, *steps]))
    assert 1 <= rate <= 120
    assert rate.denominator <= 1_001


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((1920, 1080), 720, (1280, 720)),
        ((1080, 1920), 720, (404, 720)),
        ((640, 480), 720, (640, 480)),
        ((641, 481), 720, (640, 480)),
        ((3, 3), 720, (4, 2)),
        ((1, 1), 720, (2, 2)),
        ((4_000, 2), 720, (4_000, 2)),
    ],
)
def test_clip_sizes_are_even_and_bounded(
    plain: Work, size: tuple[int, int], limit: int, expected: tuple[int, int]
) -> None:
    probe: Probe = plain.video.probe.model_copy(update={"width_px": size[0], "height_px": size[1]})
    assert clip_size_px(probe, limit) == expected


# The same bytes.


def test_the_same_clip_has_the_same_bytes_wherever_it_is_cut(plain: Work, fresh: Work) -> None:
    again = recut(fresh, fresh.store, fresh.clips)
    assert {clip_id: end.sha256 for clip_id, end in again.items()} == {
        clip_id: media.sha256 for clip_id, media in plain.media.items()
    }
    files = [fresh.store.path(end.ref).read_bytes() for end in again.values()]
    assert files == [plain.mp4(clip).read_bytes() for clip in plain.clips]


def test_a_clip_cut_alone_equals_one_cut_along_with_others(plain: Work, fresh: Work) -> None:
    for clip in reversed(fresh.clips):
        (alone,) = recut(fresh, fresh.store, [clip]).values()
        assert alone == plain.media[clip.id]
    skipping = [fresh.clips[0], fresh.clips[2]]
    gaps = recut(fresh, MemoStore(fresh.store.root), skipping)
    assert [gaps[clip.id] for clip in skipping] == [plain.media[clip.id] for clip in skipping]


def test_clips_in_any_order_with_gaps_between(plain: Work, fresh: Work) -> None:
    store = fresh.store
    ends = recut(fresh, store, [fresh.clips[2], fresh.clips[0]])
    assert ends == {clip.id: plain.media[clip.id] for clip in (fresh.clips[0], fresh.clips[2])}


def test_files_say_nothing_of_where_and_when_they_were_made(plain: Work) -> None:
    for clip in plain.clips:
        content = plain.mp4(clip).read_bytes()
        assert plain.store.root.encode() not in content
        assert b"Lavf" not in content
        index = content.index(b"mvhd")
        assert content[index + 8 : index + 16] == bytes(8), "no time of making"
        assert index < content.index(b"mdat"), "the index comes first"


def test_tall_videos_are_scaled_down(fresh: Work) -> None:
    limits = CutSettings(max_height_px=48)
    ends = cut(fresh.video, fresh.decoded, fresh.clips, fresh.store, limits)
    for clip in fresh.clips:
        media = ends[clip.id]
        assert isinstance(media, Media)
        assert (media.width_px, media.height_px) == (64, 48)
        frames = decoded_clock(fresh.store.path(media.ref))
        assert [number for _, number in frames] == list(range(clip.start_frame, clip.end_frame))


# Nothing is done twice.


def test_a_second_time_starts_no_process(
    plain: Work, fresh: Work, count_processes: Callable[[], int]
) -> None:
    first = recut(fresh, fresh.store, fresh.clips)
    started = count_processes()
    assert started == 1, "one for all clips"
    assert recut(fresh, fresh.store, fresh.clips) == first
    analysed(fresh.path, fresh.store)
    work_through(fresh.path, fresh.store)
    assert count_processes() == started
    recut(fresh, fresh.store, fresh.clips, crf=25)
    assert count_processes() == 2 * started, "other settings, other clips"


def test_a_clip_that_was_finished_before_a_crash_is_kept(
    plain: Work, fresh: Work, use_cutter: Callable[[str], None]
) -> None:
    use_cutter(
        "whole = child.ClipWriter.finish\n"
        "def finish(writer):\n"
        "    if writer._start_sample: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    whole(writer)\n"
        "child.ClipWriter.finish = finish"
    )
    ends = recut(fresh, fresh.store, fresh.clips)
    first, *rest = (ends[clip.id] for clip in fresh.clips)
    assert first == plain.media[fresh.clips[0].id]
    assert all(isinstance(end, Rejected) for end in rest)
    assert {end.reason for end in rest} == {Reason.DECODER_CRASHED}
    assert list(Path(fresh.store.root, "tmp").iterdir()) == [], "nothing half-built is left"
    use_cutter("")
    asked = fresh.store.path(first.ref).stat().st_mtime_ns  # type: ignore[union-attr]
    ends = recut(fresh, fresh.store, fresh.clips)
    assert ends == plain.media
    assert fresh.store.path(first.ref).stat().st_mtime_ns == asked  # type: ignore[union-attr]


def test_an_encoder_that_fails_is_said(fresh: Work, use_cutter: Callable[[str], None]) -> None:
    use_cutter("def fail(*_): raise ValueError('no such luck')\nchild.ClipWriter.finish = fail")
    ends = recut(fresh, fresh.store, fresh.clips)
    for end in ends.values():
        assert isinstance(end, Rejected)
        assert (end.reason, end.detail) == (Reason.CUT_FAILED, "ValueError: no such luck")


def test_one_clip_that_fails_costs_no_other(fresh: Work, use_cutter: Callable[[str], None]) -> None:
    use_cutter(
        "write = child.write_clip\n"
        "def second_fails(clip, *rest):\n"
        "    if clip.file.endswith('1.mp4'): raise ValueError\n"
        "    return write(clip, *rest)\n"
        "child.write_clip = second_fails"
    )
    ends = recut(fresh, fresh.store, fresh.clips)
    assert [isinstance(ends[clip.id], Rejected) for clip in fresh.clips] == [False, True, False]


def test_an_encoder_that_loses_frames_is_noticed(
    fresh: Work, use_cutter: Callable[[str], None]
) -> None:
    use_cutter(
        "show = child.ClipWriter.show\n"
        "def few(writer, frame):\n"
        "    if writer._ticks < 5: show(writer, frame)\n"
        "child.ClipWriter.show = few"
    )
    ends = recut(fresh, fresh.store, fresh.clips)
    assert {end.reason for end in ends.values()} == {Reason.CUT_FAILED}
    assert all(end.detail.startswith("5 frames in the mp4") for end in ends.values())


def test_a_file_that_decodes_otherwise_than_before_is_noticed(fresh: Work, tmp_path: Path) -> None:
    slower = write_clock(tmp_path, Clock("slower.mp4", unit=Fraction(1, 24), rate=Fraction(24)))
    slower.rename(tmp_path / "other.mp4")
    video = taken_for(fresh.video, tmp_path / "other.mp4")
    ends = cut(video, fresh.decoded, fresh.clips, fresh.store, CutSettings())
    assert {end.reason for end in ends.values()} == {Reason.CUT_FAILED}


def test_the_leg_counts_clips(plain: Work, fresh: Work, use_cutter: Callable[[str], None]) -> None:
    footage = Footage(video=fresh.video, decoded=fresh.decoded)
    planned = [PlannedClip(footage=footage, clip=clip) for clip in fresh.clips]
    recut(fresh, fresh.store, fresh.clips[:1])
    use_cutter("raise SystemExit(1)")
    outcome = Cutter(CutSettings(), fresh.store)(planned)
    assert outcome.entered == len(planned)
    assert [scene.clip.id for scene in outcome.outputs] == [fresh.clips[0].id]
    assert [scene.media for scene in outcome.outputs] == [plain.media[fresh.clips[0].id]]
    assert [one.subject for one in outcome.rejections] == [clip.id for clip in fresh.clips[1:]]
    assert {(one.stage, one.parent) for one in outcome.rejections} == {(Stage.CUT, fresh.video.id)}
