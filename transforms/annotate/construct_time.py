"""Constructed tasks about time: shuffled pieces, backwards or not, a stretch at another speed."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np

from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.construct_look import (
    Bytes,
    Construction,
    DoesNotFitError,
    Draw,
    Floats,
    Look,
)
from transforms.annotate.construct_pictures import CUT_MARGIN_S, MARGIN_S, TRIES, span_text
from transforms.video.alter_request import Alteration, Letter, Stretch

# order

PIECES = (3, 4, 5, 6)
MIN_PIECE_S = 0.8
MIN_SIDE_PX = 64
"""Of the picture: in a smaller one a letter can't be read or covers too much."""
LEAST_DIFFERENCE = 0.03
"""Mean luma difference, 0..1, of the pictures on both sides of a wrong seam: less looks alike."""
SEAM_RATIO = 1.5
"""How much rougher the seams of the next best order must be than those of the true one."""

# reversed

LEAST_REVERSED_S = 2.0
LEAST_SPEED = 0.03
"""Picture widths per second."""
MOST_FROZEN_SHARE = 0.3

# speed

FACTORS = (2, 3, 4)
MIN_SHARE, MAX_SHARE = 0.15, 0.35
"""Of the altered clip that runs at another speed."""
MIN_STRETCH_S = 0.6
SIDE_S = 1.0
"""So much before and after an edge is compared."""
LEAST_RATIO, EDGE_RATIO = 1.5, 1.3
"""Between the speeds of what is seen inside and outside, and on both sides of an edge."""
MIN_MEASURED = 2
"""Measurements of flow, about four a second, below which nothing is known."""
MIN_SPEED_CLIP_S = 4.0


def order(look: Look, draw: Draw) -> Construction:
    """Equal pieces in a mixed-up order; which is the true one? Raises DoesNotFitError.

    A viewer must know where pieces begin. Their length would be a time in the question, which no
    rule allows, and real cuts look like seams. So each piece carries a letter in a corner: every
    frame says which piece it is from, however few of them are seen.
    """
    if min(look.size_px) < MIN_SIDE_PX:
        raise DoesNotFitError("the picture is too small for letters")
    small = look.read_small()
    for count in draw.order(PIECES, "pieces"):
        length = look.num_frames // count
        if length < MIN_PIECE_S * look.fps:
            continue
        if not seams_tell(seam_differences(small, count, length)):
            continue
        filmed = list(range(count))
        shown = draw.order(filmed, "shuffle", count)
        if shown == filmed:
            shown = [*filmed[1:], 0]
        letters = OPTION_LETTERS[:count]
        return Construction(
            kind=TaskKind.ORDERING,
            question=(
                f"The video was cut into {count} pieces of equal length, which are shown in a "
                "mixed-up order, each with its letter in the top left corner. In which order do "
                "the pieces follow each other in the original video?"
            ),
            answer=",".join(letters[shown.index(piece)] for piece in filmed),
            options=tuple(f"the piece marked {letter}" for letter in letters),
            evidence=((0, count * length),),
            params={"pieces": count, "piece_frames": length, "shown": shown},
            alteration=Alteration(
                stretches=tuple(Stretch(piece * length, length) for piece in shown),
                letters=tuple(
                    Letter(letter, place * length, (place + 1) * length)
                    for place, letter in enumerate(letters)
                ),
            ),
        )
    raise DoesNotFitError("its pieces are too short or look too much alike to be put in order")


def seam_differences(small: Bytes, count: int, length: int) -> Floats:
    """Mean luma difference, 0..1, of the last frame of each piece and the first of each: (k, k)."""
    ends = small[[piece * length + length - 1 for piece in range(count)], 0].astype(np.int16)
    starts = small[[piece * length for piece in range(count)], 0].astype(np.int16)
    differences: Floats = np.abs(ends[:, None] - starts[None]).mean(axis=(2, 3)) / 219
    return differences


def seams_tell(differences: Floats) -> bool:
    """Whether the smoothest order of the pieces is the true one, and by far."""
    count = len(differences)
    wrong = [
        float(differences[one, two])
        for one in range(count)
        for two in range(count)
        if two not in (one, one + 1)
    ]
    if min(wrong) < LEAST_DIFFERENCE:
        return False
    rough = {
        tried: sum(float(differences[one, two]) for one, two in pairwise(tried))
        for tried in permutations(range(count))
    }
    true = rough.pop(tuple(range(count)))
    return min(rough.values()) >= SEAM_RATIO * true


