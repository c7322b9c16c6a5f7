"""Colours and sizes of the sheets that `proofreel inspect --picture` draws."""

from __future__ import annotations

import textwrap
from functools import lru_cache

from PIL import ImageFont

GREEN, RED, AMBER, GRAY, BLACK, WHITE = (
    *("#1a7f37", "#c62828", "#b26a00", "#6b7280", "#111111", "#ffffff"),
)
PALE = "#e5e7eb"
SPAN_COLORS = ("#2563eb", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
MARGIN_PX = 12
FONT_PX, SMALL_PX = 15, 13
LINE_PX, SMALL_LINE_PX = 20, 16

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@lru_cache(maxsize=4)
def font(size_px: int = FONT_PX) -> Font:
    return ImageFont.load_default(size_px)


def fitted(text: str, width_px: int, size_px: int, lines: int) -> list[str]:
    """A text in at most so many lines of this width; an ellipsis stands for what is left out."""
    letters = max(len(text), 1)
    columns = max(int(width_px / max(font(size_px).getlength(text) / letters, 1.0)), 4)
    found = textwrap.wrap(text, columns)
    # Letters differ in width: narrower until all lines fit.
    while any(font(size_px).getlength(line) > width_px for line in found) and columns > 4:
        columns -= 1
        found = textwrap.wrap(text, columns)
    if len(found) > lines:
        found = [*found[: lines - 1], f"{found[lines - 1][: columns - 1].rstrip()}…"]
    return found
