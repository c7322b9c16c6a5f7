"""TRL: a folder per split that `datasets` loads as images with metadata; frames, no video.

Read in 1.16: no part of TRL carries video; pictures stand in `images` and, in their order, as
`{"type": "image"}` in the messages, of which those of tools are neither counted nor filled. The
loss falls on the whole of `completion` and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.files import MediaFolder
from transforms.publish.exports.frames import (
    PLACEHOLDERS,
    Frame,
    FrameFolder,
    frame_losses,
    parts_of,
)
from transforms.publish.exports.turns import Conversation, Turn, conversation

ROWS_FILE = "metadata.jsonl"
"""The name by which `datasets` knows it. A column `x_file_names` becomes `x`, with the pictures."""

Message = dict[str, Any]

_MODEL = "--model_name_or_path Qwen/Qwen2.5-VL-3B-Instruct --use_peft"
_OPTIONS = {
    # TRL cuts at 1024 tokens unless told otherwise, and so through the middle of the pictures.
    "sft": "--max_length 32768",
    "dpo": "--max_length 32768",
    "grpo": "--reward_funcs rewards.trl_reward --max_completion_length 1024",
}


class Trl(Exporter):
    """Folders `{split}/{partition}`, each with its rows and its pictures."""

    name = "trl"
    splits: ClassVar[tuple[Split, ...]] = ("sft", "preference", "rl")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._frames: dict[str, FrameFolder] = {}

    def add(self, entry: Entry) -> None:
        talk = conversation(entry, PLACEHOLDERS, system=self.settings.system)
        if entry.sample.split == "sft":
            self._add_replies(entry, talk)
        elif talk.uses_tools:
            self.lose("left out: a reply that looks at parts of the clip, in a pair")
            return
        elif entry.sample.split == "preference":
            pair = {"chosen": talk.reply[-1], "rejected": talk.rejected[-1]}
            self._add(entry, talk.prompt, {name: [_said(turn)] for name, turn in pair.items()})
        elif not self._add_task(entry, talk):
            return
        for what in frame_losses(entry, self.settings):
            self.lose(what)

    def readme(self) -> Readme:
        stages = {"sft": "sft", "preference": "dpo", "rl": "grpo"}
        return Readme(
            install='pip install "trl[peft,vlm]==1.16.0"',
            commands=tuple(
                f"trl {stage} {_MODEL} --dataset_name ./{split} {_OPTIONS[stage]} "
                f"--output_dir out-{stage}"
                for split, stage in stages.items()
                if self.first_file(f"{split}/train/")
            ),
            reward="`rewards.trl_reward`, of rewards.py in this folder, reads the column `solution`"
            if self.first_file("rl/")
            else "",
        )

    def _add_replies(self, entry: Entry, talk: Conversation) -> None:
        """A row for each reply that is learnt, so that the loss falls on that one alone."""
        for number, turn in enumerate(talk.turns):
            if turn.role == "assistant" and turn.loss != 0:
                self._add(entry, talk.turns[:number], {"completion": [_said(turn)]})

    def _add_task(self, entry: Entry, talk: Conversation) -> bool:
        """Add a row to learn from by reward; False if nothing can grade it."""
        sample = entry.sample
        label = self.label(entry)
        if not label:
            return False
        facts = {"solution": label, "kind": sample.answer.kind.value}
        self._add(entry, talk.prompt, {**facts, "data_source": sample.data_source})
        return True

    def _add(self, entry: Entry, prompt: Sequence[Turn], more: dict[str, Any]) -> None:
        name = f"{entry.sample.split}/{entry.partition}"
        if name not in self._frames:
            self._frames[name] = FrameFolder(MediaFolder(self.out / name), self.settings)
        messages, paths = list[Message](), list[str]()
        for turn in prompt:
            parts = list(parts_of(turn, entry, self._frames[name]))
            messages.append(_message(turn, parts))
            paths += [part.path for part in parts if isinstance(part, Frame)]
        row = {"id": entry.sample.id, "prompt": messages, **more, "images_file_names": paths}
        self.files.add(f"{name}/{ROWS_FILE}", row)


def _message(turn: Turn, parts: Sequence[str | Frame]) -> Message:
    content = [_part(part) for part in parts]
    if turn.role == "tool":
        # As the chat templates write what a tool gave back; pictures of the role itself are lost.
        content = [_part("<tool_response>\n"), *content, _part("\n</tool_response>")]
    return {"role": "user" if turn.role == "tool" else turn.role, "content": content}


def _said(turn: Turn) -> Message:
    """A turn that shows nothing."""
    return {"role": turn.role, "content": [_part(turn.text)]}


def _part(part: str | Frame) -> dict[str, str]:
    # Every part has the same keys, lest Arrow fills nulls in; one called `image` would be taken for
    # the picture itself.
    if isinstance(part, Frame):
        return {"type": "image", "text": ""}
    return {"type": "text", "text": part}
