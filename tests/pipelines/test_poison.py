"""A poison element in each leg of one run: it costs itself, at its own leg, and nothing else.

Each video has the name of a leg, and that leg's code raises whenever it meets it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_server import MODEL, Answer, Ask, ChatServer, completion_of
from pipeline_helpers import FAST, UNEXAMINED, ffmpeg, rejected_rows, run_here, samples
from tiny_whisper import write_tiny_whisper

from pipelines import curate
from pipelines.records import records
from schemas.case import Case
from transforms.annotate.constructed import Constructor
from transforms.annotate.describe import ClipDescriber, VideoNarrator
from transforms.annotate.propose import Proposer, TaskMaker
from transforms.features.stage import QualityGate
from transforms.publish import stage as publishing
from transforms.publish.check import check_dataset
from transforms.verify.loop import Answerer, Verifier
from transforms.video.analyse import Analyser
from transforms.video.cut import Cutter
from transforms.video.ingest import Ingester
from transforms.video.segment import Segmenter
from transforms.video.speech import Transcriber

GOOD, RECORD = "good", "record"
LEGS: dict[str, tuple[Any, str, str]] = {
    "ingest": (Ingester, "__call__", "ingest"),
    "keep one": (curate.KeepOne, "__call__", "ingest"),
    "decode": (Analyser, "__call__", "decode"),
    "segment": (Segmenter, "__call__", "segment"),
    "select": (QualityGate, "__call__", "select"),
    "cut": (Cutter, "__call__", "cut"),
    "of one video": (curate, "of_other_video", "cut"),
    "describe asks": (ClipDescriber, "requests", "describe"),
    "describe reads": (ClipDescriber, "read", "describe"),
    "narrate asks": (VideoNarrator, "requests", "describe"),
    "narrate reads": (VideoNarrator, "read", "describe"),
    "propose asks": (Proposer, "requests", "propose"),
    "propose reads": (Proposer, "read", "propose"),
    "task": (TaskMaker, "__call__", "task"),
    "answer asks": (Answerer, "first_requests", "answer"),
    "answer reads": (Answerer, "_rollout", "answer"),
    "verify": (Verifier, "_verified", "verify"),
    "route": (publishing.Router, "__call__", "route"),
    "write": (publishing, "card_entry", "route"),
}
"""What raises, by the name of the video, and at which stage that is to be told."""
UNUSUAL: dict[str, tuple[Any, str, str]] = {
    "transcribe": (Transcriber, "__call__", "transcribe"),
    "construct": (Constructor, "__call__", "construct"),
}
"""The same for legs that are only there if they are asked for."""

HOLDERS = ("case", "scene", "footage", "video", "source", "media")


def name_of(element: Any) -> str:
    """The name of the video that an element of whatever leg is about."""
    if isinstance(element, tuple | list):
        return name_of(element[-1])
    for name in HOLDERS:
        if hasattr(element, name):
            return name_of(getattr(element, name))
    if hasattr(element, "source_uri"):
        return Path(element.source_uri).stem
    return Path(element.uri).stem if hasattr(element, "uri") else name_of(list(element))


def poisoned(work: Callable[..., Any], leg: str, place: int) -> Callable[..., Any]:
    """The same, but it raises when its argument at this place is about the leg's video."""

    def meet(*arguments: Any, **named: Any) -> Any:
        if name_of(arguments[place]) == leg:
            raise KeyError(leg)
        return work(*arguments, **named)

    return meet


def unkept(work: Callable[[Any], str]) -> Callable[[Any], str]:
    def meet(element: Any) -> Any:
        identity, record = work(element)
        return identity, None if name_of(element) == RECORD else record

    return meet


