"""Each kind of bad or odd input by itself, through the media legs: it meets its expected end."""

from __future__ import annotations

import itertools

import pytest
from torture_corpus import ALONE, KINDS, label, published
from torture_kind import UNSEEN, Kind
from torture_making import Shop
from torture_work import work

from transforms.memo import MemoStore

NUMBERS = itertools.count()


def test_the_corpus_is_what_it_says() -> None:
    assert len(KINDS) >= 40
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert len({published(kind) for kind in KINDS}) == len(KINDS)
    assert all(kind.why for kind in KINDS)


@pytest.mark.parametrize("kind", ALONE, ids=label)
@pytest.mark.usefixtures("untouched")
def test_it_meets_its_end(kind: Kind, shop: Shop, store: MemoStore) -> None:
    folder = shop.folder / f"input-{next(NUMBERS)}"
    path = folder / kind.name
    path.parent.mkdir(parents=True)
    kind.make(shop, path)
    found = work([path if kind.named else folder], store)
    if kind.end == UNSEEN:
        assert found == []
        return
    [one] = found
    assert one.uri == published(kind)
    lost = [(rejection.stage, rejection.reason) for rejection in one.lost]
    assert lost == [(stage, reason) for stage, reason, _ in kind.end.lost], one.lost
    for rejection, (_, _, words) in zip(one.lost, kind.end.lost, strict=True):
        assert words in rejection.detail
        assert str(shop.folder) not in rejection.detail
    assert one.spans == [pytest.approx(span, abs=0.03) for span in kind.end.spans]
    assert one.audio == [kind.end.has_audio] * len(kind.end.spans)
    if kind.end.shown is not None:
        assert one.shown == list(kind.end.shown)
