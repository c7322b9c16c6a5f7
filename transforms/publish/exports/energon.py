"""Megatron-Energon: a prepared-to-be folder of shards for each split, and the code that reads them.

Read in 7.4.1. `energon prepare` writes index, split and info, whose form changes between releases,
so that is left to it; it leaves a dataset.yaml that is there alone. Samples are crude (the parts of
a shard as they are), and `cookers.py` makes question, clip and replies of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from transforms.publish.card import to_yaml
from transforms.publish.exports.base import Readme
from transforms.publish.exports.copies import ShardExporter
from transforms.publish.exports.entries import Entry
from transforms.publish.files import write_bytes, write_text

MAX_WORKERS = 16
"""Of `energon prepare`, its own default; more than there are shards do nothing but start."""
COOKERS_FILE = "cookers.py"
_COOKERS = Path(__file__).with_name("energon_cookers.py")
_PARTS = {"train": "train", "validation": "val"}
"""Energon's names of our partitions."""


class Energon(ShardExporter):
    """A dataset of Energon's by split, since what a sample is for differs."""

    name = "energon"
    canonical: ClassVar[bool] = False  # what the shards say is rewritten by the cooker

    def add(self, entry: Entry) -> None:
        super().add(entry)
        if any(message.role == "tool" for message in entry.sample.messages):
            self.lose("skipped by cookers.py: it looks at parts of the clip, which are no media")
        if not entry.clip.is_cfr:
            self.lose("its frame rate varies: Energon counts seconds by the average rate")

    def finish(self) -> None:
        super().finish()
        write_bytes(self.out / COOKERS_FILE, _COOKERS.read_bytes())
        config = {
            "__module__": "megatron.energon",
            "__class__": "CrudeWebdataset",
            "subflavors": {"system": self.settings.system},
        }
        for split in self.partitions():
            write_text(self.out / split / ".nv-meta" / "dataset.yaml", to_yaml(config) + "\n")

    def readme(self) -> Readme:
        split, partition, _ = self.first()
        shards = [sum(map(len, parts.values())) for parts in self.partitions().values()]
        prepare = (
            f"for split in {' '.join(self.partitions())}; do energon prepare --non-interactive "
            f"--num-workers {min(MAX_WORKERS, max(shards))} --split-parts 'train:train-.*' "
            "--split-parts 'val:validation-.*' $split; done"
        )
        read = (
            f"python -c \"from cookers import loader; one = next(iter(loader('{split}', "
            f"split='{_PARTS[partition]}'))); "
            'print(one.context, one.answers, one.video[0].get_video().video_clips[0].shape)"'
        )
        return Readme(
            install="pip install 'megatron-energon[av-decode]==7.4.1'",
            prepare=(prepare,),
            reads=(read,),
            reward="`label` of a sample, for the hooks in `rewards.py`; Energon itself calls none",
        )
