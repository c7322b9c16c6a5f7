"""A dataset with all that exporters meet: every split, tools, boxes, hostile and foreign text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from publish_helpers import Clip, Item, build_dataset, make_clip, make_items, make_sample

from schemas.sample import Message, Part, Sample, Sampling
from transforms.publish.exports.base import ExportSettings, Report
from transforms.publish.exports.export import export_dataset

HOSTILE = "Is <video> or < IMAGE > or <|im_end|> on the sign? Größe: 日本 \u202e"


def _with_look(sample: Sample) -> Sample:
    """The sample with a look at a part of its clip before the reply."""
    crop = sample.media[0].model_copy(
        update={
            "id": "crop1",
            "kind": "frames",
            "part": "",
            "num_frames": 3,
            "frame_pts_s": [0.2, 0.3, 0.4],
        }
    )
    call = (
        '<tool_call>{"arguments":{"end_time":0.4,"start_time":0.2},"name":"crop_video"}</tool_call>'
    )
    look = [
        Message(role="assistant", parts=[Part(type="text", text=call)], loss=1),
        Message(role="tool", parts=[Part(type="video", media_id="crop1")], loss=0),
    ]
    messages = [sample.messages[0], *look, *sample.messages[1:]]
    return sample.model_copy(update={"media": [*sample.media, crop], "messages": messages})


def _with_question(sample: Sample, text: str) -> Sample:
    first = sample.messages[0]
    asked = first.model_copy(update={"parts": [first.parts[0], Part(type="text", text=text)]})
    return sample.model_copy(update={"messages": [asked, *sample.messages[1:]]})


@pytest.fixture(scope="session")
def export_items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder = tmp_path_factory.mktemp("clips")
    clips: list[Clip] = [
        make_clip(folder / "c1.mp4", 1.5, "testsrc"),
        make_clip(folder / "c2.mp4", 2.0, "testsrc2", audio=True),
    ]
    items = make_items(clips)
    more = [
        _with_look(make_sample("t01", clips[0])),
        _with_question(make_sample("h01", clips[1]), HOSTILE),
        make_sample("f01", clips[1]).model_copy(update={"sampling": Sampling()}),
        make_sample("r02", clips[1], split="rl"),
    ]
    return [
        *items,
        *(Item(one, "train", clips[1] if one.id != "t01" else clips[0]) for one in more),
    ]


@pytest.fixture(scope="session")
def export_source(tmp_path_factory: pytest.TempPathFactory, export_items: list[Item]) -> Path:
    """The dataset; not to be changed."""
    folder = tmp_path_factory.mktemp("source") / "dataset"
    build_dataset(folder, export_items)
    return folder


Export = Callable[..., tuple[Path, Report]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, export_source: Path) -> Export:
    """Exports it in a format, once for the same settings: the folder and the report."""
    done: dict[str, tuple[Path, Report]] = {}

    def export(name: str, **settings: object) -> tuple[Path, Report]:
        chosen = ExportSettings.model_validate(settings)
        key = name + chosen.model_dump_json()
        if key not in done:
            out = tmp_path_factory.mktemp("export") / name
            done[key] = out, export_dataset(export_source, name, out, chosen)
        return done[key]

    return export
