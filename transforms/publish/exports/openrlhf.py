"""OpenRLHF: rows for reinforcement learning, with `<image>` in the text; frames, no video.

Read in 0.11.2: only `train_ppo_ray` carries pictures (column `images`, paths from the folder that
it is started in); the SFT and DPO trainers see text alone, so replies and pairs are no data there.
"""

from __future__ import annotations

from typing import ClassVar

from schemas.sample import Split
from transforms.publish.exports.base import Exporter, Readme
from transforms.publish.exports.entries import Entry
from transforms.publish.exports.frames import (
    PLACEHOLDERS,
    FrameFolder,
    frame_losses,
    text_of,
)
from transforms.publish.exports.turns import conversation


class OpenRlhf(Exporter):
    """Files by partition."""

    name = "openrlhf"
    splits: ClassVar[tuple[Split, ...]] = ("rl",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._frames = FrameFolder(self.media, self.settings)

    def add(self, entry: Entry) -> None:
        sample = entry.sample
        label = self.label(entry)
        if not label:
            return
        for what in frame_losses(entry, self.settings):
            self.lose(what)
        messages, paths = list[dict[str, str]](), list[str]()
        for turn in conversation(entry, PLACEHOLDERS, system=self.settings.system).prompt:
            text, shown = text_of(turn, entry, self._frames)
            messages.append({"role": turn.role, "content": text})
            paths += shown
        row = {
            "id": sample.id,
            "datasource": sample.data_source,
            "kind": sample.answer.kind.value,
            "prompt": messages,
            "label": label,
            "images": paths,
        }
        self.files.add(f"rl-{entry.partition}.jsonl", row)

    def readme(self) -> Readme:
        name = self.first_file("rl-train")
        command = (
            f"python -m openrlhf.cli.train_ppo_ray --data.prompt_dataset {name} "
            "--data.input_key prompt --data.label_key label --data.apply_chat_template "
            f"--data.image_key images --data.max_images_per_prompt {self.settings.max_frames} "
            "--data.max_len 32768 --rollout.max_new_tokens 1024 --rollout.n_samples_per_prompt 8 "
            "--algo.advantage.estimator group_norm --reward.remote_url rewards.py "
            "--actor.model_name_or_path Qwen/Qwen3.5-4B --actor.freeze_visual_encoder "
            "--actor.num_gpus_per_node 8 --ref.num_gpus_per_node 8 --vllm.num_engines 8 "
            "--train.colocate_all --vllm.enable_sleep --ds.enable_sleep"
        )
        return Readme(
            install='pip install "openrlhf[vllm]==0.11.2"',
            commands=(command,) if name else (),
            reward="`reward_func` of rewards.py in this folder reads the column `label`",
        )
