"""What all tests of the torture corpus share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torture_making import Shop
from torture_watch import CAN_WATCH_FILES, Opened, Server, serving

from transforms.memo import MemoStore


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Shop:
    return Shop(tmp_path_factory.mktemp("torture"), server.url)


@pytest.fixture(scope="session")
def canary(shop: Shop) -> Iterator[Opened | None]:
    if not CAN_WATCH_FILES:
        yield None
        return
    opened = Opened(shop.canary)
    yield opened
    opened.close()


@pytest.fixture
def untouched(server: Server, canary: Opened | None) -> Iterator[None]:
    """Fails the test if the server was asked or the canary opened meanwhile."""
    visits = len(server.visits)
    if canary is not None:
        canary.count()
    yield
    assert server.visits[visits:] == []
    assert canary is None or canary.count() == 0


@pytest.fixture
def store(tmp_path: Path) -> MemoStore:
    """An empty store."""
    return MemoStore(str(tmp_path / "store"))
