"""Conversations as trainers take them: one text a turn, with placeholders where media stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.sample import Message, SampleMedia
from transforms.publish.exports.entries import Entry

PLACEHOLDER = re.compile(
    r"<\s*/?\s*(video|image|audio|img|frame|image_soft_token)s?\s*/?\s*>"
    r"|<\|[a-z0-9_]+\|>|<(IMG_CONTEXT|VIDEO_CONTEXT|bbox|ref-object|cot-process|start-image)>"
    r"|<(start|end)_of_(turn|image)>",
    re.IGNORECASE,
)
"""What any of the trainers, or a chat template, would read as a medium or as a turn's end."""

SYSTEM = (
    "Look at the video and think step by step. Write your reasoning between <think> and </think>, "
    "then the answer alone between <answer> and </answer>."
)
"""The form that the reward functions read; without it a model would have to guess it."""


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: str
    text: str
    media: tuple[SampleMedia, ...] = ()
    """In the order of their placeholders in `text`."""
    loss: int = -1
    """Whether it is learnt: 0 no, 1 yes, -1 as the trainer does."""


@dataclass(frozen=True)
class Conversation:
    """The turns of a sample; `rejected` are those that take the place of the last in a pair."""

    turns: tuple[Turn, ...]
    rejected: tuple[Turn, ...] = field(default=())

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """What stands before the first reply."""
        count = next(
            (n for n, turn in enumerate(self.turns) if turn.role == "assistant"), len(self.turns)
        )
        return self.turns[:count]

    @property
    def reply(self) -> tuple[Turn, ...]:
        """The first reply and all that follows."""
        return self.turns[len(self.prompt) :]

    @property
    def uses_tools(self) -> bool:
        """Whether a look at a part of the clip was asked for on the way."""
        return any(turn.role == "tool" for turn in self.turns + self.rejected)


def conversation(
    entry: Entry, placeholders: Mapping[str, str], *, system: str = SYSTEM
) -> Conversation:
    """The conversation of an entry, with a placeholder for each kind of medium.

    `placeholders` gives it by `video`, `image`, `frames`; "" where media stand beside the text
    (then they are in `Turn.media` only). Texts that would be read as placeholders are made
    harmless. No system turn if `system` is "".
    """
    media = {one.id: one for one in entry.sample.media}
    turns = [Turn("system", harmless(system), loss=0)] if system else []
    turns += [_turn(one, media, placeholders) for one in entry.sample.messages]
    rejected = [_turn(one, media, placeholders) for one in entry.sample.preference.rejected]
    return Conversation(tuple(turns), tuple(rejected))


def _turn(
    message: Message, media: Mapping[str, SampleMedia], placeholders: Mapping[str, str]
) -> Turn:
    texts, shown = list[str](), list[SampleMedia]()
    for part in message.parts:
        if part.type == "text":
            texts.append(harmless(part.text))
        else:
            shown.append(media[part.media_id])
            texts.append(placeholders[shown[-1].kind])
    return Turn(message.role, joined(texts), tuple(shown), message.loss)


def joined(texts: Iterable[str]) -> str:
    """Parts of a turn, each on its own line."""
    return "\n".join(text for text in texts if text)


def harmless(text: str) -> str:
    """A text in which nothing is a placeholder: the brackets around such a word become round."""
    return PLACEHOLDER.sub(lambda match: "(" + match[0].strip("<>") + ")", text)


def hides_placeholder(texts: Sequence[str]) -> bool:
    """Whether a text had to be, or would have to be, made harmless."""
    return any(PLACEHOLDER.search(text) for text in texts)
