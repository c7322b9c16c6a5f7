"""The memo store at a URL, over Beam's filesystems: an entry is there completely or not at all."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from object_store import BUCKET, ObjectStore
from small_disks import KIB, ROOMY_KIB, Mount, remount

from transforms import cache, remote_memo
from transforms.machine_paths import without_paths
from transforms.memo import RESULT_FILE, Entry, MemoStore
from transforms.outcome import StopRunError
from transforms.remote_memo import RemoteMemoStore, open_store
from transforms.storage import StorageError, check_usable


@pytest.fixture
def store(objects: ObjectStore) -> MemoStore:
    return open_store(objects.url("work", "memo"))


def with_file(store: MemoStore, content: bytes = b"whole") -> Entry:
    entry = store.entry("s", 1)
    with entry.building() as folder:
        (folder / "clip.mp4").write_bytes(content)
        entry.finish(folder, {"ref": entry.ref("clip.mp4")})
    return entry


def forget_copies() -> None:
    """As another machine, which has none."""
    remote_memo._KNOWN.clear()
    for path in (cache.cache_folder() / "files").glob("*/*/*"):
        path.unlink()


@contextlib.contextmanager
def on_machine(name: str) -> Iterator[None]:
    """A new process on a machine that keeps its copies."""
    remote_memo._KNOWN.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cache.FOLDER_VARIABLE, str(cache.cache_folder() / name))
        yield


def test_a_folder_is_no_url(tmp_path: Path) -> None:
    assert type(open_store(str(tmp_path))) is MemoStore
    assert type(open_store("s3://bucket/memo")) is RemoteMemoStore


def test_what_was_put_is_found_again_under_the_key_that_it_has_in_a_folder(
    store: MemoStore, tmp_path: Path, objects: ObjectStore
) -> None:
    result = {"a": [1, 2.5, "é"], "b": None}
    store.entry("step", "id", {"x": 1}).put(result)
    travelled = pickle.loads(pickle.dumps(store))
    assert travelled.entry("step", "id", {"x": 1}).get() == result
    assert store.entry("step", "id", {"x": 2}).get() is None
    local = MemoStore(str(tmp_path))
    local.entry("step", "id", {"x": 1}).put(result)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(RESULT_FILE)}
    assert objects.files("work/memo/").keys() == found


def test_results_that_are_nothing_differ_from_no_result(store: MemoStore) -> None:
    store.entry("s", 1).put([])
    assert store.entry("s", 1).get() == []


def test_a_full_disk_of_copies_is_named(store: MemoStore, mount: Mount) -> None:
    """Where a copy is fetched, and where an entry or anything else is made before it is put."""
    with on_machine("roomy"):
        entry = with_file(store, bytes(KIB * KIB))
    copies = mount(cache.cache_folder() / "full", KIB // 2)

    def make(folder: Path) -> None:
        (folder / "clip.mp4").write_bytes(bytes(KIB * KIB))

    with on_machine("full"):
        for making in (store.scratch(), store.entry("s", 2).building()):
            with pytest.raises(StopRunError, match=told_of(copies)), making as folder:
                make(folder)
        with pytest.raises(StopRunError, match=told_of(copies)):
            store.path(entry.ref("clip.mp4"))
        remount(copies, f"size={ROOMY_KIB}k")
        assert store.path(entry.ref("clip.mp4")).stat().st_size == KIB * KIB
        assert list((copies / "tmp").iterdir()) == []


def test_a_folder_of_copies_that_is_read_only_is_named(store: MemoStore, mount: Mount) -> None:
    """Also if the copy is there: its time of use can't be set."""
    with on_machine("disk"):
        copies = mount(cache.cache_folder(), ROOMY_KIB)
        entry = with_file(store)
        remount(copies, "ro")
        with pytest.raises(StopRunError, match=told_of(copies, "is on a disk that is read-only")):
            store.path(entry.ref("clip.mp4"))


