"""The job's graph does not grow with the inputs: Dataflow takes no more than 10 MB."""

from __future__ import annotations

from pathlib import Path

from built_jobs import NOTHING, curate, graph_of

from pipelines.config import load_config
from schemas.source import Source
from transforms.memo import MemoStore
from transforms.video.input_pieces import keep_pieces

MANY = 50_000


def test_fifty_thousand_sources_are_one_name(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path)).prepare()
    config = load_config(None, [])
    text = Source(uri="#.mp4", location="/videos/#.mp4", license="CC0").to_json().encode()
    texts = (text.replace(b"#", b"%d" % number) for number in range(MANY))
    sources = keep_pieces(texts, store)
    assert sources.records == MANY
    size, of_none = (graph_of(curate(config, pieces)).ByteSize() for pieces in (sources, NOTHING))
    assert size < 1_000_000
    assert size - of_none < 1_000, "a name is longer or shorter"
