"""Draws the verifier's checks at work, for docs/verifier.md: examples that pass and that do not.

First what the model sees under each condition. Two clips, each with a question, a rollout that is
accepted and one that is not: one clip constructed (`tiny_vlm/clips.py`), one re-edited from Big
Buck Bunny. The frames come from the product's own `look`, the verdicts from its own `decide`; the
answers are those of a viewer who knows what was drawn, and guesses where he does not see it.

Then one accepted and one rejected example of each check (`pictures/`), about constructed clips;
there the answers are those of a reader of the pixels behind a server.

Usage: python bench/verifier_pictures.py [FOLDER]     (default: docs/images)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import av
import videos
from pictures import asked, own
from pictures.cards import BLACK, GRAY, GREEN, RED, draw_sheet, font
from pictures.stage import Stage
from PIL import Image, ImageDraw
from planted.reader import running
from tiny_vlm.clips import Clip, Shape, write_mp4

from schemas.case import Attempt, Case, Scene
from schemas.clip import Media
from schemas.examination import Asked, Examination
from schemas.rollout import Rollout, Segment, TeacherFacts
from schemas.task import OPTION_LETTERS, Origin, Task, TaskKind
from schemas.view import WHOLE, Condition, View
from transforms.annotate.seeing import Frames, look
from transforms.annotate.tasks import make_answer
from transforms.annotate.teacher import TeacherSettings
from transforms.memo import MemoStore
from transforms.verify.checks import VerifySettings, verify
from transforms.verify.conditions import AGAINST, GUESSABLE_TIMES, cited_spans
from transforms.verify.decide import decide
from transforms.video.media_process import ffmpeg_exe

FACTS = TeacherFacts(
    kind="openai", model="m", revision="", prompt_sha256="", params_json="{}", seed=0
)
SETTINGS = VerifySettings()
LOOK = TeacherSettings(fps=2.0, frame_height_px=112)
TASK_VIEWS = (WHOLE, View(condition=Condition.BLIND))
THUMB_PX, GAP_PX, LEFT_PX, RIGHT_PX, LINE_PX = 96, 6, 80, 130, 22


@dataclass(frozen=True)
class Example:
    """A clip, a question, the spans that two rollouts cite, and when the answer can be seen."""

    name: str
    path: Path
    question: str
    options: tuple[str, ...]
    right: str
    seen_s: tuple[float, float]
    accepted_s: tuple[float, float]
    rejected_s: tuple[float, float]


def shapes(folder: Path) -> Example:
    """A circle, then a square, then a triangle."""
    path = folder / "shapes.mp4"
    drawn = (
        Shape("red", "circle", "right", 0.0, 1.5, 0.1, 0.2, 0.3, 0.2),
        Shape("green", "square", "down", 1.5, 3.0, 0.4, 0.1, 0.3, 0.2),
        Shape("blue", "triangle", "left", 3.0, 4.0, 0.6, 0.5, 0.3, 0.2),
    )
    write_mp4(path, Clip(drawn, (40, 40, 44)))
    return Example(
        "shapes", path, "Which colour has the square?", ("red", "green", "blue", "white"), "green",
        (1.5, 3.0), (1.5, 2.95), (0.0, 1.45),
    )  # fmt: skip


def film(folder: Path) -> Example:
    """Big Buck Bunny as four shots: as it is, mirrored, without colour, upside down."""
    path = folder / "film.mp4"
    edits = ("null", "hflip", "hue=s=0", "vflip")
    cuts = "".join(
        f"[0:v]trim={start}:{start + 1},setpts=PTS-STARTPTS,{edit},scale=-2:240,fps=25[v{start}];"
        for start, edit in enumerate(edits)
    )
    joined = "".join(f"[v{number}]" for number in range(len(edits)))
    graph = f"{cuts}{joined}concat=n={len(edits)}[out]"
    command = [ffmpeg_exe(), "-v", "error", "-y", "-i", str(videos.big_buck_bunny())]
    command += ["-filter_complex", graph, "-map", "[out]"]
    # One thread, so that the file is the same whatever the machine.
    steady = ("-threads", "1", "-x264-params", "cpu-independent=1")
    command += ["-c:v", "libx264", *steady, str(path)]
    subprocess.run(command, check=True)
    return Example(
        "film", path, "What is odd about the third shot?",
        ("it is mirrored", "it has no colour", "it is upside down", "nothing"), "it has no colour",
        (2.0, 3.0), (2.0, 2.95), (3.0, 3.95),
    )  # fmt: skip


def media_of(path: Path) -> Media:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        rate = stream.average_rate
        assert rate is not None
        return Media(
            clip_id="c", ref=path.name, sha256="0" * 64, size_bytes=path.stat().st_size,
            width_px=stream.width, height_px=stream.height, num_frames=frames,
            fps_num=rate.numerator, fps_den=rate.denominator, duration_s=float(frames / rate),
            has_audio=False,
        )  # fmt: skip


def attempt_of(task: Task, media: Media, span: tuple[float, float]) -> Attempt:
    """A rollout that gives the right answer and cites a span."""
    assert task.gold is not None
    letter = task.gold.text
    rollout = Rollout(
        task_id=task.id, sample=0, round=0, teacher=FACTS, raw_reply="", answer_text=letter,
        reasoning=f"From {span[0]:.2f} to {span[1]:.2f} s it is seen. So the answer is {letter}.",
        segments=(Segment(label="it", start_s=span[0], end_s=span[1]),),
    )  # fmt: skip
    scene = Scene.model_construct(media=media)
    return Attempt(
        rollout=rollout, verdict=verify(rollout, task, task.gold, scene, None, SETTINGS.thresholds)
    )


def viewer(example: Example, task: Task) -> Callable[[View, Frames | None], tuple[str, ...]]:
    """Answers of somebody who is right when he sees it, and else names the options in turn; as many
    as the product asks for."""
    letters = OPTION_LETTERS[: len(task.options)]

    def answers(view: View, frames: Frames | None) -> tuple[str, ...]:
        times = GUESSABLE_TIMES if view.condition in AGAINST else 1
        start_s, end_s = example.seen_s
        sees = frames is not None and any(start_s <= time_s < end_s for time_s in frames.times_s)
        right = letters[task.options.index(example.right)]
        said = (right,) * len(letters) if sees else tuple(letters)
        return said * times

    return answers


def draw(example: Example) -> Image.Image:
    """Both rollouts of an example, one below the other, under four views each."""
    media = media_of(example.path)
    task = Task(
        clip_id="c", kind=TaskKind.MCQ, question=example.question, options=example.options,
        origin=Origin.GIVEN,
        gold=make_answer(TaskKind.MCQ, OPTION_LETTERS[example.options.index(example.right)],
                         example.options, -1.0),
    )  # fmt: skip
    panels = [panel(example, task, media, one) for one in (example.accepted_s, example.rejected_s)]
    width, height = panels[0].width, sum(one.height for one in panels) + 2 * LINE_PX
    sheet = Image.new("RGB", (width, height), "white")
    asked = f"{example.question}  ({' / '.join(example.options)})"
    ImageDraw.Draw(sheet).text((GAP_PX, GAP_PX), asked, fill=BLACK, font=font(15))
    top = 2 * LINE_PX - GAP_PX
    for one in panels:
        sheet.paste(one, (0, top))
        top += one.height
    return sheet


def panel(example: Example, task: Task, media: Media, span: tuple[float, float]) -> Image.Image:
    """What is seen under each view of a rollout that cites a span, and the verdict."""
    attempt = attempt_of(task, media, span)
    spans = cited_spans(attempt.rollout, task.kind, media.duration_s)
    views = (
        TASK_VIEWS[0],
        View(condition=Condition.EVIDENCE, spans_s=spans),
        View(condition=Condition.MASKED, spans_s=spans),
        TASK_VIEWS[1],
    )
    shown = [look(example.path, media, LOOK, view=view) for view in views]
    answers = viewer(example, task)
    rows = tuple(
        Asked(view=view, answers=answers(view, frames))
        for view, frames in zip(views, shown, strict=True)
    )
    case = Case(
        scene=Scene.model_construct(media=media), task=task, attempts=(attempt,), asked=1,
        examination=Examination(model="viewer", rows=rows),
    )  # fmt: skip
    [decided] = decide(case, SETTINGS).attempts
    columns = max(len(frames.times_s) for frames in shown if frames)
    thumb_px = round(THUMB_PX * media.height_px / media.width_px)
    width = LEFT_PX + columns * (THUMB_PX + GAP_PX) + RIGHT_PX
    heights = [LINE_PX + (thumb_px if frames else 0) for frames in shown]
    picture = Image.new("RGB", (width, sum(heights) + 3 * LINE_PX), "white")
    pen = ImageDraw.Draw(picture)
    color = GREEN if decided.verdict.accepted else RED
    checks = "   ".join(
        f"{one.name} {one.score:.2f}/{one.threshold:g}"
        for one in decided.verdict.checks
        if one.name in ("confirmed", "needs_video", "sufficient", "necessary")
    )
    verdict = "accepted" if decided.verdict.accepted else "rejected"
    head = f"{verdict}: answers “{example.right}”, cites {span[0]:.2f} to {span[1]:.2f} s"
    pen.text((GAP_PX, 0), f"{head}     {checks}", fill=color, font=font(15))
    top = LINE_PX + GAP_PX
    for row, frames, height_px in zip(rows, shown, heights, strict=True):
        middle = top + (height_px - LINE_PX) // 2 - (8 if frames else 0)
        pen.text((GAP_PX, middle), row.condition.value, fill=BLACK, font=font(15))
        draw_row(picture, frames, thumb_px, top)
        gold = task.gold.text if task.gold else ""
        right = sum(answer == gold for answer in row.answers)
        text = f"{right} of {len(row.answers)} right"
        pen.text((width - RIGHT_PX + GAP_PX, middle), text, fill=GRAY, font=font(15))
        top += height_px
    return picture


def draw_row(picture: Image.Image, frames: Frames | None, thumb_px: int, top: int) -> None:
    pen = ImageDraw.Draw(picture)
    if frames is None:
        pen.text((LEFT_PX, top), "no frame at all", fill=GRAY, font=font(15))
        return
    for place, (pixels, time_s) in enumerate(zip(frames.pixels, frames.times_s, strict=True)):
        left = LEFT_PX + place * (THUMB_PX + GAP_PX)
        picture.paste(Image.fromarray(pixels).resize((THUMB_PX, thumb_px)), (left, top))
        pen.text((left, top + thumb_px + 1), f"{time_s:.2f} s", fill=GRAY, font=font(12))


EXAMPLES = {
    "reply": own.of_words,
    "citations": own.of_places,
    "answers": own.of_answers,
    "questions": asked.of_questions,
    "claims": asked.of_claims,
    "conclusions": asked.of_conclusions,
}


def pictures(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """All pictures with their names."""
    for make in (shapes, film):
        example = make(folder)
        yield example.name, draw(example)
    with running() as url:
        stage = Stage.of(MemoStore(str(folder)), url)
        for name, sheet in EXAMPLES.items():
            yield name, draw_sheet(sheet(stage))


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in pictures(Path(folder)):
            path = target / f"verifier-{name}.png"
            # 128 colours are enough for small frames and keep the file small.
            picture.quantize(128).save(path, optimize=True)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
