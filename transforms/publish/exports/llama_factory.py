"""LLaMA-Factory: `sharegpt` JSON lists with `<video>` in the text, and dataset_info.json.

Read in 0.9.5: roles must alternate, every `<video>` in any text is counted against `videos`, one
frame rate holds for a whole run, an unknown path only warns, and all that an assistant says is
learnt. What a tool gave back is an `observation`, and may show pictures. A text that is longer than
`cutoff_len` (2048 unless told) is cut through its pictures.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.frames import PLACEHOLDERS, FrameFolder, text_of
from transforms.publish.exports.sampling import sampling_keys
from transforms.publish.exports.turns import Turn, conversation
from transforms.publish.files import write_text

_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
    "observation_tag": "observation",
}
_RATE = re.compile(r"-fps([0-9p]+)")


class LlamaFactory(Exporter):
    """Files by split, partition and sampling rate, since the rate is one setting per file."""

    name = "llama-factory"
    splits: ClassVar[tuple[Split, ...]] = ("sft", "preference")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._frames = FrameFolder(self.media, self.settings)

    def add(self, entry: Entry) -> None:
        talk = conversation(entry, PLACEHOLDERS, system=self.settings.system)
        pair = entry.sample.split == "preference"
        if pair and talk.uses_tools:
            self.lose("left out: a reply that looks at parts of the clip, in a pair")
            return
        if any(turn.role == "assistant" and turn.loss == 0 for turn in talk.turns):
            self.lose("left out: it says things that are not to be learnt, and all replies are")
            return
        if sampling_keys(entry.sample.sampling).keys() - {"fps"}:
            self.lose("its numbers of frames and pixels, which are settings of a run")
        row: dict[str, Any] = {"messages": [], "videos": []}
        paths = list[str]()
        for turn in talk.prompt if pair else talk.turns:
            message = _message(turn)
            if any(one.kind == "frames" for one in turn.media):
                message["content"], shown = text_of(turn, entry, self._frames)
                paths += shown
            else:
                row["videos"] += [self.media.clip(entry) for _ in turn.media]
            row["messages"].append(message)
        if pair:
            row["chosen"] = _message(talk.reply[-1])
            row["rejected"] = _message(talk.rejected[-1])
        if paths:
            row["images"] = paths
        self.files.add(_file(entry, images=bool(paths)), row)

    def finish(self) -> None:
        info = {_title(name): _info(name) for name in sorted(self.files.counts)}
        write_text(self.out / "dataset_info.json", json.dumps(info, indent=2) + "\n")

    def readme(self) -> Readme:
        stages = {"sft": "sft", "preference": "dpo"}
        return Readme(
            install="pip install llamafactory==0.9.5",
            commands=tuple(
                "llamafactory-cli train --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct "
                f"--template qwen2_vl --stage {stages[name.split('-')[0]]} --do_train true "
                f"--finetuning_type lora --cutoff_len 32768 {_rate(name)}"
                f"--dataset_dir . --dataset {_title(name)} --output_dir out-{_title(name)}"
                for name in sorted(self.files.counts, key=_stage_first)
                if "-train" in name
            ),
        )


def _title(name: str) -> str:
    """What dataset_info.json calls a file."""
    return name.removesuffix(".json").replace("-", "_")


def _message(turn: Turn) -> dict[str, str]:
    return {"role": "observation" if turn.role == "tool" else turn.role, "content": turn.text}


def _file(entry: Entry, *, images: bool) -> str:
    fps = entry.sample.sampling.fps
    rate = f"-fps{fps:g}".replace(".", "p") if fps > 0 else ""
    return f"{entry.sample.split}-{entry.partition}{rate}{'-images' if images else ''}.json"


def _rate(name: str) -> str:
    """The option that tells the rate of a file, if it has one."""
    found = _RATE.search(name)
    return f"--video_fps {found[1].replace('p', '.')} " if found else ""


def _stage_first(name: str) -> tuple[bool, str]:
    return (not name.startswith("sft"), name)


def _info(name: str) -> dict[str, Any]:
    columns = {"messages": "messages", "videos": "videos"}
    if name.endswith("-images.json"):
        columns["images"] = "images"
    pair = name.startswith("preference")
    if pair:
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    ranking = {"ranking": True} if pair else {}
    return {
        "file_name": name,
        "formatting": "sharegpt",
        **ranking,
        "columns": columns,
        "tags": _TAGS,
    }
