"""A run whose teacher is a server: asked once, and replayed from the store ever after."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from chat_server import MODEL, SCENES, Answer, Ask, ChatServer, completion, completion_of
from pipeline_helpers import (
    FAST,
    UNEXAMINED,
    bikes,
    funnel,
    index_rows,
    manifest,
    rejected_rows,
    run_here,
    samples,
    sha256_of_files,
)

from transforms.publish.check import check_dataset

QUESTION = "What is being ridden in this clip?"
PROPOSED = {
    "tasks": [
        {
            "kind": "mcq",
            "question": QUESTION,
            "options": ["a bike", "a horse", "a camel"],
            "answer": "A",
            "evidence": [[0.0, 2.0]],
        },
        {
            "kind": "count",
            "question": "How many cameras are shown?",
            "answer": "0",
            "evidence": [[0.0, 2.0]],
        },
    ]
}
CAPTIONS = {"captions": [{"start_s": 0.0, "end_s": 1.5, "text": "Somebody rides through a town."}]}

Serve = Callable[..., ChatServer]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started: list[ChatServer] = []

    def start(answer: Callable[[Ask], Answer]) -> ChatServer:
        started.append(ChatServer(answer).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def server(serve: Serve) -> ChatServer:
    return serve(rider)


def purpose_of(said: Ask) -> str:
    name: str = said.body["response_format"]["json_schema"]["name"]
    return name


def rider(said: Ask) -> Answer:
    """Knows the bike, and always takes the number of cameras for 7."""
    match purpose_of(said):
        case "describe":
            return completion_of(CAPTIONS)
        case "summarize":
            return completion_of({"summary": "Somebody rides through a town."})
        case "propose":
            return completion_of(PROPOSED)
    letter = "7"
    if QUESTION in said.text:
        [letter] = [line[0] for line in said.text.splitlines() if line.endswith(". a bike")]
    return answered(letter, "From 0.50 to 1.00 s it is shown.")


def answered(answer: str, reasoning: str) -> Answer:
    return completion_of(
        {
            "reasoning": f"{reasoning} So the answer is {answer}.",
            "answer": answer,
            "segments": [{"label": "it", "start_s": 0.5, "end_s": 1.0}],
        }
    )


def settings(*servers: ChatServer, **fields: Any) -> list[str]:
    urls = json.dumps([server.url for server in servers])
    teacher = {"kind": "openai", "model": MODEL, "url": urls, "samples": 2}
    teacher |= {"first_wait_s": 0.01, "longest_wait_s": 0.05} | fields
    return [
        *FAST,
        *UNEXAMINED,
        *(part for key, one in teacher.items() for part in ("--set", f"teacher.{key}={one}")),
    ]


def purposes(server: ChatServer) -> list[str]:
    return sorted(purpose_of(said) for said in server.asks)


def test_a_server_is_asked_once(server: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *settings(server)) == 0
    lines = funnel(out)
    assert lines["task"]["out"] == 2
    # Two samples a task, and one more try for each that was wrong.
    assert purposes(server).count("propose") == 1
    assert purposes(server).count("solve") == 2 * 2 + 2
    assert lines["answer"]["in"] == 6
    assert check_dataset(out / "dataset") == []
    [bike] = [one for one in samples(out).values() if one["split"] == "sft"]
    assert bike["provenance"]["teacher"]
    assert QUESTION in json.dumps(bike["messages"])
    assert bike["answer"]["options"][bike["answer"]["option_index"]] == "a bike"
    assert {row["reason"] for row in rejected_rows(out) if row["stage"] == "route"} == {
        "no_accepted_rollout"
    }
    published = [path for path in (out / "dataset").rglob("*") if path.suffix in (".json", ".md")]
    assert published and not any("127.0.0.1" in path.read_text("utf-8") for path in published)
    before, asked = sha256_of_files(out / "dataset"), len(server.asks)
    assert run_here(bikes(), "--out", out, *settings(server)) == 0
    assert len(server.asks) == asked
    assert sha256_of_files(out / "dataset") == before


def test_one_more_sample_asks_only_for_that(server: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *settings(server)) == 0
    asked = len(server.asks)
    assert run_here(bikes(), "--out", out, *settings(server, samples=3)) == 0
    # One more sample of each of the two tasks; that of the wrong one gets its second try.
    assert len(server.asks) == asked + 3
    assert len({row["task_id"] for row in index_rows(out)}) == 1


def test_where_the_servers_are_and_how_many_does_not_matter(
    server: ChatServer, serve: Serve, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *settings(server)) == 0
    before = sha256_of_files(out / "dataset")
    others = [serve(rider), serve(rider)]
    assert run_here(bikes(), "--out", out, *settings(*others)) == 0
    assert not others[0].asks and not others[1].asks
    assert sha256_of_files(out / "dataset") == before
    assert run_here(bikes(), "--out", tmp_path / "fresh", *settings(*others)) == 0
    assert others[0].asks and others[1].asks
    assert sha256_of_files(tmp_path / "fresh" / "dataset") == before


def test_a_server_that_is_not_there_stops_the_run_before_any_work(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    out = tmp_path / "out"
    assert run_here(bikes(), "--out", out, *settings(server, retries=0)) == 1
    said = capsys.readouterr().err
    assert "proofreel:" in said
    assert server.url in said
    assert "Traceback" not in said
    assert not (out / "work" / "memo").exists()
    assert not (out / "dataset").exists()


def test_a_list_without_an_address_is_a_wrong_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for urls in ("[]", "['']", "['http://127.0.0.1/v1', '']"):
        given = ("--set", "teacher.kind=openai", "--set", "teacher.model=m")
        assert run_here(bikes(), "--out", tmp_path, *given, "--set", f"teacher.url={urls}") == 2
        assert "teacher.url: needed" in capsys.readouterr().err


# A server in all kinds of trouble ----------------------------------------------------------------

FILMS = ("", "amber", "beryl", "coral", "daisy")
"""By the code on the boards of the film."""
FPS = 8
FRAMES = 96
PER_CLIP = 2
SAMPLES = 2

FOR_EVER = (
    "500", "400", "reset", "truncated", "half", "html", "refusal", "cut", "null", "huge", "never",
    "drips",
)  # fmt: skip
ONCE = ("500-once", "429-once", "reset-once")
HARMLESS = ("late", "twice", "another-id")
WELL = ("",) * 12
NONSENSE = ("prose", "NaN", "")


class BoardServer:
    """Tells what stands on the boards that it is shown; in trouble, as long as it is ill."""

    def __init__(self, serve: Serve, *, is_ill: bool) -> None:
        self.is_ill = is_ill
        self.answered: list[str] = []
        """Requests that got an answer to keep, and those that got none."""
        self.failed: list[str] = []
        self.http = serve(self.answer)

    def answer(self, said: Ask) -> Answer:
        key = self.key(said)
        good = nonsense(key) or self.good(said)
        trouble = pick(key, (*FOR_EVER, *ONCE, *HARMLESS, *WELL)) if self.is_ill else ""
        if trouble.endswith("-once") and said.times > 0:
            trouble = ""
        if trouble in FOR_EVER:
            if said.times == 0:
                self.failed.append(key)
        elif trouble not in ONCE:
            self.answered.append(key)
        return self.in_trouble(trouble, good)

    def key(self, said: Ask) -> str:
        asked = json.dumps([purpose_of(said), said.text, said.seen, said.body["seed"]])
        return f"{purpose_of(said)} {hashlib.sha256(asked.encode()).hexdigest()}"

    def in_trouble(self, trouble: str, good: Answer) -> Answer:
        match trouble.removesuffix("-once"):
            case "500":
                return Answer(b"boom", 500)
            case "400":
                return Answer(b"the context is too short", 400)
            case "429":
                return Answer(b"later", 429, {"Retry-After": "0.05"})
            case "reset":
                return Answer(b"", is_reset=True)
            case "truncated":
                return Answer(good.content, upto=len(good.content) // 2)
            case "half":
                return Answer(good.content[:-9])
            case "html":
                return Answer(b"<html>", headers={"Content-Type": "text/html"})
            case "refusal":
                return completion(None, refusal="not today")
            case "cut":
                return completion('{"reasoning": "and th', "length")
            case "null":
                return completion(None)
            case "huge":
                return completion("x" * 10_000_000)
            case "never":
                self.http.closing.wait(6)
            case "drips":
                return Answer(good.content, drip_s=0.1)
            case "late":
                self.http.closing.wait(0.2)
            case "twice":
                return Answer(good.content, copies=2)
            case "another-id":
                return Answer(good.content.replace(b"{", b'{"id": "somebody else", ', 1))
        return good

    def good(self, said: Ask) -> Answer:
        """Only what the pictures and the times beside them say."""
        if purpose_of(said) == "summarize":
            return completion_of({"summary": "Boards follow each other."})
        [shown] = said.seen
        [code] = {code for code, _, _ in shown}
        film, first, last = FILMS[code], shown[0][1], shown[-1][1]
        match purpose_of(said):
            case "describe":
                text = f"Boards of {film} from {first} to {last}."
                caption = {"start_s": 0.0, "end_s": shown[-1][2], "text": text}
                return completion_of({"captions": [caption]})
            case "propose":
                questions = {"first": first, "latest": last}
                tasks = [
                    {
                        "kind": "count",
                        "question": f"What does the {which} board of the film {film} count?",
                        "options": [],
                        "answer": str(number),
                        "evidence": [[0.0, 1.0]],
                        "tolerance": -1.0,
                    }
                    for which, number in questions.items()
                ]
                return completion_of({"tasks": tasks})
        asked = re.search(r"the (first|latest) board of the film (\w+)", said.question)
        assert asked is not None and asked[2] == film, "the question fits the pictures"
        number = first if asked[1] == "first" else last
        steps = "; ".join(f"at {time_s:.2f} s {film} shows {n}" for _, n, time_s in shown)
        return answered(str(number), f"{steps}.")


def pick(key: str, among: tuple[str, ...]) -> str:
    return random.Random(key).choice(among)


def nonsense(key: str) -> Answer | None:
    """What the model says to one in twelve requests, ill or well: replies like any other."""
    if not key.startswith("solve") or pick(f"nonsense {key}", ("yes", *"no" * 6)) != "yes":
        return None
    if pick(f"which {key}", ("prose", "NaN")) == "prose":
        return completion("It shows a board.")
    return completion('{"reasoning": "r", "answer": "3", "segments": [], "boxes": NaN}')


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos whose frames tell film and number."""
    folder = tmp_path_factory.mktemp("films")
    for code, film in enumerate(FILMS[1:], 1):
        path = folder / f"{film}.mp4"
        SCENES.write_clip(path, code, FRAMES, Fraction(FPS), 128, 96)
    return folder


