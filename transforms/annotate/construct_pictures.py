"""Constructed tasks about the pictures: find the altered stretch, count the shapes laid over them.

Where and what is drawn by seed; then it is measured whether a viewer can see it in this very clip.
"""

from __future__ import annotations

import numpy as np

from schemas.task import TaskKind
from transforms.annotate.construct_look import (
    Bytes,
    Construction,
    DoesNotFitError,
    Draw,
    Floats,
    Look,
    planes_of,
)
from transforms.video.alter_planes import EFFECTS, SHAPES, yuv_of
from transforms.video.alter_request import Alteration, Effect, Shape, Stretch

MIN_CLIP_S = 3.0
TRIES = 40
"""Places that are drawn before a family gives up."""

# anomaly

MIN_SHARE, MAX_SHARE = 0.15, 0.35
"""Of the clip that is altered."""
MARGIN_S = 0.5
"""Of unaltered picture before and after, to compare with."""
CUT_MARGIN_S = 0.3
"""An edge of an alteration stands so far from a cut, so that neither is taken for the other."""
EDGE_FRAMES = 5
VISIBLE_SHARE = 0.95
"""Of the clip's frames, altered or not, on which the effect would be seen. So the rest of the clip
does not look altered either: a grey scene would be a second answer to where colours are lost."""
LEAST_CHANGE = {
    "turned": 0.07,
    "mirrored": 0.1,
    "negative": 0.15,
    "gray": 0.045,
    "swapped": 0.045,
    "blurred": 0.02,
}
"""Least mean change of luma or, for colours, of chroma, 0..1, with which an effect is seen."""
COLOR_EFFECTS = ("gray", "swapped")
EFFECT_WORDS = {
    "turned": "the picture is upside down",
    "mirrored": "left and right of the picture are exchanged, as in a mirror",
    "negative": "the picture looks like a photographic negative",
    "gray": "the picture has lost its colours",
    "swapped": "the colours are false, as if red and blue were exchanged",
    "blurred": "the picture is blurred",
}

# shapes

MIN_COUNT, MAX_COUNT = 2, 7
MIN_OTHERS, MAX_OTHERS = 2, 4
LEAST_SHOWN_S = 0.7
SHOWN_SHARE = 0.06
"""Least share of the clip that a shape is there, so that sparse frames show it, too."""
RADIUS_SHARE = 0.33
"""Of a cell of the grid that shapes stand in, one each: none ever covers another."""
CELLS = (4, 3)
MIN_RADIUS_PX = 6.0
CONTRAST = 60.0
"""Least distance in YUV of a shape's colour from what lies under it, 20th percentile."""
COLORS = {
    "red": (225, 25, 25),
    "green": (20, 190, 40),
    "blue": (30, 60, 235),
    "yellow": (245, 230, 20),
    "pink": (250, 60, 200),
}


def anomaly(look: Look, draw: Draw) -> Construction:
    """One stretch looks different; when? Raises DoesNotFitError."""
    look.demand_length(MIN_CLIP_S)
    small = look.read_small()
    for name in draw.order(sorted(EFFECTS), "effect"):
        seen = effect_change(small, name) >= LEAST_CHANGE[name]
        if seen.mean() < VISIBLE_SHARE:
            continue
        span = _altered_span(look, draw, name, seen)
        if span is not None:
            return Construction(
                kind=TaskKind.TEMPORAL_GROUNDING,
                question=f"In one stretch of the video {EFFECT_WORDS[name]}. When is that?",
                answer=span_text(span, look.fps),
                evidence=(span,),
                params={"effect": name, "frames": list(span)},
                alteration=Alteration(
                    stretches=(Stretch(0, look.num_frames),), effects=(Effect(name, *span),)
                ),
            )
    raise DoesNotFitError("no effect would be seen all along")


def effect_change(small: Bytes, name: str) -> Floats:
    """How much an effect changes each frame, 0..1: (n, 3, h, w) -> (n,)."""
    planes = slice(1, 3) if name in COLOR_EFFECTS else slice(0, 1)
    levels = 224.0 if name in COLOR_EFFECTS else 219.0
    changes = []
    for frame in small:
        altered = np.stack(EFFECTS[name](planes_of(frame)))
        difference = np.abs(altered[planes].astype(np.int16) - frame[planes])
        changes.append(float(difference.mean()) / levels)
    return np.array(changes)


