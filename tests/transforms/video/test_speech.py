"""Speech: the sound that the model gets is the clip's, and what it says becomes lines, once."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from clock_video import Clock, beep_onsets, run_ffmpeg, write_beeps, write_clock
from subtitled import scenes_of, srt
from tiny_whisper import write_tiny_whisper

from schemas.case import Scene
from schemas.rejection import Reason, Rejected
from transforms.memo import MemoStore
from transforms.outcome import StopRunError, is_fatal
from transforms.video import whisper
from transforms.video.speech import Transcriber, clip_sound, spoken_lines
from transforms.video.whisper import (
    RATE_HZ,
    Said,
    SpeechSettings,
    SpeechUnavailable,
    Whisper,
    check_speech,
    identity,
    load_whisper,
)

BEEPS_S = (0.05, 0.3, 0.8, 1.13, 1.55, 1.85)
TOLERANCE_S = 0.010


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model is only slowed down by more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two seconds that beeps, cut into three clips, with its store beside it."""
    folder = tmp_path_factory.mktemp("speech")
    picture = write_clock(folder, Clock("picture.mp4"))
    wav = write_beeps(folder / "beeps.wav", BEEPS_S, 2.0)
    run_ffmpeg(
        *("-i", str(picture), "-i", str(wav), "-map", "0:v", "-map", "1:a", "-c:v", "copy"),
        *("-c:a", "aac", "-output_ts_offset", "7.3", str(folder / "beeps.mkv")),
    )
    (folder / "beeps.srt").write_text(srt([(0.1, 0.5, "beep")]))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpeechSettings:
    folder = write_tiny_whisper(tmp_path_factory.mktemp("whisper"))
    return SpeechSettings(model=str(folder), language="en")


@pytest.fixture
def scenes(folder: Path, store: MemoStore) -> list[Scene]:
    return scenes_of(folder / "beeps.mkv", store)


