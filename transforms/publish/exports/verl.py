"""verl: Parquet for RL (`main_ppo`) and for SFT (`sft_trainer`), with `<video>` in the text.

Read in 0.9.1. `<video>` in a content is taken for the next of `videos`, whose keys are handed to
qwen-vl-utils: it goes by their presence, so rows with other keys are other files. A path counts
from the folder in which the workers of Ray run, which is that of the command where it starts Ray
itself. A last batch that is not full is dropped, and no batch at all is an error. RL hands the
times of the frames on to the model; SFT does not, and the processor then takes 24 a second.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.sampling import sampling_keys
from transforms.publish.exports.single_turn import (
    QWEN_VIDEO,
    batch_size,
    note_records,
    talk_of,
    train_files,
    validation_for,
)
from transforms.publish.exports.turns import Turn

NO_TIMES = "the times of its frames: verl's SFT does not tell them to the model, its RL does"
_MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"


class Verl(Exporter):
    """`rl-*.parquet` and `sft-*.parquet`; names tell which sampling keys the rows have."""

    name = "verl"
    splits: ClassVar[tuple[Split, ...]] = ("sft", "rl")

    def add(self, entry: Entry) -> None:
        talk = talk_of(self, entry, "<video>")
        if talk is None:
            return
        sampling = sampling_keys(entry.sample.sampling)
        name = "-".join([entry.sample.split, entry.partition, *sampling]) + ".parquet"
        row: dict[str, Any] = {}
        if entry.sample.split == "rl":
            label = self.label(entry)
            if not label:
                return
            row = {
                "data_source": entry.sample.data_source,
                "prompt": [_message(turn) for turn in talk.prompt],
                "ability": entry.sample.ability,
                "reward_model": {"style": "rule", "ground_truth": label},
                "extra_info": {
                    "index": self.files.counts.get(name, 0),
                    "split": entry.partition,
                    "id": entry.sample.id,
                },
            }
        else:
            row = {"messages": [_message(turn) for turn in talk.turns]}
            self.lose(NO_TIMES)
        clip = {"video": self.media.clip(entry), **sampling}
        row["videos"] = [clip for turn in talk.turns for _ in turn.media]
        note_records(self, entry.sample)
        self.files.add(name, row, _schema(entry.sample.split, sampling))

    def readme(self) -> Readme:
        return Readme(
            install="pip install verl==0.9.1 vllm 'qwen-vl-utils[decord]'  # paths count from this "
            "folder; where Ray runs already, it must have been started here, too",
            commands=(
                *(self._sft_command(name) for name in train_files(self, "sft")),
                *(self._rl_command(name) for name in train_files(self, "rl")),
            ),
            reward="`reward.custom_reward_function.path=rewards.py` (above): `compute_score` gets "
            "`reward_model.ground_truth`"
            if self.first_file("rl")
            else "",
        )

    def _sft_command(self, name: str) -> str:
        size = batch_size(self, name, 64)
        return (
            f"{QWEN_VIDEO} torchrun --standalone --nproc_per_node={min(size, 8)} "
            f"-m verl.trainer.sft_trainer data.train_files={name} data.messages_key=messages "
            f"data.train_batch_size={size} data.micro_batch_size_per_gpu=1 data.max_length=16384 "
            f"data.max_token_len_per_gpu=16384 model.path={_MODEL} trainer.logger=console"
        )

    def _rl_command(self, name: str) -> str:
        size = batch_size(self, name, 64)
        return (
            f"{QWEN_VIDEO} python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo "
            f"data.train_files={name} data.val_files={validation_for(self, name)} "
            f"data.train_batch_size={size} data.max_prompt_length=16384 "
            "data.filter_overlong_prompts=True "
            f"data.max_response_length=2048 actor_rollout_ref.model.path={_MODEL} "
            "actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=8 "
            f"actor_rollout_ref.actor.ppo_mini_batch_size={size} "
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1 "
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1 "
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=1 "
            "reward.custom_reward_function.path=rewards.py "
            "reward.custom_reward_function.name=compute_score trainer.logger=console"
        )


def _message(turn: Turn) -> dict[str, str]:
    return {"role": turn.role, "content": turn.text}


def _schema(split: Split, sampling: dict[str, float]) -> pa.Schema:
    """The columns of a file whose videos have these sampling keys; nothing in it can be null."""
    turns = _list(_struct(role=pa.string(), content=pa.string()))
    kinds = {name: pa.float64() if name == "fps" else pa.int64() for name in sampling}
    videos = _list(_struct(video=pa.string(), **kinds))
    if split == "sft":
        return _columns(messages=turns, videos=videos)
    return _columns(
        data_source=pa.string(),
        prompt=turns,
        ability=pa.string(),
        reward_model=_struct(style=pa.string(), ground_truth=pa.string()),
        extra_info=_struct(index=pa.int64(), split=pa.string(), id=pa.string()),
        videos=videos,
    )


def _columns(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


def _list(inner: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", inner, nullable=False))
