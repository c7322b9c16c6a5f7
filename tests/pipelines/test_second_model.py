"""Runs whose verifier is another model than the teacher: it disagrees, and it is ill."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import MODEL, Answer, Ask, ChatServer, completion, completion_of, listing, solved
from pipeline_helpers import funnel, manifest, rejected_rows, samples, sha256_of_files
from served_run import CAMERAS, RIDDEN, answer, run_served

from transforms.publish.check import check_dataset

SECOND = "second-model"
Serve = Callable[[Callable[[Ask], Answer]], ChatServer]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started: list[ChatServer] = []

    def start(reply: Callable[[Ask], Answer]) -> ChatServer:
        started.append(ChatServer(reply, models=listing(MODEL, SECOND)).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


def with_second(server: ChatServer, **verify: Any) -> list[str]:
    verifier = {"kind": "openai", "model": SECOND, "url": server.url, "retries": 1}
    verifier |= {"first_wait_s": 0.01, "longest_wait_s": 0.05}
    # What hangs is given up soon.
    verifier["timeout_s"] = 1
    given = [f"verifier.{key}={one}" for key, one in verifier.items()]
    given += [f"verify.{key}={one}" for key, one in verify.items()]
    return [part for one in given for part in ("--set", one)]


def counter(number: int) -> Callable[[Ask], Answer]:
    """Knows the bike, and counts so many cameras."""

    def reply(said: Ask) -> Answer:
        if CAMERAS in said.text and said.purpose == "solve":
            seen = "From 0.50 to 1.00 s it is shown."
            return solved(f"{seen} So the answer is {number}.", str(number))
        if CAMERAS in said.text and said.purpose == "conclude":
            return completion_of({"answer": "0"})
        return answer(said)

    return reply


def assert_nothing_vanished(out: Path) -> None:
    assert check_dataset(out / "dataset") == []
    for stage, line in funnel(out).items():
        assert line["in"] == line["out"] + sum(line["rejected"].values()), stage
    lines = funnel(out)
    assert lines["examine"]["in"] == lines["verify"]["out"] > 0


# It disagrees ------------------------------------------------------------------------------------


def test_what_a_second_model_does_not_confirm_is_turned_down(serve: Serve, tmp_path: Path) -> None:
    """Both see the bike; the teacher and the question's own answer say no camera, the other two."""
    teacher, second = serve(counter(0)), serve(counter(2))
    out = tmp_path / "out"
    given = with_second(second, conditions="[full]", repair_rounds=1)
    assert run_served(teacher, out, *given) == 0
    assert_nothing_vanished(out)
    assert {said.body["model"] for said in second.asks} == {SECOND}
    assert {said.body["model"] for said in teacher.asks} == {MODEL}
    turned_down = [row for row in rejected_rows(out) if row["stage"] == "examine"]
    assert {row["detail"] for row in turned_down} == {"confirmed"}
    [task] = {row["parent"] for row in turned_down}
    [unpublished] = [row for row in rejected_rows(out) if row["stage"] == "route"]
    assert (unpublished["subject"], unpublished["detail"]) == (task, "confirmed")
    published = [text_of(sample) for sample in samples(out).values() if sample["split"] == "sft"]
    assert len(published) == 1 and RIDDEN in published[0] and CAMERAS not in published[0]
    # The teacher was told so before it tried again, and stood by its answer.
    told = [said for said in teacher.asks if "who is asked again does not come to" in said.text]
    assert len(told) == 2 and all(CAMERAS in said.text for said in told)
    assert len(turned_down) == 2 + len(told)


def text_of(sample: dict[str, Any]) -> str:
    return str(sample["messages"][0]["parts"][-1]["text"])


# It is ill ---------------------------------------------------------------------------------------

TROUBLES = ("500", "reset", "never", "truncated", "html", "null", "cut")


class IllServer:
    """While it is ill it solves nothing, and of all else every other thing; else it is well."""

    def __init__(self, serve: Serve) -> None:
        self.is_ill = True
        self.trouble: dict[str, str] = {}
        """By request: what it meets, for ever; "" = none."""
        self.answered: list[str] = []
        self.lock = threading.Lock()
        self.http = serve(self.answer)

    def answer(self, said: Ask) -> Answer:
        # With the pictures: in another order they come with the same words.
        key = json.dumps([said.messages, said.body["seed"]])
        with self.lock:
            trouble = self.trouble.setdefault(key, self.next(said)) if self.is_ill else ""
            if not trouble:
                self.answered.append(key)
        return self.in_trouble(trouble, answer(said))

    def next(self, said: Ask) -> str:
        number = len(self.trouble)
        well = said.purpose != "solve" and number % 2 == 0
        return "" if well else TROUBLES[number % len(TROUBLES)]

    def in_trouble(self, trouble: str, good: Answer) -> Answer:
        match trouble:
            case "500":
                return Answer(b"boom", 500)
            case "reset":
                return Answer(b"", is_reset=True)
            case "never":
                self.http.closing.wait(1.5)
            case "truncated":
                return Answer(good.content, upto=len(good.content) // 2)
            case "html":
                return Answer(b"<html>", headers={"Content-Type": "text/html"})
            case "null":
                return completion(None)
            case "cut":
                return completion('{"reasoning": "and th', "length")
        return good


def test_a_verifier_in_all_kinds_of_trouble_costs_no_task_and_is_made_good(
    serve: Serve, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    teacher, ill = serve(answer), IllServer(serve)
    given = with_second(ill.http, repair_rounds=0)
    assert run_served(teacher, out, *given) == 0
    assert_nothing_vanished(out)
    assert set(ill.trouble.values()) == {*TROUBLES, ""}
    # Who gives no answer confirms nothing.
    assert funnel(out)["examine"]["rejected"] == {"check_failed": funnel(out)["examine"]["in"]}
    asked = len(teacher.asks)

    # It is well again: what failed is asked for, and nothing else; the teacher is asked nothing.
    ill.is_ill = False
    missing = {key for key, trouble in ill.trouble.items() if trouble}
    before, ill.answered = set(ill.answered), []
    assert run_served(teacher, out, *given) == 0
    assert_nothing_vanished(out)
    assert len(teacher.asks) == asked
    assert sorted(ill.answered) == sorted(missing) and not before & missing
    assert funnel(out)["examine"]["rejected"] == {} and funnel(out)["examine"]["out"] > 0

    # And no trace of all the trouble is left.
    fresh = tmp_path / "fresh"
    assert run_served(serve(answer), fresh, *with_second(serve(answer), repair_rounds=0)) == 0
    assert sha256_of_files(fresh / "dataset") == sha256_of_files(out / "dataset")
    assert manifest(fresh)["funnel"] == manifest(out)["funnel"]
