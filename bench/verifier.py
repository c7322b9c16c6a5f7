"""The verifier against planted errors, and against the clock.

`planted`: right items about constructed clips and wrong twins of each (`bench/planted/items.py`) go
the way of a run: first the checks that need no model, then the examination by a model behind a
server (`bench/planted/reader.py`) which really looks at the frames that it is sent. Told is how
many of each kind of error are found, by which checks, and how many right items are turned down.

`speed`: the checks that need no model on 10,000 rollouts, and deciding 10,000 tasks anew from their
stored scores.

Usage: python bench/verifier.py [planted|speed] [--films N] [--rates 0,0.05]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from planted.items import ALL_TWINS, KINDS, RIGHT, Item, make_items
from planted.many import Written, examined_case, written
from planted.reader import RATES, running

from pipelines.config import Config
from pipelines.records import records as records_of
from pipelines.records import write_records
from pipelines.verdict_changes import Changes
from schemas.case import Attempt, Case
from transforms.annotate.asker import gather
from transforms.annotate.teacher import TeacherKind, TeacherSettings
from transforms.annotate.teachers import ask_stored
from transforms.memo import MemoStore
from transforms.verify.checks import VerifySettings, verify
from transforms.verify.decide import decide
from transforms.verify.examine import Examiner
from transforms.video.shots import ShotSettings

HEIGHT_PX = 224


@dataclass(frozen=True)
class Found:
    """What became of an item."""

    item: Item
    first: Attempt
    """After the checks that need no model."""
    last: Attempt
    """After the examination."""

    @property
    def accepted(self) -> bool:
        return self.last.verdict.accepted

    @property
    def failed(self) -> list[str]:
        return [check.name for check in self.last.verdict.checks if not check.passed]


def reader_settings(url: str, rate: str) -> TeacherSettings:
    return TeacherSettings(
        kind=TeacherKind.OPENAI, url=url, model=f"reader-{rate}", frame_height_px=HEIGHT_PX,
        retries=1, timeout_s=60.0,
    )  # fmt: skip


def first_case(item: Item, settings: VerifySettings) -> Case:
    """The case of an item after the checks that need no model."""
    verdict = verify(item.rollout, item.task, item.task.gold, item.scene, None, settings.thresholds)
    attempt = Attempt(rollout=item.rollout, verdict=verdict)
    return Case(scene=item.scene, task=item.task, asked=1, attempts=(attempt,))


def examine(
    items: Sequence[Item], store: MemoStore, verifier: TeacherSettings, settings: VerifySettings
) -> list[Found]:
    """Take items through all checks, as a run does."""
    cases = [first_case(item, settings) for item in items]
    done = examined(cases, store, verifier, settings)
    return [
        Found(item, first.attempts[0], last.attempts[0])
        for item, first, last in zip(items, cases, done, strict=True)
    ]


def examined(
    cases: Sequence[Case], store: MemoStore, verifier: TeacherSettings, settings: VerifySettings
) -> list[Case]:
    """The cases after the examination, as a run examines them."""
    examiner = Examiner(verifier=verifier, settings=settings, seed=0, round=0)
    answered = gather(
        examiner, cases, lambda asked: ask_stored(verifier, store, ShotSettings(), asked)
    )
    done: list[Case] = []
    for case, one in zip(cases, answered, strict=True):
        if one.trouble:
            raise RuntimeError(one.trouble)
        errors = [reply.error for reply in one.replies.values() if reply.error]
        if errors:
            raise RuntimeError(errors[0])
        done += examiner.read(case, one.replies).outputs
    return done


# Planted errors ----------------------------------------------------------------------------------


def planted(options: argparse.Namespace) -> None:
    settings = VerifySettings(hide=options.hide, condition_samples=options.samples)
    with tempfile.TemporaryDirectory() as folder, running() as url:
        store = MemoStore(folder)
        began = time.monotonic()
        items = list(make_items(store, options.films, first=options.first))
        print(f"{len(items)} items about {options.films} films ({time.monotonic() - began:.0f} s)")
        for rate in options.rates.split(","):
            began = time.monotonic()
            found = examine(items, store, reader_settings(url, rate), settings)
            print(f"\nThe reader errs with probability {rate} ({time.monotonic() - began:.0f} s)\n")
            print(table(found))
            if options.show:
                show(found)


def table(found: Sequence[Found]) -> str:
    """Shares found and turned down, as a table in Markdown."""
    lines = ["| planted | n | found | without a model | by |", "|---|---|---|---|---|"]
    by_twin: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        by_twin[one.item.twin].append(one)
    for twin in ALL_TWINS:
        if several := by_twin.get(twin):
            lines.append(_row(twin, several))
    wrong = [one for one in found if one.item.twin != RIGHT]
    lines.append(_row("**all errors**", wrong))
    lines += ["", "| right items | n | turned down | by |", "|---|---|---|---|"]
    right = by_twin[RIGHT]
    for kind in KINDS:
        lines.append(_right_row(kind.value, [one for one in right if one.item.kind == kind]))
    lines.append(_right_row("**all kinds**", right))
    return "\n".join(lines)


def _row(name: str, several: Sequence[Found]) -> str:
    recall = sum(not one.accepted for one in several) / len(several)
    free = sum(not one.first.verdict.accepted for one in several) / len(several)
    return f"| {name} | {len(several)} | {recall:.2f} | {free:.2f} | {_by(several)} |"


def _right_row(name: str, several: Sequence[Found]) -> str:
    down = sum(not one.accepted for one in several) / max(len(several), 1)
    return f"| {name} | {len(several)} | {down:.2f} | {_by(several)} |"


def _by(several: Sequence[Found]) -> str:
    counts = Counter(name for one in several for name in one.failed)
    return ", ".join(f"{name} {number}" for name, number in counts.most_common())


def show(found: Sequence[Found]) -> None:
    """The items that were judged wrongly."""
    for one in found:
        if one.accepted == (one.item.twin == RIGHT):
            continue
        item, rollout = one.item, one.item.rollout
        spans = [(round(s.start_s, 2), round(s.end_s, 2)) for s in rollout.segments]
        print(f"\n[{item.twin}] {item.kind}: {item.task.question} {list(item.task.options)}")
        print(f"  {rollout.reasoning}\n  spans {spans}, failed {one.failed}")
        for claim in one.last.claims:
            print(f"  {claim.shown} {claim.claim.kind} {claim.claim.text}")
        print(f"  conclusions {one.last.conclusions}")


# Speed -------------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> None:
    """Figures of one core: nothing here starts a thread."""
    settings = VerifySettings()
    with tempfile.TemporaryDirectory() as folder:
        items = list(make_items(MemoStore(folder), 30))
        rollouts = options.tasks
        several = list(written(items, rollouts // 4, 4))
        wall_s, cpu_s = clocked(lambda: _verify_all(several, settings))
        print(f"verifying {rollouts} rollouts: {wall_s:.2f} s, {rollouts / cpu_s:.0f} a second")
        for samples in (1, 4):
            cases = [examined_case(one, settings) for one in written(items, options.tasks, samples)]
            if not all(attempt.verdict.accepted for case in cases for attempt in case.attempts):
                raise RuntimeError("the bench's rollouts do not pass")
            told = f"{len(cases)} tasks with {samples} rollouts each"
            wall_s, cpu_s = clocked(lambda: _decide_all(cases, settings))  # noqa: B023
            print(f"deciding {told}, in memory: {wall_s:.2f} s ({cpu_s:.2f} CPU)")
            records = Path(folder) / f"records-{samples}"
            for digit in "0123456789abcdef":
                rows = [(one.task.id, one.to_json()) for one in cases if one.task.id[1] == digit]
                write_records(records, "case", digit, rows)
            wall_s, cpu_s = clocked(lambda: _decide_stored(records, settings))  # noqa: B023
            size = sum(path.stat().st_size for path in records.iterdir()) / 1e6
            print(
                f"deciding {told}, from records ({size:.0f} MB): {wall_s:.2f} s ({cpu_s:.2f} CPU)"
            )
            wall_s, cpu_s = clocked(lambda: _compare_stored(records, settings))  # noqa: B023
            print(f"telling what changes in {told}: {wall_s:.2f} s ({cpu_s:.2f} CPU)")


def clocked(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds that passed, and seconds of CPU: the least of three tries, since cores are shared."""
    tries = []
    for _ in range(3):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        work()
        tries.append((time.process_time() - cpu_s, time.perf_counter() - wall_s))
    cpu_s, wall_s = min(tries)
    return wall_s, cpu_s


