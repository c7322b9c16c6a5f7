"""The table of views of a task as a picture: what was shown, and how often the answer was right."""

from __future__ import annotations

from PIL import Image, ImageDraw

from schemas.case import Attempt, Case
from schemas.conditions import AskedView, Conditions
from schemas.view import Condition
from transforms.publish.examined import conditions_of
from transforms.publish.sheet_style import (
    BLACK,
    GRAY,
    LINE_PX,
    PALE,
    SMALL_LINE_PX,
    SMALL_PX,
    SPAN_COLORS,
    WHITE,
    fitted,
    font,
)
from transforms.verify.checks import VerifySettings

NAME_PX, COUNT_PX, BAR_PX, GAP_PX = 300, 70, 160, 10
WIDTH_PX = NAME_PX + COUNT_PX + BAR_PX + 60


def draw_conditions(
    case: Case, attempt: Attempt | None, settings: VerifySettings
) -> Image.Image | None:
    """The table, with what it says; None of a task that was not examined.

    Of the views of cited spans those that the attempt cites.
    """
    table = conditions_of(case, attempt, settings)
    if not table.views:
        return None
    said = _scores(table)
    height = LINE_PX * (len(table.views) + 1) + SMALL_LINE_PX * len(said) + 8
    chart = Image.new("RGB", (WIDTH_PX, height), WHITE)
    draw = ImageDraw.Draw(chart)
    [title, *_] = fitted(f"{table.model}, asked again under", NAME_PX, 15, 1)
    draw.text((0, 0), title, fill=GRAY, font=font())
    draw.text((NAME_PX, 0), "right", fill=GRAY, font=font())
    draw.text((NAME_PX + COUNT_PX, 0), "share, corrected for guessing", fill=GRAY, font=font())
    top = LINE_PX
    for row in table.views:
        _draw_row(draw, row, top)
        top += LINE_PX
    top += 6
    for line in said:
        draw.text((0, top), line, fill=GRAY, font=font(SMALL_PX))
        top += SMALL_LINE_PX
    return chart


def _draw_row(draw: ImageDraw.ImageDraw, row: AskedView, top: int) -> None:
    [name, *_] = fitted(_name(row), NAME_PX - GAP_PX, 15, 1)
    draw.text((0, top), name, fill=BLACK, font=font())
    draw.text((NAME_PX, top), f"{row.right} of {row.asked}", fill=BLACK, font=font())
    left = NAME_PX + COUNT_PX
    draw.rectangle((left, top + 5, left + BAR_PX, top + 15), fill=PALE)
    if row.share > 0:
        draw.rectangle((left, top + 5, left + BAR_PX * row.share, top + 15), fill=SPAN_COLORS[0])
    draw.text((left + BAR_PX + GAP_PX, top), f"{row.share:.2f}", fill=BLACK, font=font())


def _name(row: AskedView) -> str:
    spans = ", ".join(f"{start_s:.2f} to {end_s:.2f}" for start_s, end_s in row.spans_s)
    name = {
        Condition.FULL: "full: all frames",
        Condition.BLIND: "blind: no frame",
        Condition.EVIDENCE: f"evidence: only {spans} s",
        Condition.MASKED: f"masked: all but {spans} s",
        Condition.SHUFFLED: "shuffled: in another order",
        Condition.PREFIX: f"prefix: up to {row.until_s:.2f} s",
    }[row.condition]
    return f"{name}, rest black" if row.black else name


def _scores(table: Conditions) -> list[str]:
    scores = table.scores
    since = scores.answerable_from_s
    told = {
        "difficulty": scores.difficulty,
        "language prior": scores.language_prior,
        "sufficiency": scores.sufficiency,
        "necessity": scores.necessity,
        "order sensitivity": scores.order_sensitivity,
    }
    words = [f"{name} {score:.2f}" for name, score in told.items() if score >= 0]
    words += [f"answerable from {since:.2f} s"] if since >= 0 else []
    half = (len(words) + 1) // 2
    return ["    ".join(part) for part in (words[:half], words[half:]) if part]
