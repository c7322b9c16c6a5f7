"""`proofreel merge`, `subset` and `reshard`: datasets made of finished ones."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from pipelines.exits import EXIT_ASKED_WRONGLY, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK

MIN_SHARD_BYTES = 100_000
"""As for `publish.shard_bytes`."""

_OUT = "folder of the new dataset; it must be new or empty"
_DIR = "output folder of a run, or a dataset"
_FOLLOWS = (
    "Ids stay, and so do the bytes of samples and clips. The manifests and cards of what it was "
    "made of lie beside, so that `proofreel check` can count again how it came about."
)


def add_commands(commands: Any) -> None:
    """Add the three commands to the command line."""
    merge = commands.add_parser(
        "merge",
        help="one dataset of several",
        description=f"Make one dataset of several finished ones. {_FOLLOWS}",
        allow_abbrev=False,
    )
    merge.add_argument("folders", metavar="DIR", nargs="+", help=_DIR)
    merge.add_argument("--out", required=True, metavar="DIR", help=_OUT)
    merge.add_argument(
        "--on-leak",
        choices=("error", "drop"),
        default="error",
        help="what to do about a video that is in train of one and in validation of another: stop, "
        "or drop its samples from train; validation stays whole",
    )
    _add_shard_bytes(merge)
    merge.set_defaults(command=_merge)

    subset = commands.add_parser(
        "subset",
        help="a part of a dataset",
        description=f"Make a dataset of a part of a finished one. {_FOLLOWS}",
        epilog="Conditions: FIELD, one of = != < <= > >=, and a value; = and != take several with "
        "commas between. Fields: id, split, partition, video_id, clip_id, task_id, task_kind, "
        "pass_rate, json_bytes, mp4_bytes, license, source_url, source_uri, teacher, duration_s, "
        "scores.CHECK, condition_scores.NAME, measures.NAME. What a sample does not have fulfils "
        "no condition.",
        allow_abbrev=False,
    )
    subset.add_argument("folder", metavar="DIR", help=_DIR)
    subset.add_argument("--out", required=True, metavar="DIR", help=_OUT)
    subset.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="such as 'pass_rate>=0.5' or 'task_kind=mcq,count'; repeatable: all must hold",
    )
    subset.add_argument(
        "--ids",
        metavar="FILE",
        help="only the samples, tasks, clips and videos with these ids, one in a line",
    )
    _add_shard_bytes(subset)
    subset.set_defaults(command=_subset)

    reshard = commands.add_parser(
        "reshard",
        help="the same dataset in shards of another size",
        description=f"Write a dataset anew with shards of another size. {_FOLLOWS}",
        allow_abbrev=False,
    )
    reshard.add_argument("folder", metavar="DIR", help=_DIR)
    reshard.add_argument("--out", required=True, metavar="DIR", help=_OUT)
    _add_shard_bytes(reshard, required=True)
    reshard.set_defaults(command=_reshard)


def _add_shard_bytes(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--shard-bytes",
        type=_size,
        default=0,
        required=required,
        metavar="N",
        help="largest size of a shard in bytes" + ("" if required else "; as before unless said"),
    )


def _size(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < MIN_SHARD_BYTES:
        raise argparse.ArgumentTypeError(f"at least {MIN_SHARD_BYTES}")
    return number


def _merge(options: argparse.Namespace, _: list[str]) -> int:
    from transforms.publish.derive import Request

    request = Request(
        "merge", drop_leaks=options.on_leak == "drop", shard_bytes=options.shard_bytes
    )
    return _derive(options.folders, options.out, request)


def _subset(options: argparse.Namespace, _: list[str]) -> int:
    from transforms.publish.derive import Request
    from transforms.publish.where import parse_condition

    try:
        where = tuple(parse_condition(one) for one in options.where)
        ids = None if options.ids is None else _ids(Path(options.ids))
        if not where and ids is None:
            raise ValueError("say which samples: --where CONDITION or --ids FILE")
    except ValueError as error:
        return _say(error, EXIT_ASKED_WRONGLY)
    return _derive(
        [options.folder],
        options.out,
        Request("subset", where=where, ids=ids, shard_bytes=options.shard_bytes),
    )


def _ids(path: Path) -> frozenset[str]:
    """The ids of a file. Raises ValueError."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise ValueError(f"--ids {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--ids {path}: is no text") from error
    return frozenset(line.strip() for line in lines) - {""}


def _reshard(options: argparse.Namespace, _: list[str]) -> int:
    from transforms.publish.derive import Request

    request = Request("reshard", shard_bytes=options.shard_bytes)
    return _derive([options.folder], options.out, request)


def _derive(folders: list[str], out: str, request: Any) -> int:
    from rich.console import Console

    from pipelines.derived_summary import parent_manifest, what_became
    from pipelines.summary import funnel_table, held
    from proofreel import __version__
    from schemas.rejection import Stage
    from transforms.outcome import StopRunError
    from transforms.publish.derive import derive
    from transforms.publish.parents import DeriveError

    try:
        manifest = derive([Path(one) for one in folders], Path(out), request, __version__)
        parents = [(one, parent_manifest(Path(one))) for one in folders]
    except DeriveError as error:
        return _say(error, EXIT_ASKED_WRONGLY)
    except KeyboardInterrupt:
        return _say("interrupted; nothing was written", EXIT_INTERRUPTED)
    except (OSError, StopRunError) as error:
        logging.getLogger(__name__).debug("deriving failed", exc_info=True)
        return _say(f"nothing was written: {error}", EXIT_FAILED)
    console = Console()
    console.print(funnel_table([one for one in manifest.funnel if one.stage is Stage.DERIVE]))
    for line in what_became(parents, manifest):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"dataset: {out}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"holds: {held(manifest)}", highlight=False)
    return EXIT_OK


def _say(error: object, code: int) -> int:
    print(f"proofreel: {error}", file=sys.stderr)
    return code