def backward(look: Look, draw: Draw) -> Construction:
    """Played forward or backward? Raises DoesNotFitError.

    The guard only knows that enough moves. Whether that has a direction in time, it can't tell: a
    steady turn of the camera or a swinging branch looks the same both ways. So some of these
    tasks can't be solved by anyone, and the pass rate of a model has to sort them out.
    """
    look.demand_length(LEAST_REVERSED_S)
    if look.frozen_share > MOST_FROZEN_SHARE or not len(look.flow):
        raise DoesNotFitError("too still to tell forward from backward")
    if float(np.median(look.flow)) < LEAST_SPEED:
        raise DoesNotFitError("too little moves to tell forward from backward")
    is_backward = draw.unit("backward") < 0.5
    options = tuple(draw.order(("forward, as it was filmed", "backward"), "options"))
    right = next(place for place, text in enumerate(options) if ("back" in text) == is_backward)
    count = look.num_frames
    played = Stretch(count - 1, count, -1) if is_backward else Stretch(0, count)
    return Construction(
        kind=TaskKind.MCQ,
        question="In which direction is the video played?",
        answer=OPTION_LETTERS[right],
        options=options,
        evidence=((0, count),),
        params={"backward": is_backward},
        alteration=Alteration(stretches=(played,)),
    )


def speed(look: Look, draw: Draw) -> Construction:
    """One stretch is played faster or slower; when? Raises DoesNotFitError."""
    look.demand_length(MIN_SPEED_CLIP_S)
    ways = [(factor, faster) for factor in FACTORS for faster in (True, False)]
    for factor, faster in draw.order(ways, "way"):
        for number in range(TRIES):
            place = _stretch(look, draw, factor, faster, number)
            if place is not None and speed_shows(look, *place, factor if faster else 1 / factor):
                return _at_speed(look, *place, factor, faster)
    raise DoesNotFitError("no stretch in which another speed would show")


def _stretch(
    look: Look, draw: Draw, factor: int, faster: bool, number: int
) -> tuple[int, int] | None:
    """A stretch [start, end) of the clip that makes the drawn share of the altered one."""
    name = (factor, faster, number)
    share = MIN_SHARE + (MAX_SHARE - MIN_SHARE) * draw.unit("share", *name)
    if faster:
        shown = round(share * look.num_frames / (1 + share * (factor - 1)))
        length = shown * factor
    else:
        length = round(share * look.num_frames / (factor - share * (factor - 1)))
        shown = length * factor
    margin = look.frames_of(MARGIN_S)
    if shown < MIN_STRETCH_S * look.fps or length + 2 * margin > look.num_frames:
        return None
    start = draw.integer(margin, look.num_frames - margin - length, "start", *name)
    end = start + length
    # What is played faster brings its cuts closer to its edges.
    inner = look.frames_of(CUT_MARGIN_S * (factor if faster else 1))
    outer = look.frames_of(CUT_MARGIN_S)
    for low, high in ((start - outer, start + inner), (end - inner, end + outer)):
        if any(low < cut < high for cut in look.cuts):
            return None
    return start, end


def speed_shows(look: Look, start: int, end: int, ratio: float) -> bool:
    """Whether what moves at `ratio` times its speed in [start, end) shows as that.

    At both edges, within their shots, and over the whole the speed of what is seen must change
    clearly: what moves four times as slowly by itself would hide that it is played faster.
    """
    pairs = [
        (
            look.flow_in(start, end),
            np.concatenate([look.flow_in(0, start), look.flow_in(end, look.num_frames)]),
        )
    ]
    for edge in (start, end):
        low, high = _around(look, edge)
        before, after = look.flow_in(low, edge), look.flow_in(edge, high)
        pairs.append((after, before) if edge == start else (before, after))
    for (inside, outside), least in zip(pairs, (LEAST_RATIO, EDGE_RATIO, EDGE_RATIO), strict=True):
        if min(len(inside), len(outside)) < MIN_MEASURED:
            return False
        changed, usual = ratio * float(np.median(inside)), float(np.median(outside))
        if min(changed / ratio, usual) < LEAST_SPEED:
            return False
        if (changed / usual if ratio > 1 else usual / changed) < least:
            return False
    return True


def _around(look: Look, frame: int) -> tuple[int, int]:
    """A while before and after a frame, as far as its shot goes."""
    side = look.frames_of(SIDE_S)
    low = max([0, frame - side, *(cut for cut in look.cuts if cut <= frame)])
    high = min([look.num_frames, frame + side, *(cut for cut in look.cuts if cut > frame)])
    return low, high


def _at_speed(look: Look, start: int, end: int, factor: int, faster: bool) -> Construction:
    if faster:
        changed = Stretch(start, (end - start) // factor, step=factor)
        shown = (end - start) // factor
    else:
        changed = Stretch(start, end - start, repeat=factor)
        shown = (end - start) * factor
    span = (start, start + shown)
    words = "faster than the rest" if faster else "slower than the rest"
    return Construction(
        kind=TaskKind.TEMPORAL_GROUNDING,
        question=f"One stretch of the video is played {words}. When is that?",
        answer=span_text(span, look.fps),
        evidence=(span,),
        params={"factor": factor, "faster": faster, "frames": list(span)},
        alteration=Alteration(
            stretches=(Stretch(0, start), changed, Stretch(end, look.num_frames - end))
        ),
    )
