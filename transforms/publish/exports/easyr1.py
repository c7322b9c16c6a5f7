"""EasyR1: JSON lines with a prompt, its clip and the label, for `verl.trainer.main`.

Read in hiyouga/EasyR1 at 8700709 (`verl/utils/dataset.py`) and bf3752b (`trainer/main.py`): the
prompt is one text, a single user's turn; `<video>` in it is replaced one for one by `videos`, whose
paths are joined to `data.image_dir`; a column `images` would hide them; one `data.video_fps` holds
for all rows; the column `answer` is all that the reward sees.
"""

from __future__ import annotations

from typing import ClassVar

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.single_turn import (
    QWEN_VIDEO,
    batch_size,
    file_name,
    folded,
    note_records,
    rate_of,
    talk_of,
    train_files,
    validation_for,
)


class EasyR1(Exporter):
    """`rl-train-fps2.jsonl`: files by sampling rate."""

    name = "easyr1"
    splits: ClassVar[tuple[Split, ...]] = ("rl",)

    def add(self, entry: Entry) -> None:
        talk = talk_of(self, entry, "<video>")
        label = self.label(entry) if talk else ""
        if talk is None or not label:
            return
        (question,) = folded(talk.prompt)
        row = {
            "id": entry.sample.id,
            "prompt": question.text,
            "videos": [self.media.clip(entry) for _ in question.media],
            "answer": label,
        }
        note_records(self, entry.sample)
        self.files.add(file_name(self, entry, ".jsonl"), row)

    def readme(self) -> Readme:
        return Readme(
            install="pip install git+https://github.com/hiyouga/EasyR1 decord  # its module is "
            "called verl, too: give it an environment of its own",
            commands=tuple(self._command(name) for name in train_files(self, "rl")),
            reward="`worker.reward.reward_function=rewards.py:easyr1_score` (above) gets the "
            "column `answer`",
        )

    def _command(self, name: str) -> str:
        size = batch_size(self, name, 64)
        return (
            f"{QWEN_VIDEO} python3 -m verl.trainer.main "
            f"data.train_files={name} data.val_files={validation_for(self, name)} "
            "data.prompt_key=prompt data.answer_key=answer data.video_key=videos data.image_dir=. "
            f"data.video_fps={rate_of(name) or 2} data.min_pixels=3136 data.max_pixels=200704 "
            "data.max_prompt_length=16384 data.max_response_length=2048 "
            f"data.rollout_batch_size={size} worker.actor.global_batch_size={size} "
            "worker.actor.model.model_path=Qwen/Qwen2.5-VL-7B-Instruct "
            "worker.rollout.tensor_parallel_size=1 "
            "worker.reward.reward_function=rewards.py:easyr1_score trainer.logger=['console'] "
            "trainer.n_gpus_per_node=8"
        )
