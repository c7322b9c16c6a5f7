"""verl's own dataset classes read our export, with decoded clips; its reward manager calls ours.

Its trainers start Ray and FSDP on GPUs, which a CPU can't stand in for; what they read, and what
they hand to the reward, is made by the code that runs here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from trainer_rig import CHECKPOINT, REASON, commands, export_of, graded

pytest.importorskip("verl", reason=REASON)

import torch
from hydra import compose, initialize_config_module
from omegaconf import open_dict
from transformers import AutoProcessor
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

pytestmark = pytest.mark.slow
OUT = "verl"
CONFIGURATIONS = {"main_ppo": "ppo_trainer", "sft_trainer": "sft_trainer_engine"}
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README says: in the folder of the export."""
    monkeypatch.chdir(export_of(OUT))


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(CHECKPOINT)


def settings(program: str) -> Any:
    """verl's own configuration of a program, with what the README's command sets in it.

    Raises if verl doesn't know a key.
    """
    words = next(one for one in commands(export_of(OUT)) if f"verl.trainer.{program}" in one)
    given = words[words.index(f"verl.trainer.{program}") + 1 :]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(CONFIGURATIONS[program], overrides=given)


def test_rl_says_how_long_and_saves_on_the_way() -> None:
    """By itself verl saves nothing, not even at the end."""
    trainer = settings("main_ppo").trainer
    assert trainer.save_freq > 0 and trainer.total_epochs > 0
    assert (trainer.nnodes, trainer.n_gpus_per_node) == (1, 8)


def files(split: str) -> list[str]:
    return sorted(path.name for path in Path().glob(f"{split}-*.parquet"))


@pytest.fixture
def prompts(processor: Any, tmp_path: Path) -> RLHFDataset:
    config = settings("main_ppo").data
    with open_dict(config):
        config.cache_dir, config.filter_overlong_prompts_workers = str(tmp_path), None
    return RLHFDataset(files("rl"), processor.tokenizer, config, processor)


def test_prompts_come_with_their_clips_and_labels(prompts: RLHFDataset, processor: Any) -> None:
    given = [row for name in files("rl") for row in pq.read_table(name).to_pylist()]
    assert len(prompts) == len(given), "none is dropped as too long or unreadable"
    for number, wanted in enumerate(given):
        row = prompts[number]
        assert row["reward_model"] == wanted["reward_model"]
        parts = [
            one for m in row["raw_prompt"] if isinstance(m["content"], list) for one in m["content"]
        ]
        assert [one["type"] for one in parts].count("video") == len(wanted["videos"]) == 1
    _, videos = asyncio.run(
        RLHFDataset.process_vision_info(prompts[0]["raw_prompt"], 14, prompts.config)
    )
    [(frames, facts)] = videos
    assert frames.float().std() > 10, "pictures, not black frames"
    shown_at_s = [index / facts["fps"] for index in facts["frames_indices"]]
    assert shown_at_s[0] == 0.0
    assert np.diff(shown_at_s) == pytest.approx(0.5, abs=0.1), "two a second"
    text = processor.apply_chat_template(prompts[0]["raw_prompt"], add_generation_prompt=True)
    inputs = processor(
        text=[text], videos=[frames], video_metadata=[facts], do_sample_frames=False,
        return_tensors="pt",
    )  # fmt: skip
    assert int(inputs["video_grid_thw"][0][0]) == -(-len(frames) // 2)


def test_a_batch_collates(prompts: RLHFDataset) -> None:
    batch = collate_fn([prompts[0], prompts[1]])
    assert len(batch["raw_prompt"]) == len(batch["reward_model"]) == 2


def test_sft_learns_the_reply_and_sees_the_clip(processor: Any) -> None:
    config = settings("sft_trainer").data
    names = files("sft")
    wanted = [row for name in names for row in pq.read_table(name).to_pylist()]
    data = MultiTurnSFTDataset(names, processor.tokenizer, config, processor)
    assert len(data) == len(wanted)
    for number in range(3):
        row = data[number]
        learnt = processor.tokenizer.decode(row["input_ids"][row["loss_mask"].bool()])
        assert wanted[number]["messages"][-1]["content"] + "<|im_end|>" in learnt
        assert wanted[number]["messages"][-2]["content"][-20:] not in learnt
        assert row["multi_modal_inputs"]["pixel_values_videos"].std() > 0.1


def test_the_reward_manager_gives_what_the_verifier_gave(processor: Any) -> None:
    """The rows and the teacher's replies go through verl's manager to the README's function."""
    replies = graded()
    told = [
        (row, text, score)
        for name in files("rl")
        for row in pq.read_table(name).to_pylist()
        for text, score in replies[row["extra_info"]["id"]]
    ]
    results = asyncio.run(
        earned([generated(processor.tokenizer, row, text) for row, text, _ in told], processor)
    )
    assert [one["reward_score"] for one in results] == [score for _, _, score in told]
    assert all(one["reward_extra_info"]["format"] == 1.0 for one in results)
    assert len(told) > 30


async def earned(replies: list[DataProto], processor: Any) -> list[dict[str, Any]]:
    """What the reward manager of the README's command makes of replies."""
    given = settings("main_ppo")
    with open_dict(given):
        given.reward.custom_reward_function.reward_kwargs = {"format_weight": 0.0}
    manager_of = get_reward_manager_cls("naive")
    manager = manager_of(given, processor.tokenizer, get_custom_reward_fn(given))
    return [await manager.run_single(reply) for reply in replies]


def generated(tokenizer: Any, row: dict[str, Any], text: str) -> DataProto:
    """A reply to a row, as verl's rollout hands it on."""
    reply = tokenizer(text + tokenizer.eos_token, return_tensors="pt")["input_ids"]
    prompt = torch.full((1, 4), tokenizer.pad_token_id)
    seen = torch.cat([torch.ones_like(prompt), torch.ones_like(reply)], dim=1)
    facts = {name: row[name] for name in ("data_source", "reward_model", "extra_info")}
    return DataProto.from_dict(
        tensors={"prompts": prompt, "responses": reply, "attention_mask": seen},
        non_tensors={name: np.array([value], dtype=object) for name, value in facts.items()},
    )
