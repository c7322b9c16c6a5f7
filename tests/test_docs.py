"""The docs tell the truth: the configuration's table is the schema's, and links lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pipelines.config import Config, reference
from transforms.publish.exports.base import Exporter
from transforms.publish.exports.export import FORMATS, NAMES
from transforms.verify.checks import Thresholds
from transforms.verify.decide import EXAMINED, NOT_EXAMINED

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_configuration_page_is_the_schema() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert reference() in page, "run: make docs"


def test_every_field_says_what_it_means() -> None:
    for name, section in Config.model_fields.items():
        fields = getattr(section.annotation, "model_fields", {name: section})
        for inner, field in fields.items():
            nested = hasattr(field.annotation, "model_fields")
            assert field.description or nested, f"{name}.{inner} has no description"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_table_of_a_million_hours_is_what_its_constants_give() -> None:
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import million
    finally:
        sys.path.pop(0)
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    assert million.table() in page, "run: python bench/scale.py million"
    costs = million.Costs()
    # By hand: an hour in six-minute videos has 360 clips; 18 replies and 3 entries for each.
    hour = million.needs(1.0, costs)
    assert hour.clips == 360
    assert hour.memo_entries == 10 * 2 + 360 * (3 + 18)
    # All grows with the hours, but the pairs of blocks with their square.
    many, more = million.needs(1e6, costs), million.needs(2e6, costs)
    assert more.media_core_h == pytest.approx(2 * many.media_core_h)
    assert more.near_duplicates_core_h == pytest.approx(4 * many.near_duplicates_core_h, rel=0.01)


def test_every_threshold_has_its_reason() -> None:
    page = (ROOT / "docs" / "thresholds.md").read_text("utf-8")
    thresholds = Config().verify.thresholds.model_dump()
    for name in [*Config().select.model_dump(), *thresholds]:
        assert name.removesuffix("_max") in page or name in page, name


def test_every_export_format_is_on_the_page_of_the_trainers() -> None:
    """With a section that begins with its command, and with what was tried, or why not."""
    page = (ROOT / "docs" / "trainers.md").read_text("utf-8")
    tried = page.split("## What was tried")[1].split("\n## ")[0]
    for name in NAMES:
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert f"proofreel export DIR --to {name} --out OUT && cd OUT" in section
        assert f"`{name}`" in tried, f"{name}: say what was tried, or why nothing could be"
        assert name in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_the_page_of_the_trainers_says_which_splits_a_format_takes(one: type[Exporter]) -> None:
    page = (ROOT / "docs" / "trainers.md").read_text("utf-8")
    (row,) = re.findall(rf"^\| \[`{one.name}`\]\(#{one.name}\) \|.*$", page, re.MULTILINE)
    said = {
        split
        for split, cell in zip(("sft", "preference", "rl"), row.split("|")[3:6], strict=True)
        if cell.strip() == "x"
    }
    assert said == set(one.splits) - {"process", "online"}


OF_A_TASK = frozenset({"answerable", "pass_rate_min", "pass_rate_max"})
"""Thresholds that decide about the splits of a task, and about no rollout."""


def test_every_check_is_explained_by_what_passes_and_what_does_not() -> None:
    page = (ROOT / "docs" / "verifier.md").read_text("utf-8")
    explained = {}
    for line in page.splitlines():
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if first.startswith("`") and len(cells) > 1:
            *_, accepted, rejected = cells
            explained |= dict.fromkeys(re.findall(r"`(\w+)`", first), (accepted, rejected))
    checks = set(Thresholds.model_fields) - OF_A_TASK
    assert set(EXAMINED) < checks
    assert set(explained) == checks | {NOT_EXAMINED}
    for name, (accepted, rejected) in explained.items():
        assert accepted and rejected and accepted != rejected, name
    # Each is named under a picture, and every picture of the script is shown.
    pictures = re.findall(r"!\[[^]]+\]\(images/(verifier-\w+\.png)\)\n\n\*([^*]+)\*\n", page)
    named = re.findall(r"`(\w+)`", " ".join(caption for _, caption in pictures))
    assert set(named) == set(explained)
    drawn = {path.name for path in (ROOT / "docs" / "images").glob("verifier-*.png")}
    assert {name for name, _ in pictures} == drawn
