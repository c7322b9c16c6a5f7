"""The few sentences that questions, statements and reasonings of the planted items are made of.

`World` is what is known of a clip, be it from looking at frames or from reading sentences; `answer`
is the same for both. What is not known is not answered (None).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from planted.sight import COLOURS, FORMS, Box, Seen

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
NEAR_S = 1.0
"""Where something is at a time is told from a frame no farther away."""

KNOWLEDGE = {
    "what colour is a ripe banana": "yellow",
    "what colour is fresh snow": "white",
    "what colour is grass in spring": "green",
    "what colour is a ripe tomato": "red",
    "how many legs does a spider have": "8",
    "how many wheels does a car have": "4",
    "how many days does a week have": "7",
    "which of these has three corners": "triangle",
    "which of these is perfectly round": "circle",
    "which of these has four equal sides": "square",
}
"""What everybody knows without looking at any clip."""

_COLOUR = "|".join(COLOURS)
_FORM = "|".join(FORMS)
_THING = rf"(?:(?P<colour>{_COLOUR}) )?(?P<form>{_FORM}|shape)"
_TIME = r"(?P<{0}>\d+(?:\.\d+)?) s"
_WHEN = re.compile(
    rf"^(?:At {_TIME.format('at')},? |From {_TIME.format('start')} to {_TIME.format('end')},? )?"
)
_BOX = re.compile(r"\[ *([\d.]+), *([\d.]+), *([\d.]+), *([\d.]+) *\]")
_ABSENT = re.compile(
    rf"\bno {_THING} is visible|\b(?:the|a) {_THING.replace('?P<', '?P<gone_')} is gone"
)
_PRESENT = re.compile(rf"\b(?:a|the) {_THING} (?P<how>appears|is visible|is at|is)\b")
_COUNTED = re.compile(
    rf"\b(?P<number>\d+|{'|'.join(NUMBERS)}) (?:(?P<colour>{_COLOUR}) )?"
    rf"(?P<form>{_FORM}|shape)e?s? "
    r"(?P<how>appear|are visible|is visible)"
)
_IS_COLOUR = re.compile(rf"\bthe (?P<form>{_FORM}|shape) is (?P<colour>{_COLOUR})\b")


@dataclass(frozen=True)
class Fact:
    """What one sentence says; "" and -1 where it says nothing. Times in seconds of clip time."""

    colour: str = ""
    form: str = ""
    start_s: float = -1.0
    end_s: float = -1.0
    box: Box | None = None
    number: int = -1
    total: bool = False
    """The number is that of all that appear, one after the other."""
    absent: bool = False
    appears: bool = False

    def fits(self, seen: Seen) -> bool:
        """Whether a shape may be the one that is meant."""
        return self.colour in ("", seen.colour) and self.form in ("", "shape", seen.form)


_ASKED = re.compile(r'^Asked "(?P<question>[^"]*)": (?P<said>.*)$')
_ANSWERED = re.compile(
    rf"^So it (?:is visible from {_TIME.format('start')} to {_TIME.format('end')}"
    rf"|appears at {_TIME.format('at')})"
)
_LABELLED = re.compile(rf"^(?:(?:a|the) )?(?P<colour>{_COLOUR}) (?P<form>{_FORM})(?=: |$)")


def read_statement(text: str) -> list[Fact]:
    """What a statement says: a label of what is meant, sentences, or an answer to a question."""
    if asked := _ASKED.match(text):
        text = asked["said"]
        named = re.search(rf"\bthe (?P<colour>{_COLOUR}) (?P<form>{_FORM})\b", asked["question"])
        said = _ANSWERED.match(text)
        if named and said:
            start_s, end_s = (float(said[one] or said["at"]) for one in ("start", "end"))
            return [Fact(named["colour"], named["form"], start_s, end_s)]
    if label := _LABELLED.match(text):
        return [Fact(label["colour"], label["form"], *moment(text[label.end() + 2 :]))]
    return [fact for one in sentences_of(text) if (fact := read_sentence(one)) is not None]


def moment(text: str) -> tuple[float, float]:
    """The time of which a sentence speaks; -1 to -1 = none."""
    when = _WHEN.match(text)
    assert when is not None
    return float(when["at"] or when["start"] or -1), float(when["at"] or when["end"] or -1)


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, one by one."""
    return re.split(r"(?<=[.!?])\s+|\n", text)


