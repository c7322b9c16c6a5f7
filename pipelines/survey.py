"""What is known of the inputs before a run: clips that an earlier run has cut, lengths of the rest.

The legs of the way are walked with a store that is only looked into. Where one would have to work,
the walk ends, and the video counts as one whose clips are not known yet.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import Config
from schemas.case import PlannedClip, Scene
from schemas.rejection import Reason, Rejected
from schemas.source import Source
from schemas.video import Probe, Video
from transforms.features.stage import QualityGate
from transforms.memo import Entry, MemoStore
from transforms.outcome import StopRunError
from transforms.publish.index import READ_ROWS
from transforms.publish.manifest import REJECTED_FILE
from transforms.remote_memo import open_store
from transforms.storage import is_remote
from transforms.video import probe as probing
from transforms.video.analyse import Analyser
from transforms.video.cut import Cutter, clip_size_px
from transforms.video.exclude import Exclusion, load_exclusion
from transforms.video.fetching import local_path
from transforms.video.ingest import ingest
from transforms.video.same_inputs import keep_one
from transforms.video.segment import Segmenter
from transforms.video.speech import Transcriber

MOST_LOOKED_AT = 400
"""Of more inputs than that some are looked at, evenly spread, and stand for all."""
PROBING_THREADS = 4


class NotInStore(StopRunError):  # noqa: N818 - an answer, not an error
    """The store does not hold it. Goes through whatever else a leg may catch."""


@dataclass(frozen=True)
class LookUpStore(MemoStore):
    """A store that is only looked into."""

    def entry(self, step: str, *made_from: Any) -> Entry:
        found = open_store(self.root).entry(step, *made_from)
        return _LookUpEntry(found.root, found.step, found.key, found=found)

    def path(self, ref: str) -> Path:
        return open_store(self.root).path(ref)


@dataclass(frozen=True)
class _LookUpEntry(Entry):
    found: Entry | None = field(default=None, compare=False)

    def get(self) -> Any:
        stored = None if self.found is None else self.found.get()
        if stored is None:
            raise NotInStore(self.step)
        return stored

    def building(self) -> Any:
        raise NotInStore(self.step)


@dataclass(frozen=True)
class Unseen:
    """A video whose clips are not known."""

    duration_s: float
    width_px: int
    height_px: int
    questions: int


@dataclass(frozen=True)
class Survey:
    """What is known of the inputs."""

    scenes: tuple[Scene, ...]
    """Clips that are there already, in order."""
    unseen: tuple[Unseen, ...]
    refused: int
    """Inputs of which no clip can come."""
    share: float
    """Of the inputs, those that were looked at."""


def survey(sources: Sequence[Source], out: Path, config: Config, store: MemoStore) -> Survey:
    """Look at the inputs, or at an even part of them if they are many; writes nothing."""
    number = min(len(sources), MOST_LOOKED_AT)
    looked = [sources[place * len(sources) // number] for place in range(number)]
    with ThreadPoolExecutor(PROBING_THREADS) as threads:
        walker = _Walker(config, load_exclusion(config.input.exclude), LookUpStore(store.root))
        found = list(threads.map(walker.look, looked))
    videos: dict[str, list[Video]] = {}
    for one in found:
        if isinstance(one, Video):
            videos.setdefault(one.id, []).append(one)
    left_out = left_out_clips(out, videos)
    scenes: list[Scene] = []
    unseen = [one for one in found if isinstance(one, Unseen)]
    refused = sum(one is None for one in found)
    for same in videos.values():
        if excluded := walker.exclusion.left_out(same):
            refused += len(excluded)
            continue
        video, twins = keep_one(same)
        ends = walker.film(video, left_out)
        refused += len(twins) + (ends is None)
        if isinstance(ends, Unseen):
            unseen.append(ends)
        scenes += ends if isinstance(ends, list) else []
    return Survey(tuple(scenes), tuple(unseen), refused, number / max(len(sources), 1))


@dataclass(frozen=True)
class _Walker:
    config: Config
    exclusion: Exclusion
    store: LookUpStore

    def look(self, source: Source) -> Video | Unseen | None:
        """The video, if an earlier run has opened it; None if it can't be opened, or must not."""
        if self.exclusion.why(source):
            return None
        try:
            if is_remote(self.store.root) or Path(self.store.root).is_dir():
                return ingest(source, self.store)
        except NotInStore:
            pass
        except Rejected:
            return None
        try:
            path = local_path(source)
            probe = probing.probe(path, Path(path).stat().st_size)
        except (Rejected, OSError):
            return None
        return self._unseen(probe, len(source.questions))

    def _unseen(self, probe: Probe, questions: int) -> Unseen | None:
        claimed_s = max(probe.claimed_duration_s, probe.container_duration_s)
        if claimed_s > self.config.input.max_duration_s:
            return None
        width_px, height_px = clip_size_px(probe, self.config.cut.max_height_px)
        # Some containers do not say how long they are: then it is a clip.
        duration_s = claimed_s if claimed_s > 0 else self.config.shots.max_clip_s
        return Unseen(duration_s, width_px, height_px, questions)

    def film(self, video: Video, left_out: Collection[str]) -> list[Scene] | Unseen | None:
        """The clips of a video but those `left_out`, if an earlier run has cut them."""
        try:
            planned = planned_clips(video, self.config, self.store)
            planned = [one for one in planned if one.clip.id not in left_out]
            return cut_clips(planned, self.config, self.store)
        except Rejected:
            return None
        except (NotInStore, ValueError):
            # ValueError: with shots.join = features the borders of shots are not known here.
            return self._unseen(video.probe, len(video.source.questions))


def planned_clips(video: Video, config: Config, store: MemoStore) -> list[PlannedClip]:
    """The clips that a run would cut, near-duplicates included. Raises Rejected."""
    analyser = Analyser(
        config.input,
        config.shots.score_family,
        config.features.fps,
        store,
        config.overlay_text,
        config.subtitles,
    )
    [footage] = analyser(video).outputs
    planned = Segmenter(config.shots, store, config.cut.mode == "copy")(footage).outputs
    gate = QualityGate(config.select)
    return [one for one in planned if _passes(gate, one)]


def cut_clips(planned: Sequence[PlannedClip], config: Config, store: MemoStore) -> list[Scene]:
    """The clips of one video as a teacher gets them."""
    if not planned:
        return []
    scenes = list(Cutter(config.cut, store, config.subtitles)(planned).outputs)
    if config.speech.model:
        transcriber = Transcriber(config.speech, store)
        scenes = [one for scene in scenes for one in transcriber(scene).outputs]
    return scenes


def _passes(gate: QualityGate, planned: PlannedClip) -> bool:
    try:
        gate(planned)
    except Rejected:
        return False
    return True


def left_out_clips(out: Path, video_ids: Collection[str]) -> set[str]:
    """Clips of these videos that the last finished run left out because of others, or without
    features. Of the table a few rows are in memory at a time."""
    path = out / "dataset" / REJECTED_FILE
    if not path.exists():
        return set()
    others = (Reason.NEAR_DUPLICATE, Reason.CONTAMINATED, Reason.DUPLICATE)
    reasons = [reason.value for reason in (*others, Reason.FEATURES_FAILED)]
    of_these = pc.field("parent").isin(pa.array(list(video_ids), pa.string()))
    wanted = pc.field("reason").isin(reasons) & of_these
    found: set[str] = set()
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(READ_ROWS, columns=["subject", "parent", "reason"]):
                found.update(batch.filter(wanted)["subject"].to_pylist())
    except (pa.ArrowException, OSError):
        return set()  # Damaged: proofreel check says so, and a run writes it anew.
    return found
