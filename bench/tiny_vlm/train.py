"""Trains the tiny vision-language model from scratch, in one go, on a CPU.

Usage: python bench/tiny_vlm/train.py [--steps N] [--seed N] [--threads N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import torch
from batches import Batch, Batches, make_batch
from jinja2 import Template
from network import build, check_same, patches, read, save, see
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import Qwen2_5_VLForConditionalGeneration
from words import CHAT_TEMPLATE, tokenizer

STEPS = 2800
SEED = 1
MUON_LR, ADAM_LR = 0.02, 3e-3
WARM_UP, COOL_DOWN = 60, 0.5
"""Steps to reach the full learning rate, and the share of steps in which it falls to zero."""


def loss_of(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean cross entropy over the tokens of the replies, and the share of them that is right."""
    inner = model.model
    embed = inner.language_model.embed_tokens
    prefix = embed(batch.prefix)
    if batch.pictures.shape[1]:
        seen = see(inner.visual, patches(batch.pictures))
        pads = (batch.prefix == model.config.video_token_id).unsqueeze(-1)
        prefix = prefix.masked_scatter(pads, seen.to(prefix.dtype))
    blocks = [embed(group) for group in batch.blocks]
    _, states = read(inner.language_model, prefix, batch.positions, blocks, batch.owners)
    targets = torch.cat([group.flatten() for group in batch.targets])
    flat = torch.cat([group.flatten(0, 1) for group in states])
    wanted = targets >= 0
    logits, targets = model.lm_head(flat[wanted]).float(), targets[wanted]
    right = (logits.argmax(-1) == targets).float().mean()
    return functional.cross_entropy(logits, targets), right


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for embeddings, norms, biases and the first layer."""
    inside, rest = [], []
    for name, weight in model.named_parameters():
        (inside if weight.ndim == 2 and "embed" not in name else rest).append(weight)
    return [
        torch.optim.Muon(inside, lr=MUON_LR, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def pace(step: int, steps: int) -> float:
    """Factor of the learning rates."""
    return min(1.0, (step + 1) / WARM_UP, (steps - step) / (COOL_DOWN * steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("checkpoint"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    words = tokenizer()
    model = build(words)
    first = make_batch(words, Template(CHAT_TEMPLATE), arguments.seed, 0)
    check_same(model, first.pictures[:1], first.prefix[0], first.blocks[0][0])
    tuned = optimizers(model)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(one, lambda step: pace(step, arguments.steps))
        for one in tuned
    ]
    loader = DataLoader(
        Batches(arguments.seed, 0, arguments.steps), batch_size=None, num_workers=1,
        prefetch_factor=4,
    )  # fmt: skip
    since = time.monotonic()
    for step, batch in enumerate(loader):
        with torch.autocast("cpu", torch.bfloat16):
            loss, right = loss_of(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for one, schedule in zip(tuned, schedules, strict=True):
            one.step()
            one.zero_grad()
            schedule.step()
        if step % 20 == 0:
            spent = time.monotonic() - since
            print(f"{step:5} {spent:6.0f} s  loss {loss:.4f}  right {right:.4f}", flush=True)
        if step % 400 == 399:
            save(model, words, arguments.out)
    save(model, words, arguments.out)


if __name__ == "__main__":
    main()
