"""Reward functions for video reasoning: the one grader of verifier and trainer.

This file needs nothing but Python 3.10+, so that a dataset can carry it along. Every reward is
`f(answer, gold, **spec) -> float` in 0..1. It never raises on any text: what can't be read earns 0,
and so does an empty answer. `grade` picks a function by name; a sample's `reward.fn` and
`reward.spec_json` are its first argument and its keywords.

Texts that are read: `B`; `A,C`; `12.5`; spans as `3.2 to 7.75` (several joined with `; `) and the
dialects listed at `parse_intervals`; boxes as `[x1, y1, x2, y2]`, alone or in JSON, keyed by second
(`{"boxes": {"9": [..]}}`) or cited (`<obj>cup</obj><box>[..]</box>at<t>9</t>s`).

At the end are the hooks that trainers call: TRL, verl, EasyR1, ms-swift, OpenRLHF.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import string
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, wraps
from math import exp, isclose, isfinite
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

MAX_CHARS = 100_000
"""A longer answer or gold text earns 0: nobody reads it, and grading it would be an attack."""

Span = tuple[float, float]
Box = tuple[float, float, float, float]
F = TypeVar("F", bound=Callable[..., float])


class Response(NamedTuple):
    """What a model wrote, taken apart."""

    think: str
    answer: str
    well_formed: bool


_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def parse_response(text: str) -> Response:
    """Takes `<think>..</think><answer>..</answer>` apart, in linear time.

    Well-formed: each tag once, in this order, only white space around the two parts, and neither
    of them blank. Otherwise a part is given when its own two tags stand once and in order, and the
    answer only if it follows the reasoning; else it is "".
    """
    at = [text.find(tag) if text.count(tag) == 1 else -1 for tag in _TAGS]
    think = text[at[0] + len(_TAGS[0]) : at[1]].strip() if 0 <= at[0] < at[1] else ""
    answer = text[at[2] + len(_TAGS[2]) : at[3]].strip() if max(0, at[1]) <= at[2] < at[3] else ""
    if not think or not answer:
        return Response(think, answer, False)
    around = text[: at[0]] + text[at[1] + len(_TAGS[1]) : at[2]] + text[at[3] + len(_TAGS[3]) :]
    return Response(think, answer, not around.strip())


def format_response(reasoning: str, answer: str) -> str:
    """The text that `parse_response` takes apart; raises ValueError if a part holds such a tag."""
    for tag in _TAGS:
        if tag in reasoning or tag in answer:
            raise ValueError(f"reasoning and answer must not hold the tag {tag}")
    return f"<think>{reasoning}</think>\n<answer>{answer}</answer>"


# Parsers. Repetitions are bounded and white space is collapsed first: no pattern can backtrack far.

_UNIT = r"(?: ?(?:seconds?|secs?|s)\b)"
_END = r"(?![0-9:]|\.[0-9])"
_CLOCK = rf"(?:[0-9]{{1,3}}:)?[0-9]{{1,4}}:[0-5][0-9](?:\.[0-9]{{1,20}})?{_END}"
_TIME = rf"(?:{_CLOCK}|[0-9]{{1,9}}(?:\.[0-9]{{1,20}})?{_END})"
_ALONE = r"(?<![a-z0-9_.:-])"
_SPAN = re.compile(
    rf"{_ALONE}({_TIME}){_UNIT}? ?(?:to|until|->|[-~–—→]) ?({_TIME})"
    rf"|[(\[] ?({_TIME}){_UNIT}? ?, ?({_TIME}){_UNIT}? ?[)\]]"
    rf"|\bbetween ({_TIME}){_UNIT}? ?and ({_TIME})"
)
_CITED = re.compile(
    rf"(?:{_ALONE}({_TIME}){_UNIT}? ?(?:to|and|->|[-~–—→]) ?|{_ALONE})"
    rf"({_CLOCK}{_UNIT}?|(?!(?:1[5-9]|20)[0-9]0s){_TIME}{_UNIT})(?! (?:long|later|earlier|apart)\b)"
)
_LENGTH = re.compile(r"\b(?:for|lasts|lasting|takes|every|within) (?:about |only |some )?$")
_NUMBER = re.compile(r"(?<![\w.,])[-+]?\.?[0-9][0-9.,]*(?:[eE][-+]?[0-9]{1,4}(?!\w))?")
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_CHOICE = re.compile(
    r"(?:(?:the )?(?:final |correct |best )?(?:answer|option|choice)(?: is)?:? ?){0,2}"
    r"[(\[{*]{0,4}([a-z])(?:[)\]}*.:,;]+ ?(.*))?$",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_SECOND_CHOICE = re.compile(
    r"(?:(?:or|and|/|&) ?)?[(\[{*]{0,4}[a-z](?:$|[)\]}*.:,;/&]| (?:or|and)\b)",
    re.IGNORECASE | re.ASCII,
)
_BOX_LIST = re.compile(r"\[[-+0-9.eE, ]{7,160}\]")
_CITED_BOX = re.compile(r"((?:<box>[^<>]{7,160}</box> ?){1,16})at ?<t> ?([^<>]{1,40})</t>")
_MAX_TIME_S = 1e9


def _flat(text: str) -> str:
    """Lower case, one space wherever there was white space or a time tag."""
    return " ".join(text.lower().replace("<t>", " ").replace("</t>", " ").split())


def _seconds(value: object) -> float | None:
    """A time of 0 s or more: a number, or text such as `3.2`, `3.2 s`, `01:02.5`, `1:02:03`."""
    if isinstance(value, str):
        match = re.fullmatch(rf"({_TIME}){_UNIT}?", _flat(value[:64]))
        return _clock_s(match[1]) if match else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if 0 <= value <= _MAX_TIME_S else None
    return None


def _clock_s(text: str) -> float:
    seconds = 0.0
    for part in re.findall(r"[0-9.]+", text):
        seconds = seconds * 60 + float(part)
    return seconds


def _containers(text: str) -> Iterator[Any]:
    """All objects and lists of the JSON in a text, outer before inner; nothing if there is none."""
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    end = max(text.rfind("}"), text.rfind("]")) + 1
    part = text[min(starts) : end] if starts else ""
    value: Any = None
    for attempt in (part, part.replace("'", '"')):
        try:
            value = json.loads(attempt)
            break
        except (ValueError, RecursionError):  # nesting can be deeper than the stack
            continue
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, (dict, list)):
            yield value
            stack.extend(reversed(list(value.values()) if isinstance(value, dict) else value))


def parse_intervals(text: str) -> list[Span]:
    """The time spans in a text, in seconds, in the order written; start <= end, both >= 0.

    Reads `3.2 to 7.75` (also `-`, units, `between .. and ..`), `[[3.2, 7.75]]`,
    `{"time": [s, e]}` (OneThinker), `From <t>s</t>s to <t>e</t>s` (Open-o3),
    `<glue>[(s, e)]</glue>` (VideoChat-R1), `{"start_time": "..", "end_time": ".."}` (Temporal-R1);
    a time may be `mm:ss.ff`. Reversed and negative spans are left out.
    """
    pairs: list[tuple[float | None, float | None]] = []
    for node in _containers(text):
        if isinstance(node, list) and len(node) == 2:
            pairs.append((_seconds(node[0]), _seconds(node[1])))
        elif isinstance(node, dict):
            for start, end in (("start_time", "end_time"), ("start_s", "end_s"), ("start", "end")):
                pairs.append((_seconds(node.get(start)), _seconds(node.get(end))))
    if all(start is None or end is None for start, end in pairs):
        for match in _SPAN.finditer(_flat(text)):
            start_s, end_s = (_clock_s(group) for group in match.groups() if group is not None)
            pairs.append((start_s, end_s))
    return [(s, e) for s, e in pairs if s is not None and e is not None and s <= e]


def parse_number(text: str) -> float | None:
    """The number in a text that holds exactly one (`12.5`, `1,234 m`, `There are 3.`), else None.

    Two numbers are two answers, so `3 or 4` and `2-3` have no number. Never NaN, never infinite.
    """
    found = _NUMBER.findall(text.replace("\u2212", "-"))
    if len(found) != 1:
        return None
    number = found[0].rstrip(".,")
    if _GROUPED.fullmatch(number):
        number = number.replace(",", "")
    try:
        value = float(number)
    except ValueError:
        return None
    return value if isfinite(value) else None


def parse_letters(text: str) -> list[str]:
    """Option letters in the order written: `B,A,C`, `B, A and C`, `(B) > (A)`, `BAC`; else []."""
    words = [w for w in re.split(r"[\s,;.:/>&()\[\]{}\"'*$→-]+", text) if w]
    words = [w for w in words if w.lower() not in ("and", "then")]
    if len(words) == 1 and words[0].isupper():
        words = list(words[0])
    letters = [w.upper() for w in words if len(w) == 1 and w in string.ascii_letters]
    return letters if len(letters) == len(words) else []


def cited_times_in(text: str) -> list[float]:
    """The times (s) a reasoning cites, in order: `3.20 s`, `at 3.2s`, `12.5 seconds`, `01:02.5`.

    Both ends of `3.2 to 7.75 s` count. Plain lengths (`for 3 s`, `2 s later`) do not.
    """
    flat = _flat(text)
    times: list[float] = []
    for match in _CITED.finditer(flat):
        if not _LENGTH.search(flat[max(0, match.start() - 20) : match.start()]):
            times += [_clock_s(time) for time in match.groups() if time]
    return times


def _box(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(v, (int, float)) and -1e9 <= v <= 1e9 for v in value):
        return None
    x1, y1, x2, y2 = (float(v) for v in value)
    return (x1, y1, x2, y2) if x1 <= x2 and y1 <= y2 else None


def parse_boxes(text: str) -> list[Box]:
    """The boxes (x1, y1, x2, y2) in a text: every JSON list of four numbers, corners in order."""
    boxes = [box for node in _containers(text) if (box := _box(node))]
    if boxes:
        return boxes
    lists = _BOX_LIST.findall(" ".join(text.split()))
    return [box for part in lists for node in _containers(part) if (box := _box(node))]


def parse_timed_boxes(text: str) -> list[tuple[float, Box]]:
    """Boxes with their time (s), in the order written.

    Reads `<box>[..]</box>at<t>9</t>s` (Open-o3), `{"9": [..]}` at any depth (OneThinker), and
    `{"t_s": 9, "xyxy_norm": [..]}`.
    """
    timed: list[tuple[float, Box]] = []
    for cited, at in _CITED_BOX.findall(" ".join(text.split())):
        if (t_s := _seconds(at)) is not None:
            timed += [(t_s, box) for box in parse_boxes(cited)]
    for node in () if timed else _containers(text):
        if isinstance(node, dict):
            own = [_seconds(node.get(key)) for key in ("t_s", "t", "time")]
            own_s = next((t for t in own if t is not None), None)
            for key, value in node.items():
                t_s = _seconds(key) if own_s is None else own_s
                boxes = [_box(part) for part in (value, *value)] if isinstance(value, list) else []
                timed += [(t_s, box) for box in boxes if box and t_s is not None]
    return timed


# The arithmetic under the rewards.


def _bounded(reward: F) -> F:
    """What all rewards share: nothing for an empty or monstrous text, and a score in 0..1."""

    @wraps(reward)
    def bounded(answer: str, gold: str, **spec: Any) -> float:
        if not answer.strip() or max(len(answer), len(gold)) > MAX_CHARS:
            return 0.0
        return min(1.0, max(0.0, reward(answer, gold, **spec)))

    return cast(F, bounded)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _length(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in spans)


def _overlap(a: Sequence[Span], b: Sequence[Span]) -> float:
    """Common length of two merged lists."""
    total, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        total += max(0.0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return total


def _span_iou(a: Sequence[Span], b: Sequence[Span]) -> float:
    """IoU of two merged lists. An empty union has IoU 0, unless both name the same moments."""
    if a and a == b:
        return 1.0
    common = _overlap(a, b)
    union = _length(a) + _length(b) - common
    return common / union if union > 0 else 0.0


def _iou(a: Box, b: Box) -> float:
    """IoU of two boxes, defined as for spans."""
    if a == b:
        return 1.0
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return min(1.0, common / union) if union > 0 else 0.0


def _one_span(text: str) -> Span | None:
    spans = _merged(parse_intervals(text))
    return spans[0] if len(spans) == 1 else None


def _sequence(text: str) -> list[str]:
    """Letters in order, or numbers in order: `3,10,2`, `341562`."""
    if letters := parse_letters(text):
        return letters
    words = [w for w in re.split(r"[\s,;>()\[\]→-]+", text) if w]
    if not all(w.isascii() and w.isdigit() for w in words):
        return []
    return list(words[0]) if len(words) == 1 else words


def _bits(words: Sequence[str]) -> dict[str, int]:
    """Where each word stands, as a bit set: the alphabet of the bit-parallel algorithms."""
    where: dict[str, int] = {}
    for i, word in enumerate(words):
        where[word] = where.get(word, 0) | 1 << i
    return where


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004)."""
    where, full = _bits(a), (1 << len(a)) - 1
    row = full
    for word in b:
        hit = row & where.get(word, 0)
        row = ((row + hit) | (row - hit)) & full
    return len(a) - bin(row).count("1")


