"""A model that really looks: a server of OpenAI's form on the loopback, to test a verifier with.

It knows only what is in a request: it decodes the pictures, finds the coloured shapes in them
(`sight`), takes their times from the text before each, and reads question, statement or reasoning
from the prompt (`words`). Shown nothing that answers, it guesses, as a model with a language prior
does. With a settable probability it gives another plausible answer instead of the one it found; the
choice follows from the request alone, so the same request always gets the same reply. The rate is
part of the model's name: `reader-0.05`.

Usage: python bench/planted/reader.py [--seconds N]

Prints its base URL and ends after N seconds, or when its standard input ends.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from planted.sight import COLOURS, Box, Seen, is_black, look
from planted.words import (
    Fact,
    answer,
    box_text,
    known_answer,
    read_statement,
    sentences_of,
    world_of_frames,
    world_of_sentences,
)

RATES = ("0", "0.05", "0.1", "0.2")
LETTERS = "ABCDEFGHIJ"
COUNTS = ("1", "2", "3", "4", "5")
USUAL = (2, 3, 3, 2, 1)
"""How readily each of `COUNTS` is guessed."""
SAME_IOU = 0.5
"""Two boxes that overlap so much are the same place."""


@dataclass(frozen=True)
class Picture:
    """A frame as it was shown."""

    time_s: float
    shapes: tuple[Seen, ...]
    black: bool


@dataclass(frozen=True)
class Ask:
    """A chat request, taken apart."""

    text: str
    pictures: tuple[Picture, ...]
    seed: int
    digest: str

    def line(self, name: str) -> str:
        found = re.search(rf"^{name}: (.*)$", self.text, re.MULTILINE)
        return found[1] if found else ""

    @property
    def options(self) -> list[str]:
        return re.findall(r"^[A-J]\. (.*)$", self.text, re.MULTILINE)

    @property
    def duration_s(self) -> float:
        found = re.search(r"lasts (\d+\.\d\d) s", self.text)
        return float(found[1]) if found else 10.0

    def between(self, start: str, end: str) -> str:
        return self.text.partition(start)[2].partition(end)[0].strip()


# What is read ------------------------------------------------------------------------------------


def take_apart(body: dict[str, Any]) -> Ask:
    texts, pictures = [], []
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts += [part["text"] for part in parts if part["type"] == "text"]
        for before, part in pairwise(parts):
            if part["type"] == "image_url":
                said = re.fullmatch(r"Frame at (\d+\.\d\d) s:", before["text"])
                time_s = float(said[1]) if said else 0.0
                pictures.append(Picture(time_s, *_look(part["image_url"]["url"])))
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return Ask("\n".join(texts), tuple(pictures), int(body.get("seed") or 0), digest)


_SEEN: dict[str, tuple[tuple[Seen, ...], bool]] = {}


def _look(url: str) -> tuple[tuple[Seen, ...], bool]:
    """What a picture shows; the same picture is looked at once."""
    key = hashlib.sha256(url.encode()).hexdigest()
    if key not in _SEEN:
        data = base64.b64decode(url.partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        _SEEN[key] = (look(pixels), is_black(pixels))
    return _SEEN[key]


# What is answered --------------------------------------------------------------------------------


def reply(body: dict[str, Any]) -> str:
    """The text of the reply to a chat request."""
    ask = take_apart(body)
    rate = float(str(body["model"]).rpartition("-")[2])
    # Both from the request alone: the slip from all of it, the guess from its seed and question.
    slip = random.Random(f"slip {ask.digest} {ask.seed}")
    errs = slip.random() < rate
    if "test of the connection" in ask.text:
        return '{"ready": true}'
    if "Somebody who saw the whole clip says:" in ask.text:
        seen, shown = check(ask)
        if errs:
            shown = {"yes": "no", "no": "yes", "unclear": "no"}[shown]
        return json.dumps({"seen": seen, "shown": shown})
    if "What they wrote, without the end:" in ask.text:
        found = conclude(ask)
        return json.dumps({"answer": _other(ask, found, slip) if errs else found})
    found = solve(ask)
    said = _other(ask, found, slip) if errs else found
    shown_s = [one.time_s for one in ask.pictures if one.shapes]
    where = f"Shapes are seen from {shown_s[0]:.2f} s." if shown_s else "Nothing is seen."
    reasoning = f"{where} So the answer is {said}."
    return json.dumps({"reasoning": reasoning, "answer": said, "segments": [], "boxes": []})


def solve(ask: Ask) -> str:
    """The answer to a question about the frames that are shown; a guess if they don't tell."""
    guess = random.Random(f"guess {ask.seed} {ask.line('Question')}")
    question, options = ask.line("Question"), ask.options
    found: str | list[str] | None = known_answer(question)
    if found is None:
        frames = [(one.time_s, one.shapes) for one in ask.pictures if not one.black]
        found = answer(question, options, world_of_frames(frames))
        if "How many" in question and found is None and frames:
            found = "0"
    if isinstance(found, list):
        # What is not seen is put anywhere.
        for option in options:
            if option not in found:
                found.insert(guess.randint(0, len(found)), option)
    return _formed(found, options) or _guessed(ask, guess)


def _formed(found: str | list[str] | None, options: list[str]) -> str:
    """An answer in the form that is asked for; "" if there is none in it."""
    if found is None:
        return ""
    if isinstance(found, list):
        return ",".join(LETTERS[options.index(one)] for one in found)
    if not options:
        return found
    return LETTERS[options.index(found)] if found in options else ""


