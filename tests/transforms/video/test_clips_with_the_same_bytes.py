"""Clips with the same bytes meet without anybody holding all of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from plain_scene import plain_scene

from schemas.case import Scene
from transforms.video.cut import of_other_video, standing, with_first

SCENES = 1_000


class Grouped:
    """As runners hand over what they have grouped: it can be read again, and is made as it is read.
    Any order, the first one is in the middle."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[Scene]:
        for number in range(SCENES):
            self.read += 1
            yield plain_scene((number + SCENES // 2) % SCENES)


def test_each_learns_of_the_first_while_they_are_read() -> None:
    grouped = Grouped()
    found = with_first(("sha256", grouped))
    scene, first = next(found)
    assert grouped.read == SCENES + 1, "gone through once, and then one by one"
    expected = min(standing(one) for one in Grouped())
    assert first == expected
    others = list(islice(found, SCENES))
    assert {one for _, one in others} == {first}
    scenes = [scene, *(one for one, _ in others)]
    assert [one.clip.id for one in scenes] == [one.clip.id for one in Grouped()]
    kept = [one for one in scenes if of_other_video(one, first) is None]
    assert [standing(one) for one in kept] == [expected]
