"""Reading what a reasoning claims: the moments, spans, boxes and counts that its steps name.

Every pattern is bounded, so that reading is linear in the length of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from schemas.claim import Claim, ClaimKind
from schemas.rewards import cited_times_in, parse_intervals, parse_timed_boxes
from schemas.rollout import Box, Rollout
from schemas.task import SPAN_KINDS, TaskKind
from schemas.view import Spans
from transforms.verify.checks import EDGE_S
from transforms.verify.steps import reasoning_steps

Corners = tuple[float, float, float, float]

OF_NO_STEP = -1
"""`Claim.step` of a cited box that no step names."""


@dataclass(frozen=True)
class Reading:
    """A claim as it was read, and of a box what is said to be in it ("" = not said)."""

    claim: Claim
    label: str = ""


def read_claims(rollout: Rollout, kind: TaskKind) -> tuple[Reading, ...]:
    """All claims of a rollout, step by step, each once; times in seconds of clip time.

    A cited time that is the end of a span of the same step is no claim of its own.
    """
    answer_spans = tuple(parse_intervals(rollout.answer_text)) if kind in SPAN_KINDS else ()
    texts = reasoning_steps(rollout)
    found: list[Reading] = []
    for number, text in enumerate(texts):
        own = rollout.steps[number] if rollout.steps else None
        cited = ((own.start_s, own.end_s),) if own is not None and own.start_s >= 0 else ()
        found += _of_step(number, text, cited, answer_spans)
    _add_boxes(found, texts, rollout.boxes)
    found += _of_segments(rollout)
    return tuple(dict.fromkeys(found))


def _of_step(number: int, text: str, cited: Spans, answer_spans: Spans) -> list[Reading]:
    """The claims of one step: `cited` is the span that was given beside its text."""
    times = [round(time_s, 6) for time_s in cited_times_in(text)]
    spans = list(cited) + _spans_in(text, times, answer_spans)
    ends = {round(end_s, 6) for span in spans for end_s in span}
    named = spans + [(time_s, time_s) for time_s in times if time_s not in ends]
    claims = [
        Claim(
            step=number,
            kind=ClaimKind.TIME if start_s == end_s else ClaimKind.SPAN,
            text=text,
            start_s=start_s,
            end_s=end_s,
        )
        for start_s, end_s in dict.fromkeys(named)
    ]
    start_s, end_s = hull(named)
    readings = [Reading(claim) for claim in claims]
    readings += _boxes_in(number, text, [start for start, _ in named])
    readings += [
        Reading(
            Claim(
                step=number, kind=ClaimKind.COUNT, text=text, number=count,
                start_s=start_s, end_s=end_s,
            )
        )
        for count in counts_in(text)
    ]  # fmt: skip
    return readings


def hull(spans: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """From the first start to the last end; -1 to -1 of nothing."""
    times = [time_s for span in spans for time_s in span]
    return (min(times), max(times)) if times else (-1.0, -1.0)


def _spans_in(text: str, times: Sequence[float], answer_spans: Spans) -> list[tuple[float, float]]:
    """Spans of a text that are spans of time: `from 2 to 5` alone can be anything, so an end must
    be cited with its unit, or the span be one of the answer."""
    known = set(times)
    return [
        span
        for span in parse_intervals(text)
        if any(round(end_s, 6) in known for end_s in span) or span in answer_spans
    ]


def _of_segments(rollout: Rollout) -> list[Reading]:
    """Cited spans that are told what they show, and are no steps: one that lies beside it can still
    hold enough of it to answer from."""
    if rollout.steps:
        return []
    return [
        Reading(
            Claim(
                step=OF_NO_STEP, kind=ClaimKind.SPAN, text=one.label.strip(),
                start_s=one.start_s, end_s=one.end_s,
            )
        )
        for one in rollout.segments
        if one.label.strip()
    ]  # fmt: skip


# Boxes -------------------------------------------------------------------------------------------

_NUMBER = r"([-+]?(?:[0-9]{1,7}(?:\.[0-9]{0,17})?|\.[0-9]{1,17}))"
_GAP = r"\s{0,3},\s{0,3}"
_FOUR = re.compile(rf"[\[(]\s{{0,3}}{_GAP.join([_NUMBER] * 4)}\s{{0,3}}[\])]")
_OBJECT = re.compile(r"<obj>([^<>]{1,80})</obj>\s{0,3}(?:<box>)?\s{0,3}$")
_CALLED_BOX = re.compile(r"\b(?:box(?:es)?|bbox|bounding)\b", re.IGNORECASE)
LEAST_PIXELS = 20
"""A box in pixels has a corner beyond this; a row of counts or an order has not."""
BEFORE = 120
"""Characters before a box in which its time and its name are looked for."""
AFTER = 16
"""Characters after four numbers in which they may be called a box."""


def _boxes_in(number: int, text: str, times: Sequence[float]) -> list[Reading]:
    """The boxes written in a step, improper ones too, at the time written with them; else at the
    time cited just before, else at the step's first; without any time at -1."""
    timed: dict[Corners, float] = {}
    lists = list(_FOUR.finditer(text))
    if lists:
        timed = {_rounded(box): time_s for time_s, box in reversed(parse_timed_boxes(text))}
    found = []
    for match in lists:
        x1, y1, x2, y2 = (float(group) for group in match.groups())
        before = _before(text, match.start())
        after = text[match.end() : match.end() + AFTER]
        if not _is_box((x1, y1, x2, y2), before + " " + after):
            continue
        near = cited_times_in(before)[-1:] or list(times[:1]) or [-1.0]
        time_s = timed.get(_rounded((x1, y1, x2, y2)), near[0])
        label = _OBJECT.search(before)
        found.append(_box_claim(number, text, time_s, (x1, y1, x2, y2), label[1] if label else ""))
    return found