def _edits(a: Sequence[str], b: Sequence[str]) -> int:
    """Edit distance, bit-parallel (Myers 1999 in Hyyrö's form)."""
    where, full, last = _bits(a), (1 << len(a)) - 1, 1 << max(0, len(a) - 1)
    up, down, edits = full, 0, len(a)
    for word in b:
        hit = where.get(word, 0)
        diagonal = (((hit & up) + up) ^ up) | hit
        right_up, right_down = down | (full & ~(diagonal | up)), up & diagonal
        edits += bool(right_up & last) - bool(right_down & last) if a else 1
        right_up, vertical = right_up << 1 | 1, hit | down
        up = (right_down << 1 | ~(vertical | right_up)) & full
        down = right_up & vertical & full
    return edits


def _relative_error(answer: str, gold: str) -> float:
    """|p - g| / |g|; infinite if a number is missing or only g is 0."""
    p, g = parse_number(answer), parse_number(gold)
    if p is None or g is None:
        return float("inf")
    return 0.0 if p == g else abs(p - g) / abs(g) if g else float("inf")


def _worst_per_second(scores: Iterable[tuple[float, float]]) -> float:
    """Mean over the whole seconds that (time, score) pairs touch, each second at its worst score.

    So a good citation said again, or said again a little differently, pays nothing.
    """
    worst: dict[int, float] = {}
    for t_s, score in scores:
        worst[int(t_s)] = min(score, worst.get(int(t_s), 1.0))
    return sum(worst.values()) / len(worst) if worst else 0.0