def run_films(films: Path, out: Path, *servers: ChatServer) -> None:
    more = {
        "shots.max_clip_s": 8, "tasks.per_clip": PER_CLIP, "verify.repair_rounds": 0,
        "tasks.mix": "{mcq: 0, count: 1, number: 0, temporal_grounding: 0, ordering: 0}",
        "describe.levels": "clip",
    }  # fmt: skip
    given = settings(*servers, samples=SAMPLES, timeout_s=3, retries=1, in_flight=4)
    given += ["--set", "teacher.frame_height_px=96"]
    given += [part for key, one in more.items() for part in ("--set", f"{key}={one}")]
    assert run_here(films, "--out", out, *given) == 0
    assert check_dataset(out / "dataset") == []


def assert_nothing_vanished(out: Path) -> None:
    for stage, line in funnel(out).items():
        assert line["in"] == line["out"] + sum(line["rejected"].values()), stage


def assert_all_samples_show_their_own_film(out: Path) -> None:
    """What answer and reasoning say was on the boards, is what the source shows then."""
    cited = 0
    for sample in samples(out).values():
        [media], [question, *_] = sample["media"], sample["messages"]
        film = Path(media["source_uri"]).stem
        start = media["source_start_s"] * FPS
        text = question["parts"][-1]["text"]
        assert film in text
        if "first" in text:
            assert sample["answer"]["text"] == str(round(start))
        reasoning = " ".join(message["reasoning"] for message in sample["messages"])
        for time_s, name, number in re.findall(r"at (\d+\.\d\d) s (\w+) shows (\d+)", reasoning):
            cited += 1
            assert name == film
            assert int(number) == pytest.approx(start + float(time_s) * FPS, abs=0.1)
    assert cited > 20