def _is_box(numbers: Corners, around: str) -> bool:
    """Whether four numbers are a box: shares of the frame, numbers that are called a box, or what
    can only be pixels (then it lies outside the frame); other lists are times, orders or counts."""
    x1, y1, x2, y2 = numbers
    shares = all(0.0 <= value <= 1.0 for value in numbers)
    pixels = (
        x1 < x2 and y1 < y2 and max(numbers) >= LEAST_PIXELS and list(numbers) != sorted(numbers)
    )
    return shares or pixels or bool(_CALLED_BOX.search(around))


def _before(text: str, end: int) -> str:
    """What stands before a place, from the beginning of a word on: `13.2 s` cut is `3.2 s`."""
    start = max(end - BEFORE, 0)
    part = text[start:end]
    return part if start == 0 else part.partition(" ")[2]


def _box_claim(number: int, text: str, time_s: float, box: Corners, label: str) -> Reading:
    claim = Claim(
        step=number, kind=ClaimKind.BOX, text=text, start_s=time_s, end_s=time_s, box=box
    )  # fmt: skip
    return Reading(claim, label.strip())


def _rounded(box: Sequence[float]) -> Corners:
    x1, y1, x2, y2 = (round(value, 6) for value in box)
    return x1, y1, x2, y2


def _add_boxes(found: list[Reading], texts: Sequence[str], boxes: Sequence[Box]) -> None:
    """Give every box of a rollout to the step that writes it or names its label; a box that none
    does is a claim of its own, whose words are its label."""
    written = {
        _rounded(one.claim.box): place
        for place, one in reversed(list(enumerate(found)))
        if one.claim.kind is ClaimKind.BOX
    }
    index = _Index(texts)
    times: dict[int, list[tuple[float, float]]] = {}
    for one in found:
        if one.claim.start_s >= 0:
            times.setdefault(one.claim.step, []).append((one.claim.start_s, one.claim.end_s))
    hulls = {step: hull(spans) for step, spans in times.items()}
    for box in boxes:
        place = written.get(_rounded(box.xyxy_norm), -1)
        if place >= 0 and _same_time(found[place].claim.start_s, box.t_s):
            label = found[place].label or box.label.strip()
            timed = {"start_s": box.t_s, "end_s": box.t_s}
            found[place] = Reading(found[place].claim.model_copy(update=timed), label)
            continue
        step = _naming(box, index.naming(box.label), hulls)
        text = texts[step] if step >= 0 else box.label.strip()
        found.append(_box_claim(step, text, box.t_s, box.xyxy_norm, box.label))


def _same_time(written_s: float, given_s: float) -> bool:
    """Whether a box written in a step is the one given: at its time, or without a time."""
    return written_s < 0 or abs(written_s - given_s) <= EDGE_S


def _words(text: str) -> str:
    return " " + " ".join(re.findall(r"\w+", text.casefold()))


