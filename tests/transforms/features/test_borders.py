"""Joining in the pipeline: flashes within shots are joined, true cuts are kept, for real pictures.

The weights are random, so likeness is a matter of texture and place: enough for a picture and
itself half a second later, where little moves. What CLIP takes for alike is not tested here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from schemas.base import Record
from schemas.case import Footage
from schemas.rejection import Reason, Rejection, Stage
from schemas.source import Source, location
from transforms.features.borders import EmbedBorders
from transforms.features.embed import ClipModel, FeatureSettings, Pictures
from transforms.legs import OUT, REJECTED
from transforms.memo import MemoStore
from transforms.video.analyse import Analyser, InputSettings
from transforms.video.ingest import Ingester
from transforms.video.segment import Segmenter, segment
from transforms.video.shots import ShotSettings

CUTS_S = [1.20, 3.04, 5.48, 7.48, 9.68]
"""Of bikes.mp4, as one sees them."""
FLASHES_S = [0.60, 4.60, 7.08]
"""Where little moves."""
FPS = 25
SETTINGS = ShotSettings(join="features", unit="shot", min_clip_s=0.3)


def write_flashes(pictures: Iterable[Pictures], target: Path, flashes_s: Iterable[float]) -> None:
    """A video of 25 frames a second with flashes of two white frames."""
    flashes = {round(time_s * FPS) + more for time_s in flashes_s for more in (0, 1)}
    with av.open(str(target), "w") as write:
        stream = write.add_stream("libx264", rate=FPS, options={"crf": "16", "threads": "1"})
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            pixels = np.full_like(picture, 250) if number in flashes else picture
            write.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        write.mux(stream.encode(None))


def real_pictures(path: Path) -> Iterator[Pictures]:
    with av.open(str(path)) as read:
        for frame in read.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def painted_pictures(shots: int, frames: int) -> Iterator[Pictures]:
    """Shots of rough patches of colour, over which a small square moves."""
    generator = np.random.default_rng(4)
    for _ in range(shots):
        patches = generator.integers(0, 256, (9, 16, 3), np.uint8)
        for number in range(frames):
            picture = patches.repeat(20, axis=0).repeat(20, axis=1)
            picture[80:96, 2 * number : 2 * number + 16] = 128
            yield picture


@pytest.fixture(scope="module")
def features(feature_settings: FeatureSettings) -> FeatureSettings:
    return feature_settings.model_copy(update={"fps": 4.0})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    return MemoStore(str(tmp_path_factory.mktemp("borders")))


@pytest.fixture(scope="module")
def flashing(
    bikes: Path,
    store: MemoStore,
    features: FeatureSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Footage:
    path = tmp_path_factory.mktemp("flashes") / "flashes.mp4"
    write_flashes(real_pictures(bikes), path, FLASHES_S)
    return decoded(path, store, features)


@pytest.fixture(scope="module")
def steady(bikes: Path, store: MemoStore, features: FeatureSettings) -> Footage:
    return decoded(bikes, store, features)


def decoded(path: Path, store: MemoStore, features: FeatureSettings) -> Footage:
    [video] = Ingester(store)(Source(uri=path.name, location=location(path))).outputs
    [footage] = Analyser(InputSettings(), "content", features.fps, store)(video).outputs
    return footage


Run = Callable[..., tuple[list[Footage], list[Rejection]]]


@pytest.fixture
def embed_borders(store: MemoStore, features: FeatureSettings, tmp_path: Path) -> Run:
    """The step in a pipeline of its own: what comes out, by name, and what is rejected."""
    import apache_beam as beam

    def run(
        *footage: Footage, shots: ShotSettings = SETTINGS
    ) -> tuple[list[Footage], list[Rejection]]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        with beam.Pipeline() as pipeline:
            found = pipeline | beam.Create(footage) | EmbedBorders(features, shots, store)
            _ = found[OUT] | "Out" >> beam.Map(write_line, folder / "out")
            _ = found[REJECTED] | "Rejected" >> beam.Map(write_line, folder / "rejected")
        out = [Footage.model_validate_json(line) for line in lines(folder / "out")]
        rejected = [Rejection.model_validate_json(line) for line in lines(folder / "rejected")]
        return sorted(out, key=lambda one: one.video.source.uri), rejected

    return run


def write_line(record: Record, path: Path) -> None:
    with path.open("a") as file:
        file.write(record.model_dump_json() + "\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def starts(footage: Footage, store: MemoStore, shots: ShotSettings = SETTINGS) -> list[float]:
    outcome = Segmenter(shots, store)(footage)
    clips = [one.clip for one in outcome.outputs]
    return [round(start_s, 2) for clip in clips for start_s in clip.shot_starts_s]


def test_flashes_are_joined_and_true_cuts_are_kept(
    flashing: Footage, steady: Footage, store: MemoStore, embed_borders: Run
) -> None:
    plain = ShotSettings(unit="shot", min_clip_s=0.3)
    assert starts(flashing, store, plain) == sorted([0.0, *CUTS_S, *FLASHES_S])
    (seen_steady, seen_flashing), rejected = embed_borders(flashing, steady)
    assert rejected == []
    assert starts(seen_flashing, store) == [0.0, *CUTS_S]
    assert starts(seen_steady, store) == [0.0, *CUTS_S]
    scene = ShotSettings(join="features")
    [planned] = Segmenter(scene, store)(seen_flashing).outputs
    assert planned.clip.shot_starts_s == pytest.approx([0.0, *CUTS_S])


def test_flashes_anywhere_in_painted_shots(
    store: MemoStore, features: FeatureSettings, embed_borders: Run, tmp_path: Path
) -> None:
    """Flashes on samples and between them, one just before a cut, one just after the start."""
    flashes_s = [0.44, 1.0, 2.72, 3.88, 5.0]
    path = tmp_path / "painted.mp4"
    write_flashes(painted_pictures(4, 2 * FPS), path, flashes_s)
    painted = decoded(path, store, features)
    assert starts(painted, store, ShotSettings(unit="shot", min_clip_s=0.05)) == [
        *(0.0, 0.44, 1.0, 2.0, 2.72, 3.88, 5.0, 6.0)
    ]
    [seen], rejected = embed_borders(painted)
    assert rejected == []
    # The flash two frames before the cut at 4.0 s runs into it: the change begins with the flash.
    assert starts(seen, store) == [0.0, 2.0, 3.88, 6.0]


def test_another_threshold_embeds_nothing(
    flashing: Footage, store: MemoStore, embed_borders: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    [seen], _ = embed_borders(flashing)

    def fail(*_: object) -> None:
        raise AssertionError("a picture was embedded")

    monkeypatch.setattr(ClipModel, "embed", fail)
    strict = SETTINGS.model_copy(update={"join_cosine": 0.9999})
    [again], rejected = embed_borders(flashing, shots=strict)
    assert (again.borders_ref, rejected) == (seen.borders_ref, [])
    assert starts(again, store, strict) == sorted([0.0, *CUTS_S, *FLASHES_S])
    # Other cuts are other pictures.
    lax = SETTINGS.model_copy(update={"content_threshold": 15.0})
    _, [other] = embed_borders(flashing, shots=lax)
    assert "a picture was embedded" in other.detail


def test_what_cannot_be_embedded_costs_only_its_video(
    flashing: Footage, steady: Footage, store: MemoStore, embed_borders: Run
) -> None:
    gone = steady.decoded.model_copy(update={"samples_ref": "gone.arrow"})
    [seen], [rejection] = embed_borders(flashing, steady.model_copy(update={"decoded": gone}))
    assert seen.video == flashing.video
    assert (rejection.stage, rejection.reason) == (Stage.DECODE, Reason.FEATURES_FAILED)
    assert (rejection.subject, rejection.parent) == (steady.video.id, "bikes.mp4")
    assert "gone.arrow" in rejection.detail


def test_a_video_without_cuts_needs_no_model(
    steady: Footage, store: MemoStore, embed_borders: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.features.handler.load_model", lambda _: pytest.fail("loaded"))
    blind = SETTINGS.model_copy(update={"content_threshold": 250.0})
    [seen], rejected = embed_borders(steady, shots=blind)
    assert rejected == []
    assert starts(seen, store, blind) == [0.0]


def test_joining_without_embeddings_is_refused(flashing: Footage, store: MemoStore) -> None:
    """Never in silence as if nothing were alike."""
    with pytest.raises(ValueError, match="join"):
        segment(flashing.video, flashing.decoded, store, SETTINGS)