# The rewards.


def format_reward(answer: str, gold: str = "") -> float:
    """1 if the whole response is `<think>..</think><answer>..</answer>`, see `parse_response`."""
    return float(parse_response(answer).well_formed)


def _choice(text: str) -> str:
    match = _CHOICE.match(" ".join(text.split()).strip(" \"'`$*"))
    return match[1].upper() if match and not _SECOND_CHOICE.match(match[2] or "") else ""


@_bounded
def mcq(answer: str, gold: str) -> float:
    """1 for the right letter: `B`, `(B)`, `B.`, `b`, `B) text`, `Answer: B`.

    A word that begins with the letter is no choice, and neither are two letters.
    """
    return float(_choice(answer) == _choice(gold) != "")


@_bounded
def multi_choice(answer: str, gold: str) -> float:
    """|pred| / |gold| if the chosen letters are a subset of the gold ones, else 0 (TW-GRPO)."""
    pred, right = set(parse_letters(answer)), set(parse_letters(gold))
    return len(pred) / len(right) if right and pred <= right else 0.0


@_bounded
def number(answer: str, gold: str, *, tolerance: float = -1.0) -> float:
    """1 if equal after rounding to 2 decimals (Video-R1); with tolerance >= 0, if |p - g| <= it.

    A billionth of the size is forgiven, since 0.4 - 0.3 > 0.1 in binary.
    """
    p, g = parse_number(answer), parse_number(gold)
    if p is None or g is None:
        return 0.0
    if tolerance >= 0:
        return float(abs(p - g) <= tolerance + 1e-9 * max(1.0, min(abs(p), abs(g))))
    return float(round(p, 2) == round(g, 2))


