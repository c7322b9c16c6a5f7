"""The claims of an attempt as a strip: what was looked at, and whether it shows what is claimed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from schemas.case import Attempt
from schemas.claim import CheckedClaim, Shown
from schemas.clip import Media
from transforms.publish.sheet_frames import frames_at
from transforms.publish.sheet_style import (
    AMBER,
    GRAY,
    GREEN,
    LINE_PX,
    MARGIN_PX,
    PALE,
    RED,
    SMALL_LINE_PX,
    SMALL_PX,
    WHITE,
    fitted,
    font,
)

PER_ROW = 8
MOST = 16
"""Claims that are drawn; of the others their number is told."""
PICTURE_HEIGHT_PX = 96
TEXT_LINES = 3
BORDER_PX = 4
COLORS = {Shown.YES: GREEN, Shown.NO: RED, Shown.UNCLEAR: AMBER, Shown.NOT_ASKED: GRAY}


def draw_claims(attempt: Attempt, media: Media, mp4: Path, width_px: int) -> Image.Image | None:
    """The strip, or None of an attempt without claims."""
    claims = attempt.claims[:MOST]
    if not claims:
        return None
    pictures = _pictures(claims, media, mp4)
    tile_px = (width_px - (PER_ROW + 1) * MARGIN_PX) // PER_ROW
    row_px = PICTURE_HEIGHT_PX + LINE_PX + TEXT_LINES * SMALL_LINE_PX + MARGIN_PX
    rows = -(-len(claims) // PER_ROW)
    more = len(attempt.claims) - len(claims)
    strip = Image.new("RGB", (width_px, LINE_PX + rows * row_px + 4), WHITE)
    draw = ImageDraw.Draw(strip)
    left_out = f" (the first {len(claims)} of {len(attempt.claims)})" if more else ""
    title = f"claims, and what a look at that time and place gave{left_out}"
    draw.text((MARGIN_PX, 0), title, fill=GRAY, font=font())
    for number, (one, picture) in enumerate(zip(claims, pictures, strict=True)):
        left = MARGIN_PX + number % PER_ROW * (tile_px + MARGIN_PX)
        top = LINE_PX + 4 + number // PER_ROW * row_px
        _draw_tile(strip, draw, one, picture, (left, top), tile_px)
    return strip


def _draw_tile(
    strip: Image.Image,
    draw: ImageDraw.ImageDraw,
    one: CheckedClaim,
    picture: Image.Image | None,
    at: tuple[int, int],
    tile_px: int,
) -> None:
    left, top = at
    color = COLORS[one.shown] if one.exists else RED
    frame = (left, top, left + tile_px, top + PICTURE_HEIGHT_PX)
    draw.rectangle(frame, fill=PALE)
    if picture is not None:
        room = tile_px - 2 * BORDER_PX, PICTURE_HEIGHT_PX - 2 * BORDER_PX
        scale = min(room[0] / picture.width, room[1] / picture.height)
        size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
        place = left + (tile_px - size[0]) // 2, top + (PICTURE_HEIGHT_PX - size[1]) // 2
        strip.paste(picture.resize(size), place)
    else:
        words = "no time named" if one.claim.start_s < 0 else "not in the clip"
        wide = font(SMALL_PX).getlength(words)
        middle = left + (tile_px - wide) / 2, top + PICTURE_HEIGHT_PX / 2 - SMALL_PX / 2
        draw.text(middle, words, fill=GRAY, font=font(SMALL_PX))
    draw.rectangle(frame, outline=color, width=BORDER_PX)
    top += PICTURE_HEIGHT_PX + 2
    [head, *_] = fitted(f"{_word(one)}  {_where(one)}", tile_px, SMALL_PX, 1)
    draw.text((left, top), head, fill=color, font=font(SMALL_PX))
    for line in fitted(one.claim.text, tile_px, SMALL_PX, TEXT_LINES):
        top += SMALL_LINE_PX
        draw.text((left, top), line, fill=GRAY, font=font(SMALL_PX))


def _word(one: CheckedClaim) -> str:
    return one.shown.value.replace("_", " ") if one.exists else "not there"


def _where(one: CheckedClaim) -> str:
    claim = one.claim
    if claim.start_s < 0:
        return f"step {claim.step + 1}"
    till = f" to {claim.end_s:.2f}" if claim.end_s > claim.start_s else ""
    return f"step {claim.step + 1}, {claim.start_s:.2f}{till} s"


def _pictures(claims: Sequence[CheckedClaim], media: Media, mp4: Path) -> list[Image.Image | None]:
    """Of each claim the frame in the middle of its time, cut to its box; None if it has none."""
    tick_s = media.fps_den / media.fps_num
    ticks = [
        min(int((one.claim.start_s + one.claim.end_s) / 2 / tick_s + 1e-6), media.num_frames - 1)
        if one.exists and one.claim.start_s >= 0
        else -1
        for one in claims
    ]
    wanted = sorted(set(ticks) - {-1})
    frames = frames_at(mp4, [tick * tick_s for tick in wanted], width_px=0)
    found = {tick: frame for tick, (_, frame) in zip(wanted, frames, strict=False)}
    return [_cut(found.get(tick), one) for tick, one in zip(ticks, claims, strict=True)]


def _cut(frame: Image.Image | None, one: CheckedClaim) -> Image.Image | None:
    if frame is None or not one.claim.box:
        return frame
    left, top, right, bottom = one.claim.box
    edges = (left * frame.width, top * frame.height, right * frame.width, bottom * frame.height)
    low = max(int(edges[0]), 0), max(int(edges[1]), 0)
    high = min(int(edges[2]) + 1, frame.width), min(int(edges[3]) + 1, frame.height)
    return frame.crop((*low, *high))
