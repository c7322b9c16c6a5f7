"""ms-swift loads our export, encodes it with its clips, and trains with the README's commands.

GRPO too: its plugin registers the reward, and the labels reach it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from trainer_rig import CHECKPOINT, REASON, commands, export_of, graded, rows

pytest.importorskip("swift", reason=REASON)

# Eight frames of the size that the small model knows; read when ms-swift makes its first template.
os.environ["FPS_MAX_FRAMES"] = "8"
os.environ["VIDEO_MIN_TOKEN_NUM"] = "4"
os.environ["VIDEO_MAX_TOKEN_NUM"] = "16"

import torch
from swift.dataset import load_dataset
from swift.model import get_processor
from swift.pipelines import rlhf_main, sft_main
from swift.rewards import orms
from swift.template import get_template
from swift.template.templates.qwen import Qwen2_5VLTemplate

pytestmark = pytest.mark.slow
OUT = "ms-swift"
STAGES = {"sft": "sft", "preference": "dpo", "rl": "grpo"}
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README says: in the folder of the export."""
    monkeypatch.chdir(export_of(OUT))


@pytest.fixture(scope="module")
def processor() -> Any:
    return get_processor(str(CHECKPOINT), model_type="qwen2_5_vl")


@pytest.fixture(autouse=True)
def ids_of_the_small_vocabulary(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ms-swift has two ids of Qwen's vocabulary written into it; the small model has others."""
    known = processor.tokenizer.convert_tokens_to_ids
    monkeypatch.setattr(Qwen2_5VLTemplate, "image_token_id", known("<|image_pad|>"))
    monkeypatch.setattr(Qwen2_5VLTemplate, "video_token_id", known("<|video_pad|>"))


def loaded(split: str) -> Any:
    files = sorted(path.name for path in Path().glob(f"{split}-train*.jsonl"))
    assert files
    return load_dataset(files, num_proc=1, strict=True, remove_unused_columns=False)[0], files


def encoded(processor: Any, row: dict[str, Any], mode: str = "train") -> dict[str, Any]:
    template = get_template(processor, template_type="qwen2_5_vl")
    template.set_mode(mode)
    return dict(template.encode(row, return_length=True))


@pytest.mark.parametrize("split", STAGES)
def test_every_row_loads_with_its_clip(split: str) -> None:
    found, files = loaded(split)
    given = [row for name in files for row in rows(Path(name))]
    assert len(found) == len(given)
    for row, wanted in zip(found, given, strict=True):
        said = [(one["role"], one["content"]) for one in row["messages"]]
        assert said == [(one["role"], one["content"]) for one in wanted["messages"]]
        assert row["videos"] == wanted["videos"]
        assert row.get("solution") == wanted.get("solution")
        assert row.get("rejected_response") == wanted.get("rejected_response")


def test_the_reply_is_learnt_and_the_clip_is_seen(processor: Any) -> None:
    found, _ = loaded("sft")
    for row in found:
        encoding = encoded(processor, row)
        learnt = processor.tokenizer.decode([one for one in encoding["labels"] if one >= 0])
        assert learnt.removesuffix("\n") == row["messages"][-1]["content"] + "<|im_end|>"
        frames, height, width = map(int, encoding["video_grid_thw"][0])
        assert 2 <= frames <= 4, "eight frames, two by two"
        shown = [one for one in encoding["input_ids"] if one == processor.video_token_id]
        assert len(shown) == frames * height * width / 4
        assert encoding["pixel_values_videos"].std() > 0.1, "pictures, not black frames"


def test_of_a_pair_both_replies_are_learnt(processor: Any) -> None:
    found, _ = loaded("preference")
    encoding = encoded(processor, found[0], "rlhf")
    for name, text in (
        ("chosen", found[0]["messages"][-1]["content"]),
        ("rejected", found[0]["rejected_response"]),
    ):
        learnt = [one for one in encoding[f"{name}_labels"] if one >= 0]
        assert processor.tokenizer.decode(learnt).removesuffix("\n") == text + "<|im_end|>"


def command(stage: str, folder: Path, **more: Any) -> list[str]:
    """The words after `swift sft` or `swift rlhf` of a command, for the small model on a CPU."""
    words = next(one for one in commands(export_of(OUT)) if stage in one)
    given = [str(CHECKPOINT) if word.startswith("Qwen/") else word for word in words[2:]]
    given[given.index("--output_dir") + 1] = str(folder)
    options = {
        "model_type": "qwen2_5_vl", "template": "qwen2_5_vl", "torch_dtype": "float32",
        "use_cpu": "true", "bf16": "false", "fp16": "false", "report_to": "none",
        "logging_steps": 1, "save_strategy": "no", "eval_strategy": "no", "split_dataset_ratio": 0,
        "dataloader_num_workers": 0, "dataset_num_proc": 1, "per_device_train_batch_size": 2,
        "gradient_checkpointing": "false", "lr_scheduler_type": "constant",
        "gradient_accumulation_steps": 1, "add_version": "false", **more,
    }  # fmt: skip
    return given + [word for name, value in options.items() for word in (f"--{name}", str(value))]


def logged(folder: Path) -> list[dict[str, Any]]:
    [path] = folder.rglob("logging.jsonl")
    return [line for line in rows(path) if "loss" in line]


def test_the_readme_s_command_trains(tmp_path: Path) -> None:
    sft_main(command("sft", tmp_path, max_steps=6, learning_rate=5e-3))
    losses = [line["loss"] for line in logged(tmp_path)]
    assert len(losses) == 6
    assert sum(losses[-2:]) < sum(losses[:2]), losses


def test_the_readme_s_command_trains_on_pairs(tmp_path: Path) -> None:
    rlhf_main(command("dpo", tmp_path, max_steps=2, learning_rate=1e-4))
    losses = [line["loss"] for line in logged(tmp_path)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3), "at first it prefers neither"


def test_the_readme_s_command_trains_with_our_reward(
    tmp_path: Path,
) -> None:
    assert "proofreel" not in orms
    options = {"max_steps": 2, "num_generations": 2, "max_completion_length": 12}
    rlhf_main(command("grpo", tmp_path, **options))
    hook, lines, seen = orms["proofreel"], logged(tmp_path), list[tuple[str, str]]()
    assert len(lines) == 2
    assert all("rewards/SwiftReward/mean" in line for line in lines), lines
    replies = graded()
    for row in rows(Path("rl-train.jsonl")):
        for text, score in replies[row["id"]]:
            reward = hook()
            reward.format_weight = 0.0
            assert reward([text], solution=[row["solution"]]) == [score]
            seen.append((row["id"], text))
    assert len(seen) > 10