def teacher(said: Ask) -> Answer:
    """Sees the same in each clip, and is right."""
    match said.purpose:
        case "describe":
            caption = {"start_s": 0.0, "end_s": 1.0, "text": "A picture stands still."}
            return completion_of({"captions": [caption]})
        case "summarize":
            return completion_of({"summary": "A picture stands still."})
        case "propose":
            count = {"kind": "count", "question": "How many pictures are shown?", "options": []}
            more = {"answer": "1", "evidence": [[0.0, 1.0]], "tolerance": -1.0}
            return completion_of({"tasks": [count | more]})
    segment = {"label": "it", "start_s": 0.0, "end_s": 1.0}
    reasoning = "From 0.00 to 1.00 s a picture is shown, one. So the answer is 1."
    return completion_of(
        {"reasoning": reasoning, "answer": "1", "segments": [segment], "boxes": []}
    )


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    one = ChatServer(teacher).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def out(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("poison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curate, "_scene_record", unkept(curate._scene_record))
        settings = ("describe.levels=video",)
        assert run_poisoned(folder, server, [GOOD, RECORD], LEGS, settings) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def unusual(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unusual")
    model = write_tiny_whisper(folder / "whisper")
    settings = f"speech.model={model}", "speech.device=cpu", "constructed.per_clip=1"
    assert run_poisoned(folder, server, [GOOD], UNUSUAL, settings) == 0
    return folder / "out"


def run_poisoned(
    folder: Path,
    server: ChatServer,
    others: Sequence[str],
    legs: dict[str, tuple[Any, str, str]],
    settings: Sequence[str],
) -> int:
    """A run over a video for each leg, with a poison for each, and others; its exit code."""
    (folder / "videos").mkdir()
    for number, leg in enumerate([*others, *legs]):
        picture = f"testsrc2=s=96x64:r=10:d=2,hue=h={number * 17}"
        ffmpeg("-f", "lavfi", "-i", picture, folder / "videos" / f"{leg}.mp4")
    usual = (
        *("shots.detector=fixed", "shots.min_clip_s=0.5", "shots.max_clip_s=1"),
        *("select.min_motion_speed=0", "select.max_motion_speed_p90=1000"),
        *("teacher.kind=openai", f"teacher.model={MODEL}", f"teacher.url={server.url}"),
        *("teacher.samples=1", "tasks.per_clip=1", "verify.repair_rounds=0"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        for leg, (place, name, _) in legs.items():
            work = getattr(place, name)
            patch.setattr(place, name, poisoned(work, leg, int(isinstance(place, type))))
        sets = [part for one in (*usual, *settings) for part in ("--set", one)]
        return run_here(folder / "videos", "--out", folder / "out", *FAST, *UNEXAMINED, *sets)


@pytest.mark.parametrize("leg", LEGS)
def test_it_costs_itself_at_its_own_leg(leg: str, out: Path) -> None:
    assert_costs_itself(leg, LEGS[leg][2], out)


@pytest.mark.parametrize("leg", UNUSUAL)
def test_it_does_so_in_legs_that_are_asked_for(leg: str, unusual: Path) -> None:
    assert_costs_itself(leg, UNUSUAL[leg][2], unusual)
    assert check_dataset(unusual / "dataset") == []
    named = {one["media"][0]["source_uri"] for one in samples(unusual).values()}
    assert f"{GOOD}.mp4" in named and "transcribe.mp4" not in named


def assert_costs_itself(leg: str, stage: str, out: Path) -> None:
    found = [row for row in rejected_rows(out) if f"KeyError: '{leg}'" in row["detail"]]
    assert {(row["stage"], row["reason"]) for row in found} == {(stage, "internal_error")}
    # An input or a video, or what became of each of its two clips.
    whole = stage in ("ingest", "decode", "segment")
    assert len(found) == (1 if whole else 2)


def test_the_others_are_published_and_nothing_is_lost(out: Path) -> None:
    assert check_dataset(out / "dataset") == []
    of_clips = {one["media"][0]["source_uri"] for one in samples(out).values()}
    assert of_clips == {f"{GOOD}.mp4", f"{RECORD}.mp4"}
    told = [row for row in rejected_rows(out) if row["reason"] != "internal_error"]
    # The tasks of three videos went on without an answer, or without a verdict.
    assert {row["reason"] for row in told} == {"no_accepted_rollout"}
    assert len(told) == 3 * 2


def test_a_record_that_can_not_be_kept_is_missing_there_alone(out: Path) -> None:
    folder = out / "work" / "records"
    kept = {json.loads(text)["video"]["source"]["uri"] for _, text in records(folder, "scene")}
    assert f"{GOOD}.mp4" in kept and f"{RECORD}.mp4" not in kept
    cases = [Case.from_json(text) for _, text in records(folder, "case")]
    assert f"{RECORD}.mp4" in {case.scene.video.source.uri for case in cases}
