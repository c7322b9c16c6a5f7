"""The docs tell the truth: the configuration's table is the schema's, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.config import Config, reference

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


def test_every_threshold_has_its_reason() -> None:
    page = (ROOT / "docs" / "thresholds.md").read_text("utf-8")
    thresholds = Config().verify.thresholds.model_dump()
    for name in [*Config().select.model_dump(), *thresholds]:
        assert name.removesuffix("_max") in page or name in page, name