def _guessed(ask: Ask, guess: random.Random) -> str:
    letters = list(LETTERS[: len(ask.options)])
    if letters:
        if "of all options in the order" in ask.text:
            guess.shuffle(letters)
            return ",".join(letters)
        return guess.choice(letters)
    if "a whole number" in ask.text:
        return guess.choices(COUNTS, USUAL)[0]
    if "Form of the answer: a number" in ask.text:
        return f"{guess.uniform(0, ask.duration_s):.2f}"
    if "start to end in seconds" in ask.text:
        start_s = guess.uniform(0, ask.duration_s / 2)
        return f"{start_s:.2f} to {start_s + ask.duration_s / 3:.2f}"
    if "the box [x1" in ask.text:
        left, top = guess.uniform(0.2, 0.4), guess.uniform(0.2, 0.4)
        return box_text((left, top, left + 0.4, top + 0.4))
    return guess.choice(COLOURS)


def conclude(ask: Ask) -> str:
    """The answer that follows from what somebody wrote, or none."""
    said = ask.between("What they wrote, without the end:\n", "\n\nForm of the answer:")
    question = ask.line("Question")
    world = world_of_sentences(sentences_of(said))
    found = answer(question, ask.options, world) or known_answer(question)
    if isinstance(found, list) and len(found) < len(ask.options):
        found = None
    return _formed(found, ask.options) or "none"


def check(ask: Ask) -> tuple[str, str]:
    """What the pictures show of a statement, and whether they show it: yes, no or unclear."""
    said = ask.between("Somebody who saw the whole clip says:\n", "\n\nDo these pictures show")
    pictures = [one for one in ask.pictures if not one.black]
    names = sorted({f"{one.colour} {one.form}" for shown in pictures for one in shown.shapes})
    seen = ", ".join(names) or "nothing but the ground"
    facts = read_statement(said)
    if not pictures:
        return "no picture", "unclear"
    is_part = "cut out of frames" in ask.text
    verdicts = [_holds(fact, pictures, is_part=is_part) for fact in facts]
    told = [verdict for verdict in verdicts if verdict is not None]
    if not told:
        return seen, "unclear"
    return seen, "yes" if all(told) else "no"


def _holds(fact: Fact, pictures: list[Picture], *, is_part: bool) -> bool | None:
    """Whether pictures show what is said; None if they can't tell."""
    about = _about(fact, pictures)
    if not about:
        return None
    fits = [[one for one in shown.shapes if fact.fits(one)] for shown in about]
    if fact.absent:
        return not any(fits)
    if fact.number >= 0:
        if is_part:
            return None
        if fact.total:
            return len({(one.colour, one.form) for some in fits for one in some}) == fact.number
        counts = sorted(len(some) for some in fits)
        return counts[len(counts) // 2] == fact.number
    if fact.box is not None and not is_part:
        place = fact.box
        return any(_iou(one.box, place) >= SAME_IOU for some in fits for one in some)
    if fact.appears and len(about) > 1:
        return any(fits)
    # Of a span, most pictures must show it: at its very end it may be gone.
    return 2 * sum(bool(some) for some in fits) >= len(fits)


def _about(fact: Fact, pictures: list[Picture]) -> list[Picture]:
    """The pictures that a sentence speaks of: of a moment the nearest, of a span those in it."""
    if fact.start_s < 0:
        return pictures
    inside = [one for one in pictures if fact.start_s - 0.01 <= one.time_s <= fact.end_s + 0.01]
    if fact.end_s > fact.start_s:
        return inside
    nearest = min(pictures, key=lambda one: abs(one.time_s - fact.start_s))
    return [nearest] if abs(nearest.time_s - fact.start_s) <= SAME_MOMENT_S else []


SAME_MOMENT_S = 0.26
"""A picture no farther from a moment shows it."""


def _iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


def _other(ask: Ask, found: str, slip: random.Random) -> str:
    """Another answer of the same form, as wrong as a model's may be."""
    letters = list(LETTERS[: len(ask.options)])
    if letters and "," in found:
        shuffled = found.split(",")
        place = slip.randrange(len(shuffled) - 1)
        shuffled[place], shuffled[place + 1] = shuffled[place + 1], shuffled[place]
        return ",".join(shuffled)
    if letters:
        return slip.choice([one for one in letters if one != found])
    numbers = [float(one) for one in re.findall(r"\d+(?:\.\d+)?", found)]
    if len(numbers) == 4:
        by = slip.choice((-0.2, 0.2))
        return box_text((numbers[0] + by, numbers[1], numbers[2] + by, numbers[3]))
    if len(numbers) == 2:
        length = max(numbers[1] - numbers[0], 1.0)
        return f"{numbers[0] + length:.2f} to {numbers[1] + length:.2f}"
    if len(numbers) == 1:
        return f"{max(numbers[0] + slip.choice((-1, 1)), 0):g}"
    return slip.choice([one for one in COLOURS if one != found])


# The server --------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._send({"data": [{"id": f"reader-{rate}"} for rate in RATES]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": reply(body)}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send({"choices": [{"message": message, "finish_reason": "stop"}]})

    def _send(self, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def running(seconds: float = 900.0) -> Iterator[str]:
    """Base URL of a reader in a process of its own, so that it shares nothing with who asks."""
    command = [sys.executable, str(Path(__file__)), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        try:
            assert one.stdout is not None
            url = one.stdout.readline().strip()
            if not url:
                raise RuntimeError("the reader did not start")
            yield url
        finally:
            one.terminate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=900.0)
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    timer = threading.Timer(options.seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
