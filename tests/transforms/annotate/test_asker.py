"""Questions of many subjects are put together, and every subject gets its own replies back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from plain_scene import plain_scene

from schemas.case import Scene
from transforms.annotate.asker import MAX_TURNS, Replies, gather
from transforms.annotate.teacher import Reply, Request
from transforms.outcome import Outcome, StopRunError


@dataclass(frozen=True)
class Counting:
    """Asks as many things, one after the other, as the number of the scene's video says."""

    endless: bool = False
    failing: int = -1

    def requests(self, scene: Scene, replies: Replies) -> Sequence[Request]:
        number = int(scene.video.source.uri[1:].split(".")[0])
        if number == self.failing:
            raise ValueError("this one is beyond me")
        asked = [Request(scene=scene, sample=0)]
        while asked[-1].id in replies and (self.endless or len(asked) < number):
            asked.append(Request(scene=scene, sample=len(asked)))
        return asked

    def read(self, subject: Any, replies: Replies) -> Outcome[Any]:
        raise AssertionError("gather does not read")


class Scribe:
    """Answers with what it was asked about, and remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, requests: Sequence[Request]) -> Replies:
        def text(one: Request) -> str:
            assert one.scene is not None
            return f"{one.scene.video.source.uri} {one.sample}"

        self.batches.append([text(one) for one in requests])
        return {one.id: Reply(request_id=one.id, text=text(one)) for one in reversed(requests)}


def test_each_subject_gets_its_replies_of_all_turns() -> None:
    scribe = Scribe()
    scenes = [plain_scene(number) for number in (1, 3, 2)]
    found = gather(Counting(), scenes, scribe)
    assert [one.subject for one in found] == scenes
    texts = [sorted(reply.text for reply in one.replies.values()) for one in found]
    assert texts == [
        ["v1.mp4 0"],
        ["v3.mp4 0", "v3.mp4 1", "v3.mp4 2"],
        ["v2.mp4 0", "v2.mp4 1"],
    ]
    assert all(request_id == reply.request_id for one in found
               for request_id, reply in one.replies.items())  # fmt: skip
    assert scribe.batches == [
        ["v1.mp4 0", "v3.mp4 0", "v2.mp4 0"],
        ["v3.mp4 1", "v2.mp4 1"],
        ["v3.mp4 2"],
    ], "what can be asked together is asked together, and nothing twice"


def test_the_same_request_of_two_subjects_is_asked_once() -> None:
    scribe = Scribe()
    first, second = gather(Counting(), [plain_scene(2), plain_scene(2)], scribe)
    assert scribe.batches == [["v2.mp4 0"], ["v2.mp4 1"]]
    assert first.replies == second.replies


def test_an_asker_that_fails_on_one_subject_costs_only_that_one() -> None:
    scribe = Scribe()
    good, bad, other = gather(
        Counting(failing=5), [plain_scene(1), plain_scene(5), plain_scene(2)], scribe
    )
    assert (good.trouble, other.trouble) == ("", "")
    assert bad.trouble == "ValueError: this one is beyond me" and not bad.replies
    assert len(good.replies) == 1 and len(other.replies) == 2


def test_nothing_to_ask_asks_nothing() -> None:
    scribe = Scribe()
    assert gather(Counting(), [], scribe) == []
    assert scribe.batches == []


def test_an_asker_without_an_end_costs_its_subject_alone() -> None:
    endless = Counting(endless=True)
    [found] = gather(endless, [plain_scene(1)], Scribe())
    assert found.trouble == f"after {MAX_TURNS} turns there is still something to ask"


def test_what_stops_the_run_is_not_held_back() -> None:
    def broken(_: Sequence[Request]) -> Replies:
        raise StopRunError("no teacher")

    with pytest.raises(StopRunError):
        gather(Counting(), [plain_scene(1)], broken)
