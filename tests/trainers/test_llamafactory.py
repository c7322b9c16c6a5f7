"""LLaMA-Factory loads our export, decodes its clips, and trains with the README's commands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from trainer_rig import CHECKPOINT, REASON, commands, export_of

pytest.importorskip("llamafactory", reason=REASON)

import torch
from llamafactory.data import (
    PairwiseDataCollatorWithPadding,
    SFTDataCollatorWith4DAttentionMask,
    get_dataset,
    get_template_and_fix_tokenizer,
)
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
from llamafactory.train.tuner import run_exp

pytestmark = pytest.mark.slow
OUT = "llama-factory"
torch.set_num_threads(1)


def arguments(stage: str, folder: Path, **more: Any) -> dict[str, Any]:
    """The command of the README for a stage, with the small model and on a CPU."""
    [command] = [words for words in commands(export_of(OUT)) if stage in words]
    assert command[:2] == ["llamafactory-cli", "train"]
    given = dict(zip(command[2::2], command[3::2], strict=True))
    named = {name.removeprefix("--"): value for name, value in given.items()}
    return named | {
        "do_train": True, "model_name_or_path": str(CHECKPOINT), "output_dir": str(folder),
        "cutoff_len": int(named["cutoff_len"]), "use_cpu": True, "bf16": False,
        "report_to": "none", "preprocessing_num_workers": 1, "video_maxlen": 8,
        "dataloader_num_workers": 0, "seed": 0, **more,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README says: in the folder of the export."""
    monkeypatch.chdir(export_of(OUT))


def loaded(stage: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The rows as LLaMA-Factory prepares them, and the batch that it makes of the first two."""
    model, data, training, _, _ = get_train_args(arguments(stage, folder))
    tools = load_tokenizer(model)
    template = get_template_and_fix_tokenizer(tools["tokenizer"], data)
    name = {"sft": "sft", "dpo": "rm"}[stage]
    rows = get_dataset(template, model, data, training, stage=name, **tools)["train_dataset"]
    collator = {"sft": SFTDataCollatorWith4DAttentionMask, "dpo": PairwiseDataCollatorWithPadding}
    collate = collator[stage](template=template, model=None, label_pad_token_id=-100, **tools)
    return (rows, tools["tokenizer"]), collate([rows[0], rows[1]])


def exported(split: str) -> list[dict[str, Any]]:
    return list(json.loads(Path(f"{split}-train.json").read_text("utf-8")))


def test_sft_rows_have_their_clip_and_learn_the_reply(tmp_path: Path) -> None:
    (rows, tokenizer), batch = loaded("sft", tmp_path)
    given = exported("sft")
    assert len(rows) == len(given)
    for row, wanted in zip(rows, given, strict=True):
        learnt = [token for token in row["labels"] if token >= 0]
        assert tokenizer.decode(learnt).strip() == wanted["messages"][-1]["content"] + "<|im_end|>"
        assert [Path(path).is_file() for path in row["videos"]] == [True]
    assert len(batch["video_grid_thw"]) == 2
    assert batch["pixel_values_videos"].std() > 0.1, "pictures, not black frames"


def test_pairs_have_both_replies(tmp_path: Path) -> None:
    (rows, tokenizer), batch = loaded("dpo", tmp_path)
    given = exported("preference")
    for row, wanted in zip(rows, given, strict=True):
        for name in ("chosen", "rejected"):
            learnt = [token for token in row[f"{name}_labels"] if token >= 0]
            assert tokenizer.decode(learnt).strip() == wanted[name]["content"] + "<|im_end|>"
    assert len(batch["video_grid_thw"]) == 4, "two pairs, each clip for both replies"


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_the_readme_s_command_trains(stage: str, tmp_path: Path) -> None:
    more = {
        "max_steps": 6, "logging_steps": 1, "learning_rate": 5e-3, "save_strategy": "no",
        "per_device_train_batch_size": 2, "lr_scheduler_type": "constant", "plot_loss": False,
    }  # fmt: skip
    run_exp(arguments(stage, tmp_path, **more))
    lines = [json.loads(line) for line in (tmp_path / "trainer_log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 6
    assert all(math.isfinite(loss) for loss in losses)
    if stage == "sft":
        assert sum(losses[-2:]) < sum(losses[:2]), losses
    else:
        assert losses[0] == pytest.approx(math.log(2), abs=1e-3), "at first it prefers neither"
