"""A profile launches a run and leaves no trace in what it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_helpers import FAST, carphone, run_here, sha256_of_files

from pipelines.config import ConfigError, load_config
from pipelines.profiles import launched_by
from runners.errors import BadOptionsError

FILE = """
seed: 3
profiles:
  cluster:
    runner: flink
    flink_master: http://head:8081
    parallelism: 8
    job_server_jvm_properties: [-Done=1, -Dtwo=2]
  two threads:
    direct_num_workers: 2
    direct_running_mode: multi_threading
  empty:
"""


def written(folder: Path, text: str) -> str:
    path = folder / "proofreel.yaml"
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "typed", "expected"),
    [
        (None, ["--runner=prism"], ["--runner=prism"]),
        ("empty", ["--runner=prism"], ["--runner=prism"]),
        (
            "cluster",
            [],
            [
                *("--runner=flink", "--flink_master=http://head:8081", "--parallelism=8"),
                *("--job_server_jvm_properties=-Done=1", "--job_server_jvm_properties=-Dtwo=2"),
            ],
        ),
        (
            "cluster",
            ["--parallelism=2", "--job_server_jvm_properties=-Dmine=3"],
            [
                *("--runner=flink", "--flink_master=http://head:8081"),
                *("--parallelism=2", "--job_server_jvm_properties=-Dmine=3"),
            ],
        ),
    ],
)
def test_what_is_typed_takes_the_place_of_what_the_profile_says(
    name: str | None, typed: list[str], expected: list[str], tmp_path: Path
) -> None:
    assert launched_by(written(tmp_path, FILE), name, typed) == expected


def test_two_words_of_one_option_are_one(tmp_path: Path) -> None:
    """`--resource_hint` and `--resource_hints` are the same to Beam, and so are `no_` and yes."""
    file = written(tmp_path, "profiles: {a: {resource_hints: [x=1], save_main_session: true}}")
    typed = ["--resource_hint=y=2", "--no_save_main_session"]
    assert launched_by(file, "a", typed) == typed


def test_profiles_are_no_part_of_the_configuration(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, FILE))
    assert config == load_config(None, ["seed=3"])
    assert "profiles" not in config.resolved()


def test_a_run_by_a_profile_gives_the_same_bytes(tmp_path: Path) -> None:
    file = written(tmp_path, FILE)
    for name, profile in (("typed", ()), ("kept", ("--profile", "two threads"))):
        out = tmp_path / name
        assert run_here(carphone(), "--out", out, "--config", file, *FAST, *profile) == 0
    assert sha256_of_files(tmp_path / "typed/dataset") == sha256_of_files(tmp_path / "kept/dataset")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1", r"--profile p: .*proofreel.yaml has no such profile; it has none"),
        ("profiles: {q: {}, r: {}}", "has no such profile; it has q, r"),
        ("profiles: [p]", "profiles: is a mapping of names"),
        ("profiles: {p: flink}", "profiles.p: is a mapping of options"),
    ],
)
def test_a_profile_that_is_not_there_is_told(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        launched_by(written(tmp_path, text), "p", [])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{flink_mastr: x}", r"proofreel.yaml: profiles.p: Beam has no option 'flink_mastr'"),
        ("{seed: 1}", "profiles.p: Beam has no option 'seed'"),
        ("{parallelism: many}", "profiles.p: parallelism: invalid int value: 'many'"),
        ("{parallelism: }", "profiles.p: parallelism: is a value or a list"),
        ("{parallelism: {a: 1}}", "profiles.p: parallelism: is a value or a list"),
        ("{streaming: 3}", "profiles.p: streaming: is true or false"),
        ("{direct_running_mode: quick}", "profiles.p: direct_running_mode: invalid choice"),
    ],
)
def test_options_that_beam_would_not_take_are_told(
    options: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadOptionsError, match=words):
        launched_by(written(tmp_path, f"profiles: {{p: {options}}}"), "p", [])


def test_the_command_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(carphone(), "--out", tmp_path / "out", "--profile", "p") == 2
    assert capsys.readouterr().err == (
        "proofreel: --profile p: profiles are in a file; name it with --config\n"
    )
    file = written(tmp_path, "profiles: {p: {nope: 1}}")
    arguments = ("--out", tmp_path / "out", "--config", file, "--profile", "p")
    assert run_here(carphone(), *arguments) == 2
    assert capsys.readouterr().err == (
        f"proofreel: {file}: profiles.p: Beam has no option 'nope'\n"
    )
