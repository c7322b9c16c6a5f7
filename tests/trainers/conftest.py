"""Where a library is missing, its tests are skipped; in `make test-trainers` that is a failure."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from trainer_rig import EXPORTS_VARIABLE


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and EXPORTS_VARIABLE in os.environ:
        report.outcome = "failed"
        report.longrepr = f"must not be skipped here: {report.longrepr}"
    return report