def told_of(copies: Path, what: str = "its disk is full") -> str:
    named = f"the folder of copies of remote files (PROOFREEL_CACHE names another) {copies}"
    return rf"^{re.escape(named)}:? {what}"


def test_files_come_with_their_result(store: MemoStore, objects: ObjectStore) -> None:
    entry = with_file(store)
    assert entry.get() == {"ref": entry.ref("clip.mp4")}
    objects.requests.clear()
    assert store.path(entry.ref("clip.mp4")).read_bytes() == b"whole"
    assert objects.requests == [], "who made a file has its copy already"
    forget_copies()
    assert store.path(entry.ref("clip.mp4")).read_bytes() == b"whole"
    assert store.path(entry.ref("clip.mp4")).suffix == ".mp4"


def test_an_empty_file_is_a_file(store: MemoStore) -> None:
    entry = with_file(store, b"")
    assert entry.get() is not None
    forget_copies()
    assert store.path(entry.ref("clip.mp4")).read_bytes() == b""


def test_the_result_is_put_last(store: MemoStore, objects: ObjectStore) -> None:
    with_file(store)
    puts = [path.rpartition("/")[2] for method, path in objects.requests if method == "PUT"]
    assert len(puts) == 2
    assert puts[0].endswith("-clip.mp4")
    assert puts[1] == RESULT_FILE


def test_an_entry_killed_before_its_result_is_none(store: MemoStore, objects: ObjectStore) -> None:
    entry = with_file(store)
    objects.client.delete_object(Bucket=BUCKET, Key=f"work/memo/{entry.ref(RESULT_FILE)}")
    assert entry.get() is None
    assert with_file(store, b"anew").get() is not None
    forget_copies()
    assert store.path(entry.ref("clip.mp4")).read_bytes() == b"anew"


@pytest.mark.parametrize("left", [None, b"", b"half"])
def test_an_entry_whose_file_is_not_whole_is_none(
    store: MemoStore, objects: ObjectStore, left: bytes | None
) -> None:
    entry = with_file(store)
    [key] = [name for name in objects.files() if name.endswith("clip.mp4")]
    objects.client.delete_object(Bucket=BUCKET, Key=key)
    if left is not None:
        objects.client.put_object(Bucket=BUCKET, Key=key, Body=left)
    assert entry.get() is None
    assert with_file(store).get() is not None


@pytest.mark.parametrize("left", [b"", b'{"cut', b"\xff", b"[]"])
def test_a_result_that_is_none_is_made_anew(
    store: MemoStore, objects: ObjectStore, left: bytes
) -> None:
    entry = store.entry("s", 1)
    key = f"work/memo/{entry.ref(RESULT_FILE)}"
    objects.client.put_object(Bucket=BUCKET, Key=key, Body=left)
    assert entry.get() is None
    entry.put("again")
    assert entry.get() == "again"


def test_an_error_while_building_leaves_nothing(store: MemoStore, objects: ObjectStore) -> None:
    with pytest.raises(KeyboardInterrupt), store.entry("s", 1).building() as folder:
        (folder / "clip.mp4").write_bytes(b"half")
        raise KeyboardInterrupt
    assert objects.files() == {}
    assert list((cache.cache_folder() / "tmp").iterdir()) == []


def test_what_is_forgotten_is_gone_here_and_there(store: MemoStore, objects: ObjectStore) -> None:
    entry = with_file(store)
    store.forget(entry.ref("clip.mp4"))
    assert entry.get() is None
    assert objects.files() == {}
    with pytest.raises(FileNotFoundError, match="run it again"):
        store.path(entry.ref("clip.mp4"))


def test_what_was_made_anew_is_not_taken_from_an_old_copy(store: MemoStore) -> None:
    """A damaged mp4 was found and made anew on one machine; another one has a copy of it."""
    ref = store.entry("s", 1).ref("clip.mp4")
    with on_machine("a"):
        with_file(store, b"damaged")
    with on_machine("b"):
        assert store.path(ref).read_bytes() == b"damaged"
    with on_machine("a"):
        store.forget(ref)
        entry = store.entry("s", 1)
        with entry.building() as folder:
            (folder / "clip.mp4").write_bytes(b"mended!")
            entry.finish(folder, {"sha256": "another"})
    with on_machine("b"):
        assert store.path(ref).read_bytes() == b"mended!"


