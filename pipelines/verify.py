"""`proofreel verify`: decide a finished run anew by other thresholds, from its stored scores.

Nobody is asked, nothing is decoded or encoded. Rollouts stay as they are: what another verdict
would send back for repair, or examine, only `proofreel run` asks for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from pydantic import ValidationError
from rich.console import Console

from pipelines.built import check_no_link, finished
from pipelines.config import Config, ConfigError, overlaid
from pipelines.folder import Folder, NotFoundError
from pipelines.own_files import keep_own_files
from pipelines.records import kept_prompts, read_records, record_files, records
from pipelines.run import Prepare, locked, move_into_place, prices_of, sweep
from pipelines.summary import funnel_table
from pipelines.verdict_changes import Changes, changed_settings, print_changes
from pipelines.way import Plan, Way
from proofreel import __version__
from schemas.case import Attempt, Case
from schemas.rejection import Reason, Rejection, Stage
from transforms.draft import new_draft, sweep_drafts
from transforms.failure_limit import NO_LIMIT
from transforms.progress import NOWHERE
from transforms.publish.finish import RunFacts
from transforms.publish.index import table_rows
from transforms.publish.manifest import MANIFEST_FILE, REJECTED_FILE, Manifest
from transforms.verify.checks import VerifySettings
from transforms.verify.decide import decide, failure

MAY_DIFFER = ("verify.thresholds.", "publish.")
DECIDED = frozenset({Stage.VERIFY, Stage.EXAMINE, Stage.ROUTE})
"""Stages whose ends follow from the verdicts; those before stay as they were."""


def verify(
    root: Path,
    file: str | None,
    overrides: Sequence[str],
    prepare: Prepare,
    *,
    write: bool,
    as_json: bool,
    console: Console,
) -> None:
    """Print what the settings would change in a finished run; with `write`, change it.

    Raises NotFoundError, ConfigError and BusyError before anything is written, and whatever stops
    the pipeline; then the dataset is as it was.
    """
    work = root / "work"
    with locked(work / "lock") if write and work.is_dir() else nullcontext():
        if write:
            check_no_link(root)
            sweep(root)
        run = finished_run(root)
        config = changed_config(run.config, file, overrides)
        changes = _changes(run, config)
        if not as_json:
            print_changes(changes, console)
        manifest = _write(run, config, prepare) if write else None
    if as_json:
        found = changes.to_dict() | {"written": write}
        console.print(json.dumps(found, indent=2), highlight=False, markup=False, soft_wrap=True)
    elif manifest is None:
        console.print("nothing was written; --write makes it so", highlight=False)
    else:
        console.print(funnel_table(manifest.funnel))
        console.print(f"written: {root / 'dataset'}", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Run:
    """A finished run, as it lies in its folder."""

    folder: Folder
    manifest: Manifest
    config: Config
    prompts: dict[str, str]

    @property
    def rejected(self) -> str:
        """Path of the table of rejections."""
        return str(self.folder.root / "dataset" / REJECTED_FILE)


def finished_run(root: Path) -> Run:
    """Raises NotFoundError if there is none that this version can decide anew."""
    folder = Folder.of_finished_run(root)
    try:
        text = (root / "dataset" / MANIFEST_FILE).read_text("utf-8")
        manifest = Manifest.model_validate_json(text)
        if manifest.proofreel_version != __version__:
            raise ValueError("another version")
        config = Config.model_validate(manifest.config)
    except (OSError, ValueError, ValidationError) as error:
        raise NotFoundError(
            f"{root}: was made by another version of proofreel; use proofreel run on it first"
        ) from error
    try:
        prompts = kept_prompts(folder.records)
    except OSError as error:
        raise NotFoundError(
            f"{root}: holds a dataset, but no records of its run (work/records); use proofreel run"
        ) from error
    return Run(folder, manifest, config, prompts)


# The settings ------------------------------------------------------------------------------------


def changed_config(base: Config, file: str | None, overrides: Sequence[str]) -> Config:
    """The run's configuration with a file and overrides on top.

    Raises ConfigError if they change more than thresholds and publishing.
    """
    config = overlaid(base.resolved(), file, overrides)
    for name, (was, now) in changed_settings(base, config).items():
        if not name.startswith(MAY_DIFFER):
            raise ConfigError(
                f"{name}: was {was} in this run, now {now}; verify decides anew over stored "
                "scores, so only verify.thresholds.* and publish.* may differ. For anything else "
                "use proofreel run"
            )
    return config


# Deciding ----------------------------------------------------------------------------------------


def _changes(run: Run, config: Config) -> Changes:
    changes = Changes(run.config, config)
    decided = failed = 0
    for _, text in records(run.folder.records, "case"):
        case = changes.add(Case.from_json(text))
        decided += len(case.attempts)
        media = run.folder.store.path(case.scene.media.ref)
        if not media.is_file():
            raise NotFoundError(
                f"{case.task.id}: its clip is gone from {run.folder.store.root}; use proofreel run"
            )
    failed = sum(one.stage is Stage.VERIFY for one in _kept_rejections(run.rejected))
    entered = {line.stage: line.in_ for line in run.manifest.funnel}
    if decided + failed != entered.get(Stage.VERIFY, 0):
        raise NotFoundError(
            f"{run.folder.root}: the records hold {decided} rollouts, but "
            f"{entered.get(Stage.VERIFY, 0) - failed} were verified; use proofreel run"
        )
    return changes


def _kept_rejections(path: str) -> Iterator[Rejection]:
    """Of a table of rejections those that no verdict decides about."""
    for row in table_rows(Path(path)):
        one = Rejection.model_validate(row)
        # What broke at the verifier is in no record, so there is nothing to decide about it.
        broke = one.stage is Stage.VERIFY and one.reason is Reason.INTERNAL_ERROR
        if one.stage not in DECIDED or broke:
            yield one


class DecideAnew(Way):
    """From the records of a finished run to its dataset under other settings."""

    def __init__(self, plan: Plan, run: Run) -> None:
        super().__init__(plan)
        self._manifest = run.manifest
        self._files = [str(path) for path in record_files(run.folder.records, "case")]
        self._rejected = run.rejected

    def expand(self, root: Any) -> beam.PCollection:
        self._take_over(root)
        config = self._plan.config
        examines = config.examiner is not None
        cases = (
            root
            | "Files" >> beam.Create(self._files)
            | "Cases" >> beam.FlatMap(_cases_of)
            | "Decide" >> beam.Map(_decided, config.verify, examines=examines)
            | "Spread" >> beam.Reshuffle()
        )
        self._rejections.append(cases | "Failed" >> beam.FlatMap(_failures))
        passed = cases | "Passed" >> beam.FlatMap(_passed)
        self._count_out(Stage.VERIFY, passed)
        if examines:
            self._tallies.append(passed | "Examined" >> beam.Map(_one_examined))
            self._count_out(Stage.EXAMINE, cases | "Stood" >> beam.FlatMap(_accepted))
        # Nothing is at work that could be mended; what was never examined may well be most.
        return self._publish(root, cases, NO_LIMIT)

    def _take_over(self, root: Any) -> None:
        """What the run counted before there were verdicts, and what its teacher took."""
        lines = self._manifest.funnel
        entered = [(str(one.stage), one.in_) for one in lines if one.stage is Stage.VERIFY]
        before = [one for one in lines if one.stage not in DECIDED]
        entered += [(str(one.stage), one.in_) for one in before]
        out = [(str(one.stage), one.out) for one in before]
        for label, values, place in (
            ("Entered", entered, self._tallies),
            ("CameOut", out, self._outs),
            ("Used", list(self._manifest.usage.items()), self._usage),
        ):
            place.append(root | label >> beam.Create(values, reshuffle=False))
        kept = root | "Rejected" >> beam.Create([self._rejected], reshuffle=False)
        self._rejections.append(kept | "Kept" >> beam.FlatMap(_kept_rejections))


def _cases_of(path: str) -> Iterator[Case]:
    for _, text in read_records(Path(path)):
        yield Case.from_json(text)


def _decided(case: Case, settings: VerifySettings, *, examines: bool) -> Case:
    return decide(case, settings, examines=examines)


def _failures(case: Case) -> Iterator[Rejection]:
    for attempt in case.attempts:
        if (failed := failure(attempt, case.task.id)) is not None:
            yield failed


def _passed(case: Case) -> list[Attempt]:
    """The attempts that passed the checks before the examination."""
    failed = {one.subject for one in _failures(case) if one.stage is Stage.VERIFY}
    return [attempt for attempt in case.attempts if attempt.rollout.id not in failed]


def _accepted(case: Case) -> Sequence[Attempt]:
    return case.accepted


def _one_examined(_: Attempt) -> tuple[str, int]:
    return str(Stage.EXAMINE), 1


# Writing -----------------------------------------------------------------------------------------


def _write(run: Run, config: Config, prepare: Prepare) -> Manifest:
    """Build the dataset and the records beside their places, and move them there."""
    root = run.folder.root
    work = root / "work"
    draft = new_draft(str(work))
    draft.begin()
    dataset, kept = Path(draft.dataset), Path(draft.records)
    manifest = run.manifest
    facts = RunFacts(
        proofreel_version=manifest.proofreel_version,
        seed=manifest.seed,
        config=config.resolved(),
        versions=manifest.versions,
        prompts=run.prompts,
        notes=tuple(manifest.notes),
        prices=prices_of(config.teacher),
        verifier_prices=prices_of(config.verifier or config.teacher),
    )
    plan = Plan(config, run.folder.store, draft, NOWHERE, facts)
    for path in run.folder.records.iterdir():
        if not path.name.startswith("case-"):
            # Files of records are never written into, only replaced.
            os.link(path, kept / path.name)
    runner, options = prepare([])
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        _ = pipeline | "DecideAnew" >> DecideAnew(plan, run)
    made = finished(draft)
    keep_own_files(root / "dataset", dataset)
    move_into_place(dataset, root / "dataset", work)
    move_into_place(kept, work / "records", work)
    sweep_drafts(str(work))
    return made
