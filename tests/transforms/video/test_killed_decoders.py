"""Decoders and encoders that the system kills: tried again in the same run, without a trace."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from clock_video import LIMITS, SAMPLE_FPS, Work

from schemas.case import Footage, PlannedClip
from schemas.rejection import Reason, Rejected, Stage
from schemas.source import Source, location
from transforms.legs import OUT, REJECTED, Care, Leg
from transforms.memo import MemoStore
from transforms.progress import NOWHERE
from transforms.retry import RetryPolicy
from transforms.video import media_process
from transforms.video.analyse import Analyser
from transforms.video.cut import CutSettings, Cutter
from transforms.video.ingest import ingest
from transforms.video.media_process import MediaProcess

Use = Callable[[str], None]
QUICK = Care(RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.01))
COUNTED = 'echo >> "{log}"; [ $(wc -l < "{log}") -gt {deaths} ] || {death}; exec "$REAL" "$@"'


def leg(stage: Stage, work: Any, element: Any, expected: dict[str, list[Any]]) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        subjects = lambda _: [("it", "")]  # noqa: E731 - it has to travel
        done = pipeline | beam.Create([element]) | Leg(stage, work, subjects, NOWHERE, QUICK)
        rejected = done[REJECTED] | beam.Map(lambda one: (one.reason, one.detail[:8]))
        assert_that(rejected, equal_to(expected.get(REJECTED, [])), label=REJECTED)
        found = done[OUT] | beam.combiners.Count.Globally()
        assert_that(found, equal_to([len(expected.get(OUT, []))]), label=OUT)


@pytest.mark.parametrize(
    ("deaths", "death", "expected", "calls"),
    [
        (1, "kill -KILL $$", {OUT: ["video"]}, 2),
        # Frames came before.
        (2, '{ "$REAL" "$@" & sleep 0.3; kill -KILL 0; }', {OUT: ["video"]}, 3),
        (9, "kill -KILL $$", {REJECTED: [(Reason.DECODER_CRASHED, "SIGKILL:")]}, 3),
        (1, "kill -SEGV $$", {REJECTED: [(Reason.DECODER_CRASHED, "SIGSEGV:")]}, 1),
    ],
    ids=["once", "in the middle", "again and again", "by its own fault"],
)
def test_a_decoder_killed_by_the_system_is_started_again(
    plain: Work, store: MemoStore, use_ffmpeg: Use, tmp_path: Path,
    deaths: int, death: str, expected: dict[str, list[Any]], calls: int,
) -> None:  # fmt: skip
    log = tmp_path / "calls"
    use_ffmpeg(COUNTED.format(log=log, deaths=deaths, death=death))
    analyser = Analyser(LIMITS, "content", SAMPLE_FPS, store)
    leg(Stage.DECODE, analyser, plain.video, expected)
    assert len(log.read_text().splitlines()) == calls


def test_only_what_was_not_finished_is_cut_again(
    plain: Work, store: MemoStore, use_cutter: Use, tmp_path: Path
) -> None:
    log = tmp_path / "clips"
    use_cutter(
        "finish = child.ClipWriter.finish\n"
        "def counted(*a, **k):\n"
        f"    with open({str(log)!r}, 'a') as file: file.write('x')\n"
        f"    if len(open({str(log)!r}).read()) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return finish(*a, **k)\n"
        "child.ClipWriter.finish = counted"
    )
    footage = Footage(video=plain.video, decoded=plain.decoded)
    planned = [PlannedClip(footage=footage, clip=clip) for clip in plain.clips]
    assert len(planned) == 3
    leg(Stage.CUT, Cutter(CutSettings(crf=33), plain.store), planned, {OUT: planned})
    # The first, the second that it died of, and those two that were missing.
    assert log.read_text() == "x" * 4


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_machine_short_of_processes_or_memory_is_waited_for(
    plain: Work, store: MemoStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The system itself can't be made to refuse root a process."""
    real, refused = subprocess.Popen, list[int]()

    def popen(*arguments: Any, **named: Any) -> Any:
        if len(refused) < 2:
            refused.append(number)
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    monkeypatch.setattr(media_process.subprocess, "Popen", popen)
    analyser = Analyser(LIMITS, "content", SAMPLE_FPS, store)
    leg(Stage.DECODE, analyser, plain.video, {OUT: ["video"]})
    assert len(refused) == 2


@pytest.mark.parametrize("limit_mb", [60, 180, 340, 480])
def test_a_decoder_beyond_its_memory_costs_its_video_and_is_not_remembered(
    bikes: Path, store: MemoStore, monkeypatch: pytest.MonkeyPatch, limit_mb: int
) -> None:
    """Also where a few frames came before: what came is not the video."""
    analyser = Analyser(LIMITS, "content", SAMPLE_FPS, store)
    video = ingest(Source(uri="bikes", location=location(bikes)), store)
    monkeypatch.setattr(media_process, "MEMORY_LIMIT_BYTES", limit_mb << 20)
    with pytest.raises(Rejected) as caught:
        analyser(video)
    assert caught.value.reason in (Reason.DECODER_CRASHED, Reason.NO_DECODABLE_FRAME)
    assert not caught.value.lasting
    monkeypatch.undo()
    assert analyser(video).outputs[0].decoded.num_frames == 250


def test_a_process_has_no_more_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_process, "MEMORY_LIMIT_BYTES", 512 << 20)
    greedy = "import time; time.sleep(0.3); held = bytearray(1 << 30)"
    with MediaProcess(["python3", "-c", greedy], timeout_s=20) as process:
        assert process.wait() == 1
        assert "MemoryError" in process.complaint
        process.raise_if_killed()
