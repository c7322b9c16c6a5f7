"""The memo store: an entry is there completely or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from transforms.memo import RESULT_FILE, Entry, MemoStore
from transforms.outcome import StopRunError


@pytest.fixture
def store(tmp_path: Path) -> MemoStore:
    return MemoStore(str(tmp_path / "store"))


def test_what_was_put_is_found_again_by_what_it_was_made_from(store: MemoStore) -> None:
    result = {"a": [1, 2.5, "é"], "b": None}
    store.entry("step", "id", {"x": 1}).put(result)
    assert MemoStore(store.root).entry("step", "id", {"x": 1}).get() == result
    others = [("step", "id", {"x": 2}), ("step", "id"), ("other", "id", {"x": 1})]
    assert all(store.entry(*made_from).get() is None for made_from in others)


def test_keys_do_not_depend_on_the_order_of_settings(store: MemoStore) -> None:
    assert store.entry("s", {"a": 1, "b": 2}) == store.entry("s", {"b": 2, "a": 1})


def test_results_that_are_nothing_differ_from_no_result(store: MemoStore) -> None:
    store.entry("s", 1).put([])
    assert store.entry("s", 1).get() == []


def test_a_half_built_entry_does_not_count(store: MemoStore) -> None:
    entry = store.entry("s", 1)
    with pytest.raises(KeyboardInterrupt), entry.building() as folder:
        (folder / "clip.mp4").write_bytes(b"half")
        assert entry.get() is None
        raise KeyboardInterrupt
    assert entry.get() is None
    assert list(Path(store.root, "tmp").iterdir()) == []


DIE_WHILE_BUILDING = """
import os, signal, sys
from transforms.memo import MemoStore
with MemoStore(sys.argv[1]).entry("s", 1).building() as folder:
    (folder / "clip.mp4").write_bytes(b"half")
    (folder / "result.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_while_building_leaves_nothing_that_counts(store: MemoStore) -> None:
    done = subprocess.run([sys.executable, "-c", DIE_WHILE_BUILDING, store.root])
    assert done.returncode == -signal.SIGKILL
    assert len(list(Path(store.root, "tmp").glob("*/clip.mp4"))) == 1
    entry = store.entry("s", 1)
    assert entry.get() is None
    entry.put("whole")
    store.sweep()
    assert entry.get() == "whole"
    assert list(Path(store.root, "tmp").iterdir()) == []


def test_sweeping_leaves_what_others_are_at(store: MemoStore) -> None:
    entry = store.entry("s", 1)
    with entry.building() as folder, store.scratch() as scratch:
        (folder / "clip.mp4").write_bytes(b"whole")
        swept = subprocess.run([sys.executable, "-c", SWEEP, store.root], check=False)
        assert swept.returncode == 0
        store.sweep()
        assert scratch.is_dir()
        entry.finish(folder, "result")
    assert entry.get() == "result"
    assert list(Path(store.root, "tmp").iterdir()) == []


SWEEP = "import sys; from transforms.memo import MemoStore; MemoStore(sys.argv[1]).sweep()"


def test_sweeping_an_empty_store_is_no_error(store: MemoStore) -> None:
    store.sweep()
    store.entry("s", 1).put(1)
    store.sweep()
    store.entry("s", 2).put(2)
    assert [store.entry("s", n).get() for n in (1, 2)] == [1, 2]


def test_files_come_with_their_result(store: MemoStore) -> None:
    entry = store.entry("s", 1)
    with entry.building() as folder:
        (folder / "clip.mp4").write_bytes(b"whole")
        entry.finish(folder, {"ref": entry.ref("clip.mp4")})
    assert store.path(entry.get()["ref"]).read_bytes() == b"whole"
    assert not Path(entry.get()["ref"]).is_absolute(), "a store can move"


def test_the_first_of_two_builders_wins_and_the_other_agrees(store: MemoStore) -> None:
    entry = store.entry("s", 1)
    with entry.building() as first, entry.building() as second:
        assert first != second
        for folder in (first, second):
            (folder / "clip.mp4").write_bytes(b"same")
        assert entry.finish(first, "result") == "result"
        assert entry.finish(second, "another reply") == "result", "what holds is the first's"
    assert entry.get() == "result"
    assert store.path(entry.ref("clip.mp4")).read_bytes() == b"same"
    assert list(Path(store.root, "tmp").iterdir()) == []


def test_many_builders_at_once(store: MemoStore) -> None:
    together = Barrier(8)

    def build(worker: int) -> None:
        for number in range(20):
            together.wait()
            entry = store.entry("s", number)
            entry.put({"number": number})
            assert entry.get() == {"number": number}, worker

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(build, range(8)))
    assert list(Path(store.root, "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *((RESULT_FILE, left) for left in (None, b"", b'{"cut', b"\xff")),
        *(("clip.mp4", left) for left in (None, b"", b"who")),
    ],
)
def test_what_a_power_failure_leaves_is_made_anew(
    store: MemoStore, name: str, left: bytes | None
) -> None:
    entry = store.entry("s", 1)
    with entry.building() as folder:
        (folder / "clip.mp4").write_bytes(b"whole")
        entry.finish(folder, "whole")
    file = store.path(entry.ref(name))
    if left is None:
        file.unlink()
    else:
        file.write_bytes(left)
    assert entry.get() is None
    entry.put("again")
    assert entry.get() == "again"
    assert [one.name for one in file.parent.iterdir()] == [RESULT_FILE]