def test_in_all_kinds_of_trouble_every_task_is_accounted_for_and_then_made_good(
    films: Path, serve: Serve, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    board = BoardServer(serve, is_ill=True)
    run_films(films, out, board.http)
    assert_nothing_vanished(out)
    assert_all_samples_show_their_own_film(out)
    lines = funnel(out)
    assert lines["answer"]["in"] == lines["task"]["out"] * SAMPLES
    assert lines["answer"]["rejected"]["bad_reply"] > 0
    failed = [row for row in rejected_rows(out) if row["reason"] == "teacher_failed"]
    missing = [key for key in board.failed if not key.startswith("describe")]
    assert len(failed) == len(missing) > 10
    assert len({row["detail"] for row in failed}) > 6
    assert len(set(board.answered)) == len(board.answered)

    # The server is well again: what failed is asked for, and what hung on it.
    board.is_ill = False
    before, again, board.answered = set(board.answered), set(board.failed), []
    run_films(films, out, board.http)
    assert_nothing_vanished(out)
    assert_all_samples_show_their_own_film(out)
    assert not [row for row in rejected_rows(out) if row["reason"] == "teacher_failed"]
    assert len(set(board.answered)) == len(board.answered)
    assert not before & set(board.answered)
    assert {key for key in again if not key.startswith("propose")} <= set(board.answered)
    mended = sha256_of_files(out / "dataset")

    # One reply is lost from the store: one is asked again, whatever it was.
    board.answered = []
    replies = sorted((out / "work" / "memo" / "reply").glob("*/*"))
    shutil.rmtree(replies[len(replies) // 2])
    run_films(films, out, board.http)
    assert len(board.answered) == 1
    assert sha256_of_files(out / "dataset") == mended

    # And no trace of all the trouble is left in the dataset.
    clean = BoardServer(serve, is_ill=False)
    run_films(films, tmp_path / "clean", clean.http)
    assert sha256_of_files(tmp_path / "clean" / "dataset") == mended
    assert manifest(out)["funnel"] == manifest(tmp_path / "clean")["funnel"]
