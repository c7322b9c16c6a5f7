"""The layout of the Hugging Face hub: shards, a card, and a Parquet view of their text.

Read in datasets 5.2.0, which reads all configurations of one card with one builder (its issue
6447): tars and Parquet can't be named in the same one. So the card names the shards, which hold
everything, and `rows/` is a folder with a card of its own. Both state their column types: guessed
from the first rows, a list that is empty in all of them would become a list of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from transforms.publish.card import to_yaml
from transforms.publish.exports.base import Readme
from transforms.publish.exports.copies import ShardExporter
from transforms.publish.exports.entries import BadDatasetError, Entry, small_file
from transforms.publish.features import arrow_schema, sample_features
from transforms.publish.files import write_text
from transforms.publish.manifest import CARD_FILE

ROWS_FOLDER = "rows"
ROW_FEATURES = [*sample_features(), {"name": "shard", "dtype": "string"}]
"""A column for each field of a sample, and the shard that holds its clip."""

_SCHEMA = arrow_schema(ROW_FEATURES)
_MARK = "---\n"
_ROWS_TEXT = """
The samples of this dataset without their clips, a column for each field; `shard` says which tar
holds the clip. The hub's viewer shows them where this folder is a dataset of its own.
"""


class HuggingFace(ShardExporter):
    """Shards under their own names, the dataset's card, and `rows/{split}/{partition}.parquet`."""

    name = "hf"

    def add(self, entry: Entry) -> None:
        super().add(entry)
        row = {**entry.sample.model_dump(mode="json"), "shard": entry.shard}
        split, partition = entry.sample.split, entry.partition
        self.files.add(f"{ROWS_FOLDER}/{split}/{partition}.parquet", row, _SCHEMA)

    def finish(self) -> None:
        super().finish()
        configs = self._configs("parquet")
        infos = [{"config_name": one["config_name"], "features": ROW_FEATURES} for one in configs]
        front = self._card()[0] | {"configs": configs, "dataset_info": infos}
        write_text(self.out / ROWS_FOLDER / CARD_FILE, _text(front, _ROWS_TEXT))

    def readme(self) -> Readme:
        split, partition, _ = self.first()
        load = f"'{split}', split='{partition}'"
        # Not '.', of which `datasets` can make no name.
        shards = (
            f"python -c \"import datasets; data = datasets.load_dataset('$PWD', {load}, "
            "streaming=True); data = data.cast_column('mp4', datasets.Video(decode=False)); "
            "print(next(iter(data))['json']['messages'])\""
        )
        rows = (
            f"python -c \"import datasets; print(datasets.load_dataset('{ROWS_FOLDER}', {load})"
            "[0]['messages'])\""
        )
        return Readme(
            install="pip install datasets==5.2.0",
            commands=(shards, rows),
            reward="`rewards.py` here: `grade(reward['fn'], answer, sample['answer']['text'], "
            "**json.loads(reward['spec_json']))`; what trainers on `datasets` call is in it, too",
        )

    def page(self, text: str) -> str:
        """The dataset's card, whose configurations are those of the export, before the lines."""
        front, body = self._card()
        infos = {one["config_name"]: one for one in front.get("dataset_info", ())}
        if not infos.keys() >= self.partitions().keys():
            raise BadDatasetError(f"{CARD_FILE}: states no column types; run: proofreel check")
        front["configs"] = self._configs("tar")
        front["dataset_info"] = [infos[one] for one in self.partitions()]
        return _text(front, f"{body.rstrip()}\n\n{text}")

    def _configs(self, suffix: str) -> list[dict[str, Any]]:
        """What a card says of where the files of each split are."""
        wild = "-*" if suffix == "tar" else ""
        configs: list[dict[str, Any]] = [
            {
                "config_name": split,
                "data_files": [
                    {"split": one, "path": f"{split}/{one}{wild}.{suffix}"} for one in partitions
                ],
            }
            for split, partitions in self.partitions().items()
        ]
        configs[0]["default"] = True
        return configs

    def _card(self) -> tuple[dict[str, Any], str]:
        """YAML and text of the dataset's card. Raises BadDatasetError if it has no YAML."""
        try:
            text = small_file(self.dataset, CARD_FILE).decode("utf-8")
            before, _, rest = text.partition(_MARK)
            front, mark, body = rest.partition("\n" + _MARK)
            value = yaml.load(front, _NoAliases) if mark and not before else None  # noqa: S506 - safe
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise BadDatasetError(f"{CARD_FILE}: begins with no YAML; run: proofreel check")
        return value, body


class _NoAliases(yaml.SafeLoader):
    """Our cards hold none, and in a hostile one a few lines of them stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def _text(front: Mapping[str, Any], body: str) -> str:
    return f"{_MARK}{to_yaml(front)}\n{_MARK}{body}"
