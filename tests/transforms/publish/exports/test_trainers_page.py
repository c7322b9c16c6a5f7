"""docs/trainers.md gives the commands that the exports' READMEs give, some of them shortened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from transforms.publish.exports.export import NAMES

PAGE = Path(__file__).parents[4] / "docs" / "trainers.md"
WORDS = re.compile(r"--[a-z][\w.-]*|-m [\w.]+|[\w$/.-]+\.py\b|(?<![\w.])[a-z_][\w.]*(?==)")
"""Options, modules, scripts, and settings such as `data.train_files=`."""


def section(name: str) -> str:
    text = PAGE.read_text("utf-8").split(f"\n## {name}\n")[1]
    return text.split("\n## ")[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_the_readme_says(name: str, exported: Any) -> None:
    out, report = exported(name)
    readme = (out / report.guide).read_text("utf-8")
    code = section(name).split("```")[1]
    export, _, commands = code.strip().partition("\n")
    assert export == f"proofreel export DIR --to {name} --out OUT && cd OUT"
    words = set(WORDS.findall(commands))
    assert words
    assert {word for word in words if word not in readme} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_program_of_a_readme_is_on_the_page(name: str, exported: Any) -> None:
    out, report = exported(name)
    text = (out / report.guide).read_text("utf-8")
    for command in re.findall(r"^(?:Prepare|Train|Read): +`(.*)`", text, re.M):
        for program in re.findall(r"-m ([\w.]+)|/(\w+\.py)\b", command.split(" | ")[0]):
            assert "".join(program) in section(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_release_to_install_is_the_one_that_the_page_names(name: str, exported: Any) -> None:
    out, report = exported(name)
    install = (out / report.guide).read_text("utf-8").split("Install: ")[1].split("\n")[0]
    (row,) = re.findall(rf"^\| \[`{name}`\].*$", PAGE.read_text("utf-8"), re.MULTILINE)
    for release in re.findall(r"==([0-9.]+[0-9])", install):
        assert f" {release} |" in row
