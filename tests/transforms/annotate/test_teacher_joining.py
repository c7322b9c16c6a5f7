"""A reply meets its request by id, whatever a teacher does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scene import plain_scene

from transforms.annotate.teacher import Reply, Request, TeacherSettings, answers_by_id

Asking = Callable[[Sequence[Request]], Iterable[Reply]]


class OddTeacher:
    """A teacher that answers as it is told to."""

    settings = TeacherSettings()

    def __init__(self, asking: Asking) -> None:
        self.ask = asking

    def version(self) -> str:
        return "1"

    def open(self) -> None:
        """Nothing to load."""


def requests(count: int) -> list[Request]:
    return [Request(scene=plain_scene(), sample=number) for number in range(count)]


def reply(request: Request, text: str = "") -> Reply:
    return Reply(request_id=request.id, text=text or f"to {request.sample}")


def joined(asking: Asking, asked: Sequence[Request]) -> dict[str, Reply]:
    replies = list(answers_by_id(OddTeacher(asking), asked))
    assert [one.request_id for one in replies] == list(dict.fromkeys(r.id for r in asked))
    return {one.request_id: one for one in replies}


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_order_doublets_and_strangers_do_not_matter(order: list[int], again: list[int]) -> None:
    asked = requests(6)

    def asking(several: Sequence[Request]) -> Iterable[Reply]:
        yield Reply(request_id="stranger", text="to nobody")
        for place in order:
            yield reply(several[place])
        for place in again:
            yield reply(several[place], "second thoughts")

    found = joined(asking, asked)
    assert [found[one.id].text for one in asked] == [f"to {n}" for n in range(6)]


def test_what_was_answered_before_a_failure_counts() -> None:
    asked = requests(4)

    def asking(several: Sequence[Request]) -> Iterable[Reply]:
        yield reply(several[2])
        yield reply(several[0])
        raise RuntimeError("out of memory")

    found = joined(asking, asked)
    assert [found[one.id].text for one in asked] == ["to 0", "", "to 2", ""]
    assert [found[one.id].error for one in asked][::2] == ["", ""]
    for one in asked[1::2]:
        assert "RuntimeError: out of memory" in found[one.id].error


@pytest.mark.parametrize(
    "asking", [lambda several: [], lambda several: None, lambda several: ["text"], lambda: None]
)
def test_a_teacher_without_replies_costs_each_request_an_error(asking: Asking) -> None:
    found = joined(asking, requests(3))
    assert all(one.error and not one.text for one in found.values())


def test_the_same_request_twice_gets_one_reply() -> None:
    one = requests(1)[0]
    assert len(joined(lambda several: [reply(several[0])], [one, one])) == 1


def test_nothing_asked_nothing_answered() -> None:
    assert joined(lambda several: [Reply(request_id="x", text="?")], []) == {}


def test_a_request_is_named_by_all_that_it_says() -> None:
    scene = plain_scene()
    usual = Request(scene=scene, wanted=4)
    others = [
        Request(scene=plain_scene(1), wanted=4),
        Request(scene=scene, wanted=5),
        Request(scene=scene, wanted=4, sample=1),
        Request(scene=scene, wanted=4, round=1),
        Request(scene=scene, wanted=4, critique=("no",)),
        Request(scene=scene, wanted=4, critique=("n", "o")),
        Request(scene=scene, wanted=4, seed=1),
    ]
    assert len({usual.id, *(one.id for one in others)}) == len(others) + 1
    assert usual.id == Request(scene=scene, wanted=4).id
