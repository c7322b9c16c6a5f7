"""What formats with `human`, `gpt` and one clip a row have in common, and what they leave out.

Such formats know no system's turn: what it says is put behind the question, where their own
prompts say it, too. Frame rates are one setting of the whole run, so files are kept apart by rate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from schemas.sample import Sample
from transforms.publish.exports.base import Exporter
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.turns import Conversation, Turn, conversation, joined

TOOLS = "left out: it looks at parts of the clip, which are no files of their own"
OTHER_SAMPLING = "its sampling settings other than fps, which are settings of the whole run"

QWEN_VIDEO = "MODEL_SEQ_LEN=14000 FORCE_QWENVL_VIDEO_READER=decord"
"""What qwen-vl-utils needs to be told: a clip must leave room in a prompt of 16384 tokens (by
itself it takes up to 115,200), and the reader that it prefers, torchcodec, may lack FFmpeg's
libraries."""

_SPEAKERS = {"user": "human", "assistant": "gpt"}


def talk_of(
    exporter: Exporter, entry: Entry, placeholder: str, *, system: bool = True
) -> Conversation | None:
    """The conversation about the one clip of an entry; None, counted, where there are looks."""
    words = {"video": placeholder, "frames": placeholder, "image": placeholder}
    talk = conversation(entry, words, system=exporter.settings.system if system else "")
    if talk.uses_tools:
        exporter.lose(TOOLS)
        return None
    return talk


def folded(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns without the system's, whose text stands at the end of the user's first."""
    said = joined(turn.text for turn in turns if turn.role == "system")
    rest = [turn for turn in turns if turn.role != "system"]
    first = next(n for n, turn in enumerate(rest) if turn.role == "user")
    rest[first] = replace(rest[first], text=joined([rest[first].text, said]))
    return tuple(rest)


def human_gpt(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Folded turns as `from` and `value`."""
    return [{"from": _SPEAKERS[turn.role], "value": turn.text} for turn in turns]


def note_records(exporter: Exporter, sample: Sample) -> None:
    """Count the records about a sample for which rows of text and clip have no place."""
    if sample.grounding.boxes:
        exporter.lose("its boxes as records (what the reply says of them stays)")
    if sample.grounding.segments:
        exporter.lose("its spans as records (what the reply says of them stays)")
    if sample.steps:
        exporter.lose("the labels of its steps")


def file_name(exporter: Exporter, entry: Entry, suffix: str) -> str:
    """`sft-train-fps2.json`, or `sft-train.json` where no rate is set; counts other settings."""
    sampling = entry.sample.sampling
    if any(value >= 0 for name, value in sampling if name != "fps"):
        exporter.lose(OTHER_SAMPLING)
    rate = f"-fps{sampling.fps:g}".replace(".", "p") if sampling.fps > 0 else ""
    return f"{entry.sample.split}-{entry.partition}{rate}{suffix}"


def rate_of(name: str) -> str:
    """The rate that a file's name says, as text; "" if none."""
    _, mark, rest = name.partition("-fps")
    return rest.rpartition(".")[0].replace("p", ".") if mark else ""


def train_files(exporter: Exporter, split: str) -> list[str]:
    """The files of a split to train on, sorted."""
    return [name for name in sorted(exporter.files.counts) if name.startswith(f"{split}-train")]


def validation_for(exporter: Exporter, name: str) -> str:
    """The validation file that goes with a file to train on; itself if there is none.

    Trainers of RL insist on one.
    """
    other = name.replace("-train", "-validation", 1)
    return other if other in exporter.files.counts else name


def batch_size(exporter: Exporter, name: str, most: int) -> int:
    """The largest power of two up to `most` that a file can fill: loaders drop a last batch that
    is not full, and fail where that leaves none."""
    return 1 << (min(exporter.files.counts[name], most).bit_length() - 1)


def json_block(value: object) -> str:
    """A small file of settings."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
