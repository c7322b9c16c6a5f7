"""What `doctor` says of the engines and places that this machine can reach."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from pipelines.doctor import Finding, _runners, examine
from runners.dataflow import credentials, is_installed
from runners.engines import ENGINES


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    monkeypatch.setenv(ENGINES, str(tmp_path / "engines"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return {one.what: one for one in examine(tmp_path)}


def test_every_engine_is_told_of_and_only_the_local_one_is_needed(
    found: dict[str, Finding],
) -> None:
    engines = ("Beam, local runner", "Prism", "Flink", "Spark", "Dataflow")
    assert [found[name].needed for name in engines] == [True, False, False, False, False]
    for name in engines[1:]:
        assert found[name].good or "--runner" in found[name].meaning or is_installed()


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that the PATH has, on a machine that has the jars of both engines."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv(ENGINES, str(tmp_path / "engines"))
    for engine in ("flink", "spark"):
        jars = tmp_path / "engines" / engine / "jars"
        jars.mkdir(parents=True)
        (jars / f"beam-runners-{engine}.jar").touch()
    return folder


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('openjdk version "17.0.15" 2025-04-15', None),
        ('java version "1.8.0_392"', "is Java 8"),
        ('openjdk version "11.0.2" 2019-01-15', "is Java 11"),
        ('openjdk version "25" 2025-09-16', "is Java 25"),
        ("no JVM here", "does not tell its version"),
    ],
)
def test_flink_and_spark_want_the_java_that_they_are_made_for(
    said: str, expected: str | None, bin_folder: Path
) -> None:
    program(bin_folder / "java", f"#!/bin/sh\necho '{said}' >&2\n")
    engines = {one.what: one for one in _runners()}
    for name in ("Flink", "Spark"):
        assert engines[name].good == (expected is None)
        if expected is not None:
            assert engines[name].found == f"{bin_folder / 'java'} {expected}"
            assert "openjdk-17-jre-headless" in engines[name].meaning


@pytest.mark.parametrize("version", [importlib.metadata.version("apache-beam"), "2.1.0", None])
def test_prism_has_to_be_of_the_beam_that_is_installed(
    version: str | None, bin_folder: Path
) -> None:
    module = f"mod\tgithub.com/apache/beam/sdks/v2\tv{version}\th1:x=\n" if version else ""
    program(bin_folder / "prism", f"\x7fELF path\n{module}")
    [prism] = [one for one in _runners() if one.what == "Prism"]
    assert prism.good == (version != "2.1.0")
    assert prism.found.startswith(version or "of a version that it does not tell")
    assert ("scripts/engines.sh prism" in prism.meaning) == (version == "2.1.0")


def test_without_java_and_prism_it_says_what_to_install(bin_folder: Path) -> None:
    engines = {one.what: one for one in _runners()}
    assert engines["Prism"].found == "not on this machine"
    assert [engines[name].found for name in ("Flink", "Spark")] == ["no Java", "no Java"]
    assert "openjdk-17-jre-headless" in engines["Flink"].meaning


@pytest.mark.parametrize(("package", "extra"), [("boto3", "aws"), ("google-cloud-storage", "gcp")])
def test_each_kind_of_place_says_what_it_needs(
    package: str, extra: str, found: dict[str, Finding]
) -> None:
    try:
        expected = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        expected = "not installed"
    assert found[package].found == expected
    assert found[package].good or f"proofreel[{extra}]" in found[package].meaning


def test_dataflow_wants_packages_and_credentials(found: dict[str, Finding]) -> None:
    assert not found["Dataflow"].good
    words = "application-default login" if is_installed() else "pip install 'proofreel[gcp]'"
    assert words in found["Dataflow"].meaning


def test_credentials_are_looked_for_where_google_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    assert credentials() is None
    usual = tmp_path / "application_default_credentials.json"
    usual.write_text("{}")
    assert credentials() == usual
    named = tmp_path / "key.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(named))
    assert credentials() is None
    named.write_text("{}")
    assert credentials() == named