def _verify_all(several: Sequence[Written], settings: VerifySettings) -> None:
    for one in several:
        for rollout in one.rollouts:
            verify(rollout, one.task, one.task.gold, one.item.scene, None, settings.thresholds)


def _decide_all(cases: Sequence[Case], settings: VerifySettings) -> None:
    for case in cases:
        decide(case, settings)


def _decide_stored(folder: Path, settings: VerifySettings) -> None:
    for _, text in records_of(folder, "case"):
        decide(Case.from_json(text), settings)


def _compare_stored(folder: Path, settings: VerifySettings) -> None:
    """What `proofreel verify` does with the records before it prints: it decides and routes every
    task twice, as it was and as it would be."""
    stricter = settings.thresholds.model_copy(update={"necessary": 0.9})
    after = settings.model_copy(update={"thresholds": stricter})
    changes = Changes(*(Config().model_copy(update={"verify": one}) for one in (settings, after)))
    for _, text in records_of(folder, "case"):
        changes.add(Case.from_json(text))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", default="all", choices=("all", "planted", "speed"))
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first film")
    parser.add_argument("--rates", default=",".join(RATES))
    parser.add_argument("--samples", type=int, default=VerifySettings().condition_samples)
    parser.add_argument("--hide", default="drop", choices=("drop", "black"))
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--show", action="store_true", help="the items that are judged wrongly")
    options = parser.parse_args()
    if options.what in ("all", "planted"):
        planted(options)
    if options.what in ("all", "speed"):
        speed(options)


if __name__ == "__main__":
    main()
