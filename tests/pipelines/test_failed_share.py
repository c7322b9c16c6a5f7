"""A run of which a large share fails stops with one line; what was finished is looked up later."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_helpers import FAST, ffmpeg, funnel, memo_entries, reasons, run_here

from transforms.failure_limit import FailureLimit
from transforms.publish.check import check_dataset
from transforms.video.media_process import ffmpeg_exe, ffmpeg_version

ILL = """#!/bin/sh
for one; do
  case "$one" in
    file:/dev/fd/*) if tail -c 100 "${{one#file:}}" | grep -q DIES; then kill -SEGV $$; fi;;
  esac
done
exec {real} "$@"
"""
SETTINGS = (
    *FAST,
    *("--set", "shots.detector=fixed", "--set", "shots.min_clip_s=0.5"),
    *("--set", "shots.max_clip_s=2", "--set", "select.max_motion_speed_p90=1000"),
    *("--set", "run.min_failed=5", "--direct_num_workers=1"),
)
GOOD, BAD = 3, 6


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Good ones, and such that end in a word that the ill decoder dies of."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(GOOD + BAD):
        path = folder / f"{number}.mp4"
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=96x64:r=10:d=2,hue=h={number * 20}", path)
        if number >= GOOD:
            path.write_bytes(path.read_bytes() + b"\0\0\0\x0cfreeDIES")
    return folder


@pytest.fixture
def ill_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    wrapper = tmp_path / "ffmpeg"
    wrapper.write_text(ILL.format(real=shlex.quote(ffmpeg_exe())))
    wrapper.chmod(0o755)
    monkeypatch.setenv("PROOFREEL_FFMPEG", str(wrapper))
    ffmpeg_exe.cache_clear()
    yield monkeypatch
    ffmpeg_exe.cache_clear()
    ffmpeg_version.cache_clear()


def test_it_stops_and_the_next_run_goes_on(
    videos: Path, ill_decoder: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_here(videos, "--out", out, *SETTINGS) == 1
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("proofreel: decode: 5 of ")
    assert "run.max_failed_share = 0.2" in said and "Mostly decoder_crashed (5 times)" in said
    assert "run the same command again" in said and "while running" not in said
    assert not (out / "dataset").exists()
    finished = memo_entries(out)
    # Somebody has mended the decoder.
    ill_decoder.delenv("PROOFREEL_FFMPEG")
    ffmpeg_exe.cache_clear()
    assert run_here(videos, "--out", out, *SETTINGS) == 0
    assert {place: memo_entries(out)[place] for place in finished} == finished
    assert reasons(out) == {}
    assert funnel(out)["decode"]["out"] == GOOD + BAD
    assert check_dataset(out / "dataset") == []


def test_what_no_worker_has_seen_enough_of_stops_the_run_at_its_end(
    videos: Path, ill_decoder: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    # As if each video had a worker of its own.
    ill_decoder.setattr(FailureLimit, "note", lambda *_: None)
    assert run_here(videos, "--out", out, *SETTINGS) == 1
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"proofreel: decode: {BAD} of all {GOOD + BAD} videos failed")
    assert "run.max_failed_share = 0.2" in said and f"Mostly decoder_crashed ({BAD} times)" in said
    assert re.search(r"such as v[0-9a-f]+: SIGSEGV", said), said
    assert not (out / "dataset").exists()
    assert run_here(videos, "--out", out, *SETTINGS, "--set", "run.min_failed=7") == 0
    assert len(reasons(out)) == BAD


@pytest.mark.usefixtures("ill_decoder")
def test_who_expects_it_can_have_it(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(videos, "--out", out, *SETTINGS, "--set", "run.max_failed_share=0.7") == 0
    assert len(reasons(out)) == BAD
    assert set(reasons(out).values()) == {("decode", "decoder_crashed")}