def _altered_span(
    look: Look, draw: Draw, name: str, seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> tuple[int, int] | None:
    """A stretch [start, end) along which, and around whose edges, the effect would be seen."""
    margin = look.frames_of(MARGIN_S)
    for number in range(TRIES):
        share = MIN_SHARE + (MAX_SHARE - MIN_SHARE) * draw.unit(name, "length", number)
        length = round(share * look.num_frames)
        start = draw.integer(margin, look.num_frames - margin - length, name, "start", number)
        end = start + length
        edges = [seen[max(0, edge - EDGE_FRAMES) : edge + EDGE_FRAMES] for edge in (start, end)]
        clear = all(edge.all() for edge in edges) and seen[start:end].mean() >= VISIBLE_SHARE
        if name == "mirrored" and any(start - margin < cut < end + margin for cut in look.cuts):
            # A mirrored shot looks like any other: only the turn-over and back within one shows.
            continue
        if clear and not any(look.is_near_cut(edge, CUT_MARGIN_S) for edge in (start, end)):
            return start, end
    return None


def shapes(look: Look, draw: Draw) -> Construction:
    """How many shapes of one kind and colour are there, among others? Raises DoesNotFitError."""
    look.demand_length(MIN_CLIP_S)
    count = draw.integer(MIN_COUNT, MAX_COUNT, "count")
    others = draw.integer(MIN_OTHERS, MAX_OTHERS, "others")
    places = _places(look, draw, count + others)
    small = look.read_small()
    seen = {
        color: [_contrast(look, small, place, color) >= CONTRAST for place in places]
        for color in COLORS
    }
    for kind, color in draw.order([(k, c) for k in sorted(SHAPES) for c in sorted(COLORS)], "what"):
        if not all(seen[color][:count]):
            continue
        looks = [(kind, color)] * count
        for number in range(count, count + others):
            # By turns another shape of the same colour and the same shape in another colour.
            same_color = [(one, color) for one in sorted(SHAPES) if one != kind]
            same_kind = [(kind, one) for one in sorted(COLORS) if one != color]
            turns = (same_color, same_kind) if number % 2 else (same_kind, same_color)
            fitting = [
                one
                for turn in turns
                for one in draw.order(turn, "other", number)
                if seen[one[1]][number]
            ]
            looks += fitting[:1]
        if len(looks) == len(places):
            return _counted(look, looks, places, count)
    raise DoesNotFitError("no colour stands out from the pictures")


def _places(look: Look, draw: Draw, count: int) -> list[Shape]:
    """Where and when the shapes are: each in a cell of its own, at a time of its own."""
    width, height = look.size_px
    left, top, right, bottom = look.content_box
    box = (left * width, top * height, right * width, bottom * height)
    wide = box[2] - box[0] >= box[3] - box[1]
    columns, rows = CELLS if wide else CELLS[::-1]
    cell = ((box[2] - box[0]) / columns, (box[3] - box[1]) / rows)
    radius = RADIUS_SHARE * min(cell)
    if radius < MIN_RADIUS_PX:
        raise DoesNotFitError("the picture is too small for shapes")
    cells = draw.order([(x, y) for y in range(rows) for x in range(columns)], "cell")
    least = max(look.frames_of(LEAST_SHOWN_S), round(SHOWN_SHARE * look.num_frames))
    places = []
    for number, (column, row) in enumerate(cells[:count]):
        length = draw.integer(least, 2 * least, "length", number)
        start = draw.integer(0, look.num_frames - length, "start", number)
        x, y = (
            low + (at + 0.5) * side + (draw.unit(axis, number) - 0.5) * (side - 2 * radius)
            for axis, at, low, side in (("x", column, box[0], cell[0]), ("y", row, box[1], cell[1]))
        )
        # To a sixteenth of a pixel, so that it is written down without a tail.
        x, y = round(x * 16) / 16, round(y * 16) / 16
        places.append(Shape("", (0, 0, 0), x, y, round(radius * 16) / 16, start, start + length))
    return places


def _contrast(look: Look, small: Bytes, place: Shape, color: str) -> float:
    """How far a colour is from what it would cover: 20th percentile over pixels and frames."""
    scale = small.shape[3] / look.size_px[0]
    x1, y1 = (max(0, int((at - place.radius_px) * scale)) for at in (place.x_px, place.y_px))
    x2, y2 = (int((at + place.radius_px) * scale) + 1 for at in (place.x_px, place.y_px))
    step = max(1, (place.end - place.start) // 8)
    under = small[place.start : place.end : step, :, y1:y2, x1:x2].astype(np.float64)
    value = np.array(yuv_of(COLORS[color], is_bt709=look.is_bt709)).reshape(1, 3, 1, 1)
    return float(np.percentile(np.sqrt(((under - value) ** 2).sum(axis=1)), 20))


def _counted(
    look: Look, looks: list[tuple[str, str]], places: list[Shape], count: int
) -> Construction:
    kind, color = looks[0]
    drawn = tuple(
        Shape(
            kind=one,
            yuv=yuv_of(COLORS[shade], is_bt709=look.is_bt709),
            x_px=place.x_px,
            y_px=place.y_px,
            radius_px=place.radius_px,
            start=place.start,
            end=place.end,
        )
        for (one, shade), place in zip(looks, places, strict=True)
    )
    laid = [
        {"shape": one, "color": shade, "frames": [shape.start, shape.end]}
        for (one, shade), shape in zip(looks, drawn, strict=True)
    ]
    return Construction(
        kind=TaskKind.COUNT,
        question=(
            "Shapes are laid over the video; each comes once and stands still until it goes. "
            f"How many {color} {kind}s are there in all?"
        ),
        answer=str(count),
        evidence=tuple(sorted((shape.start, shape.end) for shape in drawn[:count])),
        params={"shape": kind, "color": color, "count": count, "laid_over": laid},
        alteration=Alteration(stretches=(Stretch(0, look.num_frames),), shapes=drawn),
    )


def span_text(span: tuple[int, int], fps: float) -> str:
    """A span of frames in seconds, exact to the microsecond."""
    return f"{span[0] / fps:.6f} to {span[1] / fps:.6f}"
