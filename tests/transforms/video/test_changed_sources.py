"""Files that others replace or write on while a run is at work: nothing made of the new bytes is
kept under the name of the old ones."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clock_video import LIMITS, SAMPLE_FPS, THIRDS, Clock, Work, write_clock
from object_store import ObjectStore

from schemas.rejection import Reason, Rejected
from schemas.source import Source, location, url_location
from schemas.video import AudioStream, Decoded, Video
from transforms.cache import cache_folder
from transforms.memo import MemoStore
from transforms.video.analyse import InputSettings, analyse
from transforms.video.copying import packets
from transforms.video.cut import CutSettings, cut
from transforms.video.fetching import ChangedError
from transforms.video.ingest import ingest
from transforms.video.sound import measure_loudness


@dataclass
class Swapped:
    """A file that was ingested, and what takes its place: six seconds instead of two."""

    path: Path
    other: Path
    video: Video
    store: MemoStore

    def replace(self) -> None:
        """As who is careful does: the old file stays what it is for whoever has it open."""
        shutil.copy(self.other, self.path.with_name("new"))
        self.path.with_name("new").replace(self.path)

    @property
    def overwrite(self) -> str:
        """As `cp` does, in words of a shell: whoever has the file open reads other bytes."""
        return f"cat '{self.other}' > '{self.path}'"

    def bring_back(self, plain: Work) -> None:
        self.path.write_bytes(plain.path.read_bytes())

    def steps(self) -> set[str]:
        """Of which something is stored."""
        folders = Path(self.store.root).glob("*/*/*/result.json")
        return {path.parts[-4] for path in folders}

    def analyse(self, limits: InputSettings = LIMITS) -> Decoded:
        family = THIRDS.score_family
        return analyse(self.video, self.store, limits, score_family=family, sample_fps=SAMPLE_FPS)


@pytest.fixture
def swapped(tmp_path: Path, store: MemoStore, plain: Work) -> Swapped:
    path = tmp_path / "film.mp4"
    shutil.copy(plain.path, path)
    other = write_clock(tmp_path, Clock("other.mp4", tuple(range(150))))
    video = ingest(Source(uri="film.mp4", location=location(path)), store)
    # As it comes to a worker process.
    return Swapped(path, other, pickle.loads(pickle.dumps(video)), store)


def test_a_file_replaced_before_it_is_decoded(swapped: Swapped, plain: Work) -> None:
    swapped.replace()
    with pytest.raises(Rejected, match="changed while the run was at work; run again") as caught:
        swapped.analyse()
    assert (caught.value.reason, caught.value.lasting) == (Reason.UNREADABLE, False)
    assert swapped.steps() == {"probe"}
    swapped.bring_back(plain)
    assert swapped.analyse() == plain.decoded, "touched is not changed"


@pytest.mark.parametrize("limit_s", [100.0, 3.0])
def test_a_file_written_on_while_it_is_decoded(
    swapped: Swapped, plain: Work, use_ffmpeg: Callable[[str], None], limit_s: float
) -> None:
    limits = InputSettings(min_duration_s=0.0, max_duration_s=limit_s)
    use_ffmpeg(f'{swapped.overwrite}; exec "$REAL" "$@"')
    with pytest.raises(ChangedError):
        swapped.analyse(limits)
    assert swapped.steps() == {"probe"}, "neither frames nor that it is too long"


def test_a_file_replaced_while_it_is_decoded_is_read_to_its_end(
    swapped: Swapped, plain: Work, use_ffmpeg: Callable[[str], None]
) -> None:
    new = swapped.path.with_name("new")
    shutil.copy(swapped.other, new)
    use_ffmpeg(f"mv '{new}' '{swapped.path}'; exec \"$REAL\" \"$@\"")
    assert swapped.analyse() == plain.decoded


def test_a_file_replaced_after_it_was_decoded(swapped: Swapped, plain: Work) -> None:
    decoded = swapped.analyse()
    swapped.replace()
    sound = AudioStream(index=1, codec="aac", sample_rate_hz=48_000, channels=2)
    heard = swapped.video.probe.model_copy(update={"audio": sound})
    video = swapped.video.model_copy(update={"probe": heard})
    for step in (packets, measure_loudness):
        with pytest.raises(ChangedError):
            step(video, decoded, swapped.store)
    ends = cut(swapped.video, decoded, plain.clips, swapped.store, CutSettings())
    assert len(ends) == 3
    assert all(isinstance(end, ChangedError) for end in ends.values())
    assert swapped.steps() == {"probe", "decode"}


def test_a_file_written_on_while_it_is_cut(
    swapped: Swapped, plain: Work, use_cutter: Callable[[str], None]
) -> None:
    decoded = swapped.analyse()
    use_cutter(f"os.system({swapped.overwrite!r})")
    ends = cut(swapped.video, decoded, plain.clips, swapped.store, CutSettings())
    assert [type(end) for end in ends.values()] == [ChangedError] * 3
    assert swapped.steps() == {"probe", "decode"}


@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_is_still_written_while_it_is_ingested(
    tmp_path: Path, store: MemoStore, plain: Work, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    path = tmp_path / "film.mp4"
    shutil.copy(plain.path, path)
    source = Source(uri="film.mp4", location=location(path))
    if known:
        ingest(source, store)
    digest = hashlib.file_digest

    def slow(stream: Any, name: str) -> Any:
        found = digest(stream, name)
        with path.open("ab") as end:
            end.write(b"more")
        return found

    monkeypatch.setattr(hashlib, "file_digest", slow)
    with pytest.raises(ChangedError):
        ingest(source, store)
    assert len(list(Path(store.root).glob("probe/*/*"))) == known


def test_a_video_elsewhere_that_is_replaced(
    objects: ObjectStore, swapped: Swapped, plain: Work
) -> None:
    objects.put(swapped.path, "film.mp4")
    source = Source(uri="film.mp4", location=url_location(objects.url("film.mp4")))
    swapped.video = ingest(source, swapped.store)
    objects.put(swapped.other, "film.mp4")
    with pytest.raises(ChangedError):
        swapped.analyse()
    objects.put(plain.path, "film.mp4")
    shutil.rmtree(cache_folder())
    assert swapped.analyse() == plain.decoded, "as on another machine: the same bytes, a new copy"
