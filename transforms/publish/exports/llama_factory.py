"""LLaMA-Factory: `sharegpt` JSON lists with `<video>` in the text, and dataset_info.json.

Read in 0.9.5: roles must alternate, every `<video>` in any text is counted against `videos`, one
frame rate holds for the whole file, and an unknown path only warns.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.turns import Turn, conversation
from transforms.publish.files import write_text

_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


class LlamaFactory(Exporter):
    """Files by split, partition and sampling rate, since the rate is one setting per file."""

    name = "llama-factory"
    splits: ClassVar[tuple[Split, ...]] = ("sft", "preference")

    def add(self, entry: Entry) -> None:
        talk = conversation(
            entry,
            {"video": "<video>", "frames": "<video>", "image": "<image>"},
            system=self.settings.system,
        )
        if talk.uses_tools:
            self.lose("left out: it looks at parts of the clip, which are no files of their own")
            return
        row: dict[str, Any] = {"messages": [_message(turn) for turn in talk.turns]}
        if entry.sample.split == "preference":
            row["messages"] = [_message(turn) for turn in talk.prompt]
            row["chosen"] = _message(talk.reply[-1])
            row["rejected"] = _message(talk.rejected[-1])
        row["videos"] = [self.media.clip(entry) for turn in talk.turns for _ in turn.media]
        self.files.add(_file(entry), row)

    def finish(self) -> None:
        info = {_title(name): _info(name) for name in sorted(self.files.counts)}
        write_text(self.out / "dataset_info.json", json.dumps(info, indent=2) + "\n")

    def readme(self) -> Readme:
        stages = {"sft": "sft", "preference": "dpo"}
        files = {stage: self.first_file(f"{split}-train") for split, stage in stages.items()}
        return Readme(
            install="pip install llamafactory==0.9.5",
            commands=tuple(
                "llamafactory-cli train --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct "
                f"--template qwen2_vl --stage {stage} --do_train true --finetuning_type lora "
                f"--dataset_dir . --media_dir . --dataset {_title(name)} --output_dir out-{stage}"
                for stage, name in files.items()
                if name
            ),
        )


def _title(name: str) -> str:
    """What dataset_info.json calls a file."""
    return name.removesuffix(".json").replace("-", "_")


def _message(turn: Turn) -> dict[str, str]:
    return {"role": turn.role, "content": turn.text}


def _file(entry: Entry) -> str:
    fps = entry.sample.sampling.fps
    rate = f"-fps{fps:g}".replace(".", "p") if fps > 0 else ""
    return f"{entry.sample.split}-{entry.partition}{rate}.json"


def _info(name: str) -> dict[str, Any]:
    columns = {"messages": "messages", "videos": "videos"}
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
