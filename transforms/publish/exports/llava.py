"""LLaVA-NeXT and LLaVA-OneVision: a JSON list with `video` and `conversations`, and a YAML of it.

Read in LLaVA-VL/LLaVA-NeXT at 45f2d92 (`llava/train/train.py`): `<image>` stands for a video, too,
and is moved to the front; there are `human` and `gpt` alone; a clip that can't be read is silently
replaced by the next row; `--add_time_instruction` tells the model the seconds of its frames, and
`--video_fps`, a whole number, holds for the run. Paths in the YAML count from the working folder.
"""

from __future__ import annotations

from typing import ClassVar

import yaml

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
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

ROUNDED = "its frame rate, rounded: LLaVA takes whole numbers of frames a second"


class Llava(Exporter):
    """`sft-train-fps2.json` and `sft-train-fps2.yaml`: files by sampling rate."""

    name = "llava"
    splits: ClassVar[tuple[Split, ...]] = ("sft",)

    def add(self, entry: Entry) -> None:
        talk = talk_of(self, entry, "<image>")
        if talk is None:
            return
        row = {
            "id": entry.sample.id,
            "data_source": entry.sample.data_source,
            "video": self.media.clip(entry),
            "conversations": human_gpt(folded(talk.turns)),
        }
        fps = entry.sample.sampling.fps
        if fps > 0 and _whole(fps) != fps:
            self.lose(ROUNDED)
        note_records(self, entry.sample)
        self.files.add(file_name(self, entry, ".json"), row)

    def finish(self) -> None:
        for name in train_files(self, "sft"):
            listed = {"datasets": [{"json_path": name, "sampling_strategy": "all"}]}
            write_text(self.out / _list_name(name), yaml.safe_dump(listed, sort_keys=False))

    def readme(self) -> Readme:
        return Readme(
            install="export LLAVA=~/LLaVA-NeXT && git clone "
            "https://github.com/LLaVA-VL/LLaVA-NeXT $LLAVA && pip install -e '$LLAVA[train]'",
            commands=tuple(self._command(name) for name in train_files(self, "sft")),
        )

    def _command(self, name: str) -> str:
        rate = _whole(float(rate_of(name) or 1))
        return (
            "torchrun --nproc_per_node=8 $LLAVA/llava/train/train_mem.py "
            "--deepspeed $LLAVA/scripts/zero3.json "
            "--model_name_or_path lmms-lab/llava-onevision-qwen2-7b-ov --version qwen_1_5 "
            f"--data_path {_list_name(name)} --image_folder . --video_folder . "
            f"--video_fps {rate} --frames_upbound 64 --add_time_instruction True "
            "--mm_tunable_parts=mm_vision_tower,mm_mlp_adapter,mm_language_model "
            "--vision_tower google/siglip-so400m-patch14-384 --mm_projector_type mlp2x_gelu "
            "--mm_vision_select_layer -2 --mm_use_im_start_end False "
            "--mm_use_im_patch_token False --image_aspect_ratio anyres_max_9 "
            "--image_grid_pinpoints '(1x1),...,(6x6)' --mm_patch_merge_type spatial_unpad "
            "--mm_newline_position grid --mm_spatial_pool_stride 2 --bf16 True "
            "--output_dir out-sft --per_device_train_batch_size 1 --learning_rate 1e-5 "
            "--model_max_length 32768 --gradient_checkpointing True --lazy_preprocess True"
        )


def _whole(fps: float) -> int:
    return max(1, round(fps))


def _list_name(name: str) -> str:
    return name.removesuffix(".json") + ".yaml"
