"""What `doctor` says of the engines and places that this machine can reach."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from pipelines.doctor import Finding, examine
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
