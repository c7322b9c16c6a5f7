"""The fault table is true: each of its lines names a test that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from schemas.rejection import FAILURES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")
LINES = [line for line in PAGE.splitlines() if re.match(r"\| (?!fault \|)", line)]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip())
def test_each_line_is_a_test(line: str) -> None:
    fault, happens, done, test = (cell.strip() for cell in line.strip("|").split("|"))
    assert fault and happens and done
    named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", test)
    assert named, "the last cell is one test: `tests/path/file.py::test_name`"
    tree = ast.parse((ROOT / named[1]).read_text("utf-8"))
    assert named[2] in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}


def test_the_reasons_that_stop_a_run_are_named() -> None:
    rules = PAGE.split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", rules.split("What counts are reasons")[1].split(", not")[0]))
    assert named == {str(reason) for reason in FAILURES}
