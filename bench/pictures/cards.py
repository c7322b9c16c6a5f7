"""Draws examples of checks side by side: what passed on the left, what did not on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas.verdict import Check
from schemas.view import Spans

WIDTH_PX, GAP_PX = 800, 8
PANEL_PX = (WIDTH_PX - 3 * GAP_PX) // 2
FRAMES, FRAME_GAP_PX = 6, 3
"""As many frames stand beside each other in a panel."""
FRAME_PX = (PANEL_PX - (FRAMES - 1) * FRAME_GAP_PX) // FRAMES
NAME_PX, BAR_PX = 60, 15
HEAD, TEXT, SMALL = 15, 13, 11
GREEN, RED, GRAY, BLACK, ORANGE, BLUE = (
    "#1a7f37", "#c62828", "#6b7280", "#111111", "#f28c00", "#2563eb",
)  # fmt: skip
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Strip:
    """Frames beside each other, with their times below."""

    pixels: Sequence[NDArray[np.uint8]]
    """(H, W, 3) RGB each."""
    times_s: tuple[float, ...]
    lit_s: Spans = ()
    """Frames within are outlined: they are cited."""
    boxes: tuple[tuple[float, Corners], ...] = ()
    """Time and corners, as shares of the frame; drawn into the frame of that time."""
    head: str = ""


@dataclass(frozen=True)
class Bar:
    """Spans on the time of a clip; a moment is a span without length."""

    name: str
    spans_s: Spans
    color: str = ORANGE


@dataclass(frozen=True)
class Panel:
    """One example: a check, what it looked at, and the words."""

    check: Check | None = None
    head: str = ""
    """Where there is no check to tell of."""
    strips: tuple[Strip, ...] = ()
    bars: tuple[Bar, ...] = ()
    duration_s: float = 0.0
    """Of the clip, for the bars."""
    lines: tuple[tuple[str, str], ...] = ()
    """Text and colour."""


@dataclass(frozen=True)
class Sheet:
    """A picture: each row is an example that passed and one that did not."""

    title: str
    rows: tuple[tuple[Panel, Panel], ...]
    strip: Strip | None = None
    """What all rows are about, once above them."""


def draw_sheet(sheet: Sheet) -> Image.Image:
    """The picture, `WIDTH_PX` wide."""
    parts = [[_titled(sheet)]]
    parts += [[_panel(panel) for panel in row] for row in sheet.rows]
    height = sum(max(one.height for one in part) + GAP_PX for part in parts) + GAP_PX
    picture = Image.new("RGB", (WIDTH_PX, height), "white")
    pen, top = ImageDraw.Draw(picture), GAP_PX
    for number, part in enumerate(parts):
        for place, one in enumerate(part):
            picture.paste(one, (GAP_PX + place * (PANEL_PX + GAP_PX), top))
        top += max(one.height for one in part) + GAP_PX
        if number < len(parts) - 1:
            line = top - GAP_PX // 2
            pen.line((GAP_PX, line, WIDTH_PX - GAP_PX, line), fill="#d1d5db")
    return picture


def wrapped(text: str, size: int, width_px: int) -> list[str]:
    """A text in lines that fit; a word longer than a line stands alone."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(size).getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


class _Canvas:
    """A picture that is filled from the top."""

    def __init__(self, width_px: int) -> None:
        self.picture = Image.new("RGB", (width_px, 2000), "white")
        self.pen = ImageDraw.Draw(self.picture)
        self.width_px, self.top = width_px, 0

    def text(self, text: str, color: str, size: int) -> None:
        for line in wrapped(text, size, self.width_px):
            self.pen.text((0, self.top), line, fill=color, font=font(size))
            self.top += size + 4

    def strip(self, strip: Strip, frame_px: int) -> None:
        if strip.head:
            self.text(strip.head, GRAY, TEXT)
        height = 0
        for place, (pixels, time_s) in enumerate(zip(strip.pixels, strip.times_s, strict=True)):
            left = place * (frame_px + FRAME_GAP_PX)
            boxes = [box for at_s, box in strip.boxes if abs(at_s - time_s) < 1e-3]
            lit = any(start_s <= time_s <= end_s for start_s, end_s in strip.lit_s)
            thumb = _thumb(pixels, frame_px, boxes, lit=lit)
            height = thumb.height
            self.picture.paste(thumb, (left, self.top))
            self.pen.text(
                (left + 1, self.top + height + 1), f"{time_s:.2f} s", fill=GRAY, font=font(SMALL)
            )
        self.top += height + SMALL + 6

    def bars(self, bars: Sequence[Bar], duration_s: float) -> None:
        """Each on a line of its own; the clip is grey, what lies beyond its end is not."""
        ends = [end_s for bar in bars for _, end_s in bar.spans_s]
        scale = (self.width_px - NAME_PX - 4) / max([duration_s, *ends])
        for bar in bars:
            self.pen.text((0, self.top), bar.name, fill=GRAY, font=font(SMALL))
            end = NAME_PX + duration_s * scale
            self.pen.rectangle((NAME_PX, self.top + 2, end, self.top + 11), fill="#e5e7eb")
            for start_s, end_s in bar.spans_s:
                left, right = NAME_PX + start_s * scale, NAME_PX + end_s * scale
                self.pen.rectangle(
                    (left, self.top + 2, max(right, left + 3), self.top + 11), fill=bar.color
                )
            self.pen.line((end, self.top, end, self.top + 13), fill=BLACK)
            self.top += BAR_PX
        self.top += 3

    def done(self) -> Image.Image:
        return self.picture.crop((0, 0, self.width_px, self.top))


def _titled(sheet: Sheet) -> Image.Image:
    canvas = _Canvas(WIDTH_PX - 2 * GAP_PX)
    canvas.text(sheet.title, BLACK, HEAD)
    canvas.top += 3
    if sheet.strip:
        frames = len(sheet.strip.times_s)
        wide = (canvas.width_px - (frames - 1) * FRAME_GAP_PX) // frames
        canvas.strip(sheet.strip, min(wide, 96))
    return canvas.done()


def _panel(panel: Panel) -> Image.Image:
    canvas = _Canvas(PANEL_PX)
    if panel.check:
        color, word = (GREEN, "passed") if panel.check.passed else (RED, "failed")
        head = f"{panel.check.name}: {panel.check.score:.2f}, needs {panel.check.threshold:g}"
        canvas.text(f"{head} - {word}", color, HEAD)
        canvas.top += 2
    elif panel.head:
        canvas.text(panel.head, GREEN, HEAD)
    for strip in panel.strips:
        canvas.strip(strip, FRAME_PX)
    if panel.bars:
        canvas.bars(panel.bars, panel.duration_s)
    for text, color in panel.lines:
        canvas.text(text, color, TEXT)
    return canvas.done()


def _thumb(
    pixels: NDArray[np.uint8], width_px: int, boxes: Sequence[Corners], *, lit: bool
) -> Image.Image:
    height_px = max(round(width_px * pixels.shape[0] / pixels.shape[1]), 1)
    thumb = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(thumb)
    if lit:
        pen.rectangle((0, 0, width_px - 1, height_px - 1), outline=ORANGE, width=3)
    for left, top, right, bottom in boxes:
        corners = (left * width_px, top * height_px, right * width_px, bottom * height_px)
        pen.rectangle(corners, outline="white", width=2)
    return thumb