class _Index:
    """The words of all steps in one text, so that a label is found in one search, not in one per
    step."""

    def __init__(self, texts: Sequence[str]) -> None:
        words = [_words(text) for text in texts]
        self._starts = [0, *accumulate(len(one) + 1 for one in words)]
        self._all = "\n".join(words)

    def naming(self, label: str) -> list[int]:
        """The steps that name a label, in order, at most `MOST_NAMING`."""
        wanted, found = _words(label), list[int]()
        place = self._all.find(wanted) if wanted.strip() else -1
        while place >= 0 and len(found) < MOST_NAMING:
            found.append(bisect_right(self._starts, place) - 1)
            place = self._all.find(wanted, self._starts[found[-1] + 1])
        return found


MOST_NAMING = 64
"""A label that more steps name does not tell them apart."""


def _naming(box: Box, naming: Sequence[int], hulls: dict[int, tuple[float, float]]) -> int:
    """Of the steps that name a box's label the first at its time, else the first."""
    for step in naming:
        start_s, end_s = hulls.get(step, (1.0, 0.0))
        if start_s - EDGE_S <= box.t_s <= end_s + EDGE_S:
            return step
    return naming[0] if naming else OF_NO_STEP


# Counts ------------------------------------------------------------------------------------------

_NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip
_COUNT = re.compile(
    rf"(?<![\w.,:/'’-])({'|'.join(_NUMBER_WORDS)}|[0-9]{{1,3}})"
    r"(?=((?: [a-z][a-z'-]{0,24}){1,4}))"
)
_THERE_IS_ONE = re.compile(r"\b(?:there (?:is|was)|exactly|only|just|single) $")
_NUMBERED = re.compile(
    r"\b(?:frame|shot|scene|step|clip|part|cut|camera|player|person|team|row|at|number|no\.?|"
    r"line|page|room|channel|day|round|level|version|about|around) #?$"
)
"""What a number follows that names one thing, or a time, and counts nothing."""
_NO_NOUNS = frozenset(
    (
        *("s", "sec", "secs", "second", "seconds", "minute", "minutes", "hours", "days", "years"),
        *("frames", "fps", "ms", "px", "pixels", "percent", "degrees", "times", "meters", "metres"),
        *("pixel", "frame", "degree", "points", "steps", "m", "cm", "km", "kg"),
        *("of", "to", "and", "or", "at", "in", "on", "by", "from", "for", "with", "until", "then"),
        *("is", "was", "has", "does", "this", "its", "as", "it", "that", "which", "while", "when"),
        *("shows", "moves", "appears", "starts", "ends", "begins", "happens", "lies", "comes"),
        *("goes", "turns", "stays", "remains", "becomes", "looks", "seems", "follows", "lasts"),
        *("are", "were", "after", "before", "the", "a", "an", "can", "way", "another", "more"),
    )
)
"""Words after a number that end the search for what it counts."""
_IRREGULAR = frozenset(
    ("men", "women", "children", "people", "feet", "teeth", "mice", "fish", "sheep", "geese")
)
_ASKED = re.compile(r"\b(?:options?|choices?|questions?|answers?)\b")
"""A step that speaks of what was asked repeats numbers that nobody saw."""


def counts_in(text: str) -> list[int]:
    """How many of something a step says there are, each number once: `three red circles`,
    `there are 3 cuts`, `there is one dog`; not `3 s`, `frame 3 shows` or `one can see`."""
    flat = " ".join(text.lower().split())
    if _ASKED.search(flat):
        return []
    found = []
    for match in _COUNT.finditer(flat):
        word = match[1]
        number = _NUMBER_WORDS.index(word) if word in _NUMBER_WORDS else int(word)
        before = flat[max(match.start() - 16, 0) : match.start()]
        if not _NUMBERED.search(before) and _counts(number, match[2].split(), before):
            found.append(number)
    return list(dict.fromkeys(found))


def _counts(number: int, after: Sequence[str], before: str) -> bool:
    """Whether the words after a number name what it counts: a plural, or of one what there is."""
    if number == 1:
        return after[0] not in _NO_NOUNS and bool(_THERE_IS_ONE.search(before))
    for word in after:
        if word in _NO_NOUNS:
            return False
        if word in _IRREGULAR or (word.endswith("s") and not word.endswith(("ss", "us", "is"))):
            return True
    return False
