"""`proofreel run`: from its options to an exit code, and the words for what went wrong."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console

from pipelines.config import Config, ConfigError, load_config
from pipelines.counts import replies_in
from pipelines.display import JsonLines
from pipelines.dry_run import dry_run
from pipelines.exits import EXIT_ASKED_WRONGLY, EXIT_FAILED, EXIT_OK
from pipelines.profiles import launched_by
from pipelines.remote_output import RemoteOutput
from pipelines.run import BusyError, progress_of, run
from pipelines.summary import print_summary, why_empty
from pipelines.times import slowest, times_as_json
from pipelines.told import Told
from runners.dataflow import JobBuiltError
from runners.errors import BadOptionsError
from runners.failure import in_words
from runners.interrupt import heeding_signals
from runners.job_server import NoEngineError
from runners.launch import prepare, works_on_this_machine
from runners.process_workers import WorkerDiedError
from transforms.features.embed import WeightsError
from transforms.outcome import StopRunError, words_of_stop
from transforms.progress import ProgressLog
from transforms.publish.manifest import Manifest
from transforms.storage import is_remote
from transforms.video.inputs import BadInputError


def run_command(options: argparse.Namespace, beam_arguments: Sequence[str]) -> int:
    """Run as the options say; returns the exit code: 0 done, 1 failed, 2 asked wrongly,
    128 and the number of the signal that ended it."""
    with heeding_signals() as signals, ExitStack() as stack:
        machine = None
        try:
            if options.progress_json:
                stream = stack.enter_context(Path(options.progress_json).open("w", buffering=1))
                machine = JsonLines(stream)
            _run(options, beam_arguments, machine)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all of it is told
            code, words = signals.told(error) or trouble(error)
            with suppress(OSError):
                # Its terminal may be gone.
                print(f"proofreel: {words}", file=sys.stderr, flush=True)
            if machine:
                machine.say("failed", exit_code=code, error=words)
            return code
    return EXIT_OK


def _run(
    options: argparse.Namespace, beam_arguments: Sequence[str], machine: JsonLines | None
) -> None:
    config = load_config(options.config, options.set)
    beam_arguments = launched_by(options.config, options.profile, beam_arguments)
    if options.limit is not None and options.limit < 1:
        raise ConfigError("--limit: at least 1")
    if options.calibrate < 0 or (options.calibrate and not options.dry_run):
        raise ConfigError("--calibrate: a number of requests, and only with --dry-run")
    if options.dry_run:
        _dry_run(options, beam_arguments, config)
        return
    remote = RemoteOutput(options.out) if is_remote(options.out) else None
    out = remote.folder if remote else Path(options.out)
    far = None
    if remote:
        runner, beam_options = prepare(beam_arguments)
        if works_on_this_machine(runner, beam_options):
            remote.check()
        else:
            far = remote

    def finish() -> None:
        if remote and not far:
            number = remote.publish()
            with _if_anybody_reads():
                print(f"put to {remote.dataset}: {number} files, the others were there", flush=True)

    manifest, told = run(
        options.inputs,
        out,
        config,
        prepare,
        beam_arguments,
        limit=options.limit,
        store=options.store or (remote.store if remote else None),
        console=Console(stderr=True),
        machine=machine,
        quiet=options.quiet,
        far=far,
        finish=finish,
        ours=remote.ours if remote else (),
    )
    if far:
        _say_what_came(far.rejected(manifest).parent, ProgressLog(), manifest, told, far.dataset)
    else:
        _say_what_came(out / "dataset", progress_of(out), manifest, told)
    if machine:
        samples = sum(shard.samples for shard in manifest.shards)
        machine.say("done", samples=samples, legs=times_as_json(told.times))


def _dry_run(options: argparse.Namespace, beam_arguments: Sequence[str], config: Config) -> None:
    prepare(beam_arguments)
    remote = RemoteOutput(options.out) if is_remote(options.out) else None
    dry_run(
        options.inputs,
        remote.folder if remote else Path(options.out),
        config,
        limit=options.limit,
        requests=options.calibrate,
        console=Console(),
        store=options.store or (remote.store if remote else None),
        ours=remote.ours if remote else (),
    )


def _say_what_came(
    folder: Path, log: ProgressLog, manifest: Manifest, told: Told, place: str = ""
) -> None:
    """`place`: where the dataset is, if `folder` has only its table of rejections."""
    # An engine may tell no metrics; then there is the file.
    replied = told.replied if any(told.replied) else replies_in(log)
    with _if_anybody_reads():
        print_summary(Console(), manifest, folder, replied, told.times, slowest(log), place)
    if why := why_empty(manifest, folder):
        with suppress(OSError):
            print(f"proofreel: {why}", file=sys.stderr)


@contextmanager
def _if_anybody_reads() -> Iterator[None]:
    """For what is printed of a run that is done: that its reader is gone, as `head` is after some
    lines, does not make it a failed one."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # Rich would end the process there. What waits in the buffer would be missed at its end.
        with suppress(OSError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def trouble(error: BaseException) -> tuple[int, str]:
    """Exit code and one line of words for what ended a run."""
    if isinstance(error, JobBuiltError):
        return EXIT_OK, f"nothing was sent; {error}"
    if isinstance(error, (ConfigError, BadInputError, WeightsError, BadOptionsError)):
        return EXIT_ASKED_WRONGLY, str(error)
    if isinstance(error, (BusyError, StopRunError, NoEngineError, WorkerDiedError)):
        # Where a worker met it in this process, Beam adds its step.
        return EXIT_FAILED, words_of_stop(f"{type(error).__name__}: {error}") or str(error)
    logging.getLogger(__name__).debug("the run failed", exc_info=True)
    if told := words_of_stop(str(error)):
        return EXIT_FAILED, told
    return EXIT_FAILED, f"the run failed: {in_words(error)}"
