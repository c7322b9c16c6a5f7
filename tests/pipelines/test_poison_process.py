"""An element that kills its whole process: the next run says which, and can go on without it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from chat_server import ChatServer
from pipeline_helpers import FAST, carphone, ffmpeg, funnel, reasons, run_here
from served_run import answer, settings

from schemas.rejection import Stage
from transforms.at_work import AtWork
from transforms.outcome import StopRunError
from transforms.video import segment

DIES = """
import os, signal, sys
from transforms.video import segment
from pipelines.cli import main

real = segment.segment

def poison(video, *arguments, **named):
    if video.source.uri == "poison.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(video, *arguments, **named)

segment.segment = poison
sys.exit(main(sys.argv[1:]))
"""
"""A library of ours that falls over one video."""

DIES_LOOKING = """
import os, signal, sys
from transforms.annotate.seeing import Looker
from pipelines.cli import main

real = Looker._look

def poison(looker, scene, *rest):
    if scene.video.source.uri == "poison.mp4":
        os.write(2, f"died at {scene.clip.id} (of {scene.clip.video_id})\\n".encode())
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(looker, scene, *rest)

Looker._look = poison
sys.exit(main(sys.argv[1:]))
"""
"""A decoder in our process that falls over the clips of a video, in a thread of the teacher's."""

SETTINGS = (*FAST, "--set", "shots.detector=fixed", "--set", "shots.min_clip_s=0.5")
SETTINGS = (*SETTINGS, "--set", "shots.max_clip_s=2", "--set", "select.max_motion_speed_p90=1000")


def run(*arguments: object, program: str = DIES) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, "run", *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=400)


def three_videos(folder: Path) -> Path:
    videos = folder / "videos"
    videos.mkdir()
    for number, name in enumerate(("good", "poison", "well")):
        picture = f"testsrc2=s=96x64:r=10:d=2,hue=h={number * 40}"
        ffmpeg("-f", "lavfi", "-i", picture, videos / f"{name}.mp4")
    return videos


def test_the_next_run_says_what_it_died_of(tmp_path: Path) -> None:
    out = tmp_path / "out"
    videos = three_videos(tmp_path)
    # One worker: of several, each says what it was at.
    given = (videos, "--out", out, *SETTINGS, "--direct_num_workers=1")
    assert run(*given).returncode < 0
    excluded = tmp_path / "excluded"
    excluded.write_text("poison.mp4\n")
    without = run(*given, "--set", f"input.exclude=[{excluded}]")
    assert without.returncode == 0, without.stderr
    told = " ".join(without.stderr.split())
    assert "note: the last run ended in the middle of: " in told
    assert "segment of v" in told and "(of poison.mp4)" in told and "input.exclude" in told
    note = told.split("note: the last run")[1].split(" If it was not you")[0]
    assert "(of good.mp4)" not in note
    assert reasons(out) == {"poison.mp4": ("ingest", "excluded")}
    assert funnel(out)["decode"]["out"] == 2
    assert AtWork(str(out / "work" / "at-work")).left() == []


def test_a_clip_that_a_teacher_dies_of_while_it_looks_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    out, server = tmp_path / "out", ChatServer(answer).start()
    asking = (*SETTINGS, *settings(server), "--direct_num_workers=1")
    try:
        ended = run(three_videos(tmp_path), "--out", out, *asking, program=DIES_LOOKING)
    finally:
        server.stop()
    assert ended.returncode < 0, ended.stderr
    [clip] = set(re.findall(r"^died at (.*)$", ended.stderr, re.MULTILINE))
    assert f"describe of {clip}" in AtWork(str(out / "work" / "at-work")).left()


def test_notes_are_of_what_is_not_finished(tmp_path: Path) -> None:
    at_work = AtWork(str(tmp_path / "at-work"))
    assert at_work.left() == []
    with at_work.on(Stage.CUT, [("c1", "v1"), ("c2", "v1")]):
        assert at_work.left() == ["cut of c1 (of v1)", "cut of c2 (of v1)"]
    assert at_work.left() == []
    at_work.clear()
    # The thread's file is gone; another takes its place. What has no room is left out.
    with at_work.on(Stage.INGEST, [("u" * 5_000, "")] * 50):
        assert len(at_work.left()) == 1
    with AtWork("").on(Stage.CUT, [("c1", "v1")]):
        assert AtWork("").left() == []


def test_after_the_end_of_a_run_its_threads_note_nothing(tmp_path: Path) -> None:
    at_work = AtWork(str(tmp_path / "at-work"))
    with at_work.on(Stage.CUT, [("c1", "v1")]):
        at_work.end()
        with at_work.on(Stage.CUT, [("c2", "v1")]):
            assert at_work.left() == []
    at_work.clear()
    with at_work.on(Stage.CUT, [("c3", "v1")]):
        assert at_work.left() == ["cut of c3 (of v1)"]


def test_a_run_that_is_stopped_leaves_no_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has said why it ends; what its other threads were at at that moment is no suspect."""
    out, noted = tmp_path / "out", threading.Event()

    def at_something() -> None:
        with AtWork(str(out / "work" / "at-work")).on(Stage.SEGMENT, [("another", "")]):
            noted.set()
            time.sleep(20)

    def stop(*_: object, **__: object) -> None:
        threading.Thread(target=at_something, daemon=True).start()
        noted.wait(60)
        raise StopRunError("the disk is full")

    given = (carphone(), "--out", out, *SETTINGS, "--direct_num_workers=1")
    with monkeypatch.context() as broken:
        broken.setattr(segment, "segment", stop)
        assert run_here(*given) == 1
    assert "the disk is full" in capsys.readouterr().err
    run_here(*given)
    assert "the last run ended in the middle of" not in capsys.readouterr().err


def test_what_can_not_be_noted_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    at_work = AtWork(str(tmp_path / "a file" / "at-work"))
    with at_work.on(Stage.CUT, [("c1", "v1")]):
        assert at_work.left() == []
