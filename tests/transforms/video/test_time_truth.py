"""Time truth: what is shown at a time is what the source shows at that time, for every source."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clock_video import (
    SAMPLE_FPS,
    Clock,
    Work,
    board,
    decoded_clock,
    read_board,
    run_ffmpeg,
    work_through,
    write_clock,
)

from transforms.memo import MemoStore
from transforms.video.decode import DecodePass
from transforms.video.measures import read_rows
from transforms.video.samples import frames_at, read_samples
from transforms.video.shots import ShotSettings

NTSC_FILM = Fraction(24_000, 1_001)
NTSC = Fraction(30_000, 1_001)
NTSC_DOUBLE = Fraction(60_000, 1_001)
BFRAMES = {"bf": "3", "g": "12"}
HEVC = {"x265-params": "bframes=3:keyint=12:log-level=none"}
FAST = Fraction(120)


def steps(*lengths: int) -> tuple[int, ...]:
    """PTS from the lengths of the frames."""
    return tuple(itertools.accumulate(lengths, initial=0))


def without(count: int, *lost: int) -> tuple[int, ...]:
    """PTS at a constant rate, from which some frames are missing."""
    return tuple(tick for tick in range(count) if tick not in lost)


CONSTANT = [
    Clock("constant.mp4", options={"bf": "0"}),
    Clock("bframes.mp4", options=BFRAMES),
    Clock("open_gop.mp4", options=BFRAMES | {"x264-params": "open-gop=1:keyint=8"}),
    Clock("film.mp4", tuple(range(48)), 1 / NTSC_FILM, NTSC_FILM, options=BFRAMES),
    Clock("video.mp4", tuple(range(60)), 1 / NTSC, NTSC, options=BFRAMES),
    Clock("double.mp4", tuple(range(120)), 1 / NTSC_DOUBLE, NTSC_DOUBLE, options=BFRAMES),
    Clock("slow_motion.mp4", tuple(range(240)), 1 / FAST, FAST, options=BFRAMES),
    Clock("slow_motion.mkv", tuple(range(240)), 1 / FAST, FAST, options=BFRAMES),
    Clock("late_start.mp4", tuple(range(35, 85)), options=BFRAMES),
    Clock("late_start.mkv", tuple(range(35, 85)), options=BFRAMES),
    Clock("stream.ts", options=BFRAMES),
    Clock("far_start.ts", tuple(range(90_000, 90_050)), options=BFRAMES),
    Clock("program.mpg", codec="mpeg2video"),
    Clock("web.webm", tuple(range(48)), 1 / NTSC_FILM, NTSC_FILM, codec="libvpx"),
    Clock("milliseconds.mkv", tuple(range(120)), 1 / NTSC_DOUBLE, NTSC_DOUBLE, options=BFRAMES),
    Clock("old.avi", codec="mpeg4"),
    Clock("bframes.avi", codec="mpeg4", options={"bf": "2"}),
    # AVI stores no PTS, so order and times of frames are for the decoder to find.
    Clock("h264.avi", options={"bf": "0"}, has_pts=False),
    Clock("h264_bframes.avi", options=BFRAMES, has_pts=False),
    Clock("bframes.mov", options=BFRAMES),
    Clock("intra.mov", codec="prores_ks", pix_fmt="yuv422p10le"),
    Clock("camera.m2ts", options=BFRAMES),
    Clock("stream.flv", options=BFRAMES),
    Clock("old.wmv", codec="wmv2"),
    Clock("tape.mxf", codec="mpeg2video", options={"b": "2M"}),
    Clock("hevc.mp4", codec="libx265", pix_fmt="yuv420p10le", options=HEVC),
    Clock("hevc.ts", codec="libx265", pix_fmt="yuv420p10le", options=HEVC),
    Clock("av1.mp4", codec="libsvtav1", options={"preset": "10", "crf": "20", "g": "12"}),
    Clock("av1.webm", codec="libsvtav1", options={"preset": "10", "crf": "20"}),
    Clock("upright.mp4", quarter_turns=0, size=(96, 128)),
    Clock("rotated90.mp4", quarter_turns=1),
    Clock("rotated180.mp4", quarter_turns=2),
    Clock("rotated270.mp4", quarter_turns=3),
    Clock("odd.mp4", size=(127, 97), pix_fmt="yuv444p"),
    Clock("ten_bit.mp4", pix_fmt="yuv420p10le", options=BFRAMES),
    Clock("rgb.mkv", codec="ffv1", pix_fmt="bgr0"),
    Clock("alpha.webm", codec="libvpx-vp9", pix_fmt="yuva420p"),
    Clock("interlaced.mp4", options=BFRAMES | {"flags": "+ildct+ilme", "x264-params": "tff=1"}),
    Clock(
        "interlaced.ts",
        codec="mpeg2video",
        options={"flags": "+ildct+ilme", "bf": "2", "b": "2M"},
    ),
    Clock("one.mp4", (0,)),
    Clock("one.mkv", (0,)),
    Clock("one.webm", (0,), codec="libvpx"),
    Clock("one.avi", (0,), codec="mpeg4"),
    Clock("two.mp4", (0, 1), options=BFRAMES),
    Clock("two.avi", (0, 1), codec="mpeg4"),
    # Smaller ones hold too few packets for ffmpeg to tell what they are.
    Clock("two.ts", (0, 1), options=BFRAMES, size=(640, 480)),
    Clock("three.ts", (0, 1, 2), options=BFRAMES, size=(640, 480)),
    Clock("three.mkv", (0, 1, 2), options=BFRAMES),
    Clock("three.webm", (0, 1, 2), codec="libvpx"),
    Clock("three.mpg", (0, 1, 2), codec="mpeg2video"),
    Clock(
        "early.ts", options=BFRAMES, remux=("-output_ts_offset", "-3", "-avoid_negative_ts", "0")
    ),
    # The clock of MPEG-TS has 33 bits and starts again: here after the first second.
    Clock("wrap.ts", options=BFRAMES, remux=("-output_ts_offset", str(2**33 / 90_000 - 1))),
    Clock("fragments.mp4", options=BFRAMES, remux=("-movflags", "frag_keyframe+empty_moov")),
    Clock(
        "streamed.mp4",
        options=BFRAMES,
        remux=("-movflags", "frag_every_frame+empty_moov+default_base_moof"),
    ),
]
VARIABLE = [
    # 40 ms steps with two gaps, then a faster stretch, as screen recordings and phones have them.
    Clock(
        "gaps.mp4",
        steps(*[40] * 15, 360, *[40] * 12, 520, *[20] * 20, *[40] * 5),
        Fraction(1, 1_000),
        options=BFRAMES,
    ),
    Clock(
        "jitter.mkv",
        steps(*[33, 34, 29, 40, 33, 50] * 10),
        Fraction(1, 1_000),
        Fraction(30),
        options=BFRAMES,
    ),
    Clock("drops.mp4", without(60, 7, 20, 21, 22, 40), options=BFRAMES),
    Clock("drops.ts", without(60, 7, 20, 21, 22, 40), options=BFRAMES),
    Clock("drops.avi", without(60, 7, 20, 21, 22, 40), codec="mpeg4"),
    Clock(
        "gaps.ts",
        steps(*[40] * 15, 360, *[40] * 12, 520, *[20] * 20, *[40] * 5),
        Fraction(1, 1_000),
        options=BFRAMES,
    ),
    Clock("slides.webm", steps(400, 300, 700, 250, 350, 600), Fraction(1, 1_000), codec="libvpx"),
    # Outside of what clips can have: 1 to 120 frames a second.
    Clock("slow.mp4", (0, 1, 2, 3), Fraction(5), Fraction(1, 5)),
    Clock("fast.mp4", tuple(range(360)), Fraction(1, 240), Fraction(240), options=BFRAMES),
]


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    return {}


@pytest.fixture(params=CONSTANT + VARIABLE, ids=lambda clock: clock.name)
def clock(request: pytest.FixtureRequest) -> Clock:
    return request.param


@pytest.fixture
def work(clock: Clock, works: dict[str, Work], tmp_path_factory: pytest.TempPathFactory) -> Work:
    if clock.name not in works:
        folder = tmp_path_factory.mktemp("clock")
        path = write_clock(folder, clock)
        works[clock.name] = work_through(path, MemoStore(str(folder / "store")))
    return works[clock.name]


def test_times_are_the_pts_of_the_source(clock: Clock, work: Work) -> None:
    with av.open(str(work.path)) as container:
        start_s = (container.start_time or 0) / av.time_base
    source = decoded_clock(work.path)
    assert [number for _, number in source] == list(range(len(clock.ticks)))
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    if clock.has_pts:
        expected = [time_s - start_s for time_s, _ in source]
        np.testing.assert_allclose(rows["time_s"], expected, rtol=0, atol=1e-6)
    # And the source is what it was meant to be, within the ticks of the coarsest container.
    np.testing.assert_allclose(rows["time_s"] - rows["time_s"][0], clock.times_s, atol=0.0011)
    assert work.decoded.first_pts_s == rows["time_s"][0]


def test_rate_and_length_are_those_of_the_source(clock: Clock, work: Work) -> None:
    decoded = work.decoded
    assert decoded.num_frames == len(clock.ticks)
    assert decoded.truncated == ""
    if clock in CONSTANT:
        assert Fraction(decoded.fps_num, decoded.fps_den) == clock.rate
        assert not decoded.is_vfr
        assert decoded.duration_s == pytest.approx(float(len(clock.ticks) / clock.rate), abs=0.0015)
    else:
        assert decoded.duration_s > clock.times_s[-1]


def test_each_decoded_frame_has_its_own_time(clock: Clock, work: Work) -> None:
    samples: list[tuple[float, int]] = []
    decoding = DecodePass(
        str(work.path),
        work.video.probe,
        sample_fps=SAMPLE_FPS,
        timeout_s=30,
        on_sample=lambda time_s, rgb: samples.append((time_s, read_board(rgb))),
    )
    found = [
        (float(time_s), read_board(frame))
        for batch in decoding.batches()
        for time_s, frame in zip(batch.times_s, batch.frames, strict=True)
    ]
    assert [number for _, number in found] == list(range(len(clock.ticks)))
    assert samples
    assert all(found[number][0] == time_s for time_s, number in samples)


def test_sampled_frames_show_what_was_there_at_their_time(clock: Clock, work: Work) -> None:
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    times = rows["time_s"]
    path = work.store.path(work.decoded.samples_ref)
    table = read_samples(path)
    samples = list(frames_at(path, table.times_s))
    assert len(samples) == len(table.times_s)
    for time_s, pixels in samples:
        assert times[read_board(pixels)] == time_s
    sampled = np.array([time_s for time_s, _ in samples])
    assert sampled[0] == times[0]
    longest_s = float(np.diff(times).max(initial=0.0))
    assert all(np.diff(sampled) <= max(1 / SAMPLE_FPS, longest_s) + longest_s + 1e-6)
    assert len(samples) <= (times[-1] - times[0]) * SAMPLE_FPS + 2
    start_s, end_s = times[len(times) // 3], times[-1]
    middle = [time_s for time_s in sampled if start_s <= time_s < end_s]
    wanted = table.between(start_s, end_s).times_s
    part = [time_s for time_s, _ in frames_at(path, wanted)]
    assert part == middle


def test_clips_show_at_each_time_what_the_source_showed(clock: Clock, work: Work) -> None:
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    times = rows["time_s"]
    rate = Fraction(work.decoded.fps_num, work.decoded.fps_den)
    half_s = float(1 / rate / 2) + 1e-5
    assert len(work.clips) >= min(3, len(times) - 2)
    for clip in work.clips:
        assert clip.start_s == times[clip.start_frame]
        for number, (clip_s, shown) in enumerate(decoded_clock(work.mp4(clip))):
            assert clip_s == pytest.approx(float(number / rate), abs=1e-6)
            assert clip.start_frame <= shown < clip.end_frame
            source_s = clip.start_s + clip_s
            distance_s = np.abs(times[clip.start_frame : clip.end_frame] - source_s)
            if distance_s.min() <= half_s - 2e-5:
                assert abs(times[shown] - source_s) <= half_s
            else:
                # In a gap the last frame stands, as a player shows it.
                assert shown == np.searchsorted(times, source_s) - 1


def test_no_frame_between_clips_is_lost_or_doubled(clock: Clock, work: Work) -> None:
    edges = [(clip.start_frame, clip.end_frame) for clip in work.clips]
    assert edges[0][0] == 0
    assert edges[-1][1] == len(clock.ticks)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))
    assert all(left.end_s == right.start_s for left, right in itertools.pairwise(work.clips))
    shown = [number for clip in work.clips for _, number in decoded_clock(work.mp4(clip))]
    if clock in CONSTANT:
        assert shown == list(range(len(clock.ticks)))
    else:
        assert shown == sorted(shown)


def test_what_is_published_of_a_clip_is_what_decodes(clock: Clock, work: Work) -> None:
    for clip in work.clips:
        media = work.media[clip.id]
        frames = decoded_clock(work.mp4(clip))
        assert frames[0][0] == 0.0
        assert media.num_frames == len(frames)
        rate = Fraction(media.fps_num, media.fps_den)
        assert media.duration_s == pytest.approx(float(len(frames) / rate), abs=1e-6)
        assert media.duration_s == pytest.approx(clip.duration_s, abs=float(0.5 / rate) + 1e-5)
        with av.open(str(work.mp4(clip))) as container:
            stream = container.streams.video[0]
            assert stream.start_time == 0
            assert stream.average_rate == rate
            assert (stream.width, stream.height) == (media.width_px, media.height_px)
            assert (stream.width % 2, stream.height % 2) == (0, 0)
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert container.duration / av.time_base == pytest.approx(media.duration_s, abs=0.002)
            assert all(frame.rotation == 0 for frame in container.decode(video=0))


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_the_head_that_an_edit_list_skips_is_not_there(suffix: str, tmp_path: Path) -> None:
    write_clock(tmp_path, Clock("whole.mp4", options=BFRAMES))
    path = tmp_path / f"edited.{suffix}"
    run_ffmpeg("-ss", "0.3", "-i", str(tmp_path / "whole.mp4"), "-c", "copy", str(path))
    demand_part(path, tmp_path, range(8, 50))


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_frames_before_time_nought_are_not_there(suffix: str, tmp_path: Path) -> None:
    """A start of -0.4 s, which these containers write down as a head to skip."""
    early = ("-output_ts_offset", "-0.4", "-avoid_negative_ts", "0")
    path = write_clock(tmp_path, Clock(f"early.{suffix}", options=BFRAMES, remux=early))
    demand_part(path, tmp_path, range(10, 50))


def demand_part(path: Path, folder: Path, numbers: range) -> None:
    """That these frames are there, and no others, at 25 frames a second."""
    work = work_through(path, MemoStore(str(folder / "store")))
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    assert numbers_of_clips(work) == list(numbers)
    np.testing.assert_allclose(np.diff(rows["time_s"]), 0.04, atol=1e-6)


def numbers_of_clips(work: Work) -> list[int]:
    """What all clips show, one after the other."""
    return [number for clip in work.clips for _, number in decoded_clock(work.mp4(clip))]


@pytest.mark.parametrize("rate", [25, 30, 60])
@pytest.mark.parametrize(("suffix", "codec"), [("h264", "libx264"), ("hevc", "libx265")])
def test_a_raw_stream_has_the_times_of_its_frame_rate(
    suffix: str, codec: str, rate: int, tmp_path: Path
) -> None:
    """No container, so no times: the stream itself says how many frames a second it has."""
    options = HEVC if codec == "libx265" else BFRAMES
    clock = Clock(
        f"raw.{suffix}",
        unit=Fraction(1, rate),
        rate=Fraction(rate),
        codec=codec,
        options=options,
        remux=("-f", suffix),
    )
    work = work_through(write_clock(tmp_path, clock), MemoStore(str(tmp_path / "store")))
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    np.testing.assert_allclose(rows["time_s"], clock.times_s, atol=1e-6)
    assert Fraction(work.decoded.fps_num, work.decoded.fps_den) == rate
    assert numbers_of_clips(work) == list(range(50))


def test_packed_bframes_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    """XviD puts two frames into one packet, and an empty packet where the second belongs."""
    xvid = ("-c:v", "libxvid", "-bf", "2", "-q:v", "2", "-g", "24")
    clock = Clock("packed.avi", size=(256, 192), options={"crf": "10"}, remux=xvid)
    work = work_through(write_clock(tmp_path, clock), MemoStore(str(tmp_path / "store")))
    assert b"XviD" in work.path.read_bytes()
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    # A step of two where the encoder left a packet out, and the last frame stays in the decoder.
    assert work.decoded.num_frames >= 49
    assert set(np.diff(rows["time_s"]).round(6)) <= {0.04, 0.08}
    shown = numbers_of_clips(work)
    assert shown == sorted(shown)
    assert set(shown) == set(range(work.decoded.num_frames))


def test_an_hour(tmp_path: Path) -> None:
    """3,600 frames, one a second, through all legs: no time drifts away."""
    clock = Clock(
        "hour.mp4",
        tuple(range(3_600)),
        Fraction(1),
        Fraction(1),
        size=(64, 48),
        options={"bf": "3", "preset": "ultrafast"},
    )
    shots = ShotSettings(detector="fixed", min_clip_s=1.0, max_clip_s=700.0)
    work = work_through(write_clock(tmp_path, clock), MemoStore(str(tmp_path / "store")), shots)
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    np.testing.assert_array_equal(rows["time_s"], np.arange(3_600.0))
    assert work.decoded.duration_s == 3_600.0
    assert [clip.start_s for clip in work.clips] == [0.0, 700.0, 1400.0, 2100.0, 2800.0, 3500.0]
    for clip in work.clips:
        shown = decoded_clock(work.mp4(clip))
        assert [number for _, number in shown] == list(range(clip.start_frame, clip.end_frame))
        assert [time_s for time_s, _ in shown] == [float(n) for n in range(len(shown))]


def test_rotated_videos_have_the_size_that_is_seen(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path / "store"))
    clock = Clock("tall.mp4", size=(64, 128), quarter_turns=1)
    work = work_through(write_clock(tmp_path, clock), store)
    with av.open(str(work.path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (128, 64)
    assert (work.video.probe.width_px, work.video.probe.height_px) == (64, 128)
    assert {(media.width_px, media.height_px) for media in work.media.values()} == {(64, 128)}


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    write_clock(tmp_path, Clock("square.mp4"))
    path = tmp_path / "wide.mp4"
    run_ffmpeg("-i", str(tmp_path / "square.mp4"), "-vf", "setsar=3/2", str(path))
    work = work_through(path, MemoStore(str(tmp_path / "store")))
    assert (work.video.probe.width_px, work.video.probe.height_px) == (192, 96)
    assert {(media.width_px, media.height_px) for media in work.media.values()} == {(192, 96)}


@pytest.mark.parametrize("number", [0, 1, 77, 2_048, 4_095])
def test_the_clock_can_be_read_and_notices_torn_pictures(number: int) -> None:
    picture = board(number, 128, 96)
    assert read_board(picture) == number
    picture[48:] = board(number ^ 1, 128, 96)[48:]
    with pytest.raises(AssertionError, match="torn"):
        read_board(picture)
    with pytest.raises(AssertionError, match="neither"):
        read_board(np.full((54, 96, 3), 128, np.uint8))