@_bounded
def regression(answer: str, gold: str) -> float:
    """1 - min(1, |p - g| / |g|) (Video-R1); for g = 0 only 0 is right."""
    return 1.0 - min(1.0, _relative_error(answer, gold))


@_bounded
def mra(answer: str, gold: str) -> float:
    """Mean over theta in .50, .55, .. .95 of [|p - g| / |g| < 1 - theta] (OneThinker, SpaceR)."""
    error = _relative_error(answer, gold)
    return sum(error < percent / 100 for percent in range(5, 51, 5)) / 10


@_bounded
def count(answer: str, gold: str) -> float:
    """1 - min(1, |p - g| / max(g, 1)) (AV-Reasoner)."""
    p, g = parse_number(answer), parse_number(gold)
    return 0.0 if p is None or g is None else 1.0 - min(1.0, abs(p - g) / max(g, 1.0))


@_bounded
def exact_count(answer: str, gold: str) -> float:
    """1 if both are the same whole number (up to 2^53, where floats stop counting)."""
    p, g = parse_number(answer), parse_number(gold)
    return float(p is not None and p == g and p.is_integer() and abs(p) < 2**53)


@_bounded
def ordering(answer: str, gold: str) -> float:
    """1 for exactly the gold order, of letters or of numbers."""
    return float(_sequence(answer) == _sequence(gold) != [])


@_bounded
def ordering_pairs(answer: str, gold: str) -> float:
    """Share of the gold's pairs that are in the right order; a repeated or strange item earns 0."""
    pred, right = _sequence(answer), _sequence(gold)
    place = {item: i for i, item in enumerate(pred)}
    if len(place) < len(pred) or len(set(right)) < len(right) or not place.keys() <= set(right):
        return 0.0
    if len(right) < 2:
        return float(pred == right != [])
    seen: list[int] = []
    pairs = 0
    for item in right:
        if item in place:
            pairs += bisect_left(seen, place[item])
            insort(seen, place[item])
    return 2 * pairs / (len(right) * (len(right) - 1))


@_bounded
def ocr(answer: str, gold: str) -> float:
    """1 - word error rate, at least 0: WER = word edits / gold words, case matters (Video-R1)."""
    pred, right = answer.split(), gold.split()
    if not right or len(pred) >= 2 * len(right):
        return 0.0
    return 1.0 - _edits(right, pred) / len(right)


@_bounded
def free_text(answer: str, gold: str) -> float:
    """Mean F of ROUGE-1, ROUGE-2 and ROUGE-L, without stemming (Video-R1).

    If neither text has two words there is no ROUGE-2, and the mean is over the other two.
    """
    pred, right = (re.findall(r"\w+", text.casefold()) for text in (answer, gold))
    if not pred or not right:
        return 0.0
    scores = [2 * _common_subsequence(right, pred) / (len(pred) + len(right))]
    for n in (1, 2):
        grams = [Counter(zip(*(t[i:] for i in range(n)), strict=False)) for t in (pred, right)]
        if total := grams[0].total() + grams[1].total():
            scores.append(2 * (grams[0] & grams[1]).total() / total)
    return sum(scores) / len(scores)


