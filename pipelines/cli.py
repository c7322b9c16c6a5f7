"""The command line: `proofreel COMMAND ...`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from pipelines import derive, features
from pipelines.exits import EXIT_ASKED_WRONGLY, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK

LOG_VARIABLE = "PROOFREEL_LOG"
OURS = ("pipelines", "runners", "transforms")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 done, 1 failed, 2 asked wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if os.environ.get(LOG_VARIABLE) == "debug":
        for name in OURS:
            logging.getLogger(name).setLevel(logging.DEBUG)
    # Beam warns of cloud libraries that are not installed; nobody here asked for them.
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    logging.getLogger().addFilter(_worth_saying)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_worth_saying)
    parser = _parser()
    if not given:
        parser.print_help()
        return EXIT_ASKED_WRONGLY
    if given[0] == "run" and not {"-h", "--help"} & set(given):
        from runners.arguments import split_beam_arguments

        beam_arguments, given = split_beam_arguments(given)
    else:
        beam_arguments = []
    options = parser.parse_args(given)
    if given[0] != "run" and (url := _url_among(options)):
        said = f"{url}: only `proofreel run` works on a URL; copy the folder to this machine first"
        return _say(said, EXIT_ASKED_WRONGLY)
    return int(options.command(options, beam_arguments))


def _url_among(options: argparse.Namespace) -> str:
    """The first folder that is given as a URL, or ""."""
    given = [getattr(options, name, None) for name in ("folder", "out")]
    given += getattr(options, "folders", None) or []
    return next((one for one in given if one and "://" in one), "")


def _worth_saying(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    # Beam tells what an engine said in the name of the root of all loggers.
    if record.name.startswith(("apache_beam", "SdkWorker")) or record.name == "root":
        from transforms.outcome import words_of_stop

        kind = type(record.exc_info[1]).__name__ if record.exc_info else ""
        if words_of_stop(f"{kind}: {message}") or words_of_stop(message):
            # It is said at the end, in one line; these are tracebacks of every worker.
            return False
    # Random weights are said once, in our own words; of Beam's measuring of memory nobody asked.
    quiet = (
        *("apitools not found", "No pretrained weights", "Resource module is not available"),
        # Said of an engine that is gone, with a traceback; that is told in our own words.
        *("Failed to read inputs in the data plane", "Channel closed prematurely"),
        # A worker that is shut down gives up what it works on, and then can't find it to end it.
        "self.bundle_processor_cache.release(instruction_id)",
    )
    return not any(words in message for words in quiet)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proofreel",
        description="Turns raw video into verified video-reasoning data for SFT and RL.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="make a dataset of videos",
        description="Make a dataset of videos. Run it again with the same --out to go on where a "
        "killed run was, or to change settings: what is unchanged is looked up.",
        epilog="Any option of Beam may follow, such as --direct_num_workers=4. Exit code: 0 the "
        "run completed (rejected inputs are normal), 1 it failed, 2 it was asked wrongly, "
        "130 ended by Ctrl-C, 143 by SIGTERM.",
        allow_abbrev=False,
    )
    run.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="a video, a folder, a glob, or a manifest (.jsonl, .csv, .parquet, Video-R1's .json)",
    )
    run.add_argument("--out", required=True, metavar="DIR", help="output folder, or a URL")
    _add_settings(run)
    run.add_argument(
        "--store",
        metavar="DIR",
        help="folder of the memo store, which several outputs may share, also at once; OUT/work/"
        "memo, or the one of the last run into OUT, unless said",
    )
    run.add_argument(
        "--profile", metavar="NAME", help="options of Beam under this name in the --config file"
    )
    run.add_argument("--limit", type=int, metavar="N", help="take only the first N sources")
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="do not run; say how much would be asked of the teacher, what it takes and costs",
    )
    run.add_argument(
        "--calibrate",
        type=int,
        default=0,
        metavar="N",
        help="with --dry-run: ask the teacher N requests, for the tokens per second and per reply",
    )
    run.add_argument(
        "--progress-json",
        metavar="FILE",
        help="also write progress into this file, one JSON object a line (docs/watching.md)",
    )
    run.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="no progress; only notes, warnings, errors and the summary at the end",
    )
    run.set_defaults(command=_run)

    verify = commands.add_parser(
        "verify",
        help="decide a finished run anew, by other thresholds",
        description="Decide a finished run anew by other thresholds, from the scores that it kept: "
        "nobody is asked, nothing is decoded or encoded. Says what would change; --write makes it "
        "so. Only verify.thresholds.* and publish.* may differ from the run.",
        epilog="Rollouts stay as they are: what the new verdicts would send back for repair or to "
        "the examination, only `proofreel run` with the same settings asks for.",
        allow_abbrev=False,
    )
    verify.add_argument("folder", metavar="DIR", help="output folder of a run")
    _add_settings(verify)
    verify.add_argument(
        "--write", action="store_true", help="replace the dataset by the one that follows"
    )
    verify.add_argument("--json", action="store_true", help="say what changes as JSON")
    verify.set_defaults(command=_verify)

    check = commands.add_parser(
        "check",
        help="is this dataset whole and true?",
        description="Check a dataset: hashes, counts, samples, spans, verdicts, grades, media. "
        "Prints what is wrong; exit code 1 if anything is.",
    )
    check.add_argument("folder", metavar="DIR", help="output folder of a run, or the dataset in it")
    check.set_defaults(command=_check)

    _add_export_command(commands)
    _add_publish_command(commands)
    derive.add_commands(commands)
    features.add_command(commands, _add_settings)

    inspect = commands.add_parser(
        "inspect",
        help="the whole chain of one video, clip, task or sample",
        description="Show where something comes from and what became of it: every check with its "
        "score, every reason.",
    )
    inspect.add_argument("folder", metavar="DIR", help="output folder of a run")
    inspect.add_argument(
        "id",
        metavar="ID",
        help="id of a video, clip, task, rollout or sample, or the file name of a video",
    )
    inspect.add_argument(
        "--picture", metavar="PNG", help="also draw a task or sample as a sheet of frames"
    )
    inspect.set_defaults(command=_inspect)

    prompt = commands.add_parser(
        "prompt",
        help="exactly what a teacher would be sent about a clip or task",
        description="Show what a teacher would be sent about a clip or task of a finished run: "
        "text, times and pictures. Nothing is asked, so settings can be tried before a run.",
        allow_abbrev=False,
    )
    prompt.add_argument("folder", metavar="DIR", nargs="?", help="output folder of a run")
    prompt.add_argument("id", metavar="ID", nargs="?", help="id of a clip, task, sample or rollout")
    prompt.add_argument(
        "--purpose",
        choices=("describe", "propose", "solve"),
        help="what is asked; propose for a clip and solve for a task unless said",
    )
    prompt.add_argument(
        "--html",
        metavar="FILE",
        nargs="?",
        const="prompt.html",
        help="also write a page with the pictures (prompt.html if no FILE is named)",
    )
    prompt.add_argument(
        "--copy", metavar="FOLDER", help="copy the prompt templates there, to edit them"
    )
    _add_settings(prompt)
    prompt.set_defaults(command=_prompt)

    doctor = commands.add_parser(
        "doctor",
        help="what this machine has, and what each lack means",
        description="Look at ffmpeg, GPU, hub access, runners and disk. Exit code 1 if something "
        "that every run needs is missing.",
    )
    doctor.add_argument("--out", default=".", metavar="DIR", help="folder whose disk is looked at")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_export_command(commands: Any) -> None:
    from pipelines.export import add_export

    export = commands.add_parser(
        "export",
        help="the dataset in the form that a trainer takes",
        description="Write a finished dataset with its media in the form that a trainer takes, "
        "with a README that holds the command to start on it.",
        allow_abbrev=False,
    )
    add_export(export)
    export.set_defaults(command=_export)


def _add_publish_command(commands: Any) -> None:
    publish = commands.add_parser(
        "publish",
        help="upload the dataset to the Hugging Face hub",
        description="Check a dataset and upload it to the hub, private unless --public is given. "
        "Only what its manifest lists goes up. Run it again to go on after a break. HF_TOKEN or "
        "`hf auth login` give the token, HF_ENDPOINT another hub.",
        allow_abbrev=False,
    )
    publish.add_argument(
        "folder", metavar="DIR", help="output folder of a run, or the dataset in it"
    )
    publish.add_argument("repo", metavar="REPO", help="the dataset's name on the hub: owner/name")
    publish.add_argument("--public", action="store_true", help="for everybody to see")
    publish.add_argument(
        "--dry-run", action="store_true", help="send nothing, ask nobody; say what would go up"
    )
    publish.add_argument(
        "--allow-unlicensed",
        action="store_true",
        help="with --public: also where no licence was stated for a source",
    )
    publish.set_defaults(command=_publish)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML file; see docs/configuration.md")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="override a field of the configuration, such as shots.max_clip_s=20; repeatable. The "
        "value is YAML, so a list is written --set 'teacher.url=[http://a/v1,http://b/v1]'",
    )


def _run(options: argparse.Namespace, beam_arguments: list[str]) -> int:
    from pipelines.run_command import run_command

    return run_command(options, beam_arguments)


def _say(error: object, code: int) -> int:
    print(f"proofreel: {error}", file=sys.stderr)
    return code


def _verify(options: argparse.Namespace, _: list[str]) -> int:
    from pipelines.config import ConfigError
    from pipelines.folder import NotFoundError
    from pipelines.run import BusyError
    from pipelines.verify import verify
    from runners.failure import in_words
    from runners.launch import prepare
    from transforms.outcome import StopRunError

    try:
        verify(
            Path(options.folder),
            options.config,
            options.set,
            prepare,
            write=options.write,
            as_json=options.json,
            console=Console(),
        )
    except (ConfigError, NotFoundError) as error:
        return _say(error, EXIT_ASKED_WRONGLY)
    except (BusyError, StopRunError) as error:
        return _say(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; the dataset is as it was", EXIT_INTERRUPTED)
    except Exception as error:
        logging.getLogger(__name__).debug("deciding anew failed", exc_info=True)
        return _say(
            f"deciding anew failed, the dataset is as it was: {in_words(error)}", EXIT_FAILED
        )
    return EXIT_OK


def _check(options: argparse.Namespace, _: list[str]) -> int:
    from transforms.outcome import StopRunError
    from transforms.publish.check import dataset_faults
    from transforms.publish.counts import counted
    from transforms.publish.exports.entries import read_manifest

    folder = Path(options.folder)
    dataset = folder / "dataset" if (folder / "dataset").is_dir() else folder
    if not dataset.is_dir():
        return _say(f"{folder}: no such folder", EXIT_ASKED_WRONGLY)
    faults = 0
    try:
        for fault in dataset_faults(dataset):
            print(fault)
            faults += 1
    except StopRunError as error:
        return _say(error, EXIT_FAILED)
    if faults:
        return _say(f"{counted(faults, 'fault')} in {dataset}", EXIT_FAILED)
    samples = sum(shard.samples for shard in read_manifest(dataset).shards)
    print(f"{dataset}: whole and true ({counted(samples, 'sample')})")
    return EXIT_OK


def _export(options: argparse.Namespace, _: list[str]) -> int:
    from pipelines.export import export

    return export(options, Console())


def _publish(options: argparse.Namespace, _: list[str]) -> int:
    from pipelines.hub import HubError
    from pipelines.publish import NoSuchError, RefusedError, publish
    from transforms.outcome import StopRunError
    from transforms.publish.exports.entries import BadDatasetError

    try:
        publish(
            Path(options.folder),
            options.repo,
            public=options.public,
            allow_unlicensed=options.allow_unlicensed,
            dry_run=options.dry_run,
            console=Console(),
        )
    except NoSuchError as error:
        return _say(error, EXIT_ASKED_WRONGLY)
    except (RefusedError, BadDatasetError, HubError, StopRunError, OSError) as error:
        return _say(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on where it was", EXIT_INTERRUPTED)
    return EXIT_OK


def _inspect(options: argparse.Namespace, _: list[str]) -> int:
    from pipelines.folder import NotFoundError
    from pipelines.inspect import PictureError, inspect

    try:
        inspect(Path(options.folder), options.id, options.picture, Console())
    except (NotFoundError, PictureError) as error:
        return _say(error, EXIT_ASKED_WRONGLY)
    except OSError as error:
        return _say(f"{options.id}: {error}", EXIT_FAILED)
    return EXIT_OK


def _prompt(options: argparse.Namespace, _: list[str]) -> int:
    from pipelines.config import ConfigError, load_config
    from pipelines.folder import Folder, NotFoundError
    from pipelines.prompt import copy_templates, print_prompt, prompted
    from pipelines.prompt_page import prompt_page
    from schemas.rejection import Rejected
    from transforms.annotate.teacher import Purpose

    try:
        if options.copy:
            for path in copy_templates(Path(options.copy)):
                print(path)
            print(f"edit them, and name them with --set teacher.prompts={options.copy}")
            return EXIT_OK
        if not options.id:
            raise ConfigError("prompt: name the folder of a run and a clip or task, or --copy")
        config = load_config(options.config, options.set)
        purpose = Purpose(options.purpose) if options.purpose else None
        folder = Folder.of_finished_run(Path(options.folder))
        shown = prompted(folder, options.id, purpose, config)
        if options.html:
            Path(options.html).write_text(prompt_page(shown), "utf-8")
        print_prompt(shown, Console())
        if options.html:
            print(f"page: {options.html}")
    except (ConfigError, NotFoundError) as error:
        return _say(error, EXIT_ASKED_WRONGLY)
    except (ValueError, Rejected, OSError) as error:
        return _say(f"{options.id}: {error}", EXIT_FAILED)
    return EXIT_OK


def _doctor(options: argparse.Namespace, _: list[str]) -> int:
    from pipelines.doctor import examine

    findings = examine(Path(options.out))
    console = Console()
    for finding in findings:
        mark = "[green]ok[/]" if finding.good else "[red]missing[/]" if finding.needed else "-"
        console.print(f"{mark}  {finding.what}: ", end="")
        console.print(finding.found, highlight=False, markup=False)
        if finding.meaning:
            console.print(f"    {finding.meaning}", highlight=False, markup=False)
    lacking = any(finding.needed and not finding.good for finding in findings)
    return EXIT_FAILED if lacking else EXIT_OK


def entry() -> NoReturn:
    """The program: as `main`, and ends with its exit code."""
    from runners.failure import leave, quieten_threads

    quieten_threads()
    try:
        code = main()
    except KeyboardInterrupt:
        code = _say("interrupted", EXIT_INTERRUPTED)
    leave(code)


if __name__ == "__main__":
    entry()
