"""Overlaid text: found where it was drawn, not where there is none, and without another decode."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from clock_video import Clock, analysed, write_pictures
from made_pictures import real_picture

from schemas.clip import NOT_MEASURED, Clip
from schemas.source import Source, location
from schemas.video import Video
from transforms.memo import MemoStore
from transforms.outcome import StopRunError
from transforms.video import overlay_text
from transforms.video.analyse import Analyser, InputSettings
from transforms.video.ingest import ingest
from transforms.video.overlay_text import (
    TextSettings,
    load_detector,
    look_times,
    measure_text,
    read_text,
)
from transforms.video.samples import frames_at, read_samples
from transforms.video.segment import Segmenter
from transforms.video.shots import ShotSettings

ON = TextSettings(enabled=True)


def with_text(
    picture: np.ndarray, share_of_height: float, text: str = "and then she said"
) -> tuple[np.ndarray, float]:
    """A picture with a line of text at its foot, and the share that its letters' box covers."""
    height, width = picture.shape[:2]
    shown = picture.copy()
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = cv2.getFontScaleFromHeight(font, round(share_of_height * height), 2)
    place = (width // 20, height - height // 8)
    cv2.putText(shown, text, place, font, scale, (0, 0, 0), 6, cv2.LINE_AA)
    cv2.putText(shown, text, place, font, scale, (255, 255, 255), 2, cv2.LINE_AA)
    (box_width, box_height), below = cv2.getTextSize(text, font, scale, 2)
    return shown, box_width * (box_height + below) / (width * height)


@pytest.fixture(scope="module")
def subtitled(bikes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Six seconds of a real picture; from the third on there is a line of text. And its share."""
    plain = real_picture(bikes)
    spoken, share = with_text(plain, 0.07)
    path = tmp_path_factory.mktemp("text") / "subtitled.mp4"
    write_pictures(path, Clock(path.name, tuple(range(150))), [plain] * 75 + [spoken] * 75)
    return path, share


def of_video(path: Path, store: MemoStore, settings: TextSettings) -> list[Clip]:
    """Its clips of three seconds, through the legs."""
    video: Video = ingest(Source(uri=path.name, location=location(path)), store)
    [footage] = Analyser(InputSettings(), "fixed", 2.0, store, settings)(video).outputs
    shots = ShotSettings(detector="fixed", unit="shot", min_clip_s=0.5, max_clip_s=3.0)
    return [planned.clip for planned in Segmenter(shots, store)(footage).outputs]


def test_text_is_found_where_it_is_drawn(subtitled: tuple[Path, float], store: MemoStore) -> None:
    path, share = subtitled
    first, second = of_video(path, store, ON)
    assert first.measures.text_share == 0.0
    assert second.measures.text_share == pytest.approx(share, rel=0.4)
    assert share > 0.015


def test_switching_it_on_decodes_nothing_again(
    subtitled: tuple[Path, float], store: MemoStore, count_processes: Callable[[], int]
) -> None:
    path, _ = subtitled
    off = of_video(path, store, TextSettings())
    assert [clip.measures.text_share for clip in off] == [NOT_MEASURED, NOT_MEASURED]
    before = count_processes()
    on = of_video(path, store, ON)
    assert on[1].measures.text_share > 0
    assert count_processes() == before
    for one, other in zip(off, on, strict=True):
        unlike = {"text_share": other.measures.text_share}
        assert one.measures.model_copy(update=unlike) == other.measures


def test_pictures_are_searched_once(
    subtitled: tuple[Path, float], store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = subtitled
    searched: list[int] = []
    share = overlay_text.TextDetector.share

    def counted(detector: overlay_text.TextDetector, rgb: np.ndarray) -> float:
        searched.append(1)
        return share(detector, rgb)

    monkeypatch.setattr(overlay_text.TextDetector, "share", counted)
    first = of_video(path, store, ON)
    assert len(searched) == 3, "one every two seconds"
    assert of_video(path, store, ON) == first
    assert len(searched) == 3
    of_video(path, store, TextSettings(enabled=True, every_s=1.0))
    assert len(searched) == 9, "another distance is another table"


@pytest.mark.parametrize(
    ("share_of_height", "text"),
    [(0.035, "and then she said"), (0.06, "and then she said"), (0.12, "she said"), (0.2, "HELLO")],
)
def test_letters_of_many_sizes_are_found(bikes: Path, share_of_height: float, text: str) -> None:
    """On pictures as they are stored: short side 224."""
    picture = cv2.resize(real_picture(bikes), (1054, 448))
    spoken, share = with_text(picture, share_of_height, text)
    small = cv2.resize(spoken, (528, 224), interpolation=cv2.INTER_AREA)
    found = load_detector().share(small)
    assert 0.6 * share < found < 1.7 * share
    assert load_detector().share(cv2.resize(picture, (528, 224))) == 0.0


def test_a_blurred_real_video_is_not_taken_for_text(many_shots: Path, store: MemoStore) -> None:
    """The detector takes many of its pictures as a whole for one tall line."""
    _, decoded = analysed(many_shots, store)
    samples = store.path(decoded.samples_ref)
    times_s = read_samples(samples).between(60.0, 180.0).times_s[::30]
    shares = [load_detector().share(one) for _, one in frames_at(samples, times_s)]
    assert len(shares) == 20
    assert np.mean(shares) < 0.01
    assert np.mean(np.array(shares) > 0) <= 0.1


def test_looks_are_the_first_of_each_stretch() -> None:
    times_s = np.array([0.04, 0.54, 1.04, 1.54, 1.999, 2.5, 7.0, 7.5])
    assert look_times(times_s, 2.0).tolist() == [0.04, 1.999, 7.0]
    assert look_times(times_s, 0.5).tolist() == [0.04, 0.54, 1.04, 1.54, 1.999, 2.5, 7.0, 7.5]
    assert look_times(times_s, 100.0).tolist() == [0.04]


def test_the_table_holds_the_times_of_the_looks(
    subtitled: tuple[Path, float], store: MemoStore
) -> None:
    path, _ = subtitled
    _, decoded = analysed(path, store)
    table = read_text(store.path(measure_text(decoded, store, ON)))
    samples = read_samples(store.path(decoded.samples_ref))
    assert table.times_s.tolist() == look_times(samples.times_s, 2.0).tolist()
    assert table.times_s == pytest.approx([0.0, 2.0, 4.0])
    assert (table.shares > 0).tolist() == [False, False, True]


def test_a_clip_without_a_look_of_its_own_has_the_nearest(
    subtitled: tuple[Path, float], store: MemoStore
) -> None:
    path, _ = subtitled
    sparse = TextSettings(enabled=True, every_s=5.0)
    video = ingest(Source(uri=path.name, location=location(path)), store)
    [footage] = Analyser(InputSettings(), "fixed", 2.0, store, sparse)(video).outputs
    shots = ShotSettings(detector="fixed", unit="shot", min_clip_s=0.5, max_clip_s=1.5)
    found = [one.clip for one in Segmenter(shots, store)(footage).outputs]
    # Looks at 0 and at 5 s: clips from 0, 1.5, 3 and 4.5 s.
    assert [clip.measures.text_share > 0 for clip in found] == [False, False, True, True]


@pytest.fixture
def unloaded() -> Iterator[None]:
    """As in a process that has not loaded the detector yet."""
    overlay_text._load.cache_clear()
    yield
    overlay_text._load.cache_clear()


def test_nothing_is_fetched(unloaded: None, bikes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network is asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    spoken, _ = with_text(real_picture(bikes), 0.1)
    assert load_detector().share(spoken) > 0


def test_one_thread_for_each_video(unloaded: None) -> None:
    detector = load_detector()
    detector.share(np.zeros((64, 64, 3), np.uint8))
    options = detector._engine.text_det.session.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert load_detector() is detector


def test_a_missing_extra_stops_the_run_and_is_named(
    unloaded: None, subtitled: tuple[Path, float], store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, decoded = analysed(subtitled[0], store)
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(StopRunError, match=r"pip install 'proofreel\[text\]'"):
        measure_text(decoded, store, ON)
    assert measure_text(decoded, store, TextSettings()) == ""