def _formula(text: str) -> str:
    """A formula without its dress: `$\\boxed{\\frac{1}{2}}$` -> `1/2`."""
    text = re.sub(r"\\(?:left|right|displaystyle|,|;|!| )|[\s$]", "", text)
    text = re.sub(r"\\[dt]?frac\{([^{}]{1,99})\}\{([^{}]{1,99})\}", r"\1/\2", text)
    text = re.sub(r"\\(?:boxed|text|mathrm|mathbf)\{([^{}]{0,999})\}", r"\1", text)
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text).rstrip(".")
    return re.sub(r"^[a-zA-Z]=", "", text)


def _value(formula: str) -> float | None:
    match = re.fullmatch(r"([-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?)(?:/([0-9]{1,30}))?", formula)
    if not match or (match[2] and not float(match[2])):
        return None
    return float(match[1]) / float(match[2] or 1)


@_bounded
def math(answer: str, gold: str, *, symbolic: bool = True) -> float:
    """1 for the same formula, or the same number or fraction (to a billionth).

    Where that fails and the package math_verify is installed, its verdict counts; say
    symbolic=False to get the same score on every machine.
    """
    pred, right = _formula(answer), _formula(gold)
    a, b = _value(pred), _value(right)
    if pred == right != "":
        return 1.0
    if a is not None and b is not None:
        return float(isclose(a, b, rel_tol=1e-9))
    if not symbolic or not right:
        return 0.0
    try:
        engine = importlib.import_module("math_verify")
        return float(engine.verify(engine.parse(f"${gold}$"), engine.parse(f"${answer}$")))
    except Exception:  # noqa: BLE001 - absent, or failed on a strange formula: not equal
        return 0.0


@_bounded
def temporal_iou(answer: str, gold: str) -> float:
    """IoU of two spans (VideoChat-R1, Open-o3); a text with several separate spans earns 0."""
    p, g = _one_span(answer), _one_span(gold)
    return _span_iou([p], [g]) if p and g else 0.0


@_bounded
def temporal_iou_edges(answer: str, gold: str, *, duration_s: float) -> float:
    """IoU * (1 - |ds| / D) * (1 - |de| / D), ds and de the errors at start and end (Time-R1)."""
    p, g = _one_span(answer), _one_span(gold)
    if not p or not g or not (isfinite(duration_s) and duration_s > 0):
        return 0.0
    edges = [max(0.0, 1.0 - abs(p[i] - g[i]) / duration_s) for i in (0, 1)]
    return _span_iou([p], [g]) * edges[0] * edges[1]


@_bounded
def segments_iou(answer: str, gold: str) -> float:
    """IoU of the unions of all spans (VideoChat-R1)."""
    return _span_iou(_merged(parse_intervals(answer)), _merged(parse_intervals(gold)))


@_bounded
def segments_f1_giou(answer: str, gold: str) -> float:
    """(F1 of the common time + mean of (1 + gIoU) / 2 over pairs) / 2 (MUSEG, halved to 0..1).

    Spans are merged, then paired in order of time; a span without partner counts 0.
    """
    pred, right = _merged(parse_intervals(answer)), _merged(parse_intervals(gold))
    if not pred or not right or pred == right:
        return float(pred == right != [])
    both = _length(pred) + _length(right)
    f1 = 2 * _overlap(pred, right) / both if both > 0 else 0.0
    local = 0.0
    for p, g in zip(pred, right, strict=False):
        common, hull = _overlap([p], [g]), max(p[1], g[1]) - min(p[0], g[0])
        union = _length([p, g]) - common
        giou = _span_iou([p], [g]) - (hull - union) / hull if hull > 0 else 1.0
        local += (1 + giou) / 2
    return (f1 + local / max(len(pred), len(right))) / 2


def _answer_part(text: str) -> str:
    for node in _containers(text):
        if isinstance(node, dict) and isinstance(node.get("answer"), (str, int, float)):
            return str(node["answer"])
    return re.split(r"[;\n]", text, maxsplit=1)[0]


@_bounded
def grounded_qa(
    answer: str,
    gold: str,
    *,
    answer_fn: str = "mcq",
    answer_spec: Mapping[str, Any] | None = None,
    weight: float = 0.5,
) -> float:
    """weight * answer score + (1 - weight) * segments IoU (VideoChat-R1, as a mean).

    Texts: `B; 3.2 to 7.75`, `B` over `[3.2, 7.75]` on the next line, or
    `{"answer": "B", "time": [3.2, 7.75]}`.
    """
    score = grade(answer_fn, _answer_part(answer), _answer_part(gold), **(answer_spec or {}))
    return weight * score + (1 - weight) * segments_iou(answer, gold)


