"""Dialects of times, boxes and thinking: written from the canonical form, and read back into it.

Canonical: times in seconds of the clip, `12.54 to 17.83`; boxes (x1, y1, x2, y2) as shares of the
frame, 0..1; replies `<think>..</think>` and then the answer. A dialect that keeps fewer digits
gives back what it kept: `BoxScale.resolution` and `TimeDialect.resolution_s` say how far off.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from schemas.rewards import Box, Span, cited_times_in, parse_intervals

# Boxes.


@dataclass(frozen=True)
class BoxScale:
    """What the frame's whole width and height count in a dialect, and the decimals kept."""

    width: float
    height: float
    decimals: int = 0

    def write(self, box: Box) -> list[float]:
        """A canonical box in this scale; whole numbers are ints."""
        sides = (self.width, self.height, self.width, self.height)
        scaled = [round(part * side, self.decimals) for part, side in zip(box, sides, strict=True)]
        return scaled if self.decimals else [int(part) for part in scaled]

    def read(self, values: Sequence[float]) -> Box:
        """The canonical box; what lies outside of the frame is moved to its edge."""
        x1, y1, x2, y2 = values
        return (
            _share(x1, self.width),
            _share(y1, self.height),
            _share(x2, self.width),
            _share(y2, self.height),
        )

    @property
    def resolution(self) -> float:
        """How far a corner can be off after writing and reading, as a share of the frame."""
        return 0.5 * 10.0**-self.decimals / min(self.width, self.height)


THOUSAND = BoxScale(1000, 1000)
"""Qwen2-VL and Qwen3-VL: 0..1000 of each side."""
NORM1 = BoxScale(1, 1, decimals=6)
"""ms-swift with `bbox_type: norm1`: shares of each side, which it scales for the model itself."""


def pixel_scale(size_px: tuple[int, int]) -> BoxScale:
    """Qwen2.5-VL: pixels of the picture that the model sees, (width, height); see `resized`."""
    return BoxScale(*size_px)


def resized(
    size_px: tuple[int, int],
    cell_px: int = 28,
    min_pixels: int = 56 * 56,
    max_pixels: int = 14 * 14 * 4 * 1280,
) -> tuple[int, int]:
    """The (width, height) to which Qwen's processors scale a picture (their `smart_resize`).

    Sides become multiples of `cell_px` (28; in Qwen3-VL 32), the area between the two limits, the
    shape about as it was. Raises ValueError for a side more than 200 times the other.
    """
    if max(size_px) > 200 * min(size_px):
        raise ValueError(f"{size_px[0]}x{size_px[1]}: one side is over 200 times the other")
    area = size_px[0] * size_px[1]
    width, height = (round(side / cell_px) * cell_px for side in size_px)
    if width * height > max_pixels:
        shrink = math.sqrt(area / max_pixels)
        width, height = (
            max(cell_px, math.floor(side / shrink / cell_px) * cell_px) for side in size_px
        )
    elif width * height < min_pixels:
        grow = math.sqrt(min_pixels / area)
        width, height = (math.ceil(side * grow / cell_px) * cell_px for side in size_px)
    return width, height


def write_boxes(boxes: Iterable[tuple[str, Box]], scale: BoxScale) -> str:
    """Qwen's JSON of named boxes: `[{"bbox_2d": [100, 200, 300, 400], "label": "cup"}]`."""
    rows = [{"bbox_2d": scale.write(box), "label": label} for label, box in boxes]
    return json.dumps(rows, ensure_ascii=False)


def read_boxes(text: str, scale: BoxScale) -> list[tuple[str, Box]]:
    """Named boxes of Qwen's JSON, also between code fences. Raises ValueError if it is none."""
    start, end = text.find("["), text.rfind("]") + 1
    try:
        rows = json.loads(text[start:end])
        return [(str(row.get("label", "")), scale.read(row["bbox_2d"])) for row in rows]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no list of bbox_2d: {text[:80]!r}") from error


