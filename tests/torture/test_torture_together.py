"""The whole corpus in one run, good videos among it: each input meets its own end, no more."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from pipeline_helpers import (
    DROPS_RIGHTS,
    FAST,
    bikes,
    carphone,
    funnel,
    index_rows,
    left_half_built,
    rejected_rows,
)
from torture_corpus import KINDS, label, published
from torture_kind import Kind
from torture_making import Shop
from torture_watch import Opened, Server, session_of
from torture_work import SETTINGS

from pipelines.records import records
from transforms.memo import MemoStore
from transforms.publish.check import check_dataset
from transforms.video import probe as probing

NO_SUCH_RIGHT = 77
VANISHING = "a vanishing one.mp4"
GOOD = {"a good one.mp4": bikes, "one more good one.mp4": carphone}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches by inotify, drops rights")


@dataclass
class Run:
    """A finished run over the corpus, seen from outside."""

    out: Path
    code: int
    stderr: str
    visits: list[str]
    opened: int
    left_processes: list[str]
    came_here: list[str]
    """Files beside the input that were not there before."""
    spans: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Spans of the clips that were cut, by the name of their video."""
    lost: dict[str, list[tuple[str, str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Stage, reason and detail of what was rejected up to the cut, by the name of the input."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shop: Shop, server: Server) -> Run:
    folder = tmp_path_factory.mktemp("together")
    inputs, out = shop.folder / "inputs", folder / "out"
    inputs.mkdir()
    for kind in KINDS:
        path = inputs / kind.name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind.make(shop, path)
    for name, source in GOOD.items():
        shutil.copyfile(source(), inputs / name)
    named = [inputs / kind.name for kind in KINDS if kind.named]
    sets = [part for one in (*FAST[1::2], *SETTINGS) for part in ("--set", one)]
    command = [sys.executable, "-c", DROPS_RIGHTS, "-m", "pipelines.cli", "run"]
    command += [str(inputs), *map(str, named), "--out", str(out), *sets]
    before = set(folder.iterdir()) | set(shop.folder.iterdir()) | {out}
    canary, visits = Opened(shop.canary), len(server.visits)
    with subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        vanishing = threading.Thread(
            target=remove_once_probed, args=[inputs / VANISHING, out, process], daemon=True
        )
        vanishing.start()
        _, stderr = process.communicate(timeout=300)
        vanishing.join()
    if process.returncode == NO_SUCH_RIGHT:
        pytest.skip("this user can't give up the right to read everything")
    done = Run(
        out=out,
        code=process.returncode,
        stderr=stderr,
        visits=server.visits[visits:],
        opened=canary.count(),
        left_processes=session_of(process.pid),
        came_here=sorted(one.name for one in {*folder.iterdir(), *shop.folder.iterdir()} - before),
    )
    canary.close()
    if done.code == 0:
        read_ends(done)
    return done


def remove_once_probed(path: Path, out: Path, process: subprocess.Popen[str]) -> None:
    """Remove a file as soon as the run has taken note of it: decoding comes later."""
    digest = sha256(path.read_bytes()).hexdigest()
    entry = MemoStore(str(out / "work" / "memo")).entry("probe", probing.VERSION, digest)
    while process.poll() is None and entry.get() is None:
        time.sleep(0.002)
    path.unlink()


def read_ends(run: Run) -> None:
    """What the run itself says of each input."""
    folder = run.out / "work" / "records"
    names = {
        identity: json.loads(text)["video"]["source"]["uri"]
        for identity, text in records(folder, "video")
    }
    lost_clips = set()
    for row in rejected_rows(run.out):
        if (row["stage"], row["reason"]) == ("cut", "duplicate"):
            continue  # it was cut: many of the corpus hold the same pictures
        if row["stage"] in ("segment", "select", "cut"):
            lost_clips.add(row["subject"])
            name = names[row["parent"]]
        elif row["stage"] in ("ingest", "decode"):
            name = row["parent"] if row["stage"] == "decode" else row["subject"]
        else:
            continue
        run.lost[name].append((row["stage"], row["reason"], row["detail"]))
    for identity, text in records(folder, "clip"):
        clip = json.loads(text)
        if identity not in lost_clips:
            run.spans[names[clip["video_id"]]].append((clip["start_s"], clip["end_s"]))


def test_it_ends_well(run: Run) -> None:
    assert run.code == 0, run.stderr[-2_000:]
    assert "Traceback" not in run.stderr
    assert "internal_error" not in {row["reason"] for row in rejected_rows(run.out)}
    assert check_dataset(run.out / "dataset") == []
    assert left_half_built(run.out) == []


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_each_input_meets_its_end(kind: Kind, run: Run) -> None:
    name = published(kind)
    assert sorted(run.spans[name]) == [pytest.approx(span, abs=0.03) for span in kind.end.spans]
    found = sorted((stage, reason) for stage, reason, _ in run.lost[name])
    assert found == sorted((stage, reason) for stage, reason, _ in kind.end.lost), run.lost[name]
    for _, _, detail in run.lost[name]:
        assert any(words in detail for _, _, words in kind.end.lost), detail


def test_nothing_else_was_found_and_nothing_was_lost(run: Run) -> None:
    seen = {published(kind) for kind in KINDS if kind.end.spans or kind.end.lost} | set(GOOD)
    assert {name for found in (run.spans, run.lost) for name in found if found[name]} == seen
    lines = funnel(run.out)
    assert lines["ingest"]["in"] == len(seen)
    for line in lines.values():
        assert line["in"] == line["out"] + sum(line["rejected"].values()), line
    cut = sum(len(spans) for spans in run.spans.values())
    assert lines["cut"]["out"] + lines["cut"]["rejected"].get("duplicate", 0) == cut


def test_the_good_ones_are_there(run: Run) -> None:
    names = {
        identity: json.loads(text)["video"]["source"]["uri"]
        for identity, text in records(run.out / "work" / "records", "video")
    }
    assert "a good one.mp4" in {names[row["video_id"]] for row in index_rows(run.out)}
    assert run.spans["a good one.mp4"] == [pytest.approx((0.0, 10.0), abs=0.05)]
    assert run.spans["one more good one.mp4"] == [pytest.approx((0.0, 4.0), abs=0.05)]


def test_nothing_outside_was_touched(run: Run) -> None:
    assert run.visits == []
    assert run.opened == 0
    assert run.came_here == []


def test_no_process_stays_behind(run: Run) -> None:
    assert run.left_processes == []


def test_nothing_published_names_this_machine(run: Run, shop: Shop) -> None:
    for row in rejected_rows(run.out):
        assert str(shop.folder) not in repr(row)
        assert str(run.out.parent) not in repr(row)
