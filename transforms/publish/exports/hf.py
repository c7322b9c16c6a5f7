"""The layout of the Hugging Face hub: shards, a card, and a Parquet view that its viewer shows.

Read in datasets 5.2.0. Each split has two configurations: `sft` are the shards, `sft_rows` the
samples without their clips. The card states the column types of both: guessed from the first rows,
a list that is empty in all of them would become a list of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from transforms.publish.card import to_yaml
from transforms.publish.exports.base import Readme
from transforms.publish.exports.copies import ShardExporter
from transforms.publish.exports.entries import BadDatasetError, Entry
from transforms.publish.features import arrow_schema, sample_features
from transforms.publish.manifest import CARD_FILE

ROWS_FOLDER = "rows"
ROW_FEATURES = [*sample_features(), {"name": "shard", "dtype": "string"}]
"""A column for each field of a sample, and the shard that holds its clip."""

_SCHEMA = arrow_schema(ROW_FEATURES)
_MARK = "---\n"


class HuggingFace(ShardExporter):
    """Shards under their own names, `rows/{split}/{partition}.parquet`, and the dataset's card."""

    name = "hf"

    def add(self, entry: Entry) -> None:
        super().add(entry)
        row = {**entry.sample.model_dump(mode="json"), "shard": entry.shard}
        self.files.add(_rows_file(entry.sample.split, entry.partition), row, _SCHEMA)

    def readme(self) -> Readme:
        split, partition, _ = self.first()
        shards = (
            f"python -c \"import datasets; data = datasets.load_dataset('.', '{split}', "
            f"split='{partition}', streaming=True); data = data.cast_column('mp4', "
            "datasets.Video(decode=False)); print(next(iter(data))['json']['messages'])\""
        )
        rows = (
            f"python -c \"import datasets; print(datasets.load_dataset('.', '{split}_rows', "
            f"split='{partition}')[0]['messages'])\""
        )
        return Readme(
            install="pip install datasets==5.2.0",
            commands=(shards, rows),
            reward="`rewards.py` here: `grade(reward['fn'], answer, sample['answer']['text'], "
            "**json.loads(reward['spec_json']))`; what trainers on `datasets` call is in it, too",
        )

    def page(self, text: str) -> str:
        """The dataset's card, whose configurations are those of the export, before the lines."""
        front, body = _parts((self.dataset / CARD_FILE).read_text("utf-8"))
        infos = {one["config_name"]: one for one in front.get("dataset_info", ())}
        if not infos.keys() >= self.partitions().keys():
            raise BadDatasetError(f"{CARD_FILE}: states no column types; run: proofreel check")
        configs, stated = [], []
        for name, partitions in self.partitions().items():
            configs += [
                _config(name, {one: f"{name}/{one}-*.tar" for one in partitions}),
                _config(f"{name}_rows", {one: _rows_file(name, one) for one in partitions}),
            ]
            stated += [infos[name], {"config_name": f"{name}_rows", "features": ROW_FEATURES}]
        configs[0]["default"] = True
        front |= {"configs": configs, "dataset_info": stated}
        return f"{_MARK}{to_yaml(front)}\n{_MARK}{body.rstrip()}\n\n{text}"


def _rows_file(split: str, partition: str) -> str:
    return f"{ROWS_FOLDER}/{split}/{partition}.parquet"


def _config(name: str, paths: Mapping[str, str]) -> dict[str, Any]:
    files = [{"split": partition, "path": path} for partition, path in paths.items()]
    return {"config_name": name, "data_files": files}


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """The YAML and the text of a card. Raises BadDatasetError if it has no YAML."""
    before, _, rest = card.partition(_MARK)
    front, mark, body = rest.partition("\n" + _MARK)
    try:
        value = yaml.safe_load(front) if mark and not before else None
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise BadDatasetError(f"{CARD_FILE}: begins with no YAML; run: proofreel check")
    return value, body
