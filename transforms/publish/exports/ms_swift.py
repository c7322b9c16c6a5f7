"""ms-swift: JSON lines with `<video>` in the text, and a plugin that brings the reward.

Read in 4.6: `loss` is a bool per message and counts for replies; `chat_template_kwargs` are handed
to qwen-vl-utils with the video, which looks whether a key is there; `objects` are rescaled for the
model only where there are images, and put into the text only for `<bbox>` and `<ref-object>`; of a
pair `rejected_response` takes the place of all after the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from schemas.sample import GroundedBox, Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.dialects import NORM1
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.frames import PLACEHOLDERS, FrameFolder, text_of
from transforms.publish.exports.sampling import sampling_keys
from transforms.publish.exports.turns import Conversation, Turn, conversation, harmless
from transforms.publish.files import write_text

PLUGIN_FILE = "plugin.py"
PLUGIN = '''\
"""Makes the reward of this dataset known to ms-swift as `proofreel`."""

from rewards import SwiftReward
from swift.rewards import orms

orms["proofreel"] = SwiftReward
'''

_MODEL = "--model Qwen/Qwen2.5-VL-7B-Instruct"
_COMMANDS = {
    "sft": f"swift sft {_MODEL}",
    "preference": f"swift rlhf --rlhf_type dpo {_MODEL}",
    "rl": f"swift rlhf --rlhf_type grpo {_MODEL} --external_plugins {PLUGIN_FILE} "
    "--reward_funcs proofreel --max_completion_length 1024",
}


class MsSwift(Exporter):
    """Files by split, partition and set of keys, lest Arrow fills in nulls for the others' keys."""

    name = "ms-swift"
    splits: ClassVar[tuple[Split, ...]] = ("sft", "preference", "rl")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._frames = FrameFolder(self.media, self.settings)

    def add(self, entry: Entry) -> None:
        sample = entry.sample
        talk = conversation(entry, PLACEHOLDERS, system=self.settings.system)
        row: dict[str, Any] = {"id": sample.id}
        if sample.split == "sft":
            row |= self._said(entry, talk.turns)
        elif talk.uses_tools:
            self.lose("left out: a reply that looks at parts of the clip, in a pair")
            return
        elif sample.split == "preference":
            row |= _pair(talk)
        else:
            label = self.label(entry)
            if not label:
                return
            row |= {
                "messages": [_message(turn) for turn in talk.prompt],
                "solution": label,
                "kind": sample.answer.kind.value,
                "data_source": sample.data_source,
            }
        row["videos"] = [self.media.clip(entry)]
        if boxes := sample.grounding.boxes:
            row["objects"] = _objects(boxes)
            self.lose("when its boxes are seen: `objects` have no time")
        keys = sampling_keys(sample.sampling)
        if keys:
            row["chat_template_kwargs"] = keys
        parts = [sample.split, entry.partition, *keys]
        parts += [name for name in ("objects", "images") if name in row]
        self.files.add("-".join(parts) + ".jsonl", row)

    def finish(self) -> None:
        if self.first_file("rl-"):
            write_text(self.out / PLUGIN_FILE, PLUGIN)

    def readme(self) -> Readme:
        files = {
            split: [name for name in sorted(self.files.counts) if name.startswith(f"{split}-train")]
            for split in self.splits
        }
        return Readme(
            install='pip install ms-swift==4.6.0 msgspec "qwen-vl-utils[decord]"',
            commands=tuple(
                f"{_COMMANDS[split]} --dataset {' '.join(names)} --output_dir out-{split}"
                for split, names in files.items()
                if names
            ),
            reward=f"`SwiftReward` of rewards.py, by {PLUGIN_FILE}, reads the column `solution`"
            if self.first_file("rl-")
            else "",
        )

    def _said(self, entry: Entry, turns: Sequence[Turn]) -> dict[str, Any]:
        """A conversation with what is learnt of it; of looks the frames, as pictures."""
        messages, paths = list[dict[str, Any]](), list[str]()
        for turn in turns:
            message = _message(turn)
            if any(one.kind == "frames" for one in turn.media):
                message["content"], shown = text_of(turn, entry, self._frames)
                paths += shown
            messages.append(message | {"loss": turn.role == "assistant" and turn.loss != 0})
        return {"messages": messages} | ({"images": paths} if paths else {})


def _message(turn: Turn) -> dict[str, Any]:
    return {"role": turn.role, "content": turn.text}


def _pair(talk: Conversation) -> dict[str, Any]:
    messages = [_message(turn) for turn in (*talk.prompt, talk.reply[-1])]
    return {"messages": messages, "rejected_response": talk.rejected[-1].text}


def _objects(boxes: Sequence[GroundedBox]) -> dict[str, Any]:
    return {
        "ref": [harmless(box.ref) for box in boxes],
        "bbox": [NORM1.write(box.xyxy_norm) for box in boxes],
        "bbox_type": "norm1",
    }