def test_what_another_mended_meanwhile_is_not_taken_away(
    store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two find an entry broken; one has it whole again when the other moves it aside."""
    entry = store.entry("s", 1)
    entry.put("before")
    store.path(entry.ref(RESULT_FILE)).write_bytes(b'{"cut')
    read = Entry._read

    def read_before_the_other(one: Entry) -> object:
        monkeypatch.setattr(Entry, "_read", read)
        broken = one._read()
        assert store.entry("s", 1).put("of the other") == "of the other"
        return broken

    monkeypatch.setattr(Entry, "_read", read_before_the_other)
    assert entry.put("mine") == "of the other"
    assert entry.get() == "of the other"
    assert list(Path(store.root, "tmp").iterdir()) == []


def test_a_store_that_went_away_is_not_made_anew(store: MemoStore) -> None:
    """Where a disk was mounted, an empty folder is left: nothing must be written into that."""
    prepared = store.prepare()
    entry = prepared.entry("s", 1)
    entry.put("there")
    Path(store.root).rename(f"{store.root}.away")
    for attempt in (lambda: entry.put("again"), prepared.check, prepared.scratch().__enter__):
        with pytest.raises(StopRunError, match=f"memo store {store.root} is gone"):
            attempt()
    assert not Path(store.root).exists()
    Path(f"{store.root}.away").rename(store.root)
    prepared.check()
    assert entry.get() == "there"


def test_a_store_that_cant_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        MemoStore(str(tmp_path / "file")).entry("s", 1).put(1)


@pytest.mark.parametrize("ref", ["../out", "s/../../out", "/etc/passwd", "link/passwd"])
def test_no_reference_leads_outside(store: MemoStore, ref: str) -> None:
    Path(store.root).mkdir()
    Path(store.root, "link").symlink_to("/etc")
    with pytest.raises(ValueError, match="outside"):
        store.path(ref)


def test_a_store_may_be_reached_through_a_link(store: MemoStore, tmp_path: Path) -> None:
    store.entry("s", 1).put("there")
    (tmp_path / "link").symlink_to(store.root)
    linked = MemoStore(str(tmp_path / "link"))
    entry = linked.entry("s", 1)
    assert entry.get() == "there"
    assert '"there"' in linked.path(entry.ref(RESULT_FILE)).read_text()


def test_what_cant_be_told_apart_is_refused(store: MemoStore) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.entry("s", float("nan"))