@_bounded
def box_iou(answer: str, gold: str) -> float:
    """IoU of two boxes in the same units; a text with several boxes earns 0 (OneThinker)."""
    pred, right = set(parse_boxes(answer)), set(parse_boxes(gold))
    return _iou(pred.pop(), right.pop()) if len(pred) == len(right) == 1 else 0.0


@_bounded
def tracking(answer: str, gold: str) -> float:
    """Mean box IoU over the gold's times, a missing time counts 0 (OneThinker)."""
    pred, right = ({round(t, 2): b for t, b in parse_timed_boxes(x)} for x in (answer, gold))
    return sum(_iou(pred[t], right[t]) for t in right if t in pred) / max(1, len(right))


@_bounded
def spatio_temporal(answer: str, gold: str) -> float:
    """0.5 * temporal IoU + 0.5 * mean box IoU over the gold's seconds, missing = 0 (OneThinker)."""
    return 0.5 * segments_iou(answer, gold) + 0.5 * tracking(answer, gold)


@_bounded
def cited_times(answer: str, gold: str, *, sigma_s: float = 1.0) -> float:
    """Mean exp(-dt^2 / 2 sigma^2), dt from a cited time to the nearest gold span, 0 inside.

    `answer` is the reasoning (or the whole response), gold the spans. sigma_s = 0 gives the share
    of cited times inside (Open-o3). Each second counts once, at its worst; no citation earns 0.
    """
    spans = _merged(parse_intervals(gold))
    scores = []
    for t in cited_times_in(parse_response(answer).think or answer) if spans else ():
        after = bisect_left(spans, (t, t))
        dt = min(max(s - t, t - e, 0.0) for s, e in spans[max(0, after - 1) : after + 1])
        near = exp(-((dt / sigma_s) ** 2) / 2) if sigma_s > 1e-6 else 0.0
        scores.append((t, near if dt > 0 else 1.0))
    return _worst_per_second(scores)


@_bounded
def cited_boxes(answer: str, gold: str, *, max_dt_s: float = 1.0) -> float:
    """Mean over cited boxes: max IoU at the nearest key frame, 0 if |dt| > 1 s (Open-o3).

    `answer` is the reasoning (or the whole response), gold the timed boxes of the key frames. Each
    second counts once, at its worst; no citation earns 0.
    """
    right: dict[float, list[Box]] = {}
    for t, box in parse_timed_boxes(gold):
        right.setdefault(t, []).append(box)
    scores = []
    for t, box in parse_timed_boxes(parse_response(answer).think or answer) if right else ():
        key = min(right, key=lambda key_s: abs(key_s - t))
        near = abs(key - t) <= max_dt_s
        scores.append((t, max(_iou(box, other) for other in right[key]) if near else 0.0))
    return _worst_per_second(scores)


@_bounded
def length_bonus(
    answer: str,
    gold: str,
    *,
    answer_fn: str = "mcq",
    answer_spec: Mapping[str, Any] | None = None,
    min_words: int = 320,
    max_words: int = 512,
    bonus: float = 0.2,
) -> float:
    """`bonus` if the answer is fully right and the reasoning is within the band, else 0 (Video-R1).

    `answer` is the whole response. Against padding, the lower end counts distinct word triples,
    so that said again doesn't count again; the upper end counts all words. Words, not tokens.
    """
    response = parse_response(answer)
    words = response.think.casefold().split()
    distinct = len(set(zip(words, words[1:], words[2:], strict=False)))
    if not (response.well_formed and distinct >= min_words and len(words) <= max_words):
        return 0.0
    return bonus * (grade(answer_fn, response.answer, gold, **(answer_spec or {})) >= 1.0)


@_bounded
def consistency(answer: str, gold: str) -> float:
    """1 if the last sentence of the reasoning holds the answer (after GRPO-CARE, without a model).

    `answer` is the whole response; gold isn't used. Of option letters the sentence must name no
    other (`A` and `I`, also words, pass). Whether the reasoning leads there, a model judges.
    """
    response = parse_response(answer)
    last = re.split(r"[.!?]\s|\n", response.think.rstrip(".!? \n"))[-1]
    if choice := _choice(response.answer):
        named = set(re.findall(r"(?<![\w'])[A-Z](?![\w'])", last))
        return float(choice in named and not named - {choice, "A", "I"})
    wanted = _said(response.answer)
    return float(wanted.strip() != "" and wanted in _said(last))


def _said(text: str) -> str:
    """Words and numbers with spaces around them: `12.50 s` and `12.5` are the same."""
    tokens = re.findall(r"[0-9]{1,15}(?:\.[0-9]{1,15})?|[^\W\d]+", text.casefold())
    kept = [t for t in tokens if t not in ("s", "sec", "secs", "second", "seconds", "to", "and")]
    return f" {' '.join(str(float(t)) if t[0] in string.digits else t for t in kept)} "