def chirp(length_s: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Sound that changes all the time."""
    times_s = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    return np.sin(times_s * 2_000 * (1 + 0.2 * np.sin(times_s * 3))).astype(np.float32)


def test_the_model_hears_each_beep_when_it_sounds_in_the_clip(
    scenes: list[Scene], store: MemoStore
) -> None:
    heard = 0
    for scene in scenes:
        path = store.path(scene.media.ref)
        sound = clip_sound(path, scene.media.duration_s)
        assert len(sound) == round(scene.media.duration_s * RATE_HZ)
        loud = np.flatnonzero(np.abs(sound) > 0.12) / RATE_HZ
        onsets = loud[np.diff(loud, prepend=-1.0) > 0.06]
        expected, _ = beep_onsets(path)
        assert onsets == pytest.approx(expected, abs=TOLERANCE_S)
        heard += len(expected)
    assert heard == len(BEEPS_S)


def test_what_is_said_becomes_lines_within_the_clip(
    scenes: list[Scene], store: MemoStore, model: SpeechSettings
) -> None:
    said = 0
    for scene in scenes:
        [done] = Transcriber(model, store)(scene).outputs
        assert done == Transcriber(model, store)(scene).outputs[0]
        assert done.model_copy(update={"lines": scene.lines}) == scene
        assert [line for line in done.lines if line.source == "subtitle"] == list(scene.lines)
        assert list(done.lines) == sorted(done.lines, key=lambda one: (one.start_s, one.end_s))
        for line in done.lines:
            assert 0.0 <= line.start_s < line.end_s <= scene.media.duration_s
            assert line.text == " ".join(line.text.split()) != ""
            said += line.source == "speech"
    assert said


@pytest.mark.parametrize("length_s", [0.1, 2.0, 29.9, 30.0, 47.3])
def test_times_are_within_the_sound_however_long_it_is(
    model: SpeechSettings, length_s: float
) -> None:
    whisper = load_whisper(model)
    said = whisper.listen(chirp(length_s))
    assert said == whisper.listen(chirp(length_s)), "the same sound gives the same"
    for one in said:
        assert 0.0 <= one.start_s < one.end_s <= length_s
    if length_s > 30:
        assert max(one.end_s for one in said) > 30.0


def test_what_the_model_says_stands_at_the_clips_own_times(
    scenes: list[Scene], store: MemoStore, model: SpeechSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that says "beep" for every beep in the samples that it is given."""

    def listen(_: Whisper, sound: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[Said]:
        loud = np.flatnonzero(np.abs(sound) > 0.12) / RATE_HZ
        onsets = loud[np.diff(loud, prepend=-1.0) > 0.06]
        return [Said(float(onset), float(onset) + 0.06, " beep\u202e ") for onset in onsets]

    monkeypatch.setattr(Whisper, "listen", listen)
    times = [
        scene.clip.start_s + line.start_s
        for scene in scenes
        for line in spoken_lines(scene, store, model)
    ]
    picture_s = scenes[0].decoded.first_pts_s
    assert times == pytest.approx([beep + picture_s for beep in BEEPS_S], abs=2 * TOLERANCE_S)


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often any model has listened."""
    calls: list[int] = []
    listen = Whisper.listen

    def counted(self: Whisper, sound: whisper.Sound) -> list[Said]:
        calls.append(len(sound))
        return listen(self, sound)

    monkeypatch.setattr(Whisper, "listen", counted)
    return lambda: len(calls)


def test_a_clip_is_listened_to_once(
    scenes: list[Scene],
    store: MemoStore,
    model: SpeechSettings,
    listened: Callable[[], int],
    tmp_path: Path,
) -> None:
    first = [spoken_lines(scene, store, model) for scene in scenes]
    assert listened() == len(scenes)
    assert [spoken_lines(scene, store, model) for scene in scenes] == first
    assert listened() == len(scenes)
    german = model.model_copy(update={"language": "de"})
    spoken_lines(scenes[0], store, german)
    assert listened() == len(scenes) + 1, "another language is another question"
    # Other weights in the same place are another model.
    place = write_tiny_whisper(tmp_path / "model")
    moved = model.model_copy(update={"model": str(place)})
    assert spoken_lines(scenes[0], store, moved) == first[0]
    assert listened() == len(scenes) + 1, "it is the same model"
    write_tiny_whisper(place, seed=1)
    spoken_lines(scenes[0], store, moved)
    assert listened() == len(scenes) + 2


def test_silence_is_not_listened_to(
    scenes: list[Scene], store: MemoStore, listened: Callable[[], int]
) -> None:
    """Nor is the model loaded for it."""
    nowhere = SpeechSettings(model="/nowhere")
    mute = scenes[0].media.model_copy(update={"has_audio": False})
    silent = scenes[0].clip.measures.model_copy(update={"sound_share": 0.0})
    clip = scenes[0].clip.model_copy(update={"measures": silent})
    for update in ({"media": mute}, {"clip": clip}):
        [done] = Transcriber(nowhere, store)(scenes[0].model_copy(update=update)).outputs
        assert done.lines == scenes[0].lines
    assert listened() == 0


def test_one_model_however_many_threads_ask(
    scenes: list[Scene],
    store: MemoStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SpeechSettings(model=str(write_tiny_whisper(tmp_path / "own")))
    loaded: list[Path] = []
    make = Whisper.__init__

    def counted(self: Whisper, folder: Path, given: SpeechSettings) -> None:
        loaded.append(folder)
        make(self, folder, given)

    monkeypatch.setattr(Whisper, "__init__", counted)
    alone = [spoken_lines(scene, MemoStore(store.root), settings) for scene in scenes]
    found: dict[int, object] = {}
    fresh = MemoStore(str(tmp_path / "fresh"))
    shutil.copytree(Path(store.root, "cut"), Path(fresh.root, "cut"))

    def work(number: int) -> None:
        found[number] = spoken_lines(scenes[number % len(scenes)], fresh, settings)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 1
    assert [found[number] for number in range(6)] == [*alone, *alone]


def test_sound_that_does_not_decode_costs_its_clip_and_is_tried_again(
    scenes: list[Scene], store: MemoStore, model: SpeechSettings
) -> None:
    path = store.path(scenes[0].media.ref)
    good = path.read_bytes()
    path.write_bytes(b"no mp4" * (len(good) // 6) + b"." * (len(good) % 6))
    with pytest.raises(Rejected) as raised:
        Transcriber(model, store)(scenes[0])
    assert (raised.value.reason, raised.value.lasting) == (Reason.SPEECH_FAILED, False)
    assert raised.value.detail.startswith("decoder_crashed: ")
    assert "/" not in raised.value.detail
    path.write_bytes(good)
    assert Transcriber(model, store)(scenes[0]).outputs


def test_a_model_that_fails_costs_the_clip(
    scenes: list[Scene], store: MemoStore, model: SpeechSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> list[Said]:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Whisper, "listen", failing)
    with pytest.raises(Rejected, match="RuntimeError: CUDA out of memory") as raised:
        Transcriber(model, store)(scenes[0])
    assert raised.value.reason is Reason.SPEECH_FAILED


def edit(folder: Path, name: str, **values: object) -> None:
    facts = json.loads((folder / name).read_text("utf-8"))
    (folder / name).write_text(json.dumps(facts | values), "utf-8")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1_000])


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("no_config", lambda one: (one / "config.json").unlink(), "has no config.json that can be"),
    ("text", lambda one: (one / "config.json").write_text("weights"), "has no config.json that"),
    ("other", lambda one: edit(one, "config.json", model_type="clip"), "no Whisper .*'clip'"),
    ("no_weights", lambda one: (one / "model.safetensors").unlink(), "no weights as safetensors"),
    ("torn", lambda one: cut_off(one / "model.safetensors"), "model.safetensors: "),
    ("no_tokenizer", lambda one: (one / "tokenizer.json").unlink(), "has no tokenizer.json that"),
    ("no_features", lambda one: (one / "preprocessor_config.json").unlink(), "no preprocessor"),
    ("no_rules", lambda one: (one / "generation_config.json").unlink(), "no generation_config"),
]


@pytest.mark.parametrize(
    ("spoil", "words"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_a_model_that_is_not_whole_is_told_before_the_work(
    tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    folder = write_tiny_whisper(tmp_path / "model")
    settings = SpeechSettings(model=str(folder))
    check_speech(settings)
    spoil(folder)
    with pytest.raises(SpeechUnavailable, match=words) as raised:
        check_speech(settings)
    assert is_fatal(raised.value)
    assert "speech.model: " in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["/nowhere/model", "nowhere", "./model", "../../nowhere", "a/b/c"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(SpeechUnavailable, match="there is no such folder"):
        check_speech(SpeechSettings(model=name))


def test_a_hub_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        raise OSError("no route")

    monkeypatch.setattr(whisper, "reach_hub", failing)
    with pytest.raises(StopRunError, match=r"OSError: no route\. Give the name .* or a folder"):
        check_speech(SpeechSettings(model="nobody/has-this"))


@pytest.mark.parametrize(("multilingual", "known"), [(True, "de, en, fr"), (False, "en")])
def test_a_language_that_the_model_does_not_know(
    tmp_path: Path, multilingual: bool, known: str
) -> None:
    folder = write_tiny_whisper(tmp_path / "model", multilingual=multilingual)
    check_speech(SpeechSettings(model=str(folder), language="en"))
    with pytest.raises(SpeechUnavailable, match=f"knows no 'xx'; it knows {known}$"):
        check_speech(SpeechSettings(model=str(folder), language="xx"))


def test_a_model_of_english_only(tmp_path: Path) -> None:
    folder = write_tiny_whisper(tmp_path / "model", multilingual=False)
    for language in ("", "en"):
        settings = SpeechSettings(model=str(folder), language=language)
        assert isinstance(load_whisper(settings).listen(chirp(1.0)), list)


def test_the_package_is_named_if_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, model: SpeechSettings
) -> None:
    def missing(name: str) -> str:
        raise whisper.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(whisper.metadata, "version", missing)
    with pytest.raises(SpeechUnavailable, match=r"pip install 'proofreel\[speech\]'"):
        check_speech(model)


def test_without_a_model_nothing_is_asked_for() -> None:
    check_speech(SpeechSettings())


def test_where_a_model_lies_is_no_part_of_what_it_says(
    tmp_path: Path, model: SpeechSettings
) -> None:
    copy = model.model_copy(update={"model": str(write_tiny_whisper(tmp_path / "copy"))})
    assert identity(copy) == identity(model)
