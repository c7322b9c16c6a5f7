"""Gives the tests of this folder the clips of `scenes.py`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from asking_servers import KEY, KEY_ENV
from chat_server import Answer, Ask, ChatServer

from transforms.annotate import openai_pool
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


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChatServer]]:
    """Starts servers that answer by a function; they stop with the test. Waits are short."""
    monkeypatch.setattr(openai_pool, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(openai_pool, "LONGEST_WAIT_S", 0.05)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(KEY_ENV, KEY)
    started: list[ChatServer] = []

    def start(answer: Callable[[Ask], Answer], **fields: Any) -> ChatServer:
        started.append(ChatServer(answer, **fields).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()
