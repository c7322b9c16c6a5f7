"""Workers that have nothing in common with the run but a server that speaks S3."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from far_engine import STATES, FarEngine, far_engine
from object_store import ObjectStore, objects
from pipeline_helpers import FAST, piece_of_long_video, run_here, sha256_of_files, start

from pipelines.cli import main
from transforms.publish.check import check_dataset
from transforms.video.input_pieces import PIECE_FILE

__all__ = ["objects"]

RUN = (*FAST, "--set", "teacher.samples=2", "--set", "verify.repair_rounds=0")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    piece_of_long_video(folder / "street.mp4", 75, 7)
    (folder / "text.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def local(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the files of the dataset that a run on this machine makes."""
    out = tmp_path_factory.mktemp("local")
    assert run_here(videos, "--out", out, *RUN) == 0
    assert list(out.glob("dataset/*/*.tar")) != []
    return sha256_of_files(out / "dataset")


@pytest.fixture
def engine(objects: ObjectStore, tmp_path: Path) -> Iterator[FarEngine]:
    with far_engine(tmp_path / "engine", objects.option) as engine:
        yield engine


def arguments(objects: ObjectStore, videos: Path, engine: FarEngine) -> tuple[object, ...]:
    """What `proofreel run` is given; the videos are put there."""
    for video in videos.iterdir():
        objects.put(video, f"in/{video.name}")
    out = ("--out", objects.url("out"), "--store", objects.url("memo"))
    return (objects.url("in"), *out, objects.option, *engine.options, *RUN)


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {name: sha256(data).hexdigest() for name, data in files.items()}


def changed(objects: ObjectStore) -> list[str]:
    """Files of the dataset that were written, in order."""
    prefix = "/films/out/dataset/"
    writes = [path for method, path in objects.requests if method in ("PUT", "POST")]
    return [path.removeprefix(prefix) for path in writes if path.startswith(prefix)]


def test_workers_elsewhere_build_it_there(
    objects: ObjectStore,
    engine: FarEngine,
    videos: Path,
    local: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = arguments(objects, videos, engine)
    objects.client.put_object(Bucket="films", Key="out/dataset/sft/train-000009.tar", Body=b"old")
    objects.client.put_object(Bucket="films", Key="out/dataset/mine.txt", Body=b"kept")
    assert run_here(*given) == 0
    assert f"dataset: {objects.url('out', 'dataset')}" in capsys.readouterr().out
    there = objects.files("out/dataset/")
    assert there["mine.txt"] == b"kept"
    assert hashes(there).items() - local.items() == {("mine.txt", sha256(b"kept").hexdigest())}
    assert there.keys() == {"mine.txt", *local}
    assert changed(objects)[-1] == "manifest.json"
    # On this machine is nothing but what a person is shown and a copy of the list of the inputs; on
    # the engine's, copies of the clips.
    here = {
        # A copy is named by a hash and its name.
        path.name.rpartition("-")[2]
        for path in (tmp_path / "copies").rglob("*")
        if path.is_file()
    }
    assert here == {"lock", "store.json", "rejected.parquet", PIECE_FILE}
    assert list(engine.folder.glob("copies/files/*/*/*.mp4")) != []
    assert list(engine.folder.glob("copies/tmp/*")) == []
    assert list(engine.folder.glob("tmp/proofreel-piece-*")) == []
    fetched = tmp_path / "fetched"
    for name, data in objects.files("out/").items():
        place = fetched / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    assert check_dataset(fetched / "dataset") == []
    assert {path.name for path in (fetched / "work").iterdir()} == {"records", "store.json"}
    kinds = {path.name.partition("-")[0] for path in (fetched / "work" / "records").iterdir()}
    assert kinds == {"video", "clip", "scene", "case", "prompts.json"}
    assert main(["inspect", str(fetched), "street.mp4"]) == 0
    assert "7 shots" in capsys.readouterr().out

    # The next run finds all its work; there is no manifest until all else is in its place.
    kept = objects.files("memo/")
    objects.requests.clear()
    objects.refused = "out/dataset/manifest.json"
    assert run_here(*given) == 1
    assert "manifest.json: can't be moved" in capsys.readouterr().err
    assert objects.files("memo/") == kept
    assert hashes(objects.files("out/dataset/")).items() < hashes(there).items()
    assert there.keys() - objects.files("out/dataset/").keys() == {"manifest.json"}
    assert changed(objects) == ["manifest.json"], "what is the same stays"


def test_a_killed_run_is_made_good_and_what_goes_on_of_it_comes_into_nothing(
    objects: ObjectStore,
    engine: FarEngine,
    videos: Path,
    local: dict[str, str],
    tmp_path: Path,
) -> None:
    given = arguments(objects, videos, engine)
    with start("run", *given) as launcher:
        while not objects.files("memo/reply/"):
            assert launcher.poll() is None, launcher.communicate()
            time.sleep(0.02)
        engine.process.send_signal(signal.SIGSTOP)
        os.killpg(launcher.pid, signal.SIGKILL)
    assert objects.files("out/work/partial/")
    shutil.rmtree(tmp_path / "copies")
    with far_engine(tmp_path / "other", objects.option) as other:
        assert run_here(*arguments(objects, videos, other)) == 0
    engine.process.send_signal(signal.SIGCONT)
    assert engine.end_of_jobs() == [STATES.FAILED]
    assert "another run into this output has begun" in (engine.folder / "log").read_text()
    assert hashes(objects.files("out/dataset/")) == local
    # What it was putting at that moment may have come there; it is no draft.
    assert not any(name.endswith("/begun") for name in objects.files("out/work/partial/"))
