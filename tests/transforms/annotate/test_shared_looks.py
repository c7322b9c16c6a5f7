"""Many threads that look at clips at once: one look serves all, and each sees its own frames."""

from __future__ import annotations

import threading
from types import ModuleType

import pytest
from shown_clips import settings

from transforms.annotate.seeing import Looker, Recent
from transforms.memo import MemoStore


def test_requests_about_one_clip_share_one_look() -> None:
    made: list[str] = []
    gate = threading.Event()

    def make(name: str) -> str:
        made.append(name)
        gate.wait(5)
        return name

    recent: Recent[str, str] = Recent(size=2)
    threads = [
        threading.Thread(target=recent.of, args=("first", lambda: make("first"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert made == ["first"]
    for name in ("second", "third", "first"):
        assert recent.of(name, lambda name=name: make(name)) == name
    assert made == ["first", "second", "third", "first"]


def test_a_failed_look_is_not_kept() -> None:
    calls: list[int] = []

    def make() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not now")
        return "seen"

    recent: Recent[str, str] = Recent(size=2)
    with pytest.raises(ValueError, match="not now"):
        recent.of("clip", make)
    assert recent.of("clip", make) == "seen"


def test_who_waits_for_a_failed_look_is_told() -> None:
    started, gate = threading.Event(), threading.Event()
    errors: list[str] = []

    def make() -> str:
        started.set()
        gate.wait(5)
        raise ValueError("broken")

    recent: Recent[str, str] = Recent(size=2)

    def ask() -> None:
        try:
            recent.of("clip", make)
        except ValueError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    threads[0].start()
    started.wait(5)
    for thread in threads[1:]:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert errors == ["broken"] * 3


def test_many_threads_see_the_right_frames(scenes: ModuleType, clip_store: MemoStore) -> None:
    """A looker that keeps fewer clips than are asked for at once, over and over."""
    cast = [scenes.make_scene(clip_store, code) for code in range(1, 7)]
    looker = Looker(clip_store, settings(frame_height_px=84, frames="detail"), kept=2)
    wrong: list[str] = []
    start = threading.Barrier(8)

    def watch(place: int) -> None:
        start.wait(10)
        for turn in range(12):
            code = (place * 5 + turn * 7) % 6 + 1
            times_s = (None, (0.5, 1.5), (0.25, 0.75))[turn % 3]
            frames = looker.look(cast[code - 1], times_s)
            read = [scenes.read_board(pixels) for pixels in frames.pixels]
            right = read == [(code, round(time_s * 8)) for time_s in frames.times_s]
            if not right or (times_s or frames.times_s) != frames.times_s or len(read) < 2:
                wrong.append(f"{code}: {read}")

    threads = [threading.Thread(target=watch, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads) and not wrong
