"""InternVL: JSON lines for `internvl_chat_finetune.py` and `internvl_chat_mpo.py`, and a meta file.

Read in OpenGVLab/InternVL at 5533f73 (`internvl_chat_gpt_oss/internvl/train`): `<video>` and the
new line after it become `Frame-1: <image>` and so on, in the first turn, which must therefore be
the human's; pairs are `question`, `chosen`, `rejected`; the annotation must be `.jsonl`. Clips are
read through its TCSLoader alone, which wants a configuration file even where all is local.
"""

from __future__ import annotations

from typing import Any, ClassVar

from schemas.sample import Split
from schemas.task import TaskKind
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.box_texts import INTERNVL_BOXES, has_boxes, with_boxes
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.qwen import OWN_WORDS
from transforms.publish.exports.single_turn import (
    folded,
    human_gpt,
    json_block,
    note_records,
    talk_of,
)
from transforms.publish.files import write_text

NO_TIMES = "asks for times, but InternVL's loader names frames by number, not by second"
_STARTS = {"sft": "internvl_chat_finetune.py", "preference": "internvl_chat_mpo.py"}
_TIMED = (TaskKind.TEMPORAL_GROUNDING, TaskKind.SPATIO_TEMPORAL_GROUNDING)


class InternVL(Exporter):
    """`sft-train.jsonl`, `preference-train.jsonl`, and for each split a meta file of what to
    train on."""

    name = "internvl"
    splits: ClassVar[tuple[Split, ...]] = ("sft", "preference")

    def add(self, entry: Entry) -> None:
        sample = entry.sample
        talk = talk_of(self, entry, "<video>")
        if talk is None:
            return
        if has_boxes(sample, talk):
            other = with_boxes(sample, talk, INTERNVL_BOXES)
            if other is None:
                self.lose(OWN_WORDS)
            talk = other or talk
        if sample.answer.kind in _TIMED:
            self.lose(NO_TIMES)
        if any(value >= 0 for _, value in sample.sampling):
            self.lose("its sampling settings: InternVL takes a number of frames for the run")
        row: dict[str, Any] = {"id": sample.id, "video": self.media.clip(entry)}
        if sample.split == "preference":
            (question,) = folded(talk.prompt)
            row |= {
                "question": question.text,
                "chosen": talk.reply[-1].text,
                "rejected": talk.rejected[-1].text,
            }
        else:
            row["conversations"] = human_gpt(folded(talk.turns))
        note_records(self, sample)
        self.files.add(f"{sample.split}-{entry.partition}.jsonl", row)

    def finish(self) -> None:
        for split in self.splits:
            name = f"{split}-train.jsonl"
            if name in self.files.counts:
                meta = {
                    f"proofreel-{split}": {
                        "root": ".",
                        "annotation": name,
                        "data_augment": False,
                        "repeat_time": 1,
                        "length": self.files.counts[name],
                    }
                }
                write_text(self.out / f"meta-{split}.json", json_block(meta))

    def readme(self) -> Readme:
        return Readme(
            install="export INTERNVL=~/InternVL/internvl_chat_gpt_oss && "
            "git clone https://github.com/OpenGVLab/InternVL ~/InternVL && "
            "pip install -r $INTERNVL/requirements.txt && "
            "([ -e ~/petreloss.conf ] || echo '[mc]' > ~/petreloss.conf)",
            commands=tuple(
                "LAUNCHER=pytorch USE_TCS_LOADER=1 PYTHONPATH=$INTERNVL torchrun "
                f"--nproc_per_node=8 $INTERNVL/internvl/train/{_STARTS[split]} "
                "--model_name_or_path OpenGVLab/InternVL3_5-8B --conv_style internvl2_5 "
                f"--meta_path meta-{split}.json --output_dir out-{split} --force_image_size 448 "
                "--down_sample_ratio 0.5 --dynamic_image_size True --use_thumbnail True "
                "--ps_version v2 --min_num_frame 8 --max_num_frame 32 --max_seq_length 16384 "
                "--do_train True --bf16 True --grad_checkpoint True "
                "--per_device_train_batch_size 1 --learning_rate 1e-5 "
                "--deepspeed $INTERNVL/zero_stage3_config.json"
                for split in self.splits
                if f"{split}-train.jsonl" in self.files.counts
            ),
        )
