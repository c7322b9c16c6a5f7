"""`proofreel run --dry-run`: what a run would ask of its teacher, what it takes and costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.calibrate import REQUESTS_PER_CLIP, Calibration, calibrate, first_scenes
from pipelines.config import Config, ConfigError
from pipelines.estimate import Estimate, Line, estimate
from pipelines.estimate_examination import CLAIMS_PER_ROLLOUT, EXAMINATION
from pipelines.preflight import check_installed, check_prompts, check_teacher
from pipelines.run import locked
from pipelines.store import remember_store, store_of
from pipelines.survey import survey
from transforms.annotate.teacher import TeacherKind
from transforms.memo import MemoStore
from transforms.video.sorted_inputs import SortedInputs, sorted_inputs


def dry_run(
    inputs: Sequence[str],
    out: Path,
    config: Config,
    *,
    limit: int | None,
    requests: int,
    console: Console,
    store: str | None = None,
    ours: Sequence[str] = (),
) -> None:
    """Print what a run would ask. Writes nothing, unless `requests` are to be asked now.

    `ours`: where, beside folder and store, nothing is taken for a source.

    Raises BadInputError, ConfigError, TeacherUnavailable and BusyError.
    """
    memo = store_of(out, store)
    with sorted_inputs(inputs, out, memo.root, *ours, limit=limit) as found:
        _dry_run(found, out, config, memo, requests, console)


def _dry_run(
    inputs: SortedInputs,
    out: Path,
    config: Config,
    memo: MemoStore,
    requests: int,
    console: Console,
) -> None:
    sources = inputs.sources
    check_prompts(config)
    measured: Calibration | None = None
    if requests:
        if config.teacher.kind is TeacherKind.MEASURE:
            raise ConfigError("--calibrate: teacher.kind is measure, which takes no tokens")
        check_installed(config)
        work = out / "work"
        work.mkdir(parents=True, exist_ok=True)
        with locked(work / "lock"):
            remember_store(out, memo)
            memo = memo.prepare()
            for note in check_teacher(config, memo, here=True, whole=inputs.ask):
                console.print(f"note: {note}", highlight=False, markup=False)
            wanted = max(requests // REQUESTS_PER_CLIP, 1)
            scenes = survey(sources, out, config, memo).scenes
            scenes = scenes or tuple(first_scenes(sources, wanted, config, memo))
            measured = calibrate(requests, scenes, config, memo)
    found = estimate(survey(sources, out, config, memo), config, memo)
    console.print(_table(found))
    calibrated = measured is not None or not requests
    for line in lines(found, config, measured, inputs=len(sources), refused=len(inputs.refused)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not calibrated:
        console.print("not calibrated: the replies about all clips are in the store already")


def _table(found: Estimate) -> Table:
    table = Table("asked", title="what a run would ask")
    for name in ("requests", "in the store", "prompt tokens", "reply tokens"):
        table.add_column(name, justify="right")
    for line in found.lines:
        sign = "" if line.measured else "about "
        most = "" if line.measured else "up to "
        table.add_row(
            line.kind,
            f"{'up to ' if is_at_most(line) else ''}{line.requests:,}",
            f"{line.stored:,}",
            f"{sign}{line.prompt_tokens:,.0f}" if line.prompt_tokens else "-",
            f"{most}{line.completion_tokens:,.0f}" if line.completion_tokens else "-",
        )
    return table


def is_at_most(line: Line) -> bool:
    """Whether fewer may be asked: what fails is tried again, what passes is examined."""
    return line.kind in ("repair", *EXAMINATION) and line.missing > 0


def lines(
    found: Estimate,
    config: Config,
    measured: Calibration | None,
    *,
    inputs: int,
    refused: int,
) -> list[str]:
    """What the numbers come from, and what follows from them."""
    of_clips = "all cut by an earlier run"
    if found.known_clips < found.clips:
        of_clips = f"{found.known_clips:,} cut by an earlier run, the rest {found.clips_from}"
    unfit = found.refused + refused
    said = [
        f"inputs: {inputs + refused:,}" + (f", {unfit:,} of them can't be used" if unfit else ""),
        f"clips: {'' if found.known_clips == found.clips else 'about '}{found.clips:,}, {of_clips}",
    ]
    if config.teacher.tool_calls:
        more = config.teacher.tool_calls
        said.append(f"teacher.tool_calls: up to {more} requests more for each of solve and repair")
    if config.examiner is not None and any(is_at_most(line) for line in found.lines):
        who = (
            "the teacher" if config.verifier is None else f"verifier.model {config.examiner.model}"
        )
        said.append(
            f"the examination (examine, claims, conclude) asks {who}; reckoned as if every rollout "
            f"passed its other checks, with {CLAIMS_PER_ROLLOUT} claims each"
        )
    least, most = found.missing(repair=False), found.missing(repair=True)
    said.append(f"to be asked: {_range(least, most)} requests")
    if config.teacher.kind is TeacherKind.MEASURE and config.examiner is None:
        return [*said, "the measure teacher runs in this process and takes no tokens"]
    prompt = found.tokens(repair=False)[0], found.tokens(repair=True)[0]
    reply = found.tokens(repair=False)[1], found.tokens(repair=True)[1]
    said.append(f"tokens: {_range(*prompt)} of prompts, {_range(*reply)} of replies")
    if any(not line.measured for line in found.lines if line.missing):
        said.append(
            "tokens were not measured for all kinds of requests: prompts are reckoned, and replies "
            "taken to be as long as max_tokens allows; --calibrate N asks the teacher a few"
        )
    return [*said, _cost(found, config), _time(found, config, measured)]


def _cost(found: Estimate, config: Config) -> str:
    models = {"teacher": config.teacher}
    if config.verifier is not None and config.examiner is not None:
        models["verifier"] = config.examiner
    unknown = [
        name for name, one in models.items() if not (one.price_prompt or one.price_completion)
    ]
    if len(unknown) == len(models):
        named = " and ".join(f"{name}.price_prompt and {name}.price_completion" for name in unknown)
        return f"cost: not known; set {named}"
    costs = [found.cost(repair=repair) for repair in (False, True)]
    low, high = (f"{cost:.4g}" for cost in costs)
    return f"cost: {low}" if low == high else f"cost: {low} to {high}"


def _time(found: Estimate, config: Config, measured: Calibration | None) -> str:
    if measured is None:
        return "time: not known; --calibrate N asks the teacher N requests and measures"
    if not measured.usage.completion_tokens:
        return "time: not known; the teacher does not tell how many tokens it wrote"
    seconds = [
        found.tokens(repair=repair, examination=config.verifier is None)[1] / measured.tokens_per_s
        for repair in (False, True)
    ]
    low, high = (duration(one) for one in seconds)
    return (
        f"time of the teacher: {low if low == high else f'{low} to {high}'} at "
        f"{measured.tokens_per_s:.0f} tokens/s of replies, measured with {measured.usage.replies} "
        f"requests, at most {measured.at_once} at once; with more at once it is mostly faster"
    )


def _range(low: float, high: float) -> str:
    texts = f"{low:,.0f}", f"{high:,.0f}"
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


def duration(seconds: float) -> str:
    """A time span as people say it."""
    for unit, length_s in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.1f} {unit}"
    return f"{seconds:.0f} s"
