"""Subtitles and speech through the whole way: into samples, records and the funnel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_helpers import FAST, funnel, memo_entries, piece_of_long_video, run_here, samples
from rich.console import Console
from subtitled import srt
from tiny_whisper import write_tiny_whisper

from pipelines.cli import main
from pipelines.inspect import inspect
from pipelines.records import records

SETTINGS = (*FAST, "--set", "shots.max_clip_s=10")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model is only slowed down by more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 s with sound."""
    return piece_of_long_video(tmp_path_factory.mktemp("video") / "street.mp4", 75, 14)


@pytest.fixture
def folder(tmp_path: Path, video: Path) -> Path:
    """The video with subtitles that tell of each second."""
    place = tmp_path / "videos"
    place.mkdir()
    (place / "street.mp4").write_bytes(video.read_bytes())
    (place / "street.srt").write_text(srt((n, n + 0.9, f"second {n}") for n in range(14)))
    (place / "street.de.srt").write_text("broken")
    return place


def lines_of(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of all samples, by key."""
    return {
        key: json.loads(sample["extra_json"]).get("lines", [])
        for key, sample in samples(out).items()
    }


def printed(out: Path, identity: str) -> str:
    console = Console(width=200, record=True, file=(out / "printed").open("w"))
    inspect(out, identity, None, console)
    return console.export_text()


def test_lines_reach_samples_records_and_inspect(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "out"
    model = write_tiny_whisper(tmp_path / "whisper")
    speech = ("--set", f"speech.model={model}", "--set", "subtitles.languages=[de]")
    assert run_here(folder, "--out", out, *SETTINGS, *speech) == 0
    assert main(["check", str(out / "dataset")]) == 0
    line = funnel(out)["transcribe"]
    assert line["in"] == line["out"] == funnel(out)["cut"]["out"]
    found = samples(out)
    assert found
    sources = set()
    for key, lines in lines_of(out).items():
        [media] = [one for one in found[key]["media"] if one["kind"] == "video"]
        for line in lines:
            sources.add(line["source"])
            assert set(line) == {"start_s", "end_s", "text", "source"}
            assert 0.0 <= line["start_s"] < line["end_s"] <= media["duration_s"]
            if line["source"] == "subtitle" and line["start_s"] > 0.0:
                second = media["source_start_s"] + line["start_s"]
                assert line["text"] == f"second {second:.0f}"
                assert second == pytest.approx(round(second), abs=2e-3)
    assert sources == {"subtitle", "speech"}
    [(video_id, _)] = records(out / "work" / "records", "video")
    text = printed(out, video_id)
    assert "subtitles from street.srt" in text
    assert "subtitles street.de.srt: it holds no cues" in text
    key = next(key for key, lines in lines_of(out).items() if lines)
    text = printed(out, key)
    for line in lines_of(out)[key]:
        assert f"{line['source']} {line['start_s']:.2f} to {line['end_s']:.2f} s:" in text


def test_an_edited_file_changes_the_next_run(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "out"
    assert run_here(folder, "--out", out, *SETTINGS) == 0
    assert "transcribe" not in funnel(out)
    before, stored = lines_of(out), memo_entries(out)
    beside = folder / "street.srt"
    beside.write_text(beside.read_text().replace("second", "moment"))
    assert run_here(folder, "--out", out, *SETTINGS) == 0
    assert lines_of(out) == {
        key: [line | {"text": line["text"].replace("second", "moment")} for line in lines]
        for key, lines in before.items()
    }
    steps = {place.split("/")[0] for place in memo_entries(out).keys() - stored.keys()}
    assert "subtitles" in steps
    assert not steps & {"probe", "decode", "cut", "loudness"}


def test_a_model_that_is_not_there_ends_the_run_before_it_begins(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_here(folder, "--out", out, *SETTINGS, "--set", "speech.model=/no/model") != 0
    assert "there is no such folder" in " ".join(capsys.readouterr().err.split())
    assert not (out / "work").exists()