REWARDS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "format": format_reward,
        "mcq": mcq,
        "multi_choice": multi_choice,
        "number": number,
        "regression": regression,
        "mra": mra,
        "count": count,
        "exact_count": exact_count,
        "ordering": ordering,
        "ordering_pairs": ordering_pairs,
        "ocr": ocr,
        "free_text": free_text,
        "math": math,
        "temporal_iou": temporal_iou,
        "temporal_iou_edges": temporal_iou_edges,
        "segments_iou": segments_iou,
        "segments_f1_giou": segments_f1_giou,
        "grounded_qa": grounded_qa,
        "box_iou": box_iou,
        "tracking": tracking,
        "spatio_temporal": spatio_temporal,
        "cited_times": cited_times,
        "cited_boxes": cited_boxes,
        "length_bonus": length_bonus,
        "consistency": consistency,
    }
)
"""All rewards by name; a sample's `reward.fn` is one of these names."""

REWARD_FOR_KIND: dict[str, str] = {
    "mcq": "mcq",
    "multi_choice": "multi_choice",
    "count": "exact_count",
    "number": "number",
    "ordering": "ordering",
    "temporal_grounding": "segments_iou",
    "spatial_grounding": "box_iou",
    "spatio_temporal_grounding": "spatio_temporal",
    "free_text": "free_text",
    "causal": "mcq",
    "next_event": "mcq",
}
"""The reward that grades a kind of task unless its sample says otherwise."""


@lru_cache(maxsize=64)
def _signature(reward: Callable[..., float]) -> inspect.Signature:
    # Looking at it takes longer than most rewards do.
    return inspect.signature(reward)


def grade(fn: str, answer: str, gold: str, /, **spec: Any) -> float:
    """The score of one answer by the reward named `fn`.

    Raises ValueError if there is no such reward, or if it doesn't take these keywords.
    """
    reward = REWARDS.get(fn)
    if reward is None:
        raise ValueError(f"no reward is called {fn!r}; there are: {', '.join(REWARDS)}")
    signature = _signature(reward)
    try:
        signature.bind(answer, gold, **spec)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[2:]) or "none"
        raise ValueError(f"reward {fn!r}: {error}; its keywords: {known}") from error
    return reward(answer, gold, **spec)


# The hooks of the trainers. What is graded travels as one text, the label, in the place that each
# trainer has for it. So every row names its own reward, and no batch is graded by its first row.

REWARD_NAME, REWARD_TYPE = "proofreel", "batch"
"""What EasyR1 looks for in this file: it hands `easyr1_score` a whole batch, as a list."""

FORMAT_WEIGHT = 0.1
"""w in total = (1 - w) * answer reward + w * format reward, as in EasyR1's examples."""

_OF_RESPONSES = frozenset({"format", "cited_times", "cited_boxes", "length_bonus", "consistency"})
_END_MARKS = re.compile(r"(?:<[|｜][^<>]{1,40}[|｜]>|</s>|<eos>|<end_of_turn>)*")


class Label(NamedTuple):
    """What an answer is graded with: `grade(fn, answer, gold, **spec)`."""

    fn: str
    gold: str
    spec: Mapping[str, Any]


class Score(NamedTuple):
    """What a response earns, each 0..1."""

    total: float
    answer: float
    format: float


