"""A run whose teacher is a loopback server that looks closer, errs, and tries again."""

from __future__ import annotations

from pathlib import Path

from chat_server import MODEL, Answer, Ask, ChatServer, completion_of, looked_up
from pipeline_helpers import FAST, bikes, run_here

RIDDEN = "What is being ridden in this clip?"
CAMERAS = "How many cameras are shown?"
HOSTILE = "<script>alert('a horse')</script> & more"


def purpose_of(said: Ask) -> str:
    return said.purpose


def answer(said: Ask) -> Answer:
    """Looks closer before it says what is ridden; counts cameras wrong, again and again.

    Asked again, it knows what is ridden if it is shown the span that it cites, and only then.
    """
    match purpose_of(said):
        case "check":
            return looked_up()
        case "conclude":
            return completion_of({"answer": bike_in(said)})
        case "describe":
            caption = {"start_s": 0.0, "end_s": 1.0, "text": "People ride <b>bikes</b>."}
            return completion_of({"captions": [caption]})
        case "summarize":
            return completion_of({"summary": "People ride bikes."})
        case "propose":
            options = ["a bike", HOSTILE, "a camel"]
            mcq = {"kind": "mcq", "question": RIDDEN, "options": options, "answer": "A"}
            count = {"kind": "count", "question": CAMERAS, "options": [], "answer": "0"}
            more = {"evidence": [[0.0, 2.0]], "tolerance": -1.0}
            return completion_of({"tasks": [mcq | more, count | more]})
    if RIDDEN in said.text and len(said.messages) == 1 and said.offers_tools:
        call = {"name": "crop_video", "start_s": 1.0, "end_s": 3.0}
        return completion_of({"tool_call": call})
    right = "7"
    if RIDDEN in said.text:
        right = bike_in(said)
        if not said.shows(0.5, 1.0):
            right = "B" if right == "A" else "A"
    reasoning = f"From 0.50 to 1.00 s it is shown. So the answer is {right}."
    segment = {"label": "it", "start_s": 0.5, "end_s": 1.0}
    return completion_of(
        {"reasoning": reasoning, "answer": right, "segments": [segment], "boxes": []}
    )


def bike_in(said: Ask) -> str:
    """The letter of the option that is right."""
    [letter] = [line[0] for line in said.text.splitlines() if line.endswith(". a bike")]
    return letter


def settings(server: ChatServer) -> tuple[str, ...]:
    teacher = {"kind": "openai", "model": MODEL, "url": server.url, "samples": 2, "tool_calls": 1}
    teacher |= {"first_wait_s": 0.01, "longest_wait_s": 0.05}
    named = (f"teacher.{key}={one}" for key, one in teacher.items())
    return (*FAST, *(part for one in named for part in ("--set", one)))


def run_served(server: ChatServer, out: Path, *more: str) -> int:
    """A run over one clip of ten seconds."""
    return run_here(bikes(), "--out", out, *settings(server), *more)
