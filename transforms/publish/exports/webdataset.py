"""webdataset: the dataset's own shards, for loaders that read them as they are."""

from __future__ import annotations

from transforms.publish.exports.base import Readme
from transforms.publish.exports.copies import ShardExporter, braced

MAX_WORKERS = 2


class WebDataset(ShardExporter):
    """Shards of the splits asked for, under the names that they have in the dataset."""

    name = "webdataset"

    def readme(self) -> Readme:
        return Readme(
            install="pip install webdataset==1.0.2",
            reads=(_command(self.first()[2]),),
            reward="`rewards.py` here: `grade(reward['fn'], answer, sample['answer']['text'], "
            "**json.loads(reward['spec_json']))`, where `reward` is `sample['reward']`",
        )


def _command(shards: list[str]) -> str:
    """A loader over some shards; a worker without a shard of its own would be an error."""
    workers = min(MAX_WORKERS, len(shards))
    return (
        'python -c "import webdataset as wds; '
        f"data = wds.WebDataset('{braced(shards)}', shardshuffle={len(shards)}).decode(); "
        f"loader = wds.WebLoader(data, batch_size=None, num_workers={workers}); "
        "print(*(one['json']['messages'] for one in loader), sep='\\n')\""
    )
