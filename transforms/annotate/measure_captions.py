"""Descriptions by measuring: what a clip looks like shot by shot, and what several captions span.

Nothing is named that was not measured: colours, brightness, the way the picture moves, cuts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.description import Caption
from transforms.annotate.look_questions import clear_direction
from transforms.annotate.observe import Observation, ShotFacts
from transforms.annotate.questions import (
    MIN_SHOT_S,
    MOTION_SPEED,
    MOTION_STEADINESS,
    span_text,
)
from transforms.annotate.replies import DescribeReply, SummaryReply, TimedCaption
from transforms.video.cues import CUT_OFF
from transforms.video.measures import COLOR_NAMES

MAX_CAPTIONS = 256
"""As many as a reply may hold."""
MOSTLY = 0.5
NAMED_COLORS = 3
NAMED_SHARE = 0.1
"""Of the picture; less of a colour is not worth a word."""
NAMED_BARS_SHARE = 0.01
CLEAR_SPEED = 2 * MOTION_SPEED
MIN_MOTION_S = 2.0
"""Motion is measured four times a second; one wrong measurement decides over a shorter shot."""
BRIGHTNESS_WORDS = ((0.1, "very dark"), (0.3, "dark"), (0.6, "of medium brightness"))
BRIGHT = "bright"
MAX_QUOTED_CHARS = 600


def describe(observation: Observation, bars_share: float) -> DescribeReply:
    """One caption per shot, in clip time; bars cover so much of the picture (`Measures`)."""
    shots = observation.shots[:MAX_CAPTIONS]
    return DescribeReply(
        captions=tuple(
            TimedCaption(
                start_s=shot.start_s,
                end_s=shot.end_s,
                text=_caption(shot, bars_share, first=not number),
            )
            for number, shot in enumerate(shots)
        )
    )


def _caption(shot: ShotFacts, bars_share: float, *, first: bool) -> str:
    begins = "A shot" if first else "After a cut, a shot"
    begins += f" of {shot.duration_s:.2f} seconds"
    if bars_share >= NAMED_BARS_SHARE:
        begins += f", with bars over {bars_share:.0%} of the picture"
    look = f"{_brightness(shot.brightness)} (mean {shot.brightness:.2f})"
    return f"{begins}: {_colors(shot, bars_share)} {look}{_motion(shot)}."


def _colors(shot: ShotFacts, bars_share: float) -> str:
    """The colours that fill most of the picture, its black bars left out."""
    shares = {name: shot.share(name) for name in COLOR_NAMES}
    shares["black"] = max(0.0, shares["black"] - bars_share)
    ranked = sorted(((share, name) for name, share in shares.items()), key=lambda one: -one[0])
    named = [(share, name) for share, name in ranked[:NAMED_COLORS] if share >= NAMED_SHARE]
    named = named or ranked[:1]
    words = [f"{name} ({share:.0%} of the picture)" for share, name in named[:1]]
    words += [f"{name} ({share:.0%})" for share, name in named[1:]]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{'mostly' if named[0][0] >= MOSTLY * (1 - bars_share) else 'above all'} {listed},"


def _brightness(mean: float) -> str:
    return next((words for below, words in BRIGHTNESS_WORDS if mean < below), BRIGHT)


def _motion(shot: ShotFacts) -> str:
    """How the picture as a whole moves, where that is beyond doubt; else nothing."""
    if shot.duration_s >= MIN_SHOT_S and _mean_speed(shot) < MOTION_SPEED:
        return "; the picture as a whole hardly moves"
    fastest = max(abs(shot.motion_x), abs(shot.motion_y))
    steady = shot.motion_steadiness >= MOTION_STEADINESS and fastest >= CLEAR_SPEED
    direction = clear_direction(shot) if steady and shot.duration_s >= MIN_MOTION_S else None
    if direction is None:
        return ""
    side = "width" if abs(shot.motion_x) > abs(shot.motion_y) else "height"
    return f"; the picture as a whole moves {direction} by {fastest:.0%} of its {side} a second"


def _mean_speed(shot: ShotFacts) -> float:
    """Mean length of motion, whichever way: mean motion over its steadiness."""
    mean = math.hypot(shot.motion_x, shot.motion_y)
    return mean / shot.motion_steadiness if shot.motion_steadiness > 0 else 0.0


def summarize(captions: Sequence[Caption]) -> SummaryReply:
    """How many captions from when to when (source time), and what the first and last one say."""
    first, last = captions[0], captions[-1]
    end_s = max(caption.end_s for caption in captions)
    span = span_text(first.start_s, end_s)
    if len(captions) == 1:
        return SummaryReply(summary=f"1 caption, {span}: {_quoted(first.text)}")
    said = (
        f"{len(captions)} captions, {span}.",
        f"It begins ({span_text(first.start_s, first.end_s)}): {_quoted(first.text)}",
        f"It ends ({span_text(last.start_s, last.end_s)}): {_quoted(last.text)}",
    )
    return SummaryReply(summary=" ".join(said))


def _quoted(text: str) -> str:
    shown = text if len(text) <= MAX_QUOTED_CHARS else text[:MAX_QUOTED_CHARS].rstrip() + CUT_OFF
    return f"[{shown}]"
