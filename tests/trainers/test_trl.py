"""TRL trains on our export on a CPU: SFT, DPO, and GRPO with our rewards.

The model is the small one of bench/tiny_vlm: it knows nothing of these questions, so there is much
to learn, and a loss that doesn't fall means that the rows don't say what they should.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from trainer_rig import CHECKPOINT, REASON, commands, export_of, graded, rewards_of

pytest.importorskip("trl", reason=REASON)

import datasets
import torch
import trl
from safetensors.torch import load_file
from transformers import AutoProcessor, set_seed

pytestmark = pytest.mark.slow
OUT = "trl"
PAIR = ("chosen", "rejected")
SMALL: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": {},
    "grpo": {"num_generations": 2, "max_completion_length": 12},
}
torch.set_num_threads(1)


def load(split: str) -> datasets.Dataset:
    """Both partitions: there are few samples."""
    parts = datasets.load_dataset(str(export_of(OUT) / split))
    return datasets.concatenate_datasets([parts[name] for name in sorted(parts)])


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture(autouse=True)
def seed() -> None:
    set_seed(0)


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "report_to": "none", "use_cpu": True, "bf16": False,
        "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "seed": 0,
        "gradient_checkpointing": False, "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 2, **more,
    }  # fmt: skip


def logged(trainer: Any, name: str) -> list[float]:
    """What was logged under a name, step by step."""
    return [float(line[name]) for line in trainer.state.log_history if name in line]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("split", ["sft", "preference", "rl"])
def test_a_split_loads_with_its_pictures_and_without_nulls(split: str) -> None:
    for row in load(split):
        parts = [part for message in row["prompt"] for part in message["content"]]
        assert len(row["images"]) == sum(part["type"] == "image" for part in parts) > 1
        assert all(max(picture.size) <= 112 for picture in row["images"])
        assert all(part["text"] is not None for part in parts)
        times = [part["text"] for part in parts if part["type"] == "text"]
        assert any("0.0" in text for text in times), "the first frame's time stands in the text"


def test_sft_loss_falls(tmp_path: Path, processor: Any) -> None:
    config = trl.SFTConfig(**options(tmp_path, max_steps=20, learning_rate=2e-3, max_length=32768))
    trainer = trl.SFTTrainer(
        str(CHECKPOINT), args=config, train_dataset=load("sft"), processing_class=processor
    )
    [batch] = [next(iter(trainer.get_train_dataloader()))]
    learnt = processor.tokenizer.decode(batch["labels"][0][batch["labels"][0] >= 0])
    assert learnt.startswith("<think>") and "</answer>" in learnt, "the reply alone is learnt"
    assert len(batch["image_grid_thw"]) > 2, "each sample shows several frames"
    trainer.train()
    losses = logged(trainer, "loss")
    assert len(losses) == 20
    assert mean(losses[-4:]) < 0.6 * mean(losses[:4]), losses


def test_of_a_pair_the_verifier_gave_the_chosen_more() -> None:
    replies, apart = graded(), 0
    for row in load("preference"):
        known = dict(replies[row["id"]])
        chosen, rejected = (known[row[name][0]["content"][0]["text"]] for name in PAIR)
        assert chosen >= rejected
        apart += chosen > rejected
    assert apart > 0, "not all were rejected for something else than their answer"


def test_dpo_comes_to_prefer_what_the_verifier_chose(tmp_path: Path, processor: Any) -> None:
    rows = load("preference").select(range(4))
    config = trl.DPOConfig(
        **options(
            tmp_path, max_steps=10, learning_rate=3e-4, max_length=32768,
            per_device_train_batch_size=4,
        )
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        str(CHECKPOINT), args=config, train_dataset=rows, processing_class=processor
    )
    trainer.train()
    losses, margins = logged(trainer, "loss"), logged(trainer, "rewards/margins")
    assert losses[0] == pytest.approx(0.6931, abs=1e-3), "at first it prefers neither"
    assert mean(losses[-3:]) < 0.5, losses
    assert mean(margins[-3:]) > 0, margins


@pytest.mark.parametrize("stage", ["sft", "dpo", "grpo"])
def test_the_readme_s_command_trains(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(export_of(OUT))
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = next(words for words in commands(Path()) if words[:2] == ["trl", stage])[2:]
    words = [str(CHECKPOINT) if word.startswith("Qwen/") else word for word in words]
    words[words.index("--output_dir") + 1] = str(tmp_path)
    small = options(tmp_path, max_steps=1, **SMALL[stage])
    small |= {"dtype": "float32", "learning_rate": 1e-4}
    del small["output_dir"]
    words += [word for name, value in small.items() for word in (f"--{name}", str(value))]
    script = importlib.import_module(f"trl.scripts.{stage}")
    script.main(*script.make_parser().parse_args_and_config(words))
    [saved] = tmp_path.glob("adapter_model.safetensors")
    moved = [tensor.abs().max() for name, tensor in load_file(saved).items() if "lora_B" in name]
    assert moved
    if stage != "grpo":  # its guesses all earn nothing, so there is nothing to learn
        assert max(moved) > 0, "at first these are all zero"


class Recorder:
    """The reward that an export carries, and all that it was called with."""

    __name__ = "proofreel"

    def __init__(self) -> None:
        self.trl_reward = rewards_of(export_of(OUT)).trl_reward
        self.seen: list[dict[str, Any]] = []

    def __call__(self, **columns: Any) -> list[float]:
        # Without the part for form: the verifier's check is of the answer alone.
        earned = self.trl_reward(**columns, format_weight=0.0)
        names = columns.keys() - {"log_metric", "trainer_state", "log_extra", "completions"}
        for number, completion in enumerate(columns["completions"]):
            row = {name: columns[name][number] for name in names}
            text = completion[0]["content"]
            self.seen.append({**row, "text": text, "earned": earned[number]})
        return earned


def test_grpo_generates_and_asks_our_reward_with_our_columns(
    tmp_path: Path, processor: Any
) -> None:
    rows, recorder = load("rl"), Recorder()
    config = trl.GRPOConfig(
        **options(
            tmp_path, max_steps=2, learning_rate=1e-4, num_generations=2, max_completion_length=12
        )
    )
    trainer = trl.GRPOTrainer(
        str(CHECKPOINT), recorder, args=config, train_dataset=rows, processing_class=processor
    )
    trainer.train()
    given = {row["id"]: row for row in rows}
    assert len(recorder.seen) == 4
    for one in recorder.seen:
        row = given[one["id"]]
        assert (one["solution"], one["data_source"]) == (row["solution"], row["data_source"])
        assert isinstance(one["text"], str)
        assert 0.0 <= one["earned"] <= 1.0
    means = [mean([one["earned"] for one in recorder.seen[at : at + 2]]) for at in (0, 2)]
    assert logged(trainer, "rewards/proofreel/mean") == pytest.approx(means)


def test_grpo_earns_what_the_verifier_gave(tmp_path: Path, processor: Any) -> None:
    """The teacher's replies, right and wrong, take the place of the model's own."""
    replies = graded()
    rows = distinct(load("rl"), {key for key, pairs in replies.items() if is_mixed(pairs)})
    known = {said(row["prompt"]): replies[row["id"]] for row in rows}
    recorder = Recorder()

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """For each prompt, twice in a row, a right reply and a wrong one."""
        prompt_ids, completion_ids = list[list[int]](), list[list[int]]()
        for number, prompt in enumerate(prompts):
            pairs = sorted(known[said(prompt)], key=lambda pair: pair[1])
            inputs = processor.apply_chat_template(
                [prompt], add_generation_prompt=True, tokenize=True, return_dict=True
            )
            prompt_ids.append(list(inputs["input_ids"][0]))
            text = pairs[-(number % 2)][0] + processor.tokenizer.eos_token
            completion_ids.append(processor.tokenizer(text)["input_ids"])
        return {"prompt_ids": prompt_ids, "completion_ids": completion_ids, "logprobs": None}

    config = trl.GRPOConfig(
        **options(
            tmp_path, max_steps=3, learning_rate=1e-4, num_generations=2,
            max_completion_length=2048, per_device_train_batch_size=4,
        )
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        str(CHECKPOINT), recorder, args=config, train_dataset=rows, processing_class=processor,
        rollout_func=rollout,
    )  # fmt: skip
    trainer.train()
    assert len(recorder.seen) == 12
    for one in recorder.seen:
        assert (one["text"], one["earned"]) in replies[one["id"]]
    assert {one["earned"] for one in recorder.seen} >= {0.0, 1.0}
    assert all(norm > 0 for norm in logged(trainer, "grad_norm")), "there is something to learn"


def test_every_reply_earns_what_the_verifier_gave() -> None:
    hook = rewards_of(export_of(OUT)).trl_reward
    replies, count = graded(), 0
    for row in load("rl"):
        for text, score in replies[row["id"]]:
            reply = [{"role": "assistant", "content": text}]
            earned = hook([row["prompt"]], [reply], solution=[row["solution"]], format_weight=0.0)
            assert earned == [score], (row["id"], text)
            count += 1
    assert count > 30


def is_mixed(pairs: list[tuple[str, float]]) -> bool:
    return len({score for _, score in pairs}) > 1


def said(prompt: list[dict[str, Any]]) -> str:
    """The text of a prompt, which tells the clips of the rows used apart by their frames' times."""
    return json.dumps([part["text"] for m in prompt for part in m["content"] if part.get("text")])


def distinct(rows: datasets.Dataset, keys: set[str]) -> datasets.Dataset:
    """The rows with these ids whose prompts no other row has."""
    texts = [said(row["prompt"]) for row in rows]
    chosen = [
        number
        for number, row in enumerate(rows)
        if row["id"] in keys and texts.count(texts[number]) == 1
    ]
    assert len(chosen) >= 4
    return rows.select(chosen)
