"""Boxes in the text of a conversation, from the canonical shares to a scale of 0..1000.

The question says in its last line how a box is written, so that line changes with the reply. Where
a question says it in other words, nothing can be changed safely, and all stays canonical.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from schemas.rewards import Box
from schemas.sample import Sample
from schemas.task import TaskKind
from transforms.annotate.tasks import ANSWER_FORMS
from transforms.publish.exports.dialects import THOUSAND
from transforms.publish.exports.turns import Conversation, Turn

_NUMBER = r"\s{0,3}(-?[0-9]{1,4}(?:\.[0-9]{1,20})?(?:[eE]-[0-9]{1,3})?)\s{0,3}"
_BOX = re.compile(rf"(<box>\s{{0,3}})?(\[{','.join([_NUMBER] * 4)}\])(?(1)\s{{0,3}}</box>)")
_FAR = 1.5
"""A list of numbers beyond it is no box in shares, even one that leaves the frame."""
BOX_KINDS = (TaskKind.SPATIAL_GROUNDING, TaskKind.SPATIO_TEMPORAL_GROUNDING)


@dataclass(frozen=True)
class BoxWords:
    """How a family of models writes boxes."""

    answer: Callable[[str], str]
    """The answer that is one box, around its four numbers in brackets."""
    tagged: Callable[[str], str]
    """A box between `<box>` tags, around its four numbers in brackets."""
    forms: dict[TaskKind, str]
    """The last line of a question that asks for boxes."""


_TIMED = (
    "Answer with the time span in seconds and a box for each whole second in it, such as "
    '{"time": [3.20, 5.75], "boxes": {"4": [100, 200, 300, 400], "5": [100, 200, 400, 400]}}, '
    "each number of a box from 0 to 1000 as a share of the frame's width or height."
)
QWEN_BOXES = BoxWords(
    answer=lambda box: f'{{"bbox_2d": {box}}}',
    tagged=lambda box: f"<box>{box}</box>",
    forms={
        TaskKind.SPATIAL_GROUNDING: "Answer with the box as JSON, such as "
        '{"bbox_2d": [100, 200, 300, 400]}, each number from 0 to 1000 as a share of the '
        "frame's width or height.",
        TaskKind.SPATIO_TEMPORAL_GROUNDING: _TIMED,
    },
)
"""Qwen3-VL: `bbox_2d`, 0..1000."""
INTERNVL_BOXES = BoxWords(
    answer=lambda box: f"<box>[{box}]</box>",
    tagged=lambda box: f"<box>[{box}]</box>",
    forms={
        TaskKind.SPATIAL_GROUNDING: "Answer with the box, such as <box>[[100, 200, 300, 400]]"
        "</box>, each number from 0 to 1000 as a share of the frame's width or height.",
        TaskKind.SPATIO_TEMPORAL_GROUNDING: _TIMED,
    },
)
"""InternVL: `<box>[[..]]</box>`, 0..1000."""


def has_boxes(sample: Sample, talk: Conversation) -> bool:
    """Whether its words hold boxes: it asks for them, or a reply cites some."""
    said = [turn.text for turn in talk.reply + talk.rejected]
    return sample.answer.kind in BOX_KINDS or any("<box>" in text for text in said)


def with_boxes(sample: Sample, talk: Conversation, words: BoxWords) -> Conversation | None:
    """The conversation with its boxes in other words; None if the question says the form in
    words of its own."""
    kind = sample.answer.kind
    form, other = ANSWER_FORMS[kind], words.forms.get(kind, ANSWER_FORMS[kind])
    asked = [turn for turn in talk.prompt if turn.role == "user"]
    if kind in BOX_KINDS and not (asked and asked[-1].text.endswith(form)):
        return None

    def changed(turn: Turn) -> Turn:
        if turn.role == "user" and turn.text.endswith(form):
            return replace(turn, text=turn.text.removesuffix(form) + other)
        return replace(turn, text=_reply(turn.text, kind, words)) if _replies(turn) else turn

    return Conversation(tuple(map(changed, talk.turns)), tuple(map(changed, talk.rejected)))


def _replies(turn: Turn) -> bool:
    return turn.role == "assistant"


def _reply(text: str, kind: TaskKind, words: BoxWords) -> str:
    """A reply with its boxes in other words: those in tags, and all where it was asked for boxes,
    so that reasoning and answer speak of the same numbers."""

    def changed(match: re.Match[str]) -> str:
        box = _box(match)
        bare = not match[1]
        if (bare and kind not in BOX_KINDS) or max(map(abs, box)) > _FAR:
            return match[0]
        written = str(THOUSAND.write(box))
        return written if bare else words.tagged(written)

    thought, mark, answer = text.rpartition("<answer>")
    alone = _BOX.fullmatch(answer.removesuffix("</answer>").strip())
    if mark and alone and kind is TaskKind.SPATIAL_GROUNDING:
        said = words.answer(str(THOUSAND.write(_box(alone)))) + "</answer>"
    else:
        said = _BOX.sub(changed, answer)
    return _BOX.sub(changed, thought) + mark + said


def _box(match: re.Match[str]) -> Box:
    x1, y1, x2, y2 = (float(match[n]) for n in range(3, 7))
    return x1, y1, x2, y2
