"""Batches to train on: clips with several questions each, made as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from clips import (
    DURATION_S,
    SEEN_PX,
    STEP_S,
    TIMES_S,
    Clip,
    Split,
    frames,
    make_clip,
    worn,
)
from jinja2 import Template
from network import FIELDS, prefix_positions
from talk import (
    Question,
    describe_prompt,
    describe_reply,
    propose_prompt,
    propose_reply,
    questions,
    solve_prompt,
    solve_reply,
)
from torch import Tensor
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerFast
from words import CHAT_TEMPLATE, tokenizer

CLIPS = 12
"""Clips in a batch."""
SOLVED = 3
"""Questions of each clip that are answered; one more block describes or proposes."""
GROUPS = 4
VIDEO_AT = 3
"""Tokens before the video: the turn's two, and the video's start."""
LENGTHS = {8: 0.86, 6: 0.05, 4: 0.05, 2: 0.02, 0: 0.02}
"""How many frames a batch shows, and how often: mostly whole clips, sometimes parts, or none."""


@dataclass
class Batch:
    """B clips: a prefix of P tokens with the video for each, and blocks that go on from it.

    The blocks are in groups of like length, so that little of them is padding.
    """

    pictures: Tensor
    """(B, T, H, W, 3) uint8."""
    prefix: Tensor
    """(B, P)."""
    positions: Tensor
    """(3, P)."""
    blocks: list[Tensor]
    """Groups of (N, L)."""
    owners: list[Tensor]
    """For each group (N,): the clip of a block."""
    targets: list[Tensor]
    """For each group (N, L): the next token where it belongs to a reply, else -100."""


class Batches(IterableDataset[Batch]):
    """The batches number `start` to `end`; each is the same whenever it is made."""

    def __init__(self, seed: int, start: int, end: int) -> None:
        self.seed, self.start, self.end = seed, start, end

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        words, chat = tokenizer(), Template(CHAT_TEMPLATE)
        for number in range(self.start, self.end):
            yield make_batch(words, chat, self.seed, number)


def make_batch(words: PreTrainedTokenizerFast, chat: Template, seed: int, number: int) -> Batch:
    rng = np.random.default_rng((seed, number))
    length = int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
    rows, pictures = [], []
    for place in range(CLIPS):
        clip = _part(make_clip(Split.TRAIN, number * CLIPS + place), length, rng)
        times_s = TIMES_S[round(clip.start_s / STEP_S) : round(clip.end_s / STEP_S)]
        if times_s:
            pictures.append(worn(frames(clip, times_s), rng))
        rows.append(_row(words, chat, _blocks(clip, times_s, rng), length // 2))
    (shared,) = {len(prefix) for prefix, _ in rows}
    made = [(place, *block) for place, (_, row) in enumerate(rows) for block in row]
    made.sort(key=lambda block: len(block[1]))
    share = len(made) // GROUPS
    groups = [made[first : first + share] for first in range(0, len(made), share)]
    none = np.zeros((CLIPS, 0, SEEN_PX, SEEN_PX, 3), dtype=np.uint8)
    return Batch(
        pictures=torch.from_numpy(np.stack(pictures) if pictures else none),
        prefix=torch.tensor([prefix for prefix, _ in rows]),
        positions=prefix_positions(VIDEO_AT, length // 2, shared),
        blocks=[_padded([ids for _, ids, _ in group], 0) for group in groups],
        owners=[torch.tensor([place for place, _, _ in group]) for group in groups],
        targets=[_padded([wanted for _, _, wanted in group], -100) for group in groups],
    )


def _padded(rows: list[list[int]], fill: int) -> Tensor:
    size = max(map(len, rows))
    return torch.tensor([row + [fill] * (size - len(row)) for row in rows])


def _part(clip: Clip, length: int, rng: np.random.Generator) -> Clip:
    """A part of so many frames, in which a shape's way is seen if the shape is."""
    if not length:
        return Clip((), clip.ground, 0.0, 0.0)
    best = clip.within(0.0, length * STEP_S)
    for first in rng.permutation(len(TIMES_S) - length + 1):
        part = clip.within(first * STEP_S, (first + length) * STEP_S)
        starts = [shape.start_s for shape in part.shapes]
        clear = len(set(starts)) == len(starts)
        if clear and all(shape.end_s - shape.start_s >= 2 * STEP_S for shape in part.shapes):
            return part
        best = best if best.shapes else part
    # What can't be seen clearly is not asked for.
    kept: dict[float, object] = {}
    for shape in best.shapes:
        if shape.end_s - shape.start_s >= 2 * STEP_S:
            kept.setdefault(shape.start_s, shape)
    return Clip(tuple(kept.values()), clip.ground, best.start_s, best.end_s)


def _blocks(
    clip: Clip, times_s: tuple[float, ...], rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Prompts and replies about one clip."""
    asked = questions(clip, rng)
    order = [asked[place] for place in rng.permutation(len(asked))]
    blocks = [
        (solve_prompt(question, DURATION_S, times_s), solve_reply(clip, question))
        for question in order[:SOLVED]
    ]
    question: Question = order[-1]
    if rng.random() < 0.5:
        blocks.append((describe_prompt(DURATION_S, times_s), describe_reply(clip)))
    else:
        prompt = propose_prompt(question.kind, DURATION_S, times_s)
        blocks.append((prompt, propose_reply(question)))
    return blocks


def _row(
    words: PreTrainedTokenizerFast, chat: Template, blocks: list[tuple[str, str]], steps: int
) -> tuple[list[int], list[tuple[list[int], list[int]]]]:
    """The tokens that the blocks share, and the tokens and targets of each block."""
    pad = words.convert_tokens_to_ids("<|video_pad|>")
    end = words.convert_tokens_to_ids("<|im_end|>")
    asked = [words(_chat_text(chat, prompt, steps > 0)).input_ids for prompt, _ in blocks]
    # All prompts share their first line, the times.
    line = words.convert_tokens_to_ids(words.tokenize("\n"))[0]
    shared = 0
    while len({tuple(ids[: shared + 1]) for ids in asked}) == 1 and asked[0][shared] != line:
        shared += 1
    prefix = asked[0][:shared]
    if steps:
        assert prefix.index(pad) == VIDEO_AT
        prefix[VIDEO_AT : VIDEO_AT + 1] = [pad] * (steps * FIELDS**2)
    made = []
    for question, (_, reply) in zip(asked, blocks, strict=True):
        answer = [*words(reply).input_ids, end]
        question = question[shared:]
        targets = [-100] * (len(question) - 1) + answer
        made.append((question + answer[:-1], targets))
    return prefix, made


def _chat_text(chat: Template, prompt: str, video: bool) -> str:
    content = [{"type": "video"}] * video + [{"type": "text", "text": prompt}]
    return chat.render(messages=[{"role": "user", "content": content}], add_generation_prompt=True)
