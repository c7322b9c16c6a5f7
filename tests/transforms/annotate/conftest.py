"""Gives the tests of this folder the clips of `scenes.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from transforms.memo import MemoStore


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    """The module `scenes`, loaded by its path: test folders are not packages."""
    path = Path(__file__).with_name("scenes.py")
    spec = importlib.util.spec_from_file_location("annotate_scenes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip_store(tmp_path_factory: pytest.TempPathFactory) -> MemoStore:
    """A store for the clips of the whole session: they do not change."""
    return MemoStore(str(tmp_path_factory.mktemp("clips")))
