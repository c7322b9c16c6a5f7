"""Replies are asked for once and then looked up; errors are asked for again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from plain_scene import plain_scene

from transforms.annotate import teachers
from transforms.annotate.teacher import Reply, Request, TeacherKind, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.memo import MemoStore
from transforms.video.shots import ShotSettings

SETTINGS = TeacherSettings(kind=TeacherKind.OPENAI, model="m", url="http://localhost:1/v1")
SHOTS = ShotSettings()


class CountingTeacher:
    """Stands for a server: counts what it is asked, and fails where it is told to."""

    settings = SETTINGS

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.failing: set[int] = set()
        self.opened = 0
        self.number = "1"

    def version(self) -> str:
        return self.number

    def open(self) -> None:
        self.opened += 1

    def ask(self, requests: Sequence[Request]) -> Iterable[Reply]:
        for request in reversed(requests):
            self.asked.append(request.sample)
            if request.sample in self.failing:
                yield Reply(request_id=request.id, error="busy")
            else:
                yield Reply(request_id=request.id, text=f"to {request.sample} – ü", prompt_tokens=7)


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> CountingTeacher:
    """The teacher is the one part that a test can't have for real: a server of a model."""
    one = CountingTeacher()
    monkeypatch.setattr(teachers, "make_teacher", lambda *_: one)
    return one


@pytest.fixture
def store(tmp_path: Path) -> MemoStore:
    return MemoStore(str(tmp_path / "store"))


def requests(count: int = 4) -> list[Request]:
    return [Request(scene=plain_scene(), sample=number) for number in range(count)]


def ask(store: MemoStore, asked: Sequence[Request], **changes: object) -> dict[str, Reply]:
    return ask_stored(SETTINGS.model_copy(update=changes), store, SHOTS, asked)


def test_a_second_call_asks_nothing_and_says_the_same(
    teacher: CountingTeacher, store: MemoStore
) -> None:
    first = ask(store, requests())
    assert sorted(teacher.asked) == [0, 1, 2, 3]
    assert teacher.opened == 1
    assert [first[one.id].text for one in requests()] == [f"to {n} – ü" for n in range(4)]
    teacher.asked.clear()
    assert ask(store, requests()) == first
    assert teacher.asked == []


def test_a_lost_reply_is_asked_for_once_more_and_no_other(
    teacher: CountingTeacher, store: MemoStore
) -> None:
    first = ask(store, requests())
    lost = requests()[2]
    made_of = ["1", SETTINGS.identity()]
    entry = store.entry("reply", made_of, lost.id, "")
    assert entry.get() is not None
    shutil.rmtree(Path(store.root, entry.ref("")))
    teacher.asked.clear()
    assert ask(store, requests()) == first
    assert teacher.asked == [2]


def test_errors_are_not_stored(teacher: CountingTeacher, store: MemoStore) -> None:
    teacher.failing = {1, 3}
    first = ask(store, requests())
    assert [first[one.id].error for one in requests()] == ["", "busy", "", "busy"]
    teacher.asked.clear()
    teacher.failing = set()
    again = ask(store, requests())
    assert sorted(teacher.asked) == [1, 3]
    assert not any(one.error for one in again.values())


def test_only_what_changes_replies_asks_again(teacher: CountingTeacher, store: MemoStore) -> None:
    ask(store, requests(2))
    for speed_only in ({"url": "http://other"}, {"in_flight": 1}, {"samples": 9}, {"retries": 0}):
        teacher.asked.clear()
        ask(store, requests(2), **speed_only)
        assert teacher.asked == [], speed_only
    for change in ({"model": "n"}, {"temperature": 0.5}, {"fps": 1.0}, {"max_tokens": 99}):
        teacher.asked.clear()
        ask(store, requests(2), **change)
        assert sorted(teacher.asked) == [0, 1], change
    teacher.asked.clear()
    teacher.number = "2"
    ask(store, requests(2))
    assert sorted(teacher.asked) == [0, 1]


def test_a_teacher_is_opened_only_to_be_asked(teacher: CountingTeacher, store: MemoStore) -> None:
    assert ask(store, []) == {}
    assert teacher.opened == 0


def test_the_same_request_twice_is_asked_once(teacher: CountingTeacher, store: MemoStore) -> None:
    one = requests(1)[0]
    assert set(ask(store, [one, one])) == {one.id}
    assert teacher.asked == [0]


def test_the_key_of_a_server_is_never_part_of_a_stored_reply(
    teacher: CountingTeacher, store: MemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    ask(store, requests(1))
    stored = [path.read_text() for path in Path(store.root).rglob("*") if path.is_file()]
    assert stored
    assert not any("sk-very-secret" in text for text in stored)
