"""The last step of a run: the tables of the dataset, put together from sorted pieces.

Rows are made up, as many as asked for; the pieces are made as the pipeline makes them. Each size
has a process of its own, whose memory is what it holds beyond what is imported. Floor: the same
rows written as Parquet with the same options from tables that are in memory already.

Usage: python bench/finish.py [--rows N ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from schemas.base import content_id
from transforms.pieces import Piece, write_piece
from transforms.publish.finish import Rows
from transforms.publish.index import INDEX_SCHEMA, write_tables
from transforms.publish.ledger import PIECE_ROWS, index_tables, parted, piece_number

ROWS = (100_000, 1_000_000)
SCORES = '{"format":1.0,"grounding":0.83,"measured":0.97,"self_consistency":0.75}'


def made_up(identities: Sequence[str]) -> pa.Table:
    """Rows of the index as long as real ones are."""
    number = len(identities)
    texts = {
        "split": "rl",
        "partition": "train",
        "task_kind": "temporal_grounding",
        "scores_json": SCORES,
        "condition_scores_json": "{}",
        "shard": "rl/train-000123.tar",
    }
    columns: dict[str, list[object]] = {name: [text] * number for name, text in texts.items()}
    for name in ("id", "video_id", "clip_id", "task_id"):
        columns[name] = [name[0] + one[1:] for one in identities]
    columns["measures_json"] = [
        json.dumps({"motion": one[1:9], "text": 0.01}) for one in identities
    ]
    columns["spans_s"] = [[[1.5, 3.25]]] * number
    columns["pass_rate"] = [0.75] * number
    for name in ("json_offset", "json_bytes", "mp4_offset", "mp4_bytes"):
        columns[name] = [int(one[1:9], 16) for one in identities]
    for name in ("json_sha256", "mp4_sha256"):
        columns[name] = [3 * one[1:] for one in identities]
    return pa.table([columns[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA)


def pieces(rows: int, folder: Path) -> Iterator[Piece]:
    """As the pipeline's workers write them."""
    by_piece: dict[int, list[str]] = {}
    for number in range(rows):
        identity = content_id("s", number)
        by_piece.setdefault(piece_number(parted(identity)[1], rows, PIECE_ROWS), []).append(
            identity
        )
    for number in sorted(by_piece):
        table = made_up(by_piece[number])
        yield write_piece(table, ("id",), folder / f"{number:06d}.arrow")


def measure(what: str, folder: Path) -> None:
    """Print seconds, and the MiB that the step took."""
    listed = [Piece(**{**one, "first": tuple(one["first"])}) for one in _listed(folder)]
    tables = list(index_tables(listed)) if what == "floor" else []
    before_mib = peak_mib()
    began_s = time.perf_counter()
    source = tables if what == "floor" else Rows(index_tables(listed), "id")
    write_tables(source, INDEX_SCHEMA, folder / f"{what}.parquet")
    took_s = time.perf_counter() - began_s
    print(json.dumps([took_s, peak_mib() - before_mib]))


def peak_mib() -> float:
    """The largest resident size of this process so far; `exec` begins it anew."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _listed(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "pieces.jsonl").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]))
        return
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="proofreel-bench-") as name:
            folder = Path(name)
            lines = [json.dumps(vars(one)) for one in pieces(rows, folder)]
            (folder / "pieces.jsonl").write_text("\n".join(lines))
            took = {}
            for what in ("floor", "step"):
                command = [sys.executable, __file__, "--measure", what, name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                took[what] = json.loads(done.stdout)
            same = (folder / "floor.parquet").read_bytes() == (folder / "step.parquet").read_bytes()
            assert same, "the step and its floor wrote different files"
        (floor_s, _), (step_s, step_mib) = took["floor"], took["step"]
        print(
            f"{rows} rows in {len(lines)} pieces: {step_s:.1f} s, {step_s / floor_s:.2f} of "
            f"writing what is in memory; {step_mib:.0f} MiB more memory",
            flush=True,
        )


if __name__ == "__main__":
    main()
