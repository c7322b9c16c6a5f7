"""The worker container: what its Dockerfile names is there and fits, and the wheel is whole.

The image itself is not built: that takes a daemon that tests can't count on.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "runners" / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BUILD = """
import sys
from setuptools import build_meta
print(build_meta.build_wheel(sys.argv[1]))
"""


def pins(path: str) -> dict[str, str]:
    """Versions that a file of constraints names, by package."""
    found = {}
    for line in (ROOT / path).read_text("utf-8").splitlines():
        if match := re.fullmatch(r"([\w.-]+)===?([^\s;]+).*", line):
            found[canonicalize_name(match[1])] = match[2]
    return found


def default_of(argument: str) -> str:
    [found] = re.findall(rf"^ARG {argument}=(\S+)$", DOCKERFILE, re.MULTILINE)
    return str(found)


def extras_of(text: str) -> list[str]:
    return text.strip("[]").split(",")


def test_beam_and_python_are_those_of_the_pins() -> None:
    [(python, beam)] = re.findall(r"^FROM apache/beam_python(\S+)_sdk:(\S+) AS", DOCKERFILE, re.M)
    assert beam == pins("constraints.txt")["apache-beam"]
    assert set(re.findall(r"^FROM python:(\S+)-slim", DOCKERFILE, re.M)) == {python}
    assert PROJECT["requires-python"] == f">={python}"


def test_files_that_are_copied_into_it_are_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    named = [default_of("CONSTRAINTS"), *re.findall(r"--build-arg CONSTRAINTS=(\S+)", DOCKERFILE)]
    assert len(named) == 2
    for name in named:
        assert (ROOT / name).is_file()
        assert name not in ignored
    assert {".git", ".venv", ".venv-*", ".engines"} <= set(ignored)


@pytest.mark.parametrize(
    ("constraints", "extras"),
    [
        (default_of("CONSTRAINTS"), extras_of(default_of("EXTRAS"))),
        (
            *re.findall(r"--build-arg CONSTRAINTS=(\S+)", DOCKERFILE),
            extras_of(*re.findall(r"--build-arg EXTRAS=(\S+)", DOCKERFILE)),
        ),
    ],
)
def test_what_is_asked_for_is_pinned_to_a_version_that_will_do(
    constraints: str, extras: list[str]
) -> None:
    pinned = pins(constraints)
    wanted = list(PROJECT["dependencies"])
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    for text in wanted:
        requirement = Requirement(text)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text


def test_decoding_and_encoding_are_pinned_alike_in_all_of_them() -> None:
    usual, with_vllm = pins("constraints.txt"), pins("requirements/vllm.txt")
    for name in ("apache-beam", "av", "imageio-ffmpeg", "opencv-python-headless", "torch"):
        assert usual[name] == with_vllm[name], name


def test_the_entry_point_is_beams_starter() -> None:
    [place] = re.findall(r"^COPY --from=beam (\S+) \1$", DOCKERFILE, re.MULTILINE)
    [entry] = re.findall(r'^ENTRYPOINT \["(\S+)"\]$', DOCKERFILE, re.MULTILINE)
    assert entry == f"{place}/boot"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip does, of what git knows alone."""
    folder = tmp_path_factory.mktemp("wheel")
    clone, out = folder / "clone", folder / "out"
    clone.mkdir()
    out.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        source, place = ROOT / name, clone / name
        if source.is_file() and not name.startswith(("tests/", "bench/", "docs/")):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())
    command = [sys.executable, "-c", BUILD, str(out)]
    subprocess.run(command, cwd=clone, check=True, capture_output=True, timeout=120)
    [built] = out.glob("*.whl")
    return built


def test_the_wheel_holds_all_that_its_packages_do(wheel: Path) -> None:
    packages = ("pipelines", "proofreel", "runners", "schemas", "transforms")
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".j2")
    }
    assert any(name.endswith(".j2") for name in wanted)
    held = set(zipfile.ZipFile(wheel).namelist())
    assert wanted <= held, wanted - held
    assert {name.split("/")[0].split("-")[0] for name in held} == set(packages)


def test_a_worker_starts_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    shown = "import runners.worker as w; print(w.__file__); w.main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-c", shown],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith(str(tmp_path))
    assert "--provision_endpoint" in done.stdout
