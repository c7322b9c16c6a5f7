"""OpenRLHF's own dataset class reads our export.

Its trainers start flash-attn, deepspeed and vLLM on GPUs, so this class, and the reward function as
they call it, are all that can run here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trainer_rig import CHECKPOINT, REASON, commands, export_of, graded, rewards_of, rows

pytest.importorskip("openrlhf", reason=REASON)

import datasets
from openrlhf.datasets import PromptDataset
from transformers import AutoProcessor

pytestmark = pytest.mark.slow
OUT = "openrlhf"


def strategy() -> Any:
    """What the class asks of the training strategy: the options of the README's command."""
    [words] = commands(export_of(OUT))
    names = [word.removeprefix("--data.") for word in words if word.startswith("--data.")]
    values = {name: words[words.index(f"--data.{name}") + 1] for name in names}
    values["apply_chat_template"] = True
    data = SimpleNamespace(**values)
    return SimpleNamespace(args=SimpleNamespace(data=data), is_rank_0=lambda: False)


def test_prompts_come_with_their_pictures_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(export_of(OUT))
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    asked = strategy()
    data = datasets.load_dataset("json", data_files=asked.args.data.prompt_dataset)["train"]
    prompts = PromptDataset(data, processor, asked)
    given = rows(Path(asked.args.data.prompt_dataset))
    assert len(prompts) == len(given)
    for number, row in enumerate(given):
        source, prompt, label, images = prompts[number]
        assert (source, label, images) == (row["datasource"], row["label"], row["images"])
        assert prompt.count("<|image_pad|>") == len(images) > 1
        assert "<image>" not in prompt
        assert all(Path(path).is_file() for path in images)
    assert len(prompts.collate_fn([prompts[0], prompts[1]])) == 4


def test_the_reward_gives_what_the_verifier_gave() -> None:
    hook, replies, count = rewards_of(export_of(OUT)).reward_func, graded(), 0
    for path in sorted(export_of(OUT).glob("rl-*.jsonl")):
        for row in rows(path):
            texts, scores = zip(*replies[row["id"]], strict=True)
            prompts = ["<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"] * len(texts)
            queries = [
                f"{prompt}{text}<|im_end|>" for prompt, text in zip(prompts, texts, strict=True)
            ]
            result = hook(queries, prompts, [row["label"]] * len(texts))
            assert result["scores"].tolist() == list(scores)
            count += len(texts)
    assert count > 30
