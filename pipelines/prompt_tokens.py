"""About how many tokens a conversation takes: its text by a rule of thumb, its frames by family."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from transforms.annotate.conversation import Conversation, shown_as_video
from transforms.annotate.seeing import Frames
from transforms.annotate.teacher import Family
from transforms.annotate.visual_tokens import visual_tokens

TURN_TOKENS = 5
"""What a chat template puts around a turn."""
LETTERS_PER_TOKEN = 6
_PIECE = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")


def text_tokens(text: str) -> int:
    """About how many tokens a text takes.

    Most English words are one token with the space before them, long ones more; digits, signs and
    characters of other scripts are counted as one each, as Qwen's tokenizer does for digits.
    """
    pieces = _PIECE.findall(text)
    return sum(math.ceil(len(one) / LETTERS_PER_TOKEN) if one.isalpha() else 1 for one in pieces)


@dataclass(frozen=True)
class PromptTokens:
    """What a conversation takes."""

    text: int
    visual: int

    @property
    def total(self) -> int:
        return self.text + self.visual


def count_prompt(said: Conversation, family: Family) -> PromptTokens:
    """About what a conversation takes of a model of this family. Frames need their pixels."""
    text = visual = 0
    for turn in said.turns:
        text += TURN_TOKENS
        for part in turn.parts:
            if isinstance(part, str):
                text += text_tokens(part)
            else:
                visual += part_tokens(part, family)
    return PromptTokens(text, visual)


def part_tokens(frames: Frames, family: Family) -> int:
    """What frames take, the text that tells their times included."""
    told = family if shown_as_video(frames, family) else Family.IMAGES
    number, height_px, width_px, _ = frames.pixels.shape
    return visual_tokens(told, number, width_px, height_px)
