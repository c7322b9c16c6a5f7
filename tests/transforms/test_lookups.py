"""Whether work was found or done, as the memo store itself tells whoever watches."""

from __future__ import annotations

import threading
from pathlib import Path

from transforms.lookups import watching
from transforms.memo import MemoStore


def test_work_that_is_done_is_not_taken_for_found(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path))
    with watching() as first:
        entry = store.entry("cut", "a")
        assert entry.get() is None
        entry.put({"is": 1})
    assert (first.reused, first.worked) == (False, True)
    with watching() as again:
        assert store.entry("cut", "a").get() == {"is": 1}
    assert (again.reused, again.worked) == (True, False)
    assert again.found == {"cut": 1}


def test_what_is_partly_found_is_work(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path))
    store.entry("packets", "a").put(1)
    with watching() as lookups:
        assert store.entry("packets", "a").get() == 1
        assert store.entry("cut", "a").get() is None
        store.entry("cut", "a").put(2)
    assert (lookups.reused, lookups.worked) == (False, True)
    # Some results are looked for that need not be there.
    with watching() as lookups:
        assert store.entry("too_long", "a").get() is None
        assert store.entry("cut", "a").get() == 2
    assert (lookups.reused, lookups.worked) == (True, False)


def test_work_that_fails_is_work_and_none_is_none(tmp_path: Path) -> None:
    with watching() as lookups:
        assert MemoStore(str(tmp_path)).entry("decode", "a").get() is None
    assert (lookups.reused, lookups.worked) == (False, True)
    with watching() as lookups:
        pass
    assert (lookups.reused, lookups.worked) == (False, False)


def test_each_thread_and_each_block_has_its_own(tmp_path: Path) -> None:
    store = MemoStore(str(tmp_path))
    store.entry("cut", "a").put(1)
    with watching() as outer:
        thread = threading.Thread(target=store.entry("cut", "a").get)
        thread.start()
        thread.join()
        with watching() as inner:
            assert store.entry("cut", "a").get() == 1
        assert (inner.found, outer.found) == ({"cut": 1}, {})
        assert store.entry("cut", "b").get() is None
    assert outer.missed == {"cut": 1}
