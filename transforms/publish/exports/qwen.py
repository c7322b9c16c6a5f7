"""Qwen's own finetuning code: a JSON list with `video` and `conversations`.

Read in QwenLM/Qwen3-VL at 23d3cce (`qwen-vl-finetune/qwenvl/data/data_processor.py`): each
`<video>` of a human's text takes the next of `video`, and all must be taken; whoever is not `human`
is the assistant, and learnt, so there is no system's turn; one rate holds for the run. Data sets
are known by names in a table of its package: `train.py`, beside the rows, adds them to it.
"""

from __future__ import annotations

from typing import ClassVar

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.box_texts import QWEN_BOXES, has_boxes, with_boxes
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.single_turn import (
    file_name,
    folded,
    human_gpt,
    note_records,
    rate_of,
    talk_of,
    train_files,
)
from transforms.publish.files import write_text

OWN_WORDS = "its boxes stay 0..1: the question says their form in its own words"

_TRAIN = '''"""Adds the files of this folder to those that Qwen's code knows, and starts it."""

from pathlib import Path

from qwenvl.data import data_dict
from qwenvl.train.train_qwen import train

here = Path(__file__).resolve().parent
for path in sorted(here.glob("*-*.json")):
    data_dict[path.stem] = {"annotation_path": str(path), "data_path": str(here)}

if __name__ == "__main__":
    train(attn_implementation="flash_attention_2")
'''


class Qwen(Exporter):
    """`sft-train-fps2.json`: files by sampling rate; boxes 0..1000 as Qwen3-VL writes them."""

    name = "qwen"
    splits: ClassVar[tuple[Split, ...]] = ("sft",)

    def add(self, entry: Entry) -> None:
        talk = talk_of(self, entry, "<video>")
        if talk is None:
            return
        if has_boxes(entry.sample, talk):
            other = with_boxes(entry.sample, talk, QWEN_BOXES)
            if other is None:
                self.lose(OWN_WORDS)
            talk = other or talk
        row = {
            "id": entry.sample.id,
            "video": self.media.clip(entry),
            "conversations": human_gpt(folded(talk.turns)),
        }
        note_records(self, entry.sample)
        self.files.add(file_name(self, entry, ".json"), row)

    def finish(self) -> None:
        write_text(self.out / "train.py", _TRAIN)

    def readme(self) -> Readme:
        return Readme(
            install="export QWEN=~/Qwen3-VL/qwen-vl-finetune && "
            "git clone https://github.com/QwenLM/Qwen3-VL ~/Qwen3-VL  # packages: its README",
            commands=tuple(self._command(name) for name in train_files(self, "sft")),
        )

    def _command(self, name: str) -> str:
        rate = rate_of(name)
        return (
            "PYTHONPATH=$QWEN:$QWEN/qwenvl/train torchrun --nproc_per_node=8 train.py "
            f"--dataset_use {name.removesuffix('.json')} "
            "--model_name_or_path Qwen/Qwen3-VL-4B-Instruct --tune_mm_llm True --bf16 "
            f"--video_fps {rate or 2} --video_max_frames 64 --model_max_length 16384 "
            "--per_device_train_batch_size 1 --gradient_accumulation_steps 4 "
            "--learning_rate 1e-6 --output_dir out-sft --deepspeed $QWEN/scripts/zero3.json"
        )