def make_label(sample: Mapping[str, Any]) -> str:
    """The label of a published sample: canonical JSON of its reward and its answer.

    Raises ValueError where `read_label` would, and for a sample that only a model can grade.
    """
    reward, gold = sample["reward"], sample["answer"]["text"]
    if reward["style"] != "rule":
        raise ValueError(f"no function grades a reward of style {reward['style']!r}")
    parts = {"fn": reward["fn"], "gold": gold, "spec": json.loads(reward["spec_json"] or "{}")}
    read_label(json.dumps(parts))
    return json.dumps(
        parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def read_label(label: str) -> Label:
    """The parts of a label `{"fn": "mcq", "gold": "B", "spec": {}}`.

    Raises ValueError if the text is no label, or if its gold doesn't earn 1 by its own reward:
    nothing could, and training would go on with zeros and no word of it.
    """
    try:
        return _checked(json.loads(label))
    except Exception as error:  # a keyword of the wrong type breaks each reward in its own way
        form = '{"fn": "mcq", "gold": "B", "spec": {}}'
        raise ValueError(f"bad label {str(label)[:200]!r}: {error}; a good one: {form}") from error


def _checked(value: Any) -> Label:
    if not isinstance(value, dict) or value.keys() != set(Label._fields):
        raise ValueError(f"it must be an object with the keys {', '.join(Label._fields)}")
    label = Label(**value)
    if not (isinstance(label.gold, str) and isinstance(label.spec, dict)):
        raise ValueError("gold must be a text, and spec an object")
    if label.fn in _OF_RESPONSES:
        raise ValueError(f"{label.fn!r} grades whole responses, not answers")
    own = grade(label.fn, label.gold, label.gold, **label.spec)
    if own < 1 - 1e-9:
        raise ValueError(f"the gold itself earns {own:g}, so nothing can earn 1")
    return label


def score_response(response: object, label: str, format_weight: float = FORMAT_WEIGHT) -> Score:
    """total = (1 - w) * answer reward + w * format reward, w = `format_weight`.

    `response` is a text, or one reply as chat messages. The answer is what `parse_response` finds;
    a reply without one earns 0 for it. Raises ValueError on a bad label, never on a response.
    """
    fn, gold, spec = read_label(label)
    parts = parse_response(_reply(response))
    answer, well_formed = grade(fn, parts.answer, gold, **spec), float(parts.well_formed)
    return Score((1 - format_weight) * answer + format_weight * well_formed, answer, well_formed)


def _reply(response: object) -> str:
    """The text of a reply; of several messages the assistant's last, of several parts all texts."""
    if isinstance(response, str):
        return response
    if not isinstance(response, (list, tuple)):
        return ""
    nodes = [node for node in response if isinstance(node, dict)]
    said = [node for node in nodes if node.get("role") == "assistant"]
    if not said:
        return "".join(node["text"] for node in nodes if isinstance(node.get("text"), str))
    thought, text = said[-1].get("reasoning_content"), _reply(said[-1].get("content"))
    return f"<think>{thought}</think>{text}" if isinstance(thought, str) else text


def trl_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Any] | None = None,
    *,
    solution: Sequence[str],
    format_weight: float = FORMAT_WEIGHT,
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
) -> list[float | None]:
    """For TRL (read in 1.16): the column `solution` holds the labels; parts go to its metrics."""
    rows = zip(completions, solution, strict=True)
    scores = [score_response(reply, label, format_weight) for reply, label in rows]
    if log_metric and scores:
        log_metric("proofreel/answer", sum(score.answer for score in scores) / len(scores))
        log_metric("proofreel/format", sum(score.format for score in scores) / len(scores))
    return [score.total for score in scores]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    format_weight: float = FORMAT_WEIGHT,
    **kwargs: Any,
) -> dict[str, float]:
    """For verl (read in 0.9.1): the label is the ground truth; `acc` is what it reports."""
    score = score_response(solution_str, ground_truth, format_weight)
    return {"score": score.total, "acc": score.answer, "format": score.format}


def easyr1_score(reward_input: Any, format_weight: float = FORMAT_WEIGHT) -> Any:
    """For EasyR1: `{response, response_length, ground_truth}` -> a dict with `overall`.

    A list of these gives a list: which of the two it hands over, EasyR1 chooses by REWARD_TYPE.
    The label is its column `answer`.
    """
    if not isinstance(reward_input, Mapping):
        return [easyr1_score(row, format_weight) for row in reward_input]
    score = score_response(reward_input["response"], reward_input["ground_truth"], format_weight)
    return {"overall": score.total, "accuracy": score.answer, "format": score.format}


class SwiftReward:
    """For ms-swift (read in 4.6): `orms["proofreel"] = SwiftReward`; labels are in `solution`."""

    format_weight = FORMAT_WEIGHT

    def __init__(self, args: Any = None, **kwargs: Any) -> None:
        self.args = args

    def __call__(
        self, completions: Sequence[Any], *, solution: Sequence[str], **columns: Any
    ) -> list[float]:
        rows = zip(completions, solution, strict=True)
        return [score_response(reply, label, self.format_weight).total for reply, label in rows]


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **kwargs: Any
) -> dict[str, Any]:
    """For OpenRLHF (read in 0.11): scores, by which it filters prompts, are the answer rewards.

    A query is prompt and response together, with special tokens. OpenRLHF only logs what is raised
    here, so try the labels of a dataset with `read_label` before training.
    """
    tensor = importlib.import_module("torch").tensor
    rows = zip(queries, prompts, labels, strict=True)
    scores = [score_response(_after(query, prompt), label) for query, prompt, label in rows]
    total, answer, well_formed = (tensor([score[i] for score in scores]) for i in range(3))
    logs = {"answer": answer, "format": well_formed}
    return {"rewards": total, "scores": answer, "extra_logs": logs}


def _after(query: str, prompt: str) -> str:
    """The response in a query, without the end marks of the template.

    Where the prompt isn't found as it was (media are expanded, a long one loses its start), its
    last characters are, as often as they stand in it.
    """
    tail = prompt[-16:]
    if query.startswith(prompt):
        response = query[len(prompt) :]
    else:
        response = query.split(tail, prompt.count(tail))[-1]
    head, tag, rest = response.rpartition(_TAGS[3])
    return head + tag if _END_MARKS.fullmatch("".join(rest.split())) else response
