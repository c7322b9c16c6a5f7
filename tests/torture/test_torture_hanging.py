"""A decoder that hangs or dies costs one video, with a reason, and what it took it gives back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pipeline_helpers import FAST, funnel, reasons, rejected_rows, run_here
from torture_making import Shop, salted
from torture_work import SETTINGS, work

from transforms.memo import MemoStore
from transforms.publish.check import check_dataset
from transforms.video import analyse as analysing
from transforms.video.decode import DecodePass
from transforms.video.media_process import ffmpeg_exe, ffmpeg_version, time_limit_s

SPELL = """#!/bin/sh
REAL={real}
for one; do
  case "$one" in
    file:/dev/fd/*) if tail -c 100 "${{one#file:}}" | grep -q HANGS; then sleep 600; fi
                    if tail -c 100 "${{one#file:}}" | grep -q DIES; then kill -SEGV $$; fi;;
  esac
done
exec "$REAL" "$@"
"""


@pytest.fixture
def spellbound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ffmpeg that hangs or dies over files that end in such words."""
    real = ffmpeg_exe()
    wrapper = tmp_path / "ffmpeg"
    wrapper.write_text(SPELL.format(real=shlex.quote(real)))
    wrapper.chmod(0o755)
    monkeypatch.setenv("PROOFREEL_FFMPEG", str(wrapper))
    for cached in (ffmpeg_exe, ffmpeg_version):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in (ffmpeg_exe, ffmpeg_version):
        cached.cache_clear()


@pytest.mark.usefixtures("spellbound")
def test_it_costs_one_video(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit is a minute and more.
    monkeypatch.setattr(analysing, "time_limit_s", lambda *_: 2.0)
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for word in ("good 1", "HANGS", "good 2", "DIES", "good 3"):
        content = salted(shop.faststart.read_bytes(), word)
        (videos / f"{word.lower()}.mp4").write_bytes(content)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    sets = [part for one in SETTINGS for part in ("--set", one)]
    assert run_here(videos, "--out", out, *FAST, *sets) == 0
    assert reasons(out) == {
        "hangs.mp4": ("decode", "decode_timeout"),
        "dies.mp4": ("decode", "decoder_crashed"),
    }
    assert {row["detail"] for row in rejected_rows(out) if row["reason"] == "decode_timeout"} == {
        "no end after 2 s"
    }
    lines = funnel(out)
    # The good ones show the same: of their clips one is kept.
    assert lines["decode"]["out"] == lines["cut"]["in"] == 3
    assert lines["cut"]["rejected"] == {"duplicate": 2}
    assert check_dataset(out / "dataset") == []
    after = psutil.Process().children(recursive=True)
    assert {one.pid for one in after if one.status() != psutil.STATUS_ZOMBIE} <= before


def test_the_limit_of_a_pass_grows_with_its_file(
    shop: Shop, store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    class Heard(DecodePass):
        def __init__(self, *arguments: Any, timeout_s: float, **named: Any) -> None:
            limits.append(timeout_s)
            super().__init__(*arguments, timeout_s=timeout_s, **named)

    monkeypatch.setattr(analysing, "DecodePass", Heard)
    padded = shop.folder / "padded.mp4"
    padded.write_bytes(salted(shop.long.read_bytes(), "x" * 5_000_000))
    for path in (shop.faststart, shop.long, padded):
        [one] = work([path], store)
        assert one.spans
    expected = [
        time_limit_s(path.stat().st_size, claimed_s)
        for path, claimed_s in ((shop.faststart, 2.0), (shop.long, 4.0), (padded, 4.0))
    ]
    assert limits == pytest.approx(expected)
    assert limits == sorted(limits)
    assert limits[2] > limits[1] + 20