def test_who_looks_it_up_again_learns_that_it_was_made_anew(store: MemoStore) -> None:
    ref = store.entry("s", 1).ref("clip.mp4")
    with_file(store, b"damaged")
    assert store.path(ref).read_bytes() == b"damaged"
    known = remote_memo._KNOWN.get(f"{store.root}/{ref.rpartition('/')[0]}")
    with on_machine("another"):
        store.forget(ref)
        with_file(store, b"mended, and longer")
    assert known is not None
    remote_memo._KNOWN.put(f"{store.root}/{ref.rpartition('/')[0]}", known)
    assert store.entry("s", 1).get() is not None
    assert store.path(ref).read_bytes() == b"mended, and longer"


def test_many_builders_at_once(store: MemoStore) -> None:
    def build(worker: int) -> bytes:
        entry = with_file(store)
        assert entry.get() == {"ref": entry.ref("clip.mp4")}, worker
        return store.path(entry.ref("clip.mp4")).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(build, range(8))) == {b"whole"}
    assert list((cache.cache_folder() / "tmp").iterdir()) == []


@pytest.mark.parametrize("ref", ["../out", "s/../../out", "/etc/passwd", "s3://other/x", "s//x"])
def test_no_reference_leads_outside(store: MemoStore, ref: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        store.path(ref)


def test_a_store_that_cant_be_reached_stops_the_run(store: MemoStore, objects: ObjectStore) -> None:
    entry = store.entry("s", 1)
    elsewhere = open_store("s3://no-such-bucket/memo").entry("s", 1)
    assert elsewhere.get() is None
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/memo/s/.*can't be written"):
        elsewhere.put(1)
    assert entry.get() is None


def test_who_is_first_with_a_result_wins(store: MemoStore) -> None:
    """A teacher may say something else to the second, whose question was on its way meanwhile."""
    first, second = store.entry("s", 1), store.entry("s", 1)
    assert (first.get(), second.get()) == (None, None)
    assert first.put("one") == "one"
    assert second.put("other") == "one"
    assert first.get() == "one"


@dataclass
class Writer:
    """One of two machines that finish the same entry, each with a content of its own."""

    store: MemoStore
    content: bytes
    told: Any = None

    def finish(self) -> None:
        entry = self.store.entry("s", 1)
        with entry.building() as folder:
            (folder / "clip.mp4").write_bytes(self.content)
            self.told = entry.finish(folder, {"sha256": sha256(self.content).hexdigest()})


def found(store: MemoStore) -> tuple[str, str]:
    """On a third machine: what the result says of the file, and what the file is."""
    forget_copies()
    result = store.entry("s", 1).get()
    data = store.path(store.entry("s", 1).ref("clip.mp4")).read_bytes()
    return result["sha256"], sha256(data).hexdigest()


@pytest.mark.parametrize("conditions", ["kept", "ignored", "refused"])
@pytest.mark.parametrize("overtaken_at", ["clip.mp4", RESULT_FILE])
@pytest.mark.parametrize("contents", [(b"one", b"two"), (b"two", b"one")])
def test_of_two_writers_whose_requests_interleave_no_mixture_stays(
    contents: tuple[bytes, bytes],
    overtaken_at: str,
    conditions: str,
    store: MemoStore,
    objects: ObjectStore,
) -> None:
    """The second one does all of its work while a request of the first is on its way."""
    objects.conditions = conditions
    first, second = (Writer(store, content) for content in contents)

    def overtake(method: str, path: str) -> None:
        if method == "PUT" and path.endswith(overtaken_at):
            objects.before = None
            second.finish()

    objects.before = overtake
    first.finish()
    assert second.told is not None, "it was overtaken"
    said, is_there = found(store)
    assert said == is_there
    assert first.told["sha256"] == said, "who is last knows what stands"
    if conditions == "kept" or (overtaken_at == "clip.mp4" and conditions == "refused"):
        assert second.told["sha256"] == said, "the first to finish has won"


@pytest.mark.parametrize("conditions", ["kept", "ignored", "refused"])
def test_two_writers_one_of_whom_puts_files_alone(
    conditions: str, store: MemoStore, objects: ObjectStore
) -> None:
    """One put its files and was killed before its result: it changes nothing."""
    objects.conditions = conditions
    first = Writer(store, b"one")
    first.finish()
    objects.client.delete_object(
        Bucket=BUCKET, Key=f"work/memo/{store.entry('s', 1).ref(RESULT_FILE)}"
    )
    second = Writer(store, b"other")
    second.finish()
    said, is_there = found(store)
    assert said == is_there == sha256(b"other").hexdigest()


def test_a_store_that_was_copied_from_a_folder_is_read(
    store: MemoStore, objects: ObjectStore, tmp_path: Path
) -> None:
    with_file(MemoStore(str(tmp_path / "memo")))
    for path in (tmp_path / "memo").rglob("*.*"):
        objects.put(path, f"work/memo/{path.relative_to(tmp_path / 'memo')}")
    entry = store.entry("s", 1)
    assert entry.get() == {"ref": entry.ref("clip.mp4")}
    assert store.path(entry.ref("clip.mp4")).read_bytes() == b"whole"


@pytest.mark.parametrize("url", ["webhdfs://x/y", "http://127.0.0.1/x"])
def test_a_filesystem_that_nobody_knows_is_named(url: str) -> None:
    with pytest.raises(StorageError, match=r"nothing here reads \w+://; known are gs, s3"):
        check_usable(url)


def test_copies_take_no_more_room_than_they_may(
    store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.SIZE_VARIABLE, "0.000002")
    paths = []
    for number in range(4):
        entry = store.entry("s", number)
        with entry.building() as folder:
            (folder / "clip.mp4").write_bytes(bytes(900))
            entry.finish(folder, 1)
        paths.append(store.path(entry.ref("clip.mp4")))
    assert all(path.exists() for path in paths), "all were asked for just now"
    for age_hours, path in zip((3, 4, 2), paths[:3], strict=True):
        used = time.time() - age_hours * 3_600
        os.utime(path.parent, (used, used))
    cache.make_room(2_000)
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert store.path(store.entry("s", 1).ref("clip.mp4")).stat().st_size == 900, "it comes back"


DIE_WHILE_MAKING = """
import os, signal
from transforms.cache import making
with making() as folder:
    (folder / "copy").write_bytes(b"half")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_half_made_goes_with_the_next_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On machines of a cluster there are only workers."""
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "of this test"))
    command = [sys.executable, "-c", DIE_WHILE_MAKING]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    left = Path(done.stdout.strip())
    assert (left / "copy").read_bytes() == b"half"
    with cache.making() as at_work:
        assert not left.exists()
        subprocess.run([sys.executable, "-c", SWEEP], check=True)
        cache.sweep_cache()
        assert at_work.exists(), "what others are at stays"
    assert list(left.parent.iterdir()) == []


SWEEP = "from transforms.cache import making; making().__enter__()"


def test_what_is_gone_is_told_without_the_store(store: MemoStore, objects: ObjectStore) -> None:
    """The words may be published, as the detail of a rejection."""
    entry = with_file(store)
    ref = entry.ref("clip.mp4")
    objects.client.delete_object(
        Bucket=BUCKET, Key=f"work/memo/{ref.rpartition('/')[0]}/result.json"
    )
    forget_copies()
    with pytest.raises(FileNotFoundError) as caught:
        store.path(ref)
    assert without_paths(str(caught.value)) == f"{ref} is gone from the memo store; run it again"