def read_sentence(text: str) -> Fact | None:
    """What a sentence says; None if it says nothing that can be seen."""
    text = text.strip()
    start_s, end_s = moment(text)
    if found := _ABSENT.search(text):
        colour = found["colour"] or found["gone_colour"] or ""
        form = found["form"] or found["gone_form"] or ""
        return Fact(colour, form, start_s, end_s, absent=True)
    if found := _COUNTED.search(text):
        number = found["number"]
        count = NUMBERS.index(number) if number in NUMBERS else int(number)
        total = found["how"] == "appear"
        return Fact(found["colour"] or "", found["form"], start_s, end_s, number=count, total=total)
    if found := _IS_COLOUR.search(text):
        return Fact(found["colour"], found["form"], start_s, end_s)
    if found := _PRESENT.search(text):
        place = _BOX.search(text)
        box = tuple(float(one) for one in place.groups()) if place else None
        appears = found["how"] == "appears"
        return Fact(found["colour"] or "", found["form"], start_s, end_s, box, appears=appears)  # type: ignore[arg-type]
    return None


Key = tuple[str, str]


@dataclass
class Track:
    """What is known of one shape."""

    first_s: float
    until_s: float
    boxes: dict[float, Box] = field(default_factory=dict)


@dataclass
class World:
    """All that is known of a clip."""

    tracks: dict[Key, Track] = field(default_factory=dict)
    total: int = -1
    """How many shapes appear, if that was said."""


def world_of_frames(frames: Sequence[tuple[float, Sequence[Seen]]]) -> World:
    """What frames show; they are told in order of time."""
    world = World()
    for time_s, shapes in frames:
        now = set()
        for seen in shapes:
            key = (seen.colour, seen.form)
            now.add(key)
            track = world.tracks.setdefault(key, Track(time_s, -1.0))
            track.until_s = -1.0
            track.boxes[time_s] = seen.box
        for key, track in world.tracks.items():
            if key not in now and track.until_s < 0:
                track.until_s = time_s
    for track in world.tracks.values():
        if track.until_s < 0:
            track.until_s = max(track.boxes)
    return world


def world_of_sentences(sentences: Iterable[str]) -> World:
    """What sentences say, each taken at its word."""
    world = World()
    for fact in filter(None, map(read_sentence, sentences)):
        if fact.total:
            world.total = fact.number
        if fact.number >= 0 or not fact.colour or fact.form in ("", "shape"):
            continue
        key = (fact.colour, fact.form)
        if fact.absent:
            if key in world.tracks and fact.start_s >= world.tracks[key].first_s:
                world.tracks[key].until_s = fact.start_s
            continue
        track = world.tracks.setdefault(key, Track(fact.start_s, fact.end_s))
        track.first_s = min(track.first_s, fact.start_s)
        track.until_s = max(track.until_s, fact.end_s)
        if fact.box is not None:
            track.boxes[fact.start_s] = fact.box
    return world


# Questions ---------------------------------------------------------------------------------------

