"""A server of S3 that fails: it is waited for, not for ever, and not in silence."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from apache_beam.io.aws.clients.s3 import boto3_client
from apache_beam.options.pipeline_options import PipelineOptions
from object_store import ObjectStore, serving

from transforms import s3_client
from transforms.retry import RetryPolicy
from transforms.storage import (
    StorageError,
    delete,
    described,
    fetch,
    listed,
    move,
    put,
    read,
    write,
    write_new,
)

FOR_EVER = 1_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own tries off, ours without long waits."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    # A server of an earlier test may have had the same port, and its client has tries of its own.
    monkeypatch.setattr(s3_client, "_clients", {})
    monkeypatch.setattr(s3_client, "PATIENCE", RetryPolicy(attempts=3, first_wait_s=0.01))


WAYS = ("read", "fetch", "write", "write_new", "put", "described", "listed", "delete", "move")


def go(way: str, url: str, folder: Path) -> object:
    here = folder / "here"
    here.write_bytes(b"here")
    match way:
        case "read":
            return read(url)
        case "fetch":
            return fetch(url, folder / "copy")
        case "write":
            return write(url, b"new")
        case "write_new":
            return write_new(f"{url}-new", b"new")
        case "put":
            return put(here, url)
        case "described":
            return described(url)
        case "listed":
            return listed(url.rpartition("/")[0])
        case "delete":
            return delete([url])
    return move(url, f"{url}-moved")


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_fails_for_a_moment_is_waited_for_and_that_is_said(
    way: str, objects: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = objects.url("a", "b.bin")
    write(url, b"old")
    objects.failures = 2
    with caplog.at_level(logging.WARNING):
        assert go(way, url, tmp_path) is not False
    said = [one for one in caplog.messages if "the server fails" in one]
    assert len(said) == 2, "after the first failure, too"
    assert "s3://films" in said[0]
    assert "tried again in 0 s, 2 of 3 tries are left" in said[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_goes_on_failing_is_given_up(
    way: str, objects: ObjectStore, tmp_path: Path
) -> None:
    url = objects.url("a", "b.bin")
    write(url, b"old")
    objects.requests.clear()
    objects.failures = FOR_EVER
    began_s = time.monotonic()
    with pytest.raises(StorageError, match=r"s3://films/a/.*503.*\(3 tries\)"):
        go(way, url, tmp_path)
    assert time.monotonic() - began_s < 4.0, "Beam's own first wait is five seconds"
    assert FOR_EVER - objects.failures <= 6


def test_what_is_not_there_or_not_allowed_is_not_waited_for(
    objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(objects.url("nothing")) is None
    with pytest.raises(StorageError, match="NoSuchBucket"):
        write("s3://no-such-bucket/x", b"")
    assert "the server fails" not in caplog.text


def test_options_are_read_once_and_others_have_another_client(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = objects.url("a.bin")
    write(url, b"old")
    reads: list[object] = []
    monkeypatch.setattr(PipelineOptions, "get_all_options", _noted(reads))
    for _ in range(3):
        assert read(url) == b"old"
    assert reads == []
    with serving() as other:
        for _ in range(3):
            assert read(url) is None, "it is asked, and not the server from before"
    assert len(reads) == 1 and other.requests


def _noted(reads: list[object]) -> object:
    plain = PipelineOptions.get_all_options

    def get_all_options(options: PipelineOptions, *some: object, **more: object) -> object:
        reads.append(options)
        return plain(options, *some, **more)

    return get_all_options


def test_threads_that_come_together_set_it_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3_client, "Client", boto3_client.Client)
    s3_client._install.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(_installed, range(64)))
    assert len(found) == 1


def _installed(_: int) -> object:
    s3_client.install()
    return boto3_client.Client
