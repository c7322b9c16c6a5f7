"""Videos embedded as they are, so that runs can keep out what is alike to them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines.config import Config, ConfigError
from pipelines.look_at_inputs import check_inputs
from pipelines.run import Prepare, locked
from pipelines.store import store_of
from schemas.base import canonical_json
from schemas.case import Footage
from schemas.rejection import Rejection, Stage
from schemas.source import Source
from schemas.video import Video
from transforms.features.embed import FeatureSettings, identity
from transforms.features.embedding import EmbedPictures, reading_pictures
from transforms.features.pictures import VERSION, Wanted, frame_vectors, picture_times, sample_times
from transforms.features.reference import FEATURES_FILE, ReferenceVideo, write_reference
from transforms.legs import OUT, REJECTED, Care, Leg
from transforms.memo import MemoStore
from transforms.outcome import Outcome
from transforms.progress import NOWHERE
from transforms.publish.files import write_text
from transforms.video.analyse import Analyser
from transforms.video.ingest import Ingester
from transforms.video.input_pieces import Pieces, ReadPieces, keep_pieces
from transforms.video.same_inputs import KeepOne, one_of_same_subject, with_same
from transforms.video.sorted_inputs import SortedInputs, sorted_inputs


@dataclass(frozen=True)
class Written:
    """What was written, and which inputs are not in it."""

    path: Path
    videos: int
    pictures: int
    rejections: tuple[Rejection, ...]


def make_features(inputs: Sequence[str], out: Path, config: Config, prepare: Prepare) -> Written:
    """Embed the sampled pictures of videos into `out`; what an earlier call did is looked up.

    Raises ConfigError, BadInputError, WeightsError and BusyError before any work.
    """
    if not config.features.enabled:
        raise ConfigError("features.model: is none; name a model to embed the pictures by")
    store = store_of(out)
    with sorted_inputs(inputs, out, store.root) as listed:
        return _make_features(listed, out, config, store, prepare)


def _make_features(
    inputs: SortedInputs, out: Path, config: Config, store: MemoStore, prepare: Prepare
) -> Written:
    check_inputs(inputs.sources, inputs.refused, config.features)
    runner, options = prepare([])
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    found = work / "embedded.json"
    with locked(work / "lock"):
        store = store.prepare()
        store.sweep()
        sources = keep_pieces(inputs.sources.texts(), store)
        with beam.Pipeline(runner=runner, options=options) as pipeline:
            _ = pipeline | "Features" >> _Embed(sources, config, store, str(found))
        rows, rejections = _read(found)
        path = out / FEATURES_FILE
        videos = pictures = 0
        if rows:
            vectors = _vectors(rows, store)
            videos, pictures = write_reference(vectors, config.features, path)
    return Written(path, videos, pictures, (*inputs.refused, *rejections))


class _Embed(beam.PTransform):
    """From sources to a file that says where the vectors of each video lie."""

    def __init__(self, sources: Pieces, config: Config, store: MemoStore, path: str) -> None:
        super().__init__()
        self._sources = sources
        self._config = config
        self._store = store
        self._path = path

    def expand(self, root: Any) -> beam.PCollection:
        config, store = self._config, self._store
        ingested = (
            root
            | "Sources" >> ReadPieces(self._sources, Source, store)
            | "Spread0" >> beam.Reshuffle()
            | "Ingest" >> Leg(Stage.INGEST, Ingester(store), _source_subject, NOWHERE)
        )
        kept = (
            ingested[OUT]
            | "BySha" >> beam.GroupBy(lambda video: video.id)
            | "WithSame" >> beam.FlatMap(with_same)
            | "KeepOne" >> Leg(Stage.INGEST, KeepOne(), one_of_same_subject, NOWHERE)
        )
        analyser = Analyser(config.input, config.shots.score_family, config.features.fps, store)
        decoded = (
            kept[OUT]
            | "Spread" >> beam.Reshuffle()
            | "Decode" >> Leg(Stage.DECODE, analyser, _video_subject, NOWHERE)
        )
        want = _WantVideo(config.features, store)
        wanted = decoded[OUT] | "Wanted" >> Leg(Stage.SELECT, want, _footage_subject, NOWHERE)
        embedded = wanted[OUT] | "Embed" >> EmbedPictures(
            config.features, store, Stage.SELECT, _footage_subject, Care()
        )
        rejected = (
            ingested[REJECTED],
            decoded[REJECTED],
            wanted[REJECTED],
            embedded[REJECTED],
        ) | "Rejected" >> beam.Flatten()
        return (
            root
            | "Once" >> beam.Create([None])
            | "Write"
            >> beam.Map(
                _write,
                path=self._path,
                rows=beam.pvalue.AsList(embedded[OUT] | "Rows" >> beam.MapTuple(_row)),
                rejections=beam.pvalue.AsList(rejected),
            )
        )


@dataclass(frozen=True)
class _WantVideo:
    """All sampled frames of a video, as pictures to embed."""

    settings: FeatureSettings
    store: MemoStore

    def __call__(self, footage: Footage) -> Outcome[Wanted[Footage]]:
        samples_ref = footage.decoded.samples_ref
        made_of = [samples_ref, "all", identity(self.settings)]
        with reading_pictures():
            times = sample_times(self.store.path(samples_ref), -math.inf, math.inf)
        entry = self.store.entry("features", VERSION, *made_of)
        return Outcome([Wanted(footage, samples_ref, times, entry)])


def _source_subject(source: Source) -> list[tuple[str, str]]:
    return [(source.uri, "")]


def _video_subject(video: Video) -> list[tuple[str, str]]:
    return [(video.id, video.source.uri)]


def _footage_subject(footage: Footage) -> list[tuple[str, str]]:
    return _video_subject(footage.video)


def _row(footage: Footage, vectors_ref: str) -> list[str]:
    return [footage.video.source.uri, footage.video.sha256, vectors_ref]


def _write(_: None, path: str, rows: list[list[str]], rejections: list[Rejection]) -> None:
    refused = sorted(one.to_json() for one in rejections)
    write_text(Path(path), canonical_json({"rows": sorted(rows), "rejections": refused}))


def _read(path: Path) -> tuple[list[list[str]], list[Rejection]]:
    value = json.loads(path.read_text("utf-8"))
    return value["rows"], [Rejection.from_json(one) for one in value["rejections"]]


def _vectors(rows: Sequence[Sequence[str]], store: MemoStore) -> Iterator[ReferenceVideo]:
    for name, sha256, vectors_ref in rows:
        path = store.path(vectors_ref)
        yield ReferenceVideo(name, sha256, picture_times(path), frame_vectors(path))
