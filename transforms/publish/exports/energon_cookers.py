"""Turns the samples of this folder into Energon's: question, clip, replies. Beside `rewards.py`.

Your task encoder takes `cookers = [Cooker(cook)]`; `loader` is one that works without your code.
"""

from __future__ import annotations

import re
from typing import Any

from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    SavableDataLoader,
    SkipSample,
    VidQASample,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_savable_loader,
    get_train_dataset,
    get_val_dataset,
    stateless,
)
from rewards import make_label

PLACEHOLDER = re.compile(
    r"<\s*/?\s*(video|image|audio|img|frame|image_soft_token)s?\s*/?\s*>"
    r"|<\|[a-z0-9_]+\|>|<(IMG_CONTEXT|VIDEO_CONTEXT|bbox|ref-object|cot-process|start-image)>"
    r"|<(start|end)_of_(turn|image)>",
    re.IGNORECASE,
)
"""What a chat template would read as a medium or as a turn's end."""


@edataclass
class ClipSample(VidQASample):
    """A question about a clip. `video` decodes when asked, from `video.get_video_clips` on."""

    system: str
    """The system's turn, from `.nv-meta/dataset.yaml`."""
    rejected: str
    """The worse reply of a pair; "" where there is none."""
    label: str
    """What the hooks in `rewards.py` grade a reply against."""
    sample: dict[str, Any]
    """All that the shard says of it: times, spans, steps, verdict, where it came from."""


@stateless
def cook(raw: dict[str, Any]) -> ClipSample:
    """A sample of a shard as Energon's. `answers` is empty where no reply is shown (RL).

    Skips samples that look at parts of their clip on the way: those are no media of their own.
    """
    sample = raw["json"]
    messages = sample["messages"]
    if any(one["role"] == "tool" for one in messages):
        raise SkipSample
    return ClipSample(
        **basic_sample_keys(raw),
        video=raw["mp4"],
        context=_text(one for one in messages if one["role"] == "user"),
        answers=[_text([one]) for one in messages if one["role"] == "assistant"],
        system=raw["__subflavors__"]["system"],
        rejected=_text(sample["preference"]["rejected"]),
        label=make_label(sample),
        sample=sample,
    )


def _text(messages: Any) -> str:
    """What messages say, each part on its own line; nothing in it stands for a medium."""
    parts = [part["text"] for one in messages for part in one["parts"] if part["type"] == "text"]
    texts = [PLACEHOLDER.sub(lambda found: "(" + found[0].strip("<>") + ")", one) for one in parts]
    return "\n".join(text for text in texts if text)


class ClipEncoder(DefaultTaskEncoder[ClipSample, ClipSample, ClipSample, ClipSample]):
    """Cooks, and puts the fields of a batch into lists."""

    cookers = [Cooker(cook)]  # noqa: RUF012 - as Energon declares it

    @stateless
    def batch(self, samples: list[ClipSample]) -> ClipSample:
        """As the base class does, but clips and what shards say stay lists of their own."""
        keep = ("video", "sample", "answers", "__subflavors__")
        return self._batch(samples, ClipSample, actions=dict.fromkeys(keep, list))


def loader(
    path: str, *, split: str = "train", batch_size: int = 1, workers: int = 0
) -> SavableDataLoader[ClipSample]:
    """Batches of a prepared folder such as `sft`: without end for `train`, once for `val`."""
    config = WorkerConfig.default_worker_config(workers)
    if split == "train":
        data = get_train_dataset(
            path,
            worker_config=config,
            batch_size=batch_size,
            shuffle_buffer_size=100,
            max_samples_per_sequence=100,
            task_encoder=ClipEncoder(),
        )
    else:
        data = get_val_dataset(
            path,
            split_part=split,
            worker_config=config,
            batch_size=batch_size,
            task_encoder=ClipEncoder(),
        )
    return get_savable_loader(data)
