"""A task as one picture: frames with their times, cited spans on a time line, words and checks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

from schemas.case import Attempt, Case
from schemas.rollout import Segment
from schemas.task import OPTION_LETTERS, Origin

COLUMNS = 6
FRAMES = 18
FRAME_WIDTH_PX = 220
MARGIN_PX = 12
FONT_PX = 15
LINE_PX = 20
TEXT_COLUMNS = 150
GREEN, RED, GRAY, BLACK, WHITE = "#1a7f37", "#c62828", "#6b7280", "#111111", "#ffffff"
SPAN_COLORS = ("#2563eb", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")


def draw_case(case: Case, mp4: Path) -> Image.Image:
    """The sheet of a task: its best attempt, or its first if none was accepted."""
    attempts = case.accepted or case.attempts
    attempt = attempts[0] if attempts else None
    wanted = _times(case, attempt)
    frames = frames_at(mp4, wanted)
    lines = _lines(case, attempt)
    segments = _segments(case, attempt)
    height_px = frames[0][1].height + LINE_PX
    rows = -(-len(frames) // COLUMNS)
    bar_px = LINE_PX * (len(segments) + 1)
    width = COLUMNS * FRAME_WIDTH_PX + (COLUMNS + 1) * MARGIN_PX
    height = rows * height_px + bar_px + LINE_PX * len(lines) + MARGIN_PX * (rows + 4)
    sheet = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_PX)
    for number, (time_s, frame) in enumerate(frames):
        left = MARGIN_PX + number % COLUMNS * (FRAME_WIDTH_PX + MARGIN_PX)
        top = MARGIN_PX + number // COLUMNS * (height_px + MARGIN_PX)
        sheet.paste(frame, (left, top))
        inside = [n for n, s in enumerate(segments) if s.start_s - 1e-3 <= time_s < s.end_s - 1e-3]
        for depth, place in enumerate(inside[:3]):
            edge = 3 * depth
            box = (left + edge, top + edge, left + frame.width - edge, top + frame.height - edge)
            draw.rectangle(box, outline=SPAN_COLORS[place % len(SPAN_COLORS)], width=3)
        draw.text((left, top + frame.height + 1), f"{time_s:.2f} s", fill=BLACK, font=font)
    top = MARGIN_PX + rows * (height_px + MARGIN_PX)
    _draw_bar(draw, font, case, attempt, top, width)
    top += bar_px + MARGIN_PX
    for text, color in lines:
        draw.text((MARGIN_PX, top), text, fill=color, font=font)
        top += LINE_PX
    return sheet


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


def frames_at(mp4: Path, times_s: Sequence[float]) -> list[tuple[float, Image.Image]]:
    """The frames of an mp4 of ours that are shown at these times (sorted), with their own times."""
    found: list[tuple[float, Image.Image]] = []
    with av.open(str(mp4)) as container:
        stream = container.streams.video[0]
        height = round(FRAME_WIDTH_PX * stream.height / stream.width)
        waiting = list(times_s)
        for frame in container.decode(stream):
            if not waiting:
                break
            if frame.time is not None and frame.time >= waiting[0] - 1e-3:
                waiting.pop(0)
                pixels = frame.to_ndarray(format="rgb24")
                picture = Image.fromarray(pixels).resize((FRAME_WIDTH_PX, height))
                found.append((float(frame.time), picture))
    return found


def _draw_bar(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    case: Case,
    attempt: Attempt | None,
    top: int,
    width: int,
) -> None:
    duration_s = case.scene.media.duration_s
    scale = (width - 2 * MARGIN_PX) / duration_s
    draw.rectangle((MARGIN_PX, top, width - MARGIN_PX, top + 6), fill=GRAY)
    for number, segment in enumerate(_segments(case, attempt)):
        y = top + LINE_PX * (number + 1)
        left = MARGIN_PX + segment.start_s * scale
        right = MARGIN_PX + segment.end_s * scale
        color = SPAN_COLORS[number % len(SPAN_COLORS)]
        draw.rectangle((left, y, max(right, left + 2), y + 6), fill=color)
        label = f"{segment.label}: {segment.start_s:.2f} to {segment.end_s:.2f} s"
        at = right + 6 if right < width * 0.7 else left - 6 - font.getlength(label)
        draw.text((at, y - 6), label, fill=color, font=font)


def _lines(case: Case, attempt: Attempt | None) -> list[tuple[str, str]]:
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
    accepted = attempt.verdict.accepted
    answer = f"answer: {attempt.rollout.answer_text}   {'accepted' if accepted else 'rejected'}"
    lines.append((answer, GREEN if accepted else RED))
    checks = "   ".join(
        f"{check.name} {check.score:g}/{check.threshold:g}" for check in attempt.verdict.checks
    )
    lines += [(line, GREEN if accepted else RED) for line in textwrap.wrap(checks, TEXT_COLUMNS)]
    rate = sum(one.verdict.accepted for one in case.attempts)
    return [*lines, (f"{rate} of {len(case.attempts)} attempts accepted", GRAY)]
