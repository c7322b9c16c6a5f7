"""Worker processes of a machine use one copy of a model, and go on when its owner is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.managers import BaseManager
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

from runners.launch import prepare
from transforms.features.embed import FeatureSettings, SharedClip, load_model
from transforms.outcome import StopRunError
from transforms.shared_model import is_worker, private_folder
from transforms.video.transnet import SharedNet, load_transnet

CHILD = Path(__file__).with_name("shared_model_child.py")
SETTINGS = FeatureSettings(model="ViT-S-32-alt", pretrained="random")


class Worker:
    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        self.said: list[str] = []
        self.pid = int(self.hear("ready"))

    def tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()

    def hear(self, word: str) -> str:
        """What is said after a word at the start of a line; lines before it are kept."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.strip())
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError(f"ended without {word}: {self.said}")

    def ask(self, words: str) -> str:
        self.tell(words)
        return self.hear("->")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(3):
            found.append(Worker(tmp_path))
            stack.callback(found[-1].kill)
        yield found


def test_one_process_loads_the_model_and_answers_for_all(workers: list[Worker]) -> None:
    for one in workers:
        one.tell("pid")
    answers = [one.hear("->") for one in workers]
    assert len(set(answers)) == 1
    assert int(answers[0]) in [one.pid for one in workers]
    assert sum(one.said.count("loaded") for one in workers) == 1
    assert [one.ask("name") for one in workers] == ["teller"] * 3
    assert [one.ask("fail so") for one in workers] == ["ValueError so"] * 3


def test_when_its_owner_is_killed_another_takes_its_place(workers: list[Worker]) -> None:
    first, second, third = workers
    assert int(first.ask("pid")) == int(second.ask("pid")) == first.pid
    second.tell("long")
    first.hear("asked")
    first.kill()
    assert int(second.hear("->")) == second.pid, "the question is asked again"
    # One that has never asked the first.
    assert int(third.ask("pid")) == second.pid


def test_a_process_that_hangs_while_it_loads_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOAD_WAIT_S", "1")
    hang = tmp_path / "hang"
    hang.touch()
    with contextlib.ExitStack() as stack:
        workers = [Worker(tmp_path) for _ in range(2)]
        for one in workers:
            stack.callback(one.kill)
        first, second = workers
        first.tell("pid")
        first.hear("hangs")
        said = second.ask("pid")
        assert said.startswith(f"StopRunError process {first.pid} of this machine is loading")
        assert "the model teller" in said
        assert f"kill -9 {first.pid}" in said
        hang.unlink()
        first.kill()
        assert int(second.ask("pid")) == second.pid


def test_a_stopped_process_that_has_the_model_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGN_AFTER_S", "0.2")
    monkeypatch.setenv("SILENT_S", "5")
    with contextlib.ExitStack() as stack:
        first, second, third = workers = [Worker(tmp_path) for _ in range(3)]
        for one in workers:
            stack.callback(one.kill)
        assert int(first.ask("pid")) == first.pid
        assert int(second.ask("long")) == first.pid, "whoever works gives signs of life"
        os.kill(first.pid, signal.SIGSTOP)
        # One that is connected, and one that is not yet.
        for one in (second, third):
            one.tell("pid")
        for one in (second, third):
            said = one.hear("->")
            assert said.startswith(f"StopRunError process {first.pid} of this machine gives")
            assert "the model teller" in said and "does not answer" in said
            assert f"kill -9 {first.pid}" in said
        first.kill()
        assert int(second.ask("pid")) == second.pid


def test_who_does_not_know_the_password_is_not_let_in(
    workers: list[Worker], tmp_path: Path
) -> None:
    workers[0].ask("pid")
    [file] = tmp_path.glob("*/*.address")
    host, port = file.read_text().split(":")
    assert host in ("localhost", "127.0.0.1")
    stranger = BaseManager(address=(host, int(port)), authkey=b"mps")
    with pytest.raises((AuthenticationError, ConnectionError, EOFError)):
        stranger.connect()
    folder = file.parent
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "key").stat().st_size == 32


def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    private_folder().chmod(0o770)
    with pytest.raises(StopRunError, match="others may write there"):
        private_folder()


def test_machines_that_share_a_folder_for_temporary_files_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders = []
    for name in ("one", "other", "one"):
        monkeypatch.setattr("platform.node", lambda name=name: name)
        folders.append(private_folder())
    assert folders[0] == folders[2] != folders[1]


class _Use(beam.DoFn):
    """Uses the models as legs do, and tells by which processes."""

    def process(self, number: int) -> Iterator[tuple[int, str, int, bytes]]:
        clip, net = load_model(SETTINGS), load_transnet()
        assert is_worker()
        assert isinstance(clip, SharedClip)
        assert isinstance(net, SharedNet)
        pictures = np.random.default_rng(number).integers(
            0, 256, (2, clip.size_px, clip.size_px, 3), np.uint8
        )
        yield os.getpid(), "clip", clip.host(), clip.embed(pictures).tobytes()
        windows = np.random.default_rng(number).integers(0, 256, (1, 100, 27, 48, 3), np.uint8)
        yield os.getpid(), "net", net.host(), net.score(windows).tobytes()


def test_worker_processes_of_the_local_runner_have_one_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    paths = [str(CHILD.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    runner, options = prepare(["--direct_num_workers=2", "--direct_running_mode=multi_processing"])
    found = tmp_path / "found"
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(range(6))
            | beam.Reshuffle()
            | beam.ParDo(_Use())
            | beam.combiners.ToList()
            | beam.Map(lambda all_of_them: found.write_text(repr(sorted(all_of_them))))
        )
    uses = eval(found.read_text())
    assert len({worker for worker, *_ in uses}) == 2
    for name in ("clip", "net"):
        assert len({host for _, what, host, _ in uses if what == name}) == 1
    assert os.getpid() not in {host for _, _, host, _ in uses}
