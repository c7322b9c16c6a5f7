"""Video-R1: a JSON list for `sft_video.py` (with reasoning) and one for `grpo.py`.

Read in tulerfeng/Video-R1 as forks of 2025 keep it (`src/r1-v/src/open_r1`): the prompt is built
from `problem`, `options` and a template of `problem_type`; a reply is `process`, a new line and
`solution`; the clip is looked for at `{working directory}/Video-R1-data{path[1:]}`. Its own reward
goes by `problem_type`, and an unknown one earns nothing, so other kinds of task are left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from schemas.rewards import parse_response
from schemas.sample import Sample, Split
from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.tasks import ANSWER_FORMS
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.single_turn import note_records, talk_of, train_files
from transforms.publish.exports.turns import harmless

PROBLEM_TYPES: dict[TaskKind, str] = {
    TaskKind.MCQ: "multiple choice",
    TaskKind.CAUSAL: "multiple choice",
    TaskKind.NEXT_EVENT: "multiple choice",
    TaskKind.COUNT: "numerical",
    TaskKind.NUMBER: "regression",
    TaskKind.FREE_TEXT: "free-form",
}
_STARTS = {"sft": "sft_video.py", "rl": "grpo.py"}
_OPTIONS = {
    "sft": "--gradient_checkpointing true",
    "rl": "--max_prompt_length 16384 --max_completion_length 768 --num_generations 8 "
    "--temporal true --len_control true --gradient_checkpointing true --max_pixels 401408",
}


class VideoR1(Exporter):
    """`sft-train.json` (with `process`) and `rl-train.json` (without)."""

    name = "video-r1"
    splits: ClassVar[tuple[Split, ...]] = ("sft", "rl")

    def add(self, entry: Entry) -> None:
        sample = entry.sample
        talk = talk_of(self, entry, "", system=False)
        if talk is None:
            return
        kind = problem_type(sample)
        if not kind:
            self.lose(f"left out: Video-R1 has no problem_type for {sample.answer.kind}")
            return
        row: dict[str, Any] = {
            "problem_id": sample.id,
            "problem": problem_of(sample, talk.prompt[-1].text),
            "problem_type": kind,
            "options": _options(sample),
            "data_type": "video",
            "data_source": sample.data_source,
            "path": f"./{self.media.clip(entry)}",
            "solution": f"<answer>{sample.answer.text}</answer>",
        }
        if sample.split == "sft":
            reply = talk.reply[-1].text
            if not parse_response(reply).well_formed:
                self.lose("left out: its reply is no reasoning and answer in tags")
                return
            row["process"], mark, rest = reply.rpartition("\n<answer>")
            row["solution"] = (mark + rest).lstrip("\n")
        if any(value >= 0 for _, value in sample.sampling):
            self.lose("its sampling settings: Video-R1 has its own in its qwen-vl-utils")
        note_records(self, sample)
        self.files.add(f"{sample.split}-{entry.partition}.json", row)

    def readme(self) -> Readme:
        commands = [
            f"ln -sfn . Video-R1-data && torchrun --nproc_per_node=8 "
            f"$VIDEO_R1/src/r1-v/src/open_r1/{_STARTS[split]} --dataset_name {name} "
            f"--model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct --output_dir out-{split} "
            f"--deepspeed $VIDEO_R1/src/r1-v/local_scripts/zero3.json "
            f"--per_device_train_batch_size 1 --bf16 --attn_implementation flash_attention_2 "
            f"{_OPTIONS[split]}"
            for split in ("sft", "rl")
            for name in train_files(self, split)
        ]
        return Readme(
            install="export VIDEO_R1=~/Video-R1 && git clone https://github.com/tulerfeng/Video-R1 "
            "$VIDEO_R1 && (cd $VIDEO_R1 && bash setup.sh)",
            commands=tuple(commands),
            reward="its own, by `problem_type` against `solution`; ours is not used"
            if self.first_file("rl")
            else "",
        )


def problem_type(sample: Sample) -> str:
    """What Video-R1 calls this kind of task; "" if it knows none like it."""
    return "OCR" if sample.reward.fn == "ocr" else PROBLEM_TYPES.get(sample.answer.kind, "")


def problem_of(sample: Sample, question: str) -> str:
    """The question alone: options and the form of the answer come from the trainer's template."""
    form = ANSWER_FORMS[sample.answer.kind]
    text = question.removesuffix(form).removesuffix("\n") if question.endswith(form) else question
    return text.removesuffix("\n" + "\n".join(_options(sample)))


def _options(sample: Sample) -> list[str]:
    """The options behind their letters, made harmless like all text."""
    return [
        f"{letter}. {harmless(option)}"
        for letter, option in zip(OPTION_LETTERS, sample.answer.options, strict=False)
    ]