_QUESTIONS = {
    "colour_of": re.compile(rf"^Which colour has the (?P<form>{_FORM})\?"),
    "form_of": re.compile(rf"^Which form has the (?P<colour>{_COLOUR}) shape\?"),
    "first": re.compile(r"^Which of these shapes appears first\?"),
    "count": re.compile(r"^How many shapes appear in the clip\?"),
    "order": re.compile(r"^In which order do these shapes first appear\?"),
    "left_to_right": re.compile(r"^In which order do these shapes lie, from left to right\?"),
    "visible": re.compile(rf"^When is the (?P<colour>{_COLOUR}) (?P<form>{_FORM}) visible\?"),
    "where": re.compile(
        rf"^Where is the (?P<colour>{_COLOUR}) (?P<form>{_FORM}) at (?P<at>[\d.]+) s\?"
    ),
    "appears": re.compile(
        rf"^At how many seconds does the (?P<colour>{_COLOUR}) (?P<form>{_FORM}) appear\?"
    ),
    "last_colour": re.compile(r"^What colour has the shape that appears last\?"),
}


def thing(text: str) -> Key | None:
    """The shape that an option names."""
    found = re.fullmatch(rf"(?:a |the )?({_COLOUR}) ({_FORM})", text)
    return (found[1], found[2]) if found else None


def known_answer(question: str) -> str | None:
    """What is known without looking."""
    return KNOWLEDGE.get(question.strip().rstrip("?").casefold())


def answer(question: str, options: Sequence[str], world: World) -> str | list[str] | None:
    """The answer that follows from what is known: the words of an option, several in order, or a
    text in the form of its kind. None if it does not follow."""
    for name, pattern in _QUESTIONS.items():
        if found := pattern.match(question):
            return _ANSWERS[name](found, options, world)
    return None


def _colour_of(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    return _only({colour for colour, form in world.tracks if form == found["form"]})


def _form_of(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    return _only({form for colour, form in world.tracks if colour == found["colour"]})


def _only(values: set[str]) -> str | None:
    return values.pop() if len(values) == 1 else None


def _in_order(world: World) -> list[Key]:
    known = [key for key, track in world.tracks.items() if track.first_s >= 0]
    return sorted(known, key=lambda key: world.tracks[key].first_s)


def _first(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    named = {thing(option): option for option in options}
    return next((named[key] for key in _in_order(world) if key in named), None)


def _count(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    if world.total >= 0:
        return str(world.total)
    return str(len(world.tracks)) if world.tracks else None


def _order(found: re.Match[str], options: Sequence[str], world: World) -> list[str]:
    named = {thing(option): option for option in options}
    return [named[key] for key in _in_order(world) if key in named]


def _left_to_right(found: re.Match[str], options: Sequence[str], world: World) -> list[str]:
    named = {thing(option): option for option in options}
    placed = [key for key, track in world.tracks.items() if track.boxes and key in named]
    lefts = {key: min(world.tracks[key].boxes.items())[1][0] for key in placed}
    return [named[key] for key in sorted(placed, key=lambda key: lefts[key])]


def _track(found: re.Match[str], world: World) -> Track | None:
    return world.tracks.get((found["colour"], found["form"]))


def _visible(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    track = _track(found, world)
    return f"{track.first_s:.2f} to {track.until_s:.2f}" if track else None


def _where(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    track, at_s = _track(found, world), float(found["at"])
    near = [time_s for time_s in (track.boxes if track else ()) if abs(time_s - at_s) <= NEAR_S]
    if track is None or not near:
        return None
    return box_text(track.boxes[min(near, key=lambda time_s: abs(time_s - at_s))])


def _appears(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    track = _track(found, world)
    return f"{track.first_s:.2f}" if track else None


def _last_colour(found: re.Match[str], options: Sequence[str], world: World) -> str | None:
    order = _in_order(world)
    return order[-1][0] if order else None


_ANSWERS = {
    "colour_of": _colour_of, "form_of": _form_of, "first": _first, "count": _count,
    "order": _order, "left_to_right": _left_to_right, "visible": _visible, "where": _where,
    "appears": _appears, "last_colour": _last_colour,
}  # fmt: skip


def box_text(box: Box) -> str:
    """A box as an answer writes it."""
    return "[" + ", ".join(f"{side:.3f}" for side in box) + "]"