def _share(value: float, side: float) -> float:
    return min(max(value / side, 0.0), 1.0)


# Times.


@dataclass(frozen=True)
class TimeDialect:
    """How moments and spans are written; all of them are read by `read_times` and `read_spans`."""

    name: str
    decimals: int
    moment: Callable[[int, int], str]
    """Writes a time that is given in units of the last decimal, with the number of decimals."""
    span: str = "{} to {}"
    between: str = "; "
    one: str = "{}"
    """What stands around a single span."""
    several: str = "{}"
    """What stands around any other number of them."""

    def write_time(self, time_s: float) -> str:
        """A moment, in seconds from the clip's first frame."""
        # Rounded once and before it is split, so that 59.999 s is no 00:60.00.
        return self.moment(round(time_s * 10**self.decimals), self.decimals)

    def write_spans(self, spans: Iterable[Span]) -> str:
        """Spans in their order."""
        written = [self.span.format(*map(self.write_time, span)) for span in spans]
        around = self.one if len(written) == 1 else self.several
        return around.format(self.between.join(written))

    @property
    def resolution_s(self) -> float:
        """How far a time can be off after writing and reading."""
        return 0.5 * 10.0**-self.decimals


def _plain(ticks: int, decimals: int) -> str:
    whole, rest = divmod(ticks, 10**decimals)
    return f"{whole}.{rest:0{decimals}}"


def _clock(ticks: int, decimals: int) -> str:
    minutes, rest = divmod(ticks, 60 * 10**decimals)
    seconds, part = divmod(rest, 10**decimals)
    return f"{minutes:02}:{seconds:02}.{part:0{decimals}}"


CANONICAL = TimeDialect("canonical", 2, _plain)
"""`12.54 to 17.83`"""
SECONDS = TimeDialect("seconds", 2, lambda ticks, decimals: f"{_plain(ticks, decimals)} s")
"""`12.54 s to 17.83 s`"""
CLOCK = TimeDialect("clock", 2, _clock)
"""`00:12.54 to 00:17.83`"""
TAGGED = TimeDialect(
    "tagged", 2, lambda ticks, decimals: f"<t>{_plain(ticks, decimals)}</t>s", "From {} to {}"
)
"""Open-o3: `From <t>12.54</t>s to <t>17.83</t>s`"""
TIME_JSON = TimeDialect("json", 2, _plain, "[{}, {}]", ", ", '{{"time": {}}}', '{{"time": [{}]}}')
"""OneThinker: `{"time": [12.54, 17.83]}`; a list of such pairs if there are several."""
QWEN3 = TimeDialect("qwen3", 1, lambda ticks, decimals: f"<{_plain(ticks, decimals)} seconds>")
"""What Qwen3-VL writes before the frames of a moment: `<12.5 seconds>`"""

TIME_DIALECTS = (CANONICAL, SECONDS, CLOCK, TAGGED, TIME_JSON, QWEN3)

_QWEN3_TIME = re.compile(r"<([0-9.]{1,20} seconds)>")


def read_spans(text: str) -> list[Span]:
    """The spans of a text in any of the dialects, in seconds, as the graders read them."""
    return parse_intervals(_QWEN3_TIME.sub(r"\1", text))


def read_times(text: str) -> list[float]:
    """The moments that a text cites in any of the dialects that have a unit or a colon."""
    return cited_times_in(text)


# Thinking.

_THINKING = re.compile(r"<think>(.+?)</think>\n?(.*)", re.DOTALL)


def split_thinking(reply: str) -> tuple[str, str]:
    """A reply as (reasoning, rest), for trainers that keep `reasoning_content` apart.

    Without tags all of it is the rest.
    """
    match = _THINKING.fullmatch(reply)
    return (match[1], match[2]) if match else ("", reply)


def join_thinking(reasoning: str, rest: str) -> str:
    """The canonical reply of what `split_thinking` gives."""
    return f"<think>{reasoning}</think>\n{rest}" if reasoning else rest
