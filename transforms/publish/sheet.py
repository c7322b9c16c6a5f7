"""A task as one picture: frames with their times, cited spans on a time line, words and checks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from schemas.case import Attempt, Case
from schemas.rollout import Segment
from schemas.task import OPTION_LETTERS, Origin
from schemas.verdict import Check
from transforms.publish.claim_strip import draw_claims
from transforms.publish.condition_chart import draw_conditions
from transforms.publish.routing import first_round, pass_rate
from transforms.publish.sheet_frames import FRAME_WIDTH_PX, frames_at
from transforms.publish.sheet_style import (
    BLACK,
    GRAY,
    GREEN,
    LINE_PX,
    MARGIN_PX,
    RED,
    SPAN_COLORS,
    WHITE,
    font,
)
from transforms.verify.checks import VerifySettings

COLUMNS = 6
FRAMES = 18
TEXT_COLUMNS = 150
WIDTH_PX = COLUMNS * FRAME_WIDTH_PX + (COLUMNS + 1) * MARGIN_PX
CHECKS_PX = 520
CHECK_COLUMNS_PX = (0, 150, 240, 320)
Line = tuple[str, str]
"""A text and its colour."""


def draw_case(
    case: Case, mp4: Path, settings: VerifySettings, attempt: Attempt | None = None
) -> Image.Image:
    """The sheet of a task with one attempt: its best, or its first if none was accepted."""
    attempts = (attempt,) if attempt is not None else case.accepted or case.attempts
    attempt = attempts[0] if attempts else None
    parts = [
        _frames(case, attempt, mp4),
        _bar(case, attempt),
        _text(_words(case, attempt)),
        draw_claims(attempt, case.scene.media, mp4, WIDTH_PX) if attempt else None,
        _judged(case, attempt, settings),
    ]
    drawn = [part for part in parts if part is not None]
    height = sum(part.height + MARGIN_PX for part in drawn) + MARGIN_PX
    sheet = Image.new("RGB", (WIDTH_PX, height), WHITE)
    top = MARGIN_PX
    for part in drawn:
        sheet.paste(part, (0, top))
        top += part.height + MARGIN_PX
    return sheet


def _frames(case: Case, attempt: Attempt | None, mp4: Path) -> Image.Image:
    """The frames with their times; those of a cited span have its colour around them."""
    frames = frames_at(mp4, _times(case, attempt))
    segments = _segments(case, attempt)
    height_px = frames[0][1].height + LINE_PX
    rows = -(-len(frames) // COLUMNS)
    grid = Image.new("RGB", (WIDTH_PX, rows * (height_px + MARGIN_PX) - MARGIN_PX), WHITE)
    draw = ImageDraw.Draw(grid)
    for number, (time_s, frame) in enumerate(frames):
        left = MARGIN_PX + number % COLUMNS * (FRAME_WIDTH_PX + MARGIN_PX)
        top = number // COLUMNS * (height_px + MARGIN_PX)
        grid.paste(frame, (left, top))
        inside = [n for n, s in enumerate(segments) if s.start_s - 1e-3 <= time_s < s.end_s - 1e-3]
        for depth, place in enumerate(inside[:3]):
            edge = 3 * depth
            box = (left + edge, top + edge, left + frame.width - edge, top + frame.height - edge)
            draw.rectangle(box, outline=SPAN_COLORS[place % len(SPAN_COLORS)], width=3)
        draw.text((left, top + frame.height + 1), f"{time_s:.2f} s", fill=BLACK, font=font())
    return grid


def _text(lines: Sequence[Line], width_px: int = WIDTH_PX) -> Image.Image:
    picture = Image.new("RGB", (width_px, LINE_PX * len(lines)), WHITE)
    draw = ImageDraw.Draw(picture)
    for number, (text, color) in enumerate(lines):
        draw.text((MARGIN_PX, number * LINE_PX), text, fill=color, font=font())
    return picture


def _judged(case: Case, attempt: Attempt | None, settings: VerifySettings) -> Image.Image | None:
    """The checks, and beside them what came back when the question was asked again."""
    if attempt is None:
        return None
    color = GREEN if attempt.verdict.accepted else RED
    said = f"answer: {attempt.rollout.answer_text}   "
    answer = (f"{said}{'accepted' if attempt.verdict.accepted else 'rejected'}", color)
    last = (accepted_words(case, settings), GRAY)
    chart = draw_conditions(case, attempt, settings)
    checks = attempt.verdict.checks
    if chart is None:
        row = "   ".join(f"{one.name} {one.score:g}/{one.threshold:g}" for one in checks)
        row = f"checks, each with score/at least:   {row}"
        rows = [(text, color) for text in textwrap.wrap(row, TEXT_COLUMNS)]
        return _text([answer, *rows, last])
    head, listed = _text([answer, last]), _check_table(checks)
    both = Image.new(
        "RGB", (WIDTH_PX, head.height + MARGIN_PX + max(listed.height, chart.height)), WHITE
    )
    both.paste(head, (0, 0))
    both.paste(listed, (0, head.height + MARGIN_PX))
    both.paste(chart, (listed.width, head.height + MARGIN_PX))
    return both


def accepted_words(case: Case, settings: VerifySettings) -> str:
    """How many attempts were accepted: of the first round, of which the pass rate is the share, and
    with those that were tried again."""
    first = first_round(case.attempts, settings.samples)
    share = round(pass_rate(case, settings), 6)
    known = "not known" if share < 0 else f"{share:g}"
    said = f"first round: {_accepted(first)}, pass rate {known}"
    if len(first) == len(case.attempts):
        return said
    return f"{said};   of all, repairs included: {_accepted(case.attempts)}"


def _accepted(attempts: Sequence[Attempt]) -> str:
    accepted = sum(one.verdict.accepted for one in attempts)
    return f"{accepted} of {len(attempts)} attempts accepted"


def _check_table(checks: Sequence[Check]) -> Image.Image:
    """Every check on a line of its own, with its score and its threshold."""
    table = Image.new("RGB", (CHECKS_PX, LINE_PX * (len(checks) + 1)), WHITE)
    draw = ImageDraw.Draw(table)
    for title, place in (("check", 0), ("score", 2), ("at least", 3)):
        draw.text((MARGIN_PX + CHECK_COLUMNS_PX[place], 0), title, fill=GRAY, font=font())
    for number, one in enumerate(checks, 1):
        words = (one.name, "passed" if one.passed else "failed")
        cells = (*words, f"{one.score:.3g}", f"{one.threshold:g}")
        for cell, left in zip(cells, CHECK_COLUMNS_PX, strict=True):
            at = MARGIN_PX + left, number * LINE_PX
            draw.text(at, cell, fill=GREEN if one.passed else RED, font=font())
    return table


def _segments(case: Case, attempt: Attempt | None) -> Sequence[Segment]:
    """The spans that the attempt cites; without one, those that hold the evidence."""
    if attempt is not None:
        return attempt.rollout.segments
    return [
        Segment(label="evidence", start_s=start_s, end_s=end_s)
        for start_s, end_s in case.task.evidence_s
    ]


def _times(case: Case, attempt: Attempt | None) -> list[float]:
    """Times spread over the clip, and just before and after each edge of a cited span."""
    media = case.scene.media
    tick_s = media.fps_den / media.fps_num
    edges = [
        time_s
        for segment in _segments(case, attempt)
        for edge_s in (segment.start_s, segment.end_s)
        for time_s in (edge_s - tick_s, edge_s)
    ]
    spread = max(FRAMES - len(set(edges)), FRAMES // 3)
    even = [media.duration_s * (n + 0.5) / spread for n in range(spread)]
    last_s = (media.num_frames - 1) * tick_s
    ticks = {round(min(max(time_s, 0.0), last_s) / tick_s) for time_s in [*edges, *even]}
    return [tick * tick_s for tick in sorted(ticks)]


def _bar(case: Case, attempt: Attempt | None) -> Image.Image:
    """The time line of the clip with the cited spans under it."""
    segments = _segments(case, attempt)
    duration_s = case.scene.media.duration_s
    picture = Image.new("RGB", (WIDTH_PX, LINE_PX * (len(segments) + 1)), WHITE)
    draw = ImageDraw.Draw(picture)
    scale = (WIDTH_PX - 2 * MARGIN_PX) / duration_s
    draw.rectangle((MARGIN_PX, 0, WIDTH_PX - MARGIN_PX, 6), fill=GRAY)
    for number, segment in enumerate(segments):
        y = LINE_PX * (number + 1)
        left = MARGIN_PX + segment.start_s * scale
        right = MARGIN_PX + segment.end_s * scale
        color = SPAN_COLORS[number % len(SPAN_COLORS)]
        draw.rectangle((left, y, max(right, left + 2), y + 6), fill=color)
        label = f"{segment.label}: {segment.start_s:.2f} to {segment.end_s:.2f} s"
        at = right + 6 if right < WIDTH_PX * 0.7 else left - 6 - font().getlength(label)
        draw.text((at, y - 6), label, fill=color, font=font())
    return picture


def _words(case: Case, attempt: Attempt | None) -> list[Line]:
    task = case.task
    source, clip = case.scene.video.source.uri, case.scene.clip
    lines = [(f"{source}  {clip.start_s:.2f} to {clip.end_s:.2f} s   task {task.id}", GRAY)]
    lines += [(line, BLACK) for line in textwrap.wrap(f"Q ({task.kind}): {task.question}", 130)]
    lines += [
        (f"    {letter}. {option}", BLACK)
        for letter, option in zip(OPTION_LETTERS, task.options, strict=False)
    ]
    lines.append((f"gold: {task.gold.text if task.gold else 'not known'}", BLACK))
    if attempt is None:
        if task.origin is Origin.CONSTRUCTED:
            made = textwrap.wrap(f"constructed: {task.spec_json}", TEXT_COLUMNS)
            return [*lines, *((line, GREEN) for line in made)]
        return [*lines, ("no rollout", RED)]
    for paragraph in attempt.rollout.reasoning.splitlines():
        lines += [(line, GRAY) for line in textwrap.wrap(paragraph, TEXT_COLUMNS)]
    return lines
