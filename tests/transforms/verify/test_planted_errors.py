"""The verifier against planted errors, in small: bench/verifier.py has the large version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_modules import films, items, reader, sight, verifier, words
from tiny_vlm import clips

from schemas.task import TaskKind
from schemas.view import Condition, View
from transforms.annotate.conversation import compose
from transforms.annotate.openai_messages import chat_body, encode
from transforms.annotate.prompts import load_templates
from transforms.annotate.replies import SolveReply, read_reply
from transforms.annotate.seeing import Looker
from transforms.annotate.teacher import Request
from transforms.memo import MemoStore
from transforms.verify.checks import VerifySettings, score_answer

FILMS = 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    return MemoStore(str(tmp_path_factory.mktemp("planted")))


@pytest.fixture(scope="module")
def planted(store: MemoStore) -> list[Any]:
    return list(items.make_items(store, FILMS, first=500))


@pytest.fixture(scope="module")
def found(store: MemoStore, planted: list[Any]) -> Iterator[list[Any]]:
    with reader.running(300) as url:
        settings = verifier.reader_settings(url, "0")
        yield verifier.examine(planted, store, settings, VerifySettings())


def test_all_kinds_of_errors_are_planted(planted: list[Any]) -> None:
    assert {one.twin for one in planted} == {items.RIGHT, *items.ALL_TWINS}
    assert len(items.ALL_TWINS) == 15
    assert {one.kind for one in planted if one.twin == items.RIGHT} == set(items.KINDS)


@pytest.mark.parametrize("twin", items.ALL_TWINS)
def test_errors_are_found(found: list[Any], twin: str) -> None:
    """All but one in a kind: of half the evidence of an order the rest may be guessed."""
    several = [one for one in found if one.item.twin == twin]
    missed = [one for one in several if one.accepted]
    assert several
    assert len(missed) <= (twin == "evidence not enough")


def test_right_items_pass(found: list[Any]) -> None:
    down = [(one.item.kind, one.failed) for one in found if one.item.twin == items.RIGHT]
    assert [one for one in down if one[1]] == []


def test_checks_without_a_model_turn_no_right_item_down(planted: list[Any]) -> None:
    settings = VerifySettings()
    for item in planted:
        if item.twin == items.RIGHT:
            assert verifier.first_case(item, settings).attempts[0].verdict.accepted


# The reader itself -------------------------------------------------------------------------------


def body(store: MemoStore, request: Request, rate: str = "0") -> dict[str, Any]:
    """A request as the teacher sends it."""
    settings = verifier.reader_settings("http://127.0.0.1:1/v1", rate)
    looker = Looker(store, settings, kept=1)

    def look(*args: Any) -> Any:
        frames = looker.look(*args)
        return None if frames is None else encode(frames)

    conversation = compose(request, load_templates(), settings, look)
    return chat_body(conversation, settings, seed=request.sample, name="solve")


def share_right(
    store: MemoStore, planted: list[Any], view: View, twin: str, rate: str = "0", samples: int = 1
) -> float:
    """Share of items that the reader answers rightly under a view."""
    scores = []
    for item in planted:
        if item.twin != twin:
            continue
        task = item.task.model_copy(update={"gold": None})
        sent = body(store, Request(scene=item.scene, task=task, view=view), rate)
        for sample in range(samples):
            answer = read_reply(reader.reply(sent | {"seed": sample}), SolveReply).answer
            scores.append(score_answer(answer, item.task.gold) >= 0.7)
    return sum(scores) / len(scores)


def test_the_reader_sees(store: MemoStore, planted: list[Any]) -> None:
    assert share_right(store, planted, View(), items.RIGHT) == 1.0


def test_the_reader_guesses_without_frames(store: MemoStore, planted: list[Any]) -> None:
    """Of seven kinds it has a fair chance in four: 1 in 4, 1 in 4, 1 in 10 and 1 in 6."""
    blind = View(condition=Condition.BLIND)
    assert share_right(store, planted, blind, items.RIGHT, samples=40) < 0.25
    assert share_right(store, planted, blind, "blind-answerable", samples=4) == 1.0


def test_the_reader_is_not_told_by_the_frames_of_another_clip(
    store: MemoStore, planted: list[Any]
) -> None:
    assert share_right(store, planted, View(), items.SWAPPED, samples=8) < 0.4


@pytest.mark.parametrize("rate", ["0.05", "0.2"])
def test_the_reader_errs_as_often_as_it_is_set(
    store: MemoStore, planted: list[Any], rate: str
) -> None:
    several = [one for one in planted if one.twin == items.RIGHT]
    right = share_right(store, several, View(), items.RIGHT, rate, samples=40)
    number = 40 * len(several)
    spread = (float(rate) * (1 - float(rate)) / number) ** 0.5
    assert abs(1 - right - float(rate)) < 4 * spread


def test_the_same_request_gets_the_same_reply(store: MemoStore, planted: list[Any]) -> None:
    item = planted[0]
    for view in (View(), View(condition=Condition.BLIND)):
        sent = body(store, Request(scene=item.scene, task=item.task, view=view), "0.2")
        assert reader.reply(sent) == reader.reply(sent)


def test_shapes_are_seen_as_they_were_drawn() -> None:
    for seed in range(20):
        film = films.make_film(seed)
        for shape in film.shapes:
            pixels = np.asarray(clips.draw(film, shape.start_s))
            (seen,) = sight.look(pixels)
            assert (seen.colour, seen.form) == (shape.colour, shape.form)
            assert np.allclose(seen.box, shape.box(shape.start_s), atol=0.01)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("At 2.00 s a red circle appears.", ("red", "circle", 2.0, 2.0, False, -1)),
        ("At 2.50 s the red circle is gone.", ("red", "circle", 2.5, 2.5, True, -1)),
        ("At 0.00 s no blue cross is visible.", ("blue", "cross", 0.0, 0.0, True, -1)),
        ("From 1.00 s to 2.00 s one square is visible.", ("", "square", 1.0, 2.0, False, 1)),
        ("From 1.00 s to 2.00 s two crosses are visible.", ("", "cross", 1.0, 2.0, False, 2)),
        ("From 1.00 s to 2.00 s the square is white.", ("white", "square", 1.0, 2.0, False, -1)),
    ],
)
def test_sentences_are_read(text: str, says: tuple[Any, ...]) -> None:
    fact = words.read_sentence(text)
    assert fact is not None
    assert (fact.colour, fact.form, fact.start_s, fact.end_s, fact.absent, fact.number) == says


def test_a_reading_of_the_kinds() -> None:
    assert set(items.KINDS) < set(TaskKind)
    assert words.read_sentence("So the answer is B.") is None


def test_the_reader_ends_with_who_started_it(tmp_path: Path) -> None:
    with reader.running(60) as url:
        assert url.startswith("http://127.0.0.1:")
