"""A real S3-compatible server on this machine's loopback, for tests of storage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from transforms.cache import FOLDER_VARIABLE

BUCKET = "films"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key-of-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass
class ObjectStore:
    """A server with one empty bucket; counts and can refuse requests."""

    endpoint: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each."""
    failures: int = 0
    """So many of the next requests are answered 503."""
    conditions: str = "kept"
    """What becomes of a put that must not replace anything; some servers ignore or refuse that."""
    before: Callable[[str, str], None] | None = None
    """Called with method and path before a request is answered."""
    refused: str = ""
    """Writing the file of this key is answered 403."""

    @property
    def option(self) -> str:
        return f"--s3_endpoint_url={self.endpoint}"

    @property
    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.endpoint)

    def url(self, *parts: str) -> str:
        return "/".join([f"s3://{BUCKET}", *parts])

    def put(self, path: Path, key: str) -> None:
        self.client.upload_file(str(path), BUCKET, key)

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """Content of all files below a prefix, by the rest of their names."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return {
            key.removeprefix(prefix): self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
        }


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A server with an empty bucket; copies lie below `tmp_path`."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "copies"))
    with serving() as store:
        yield store


@contextmanager
def serving() -> Iterator[ObjectStore]:
    """A server for the time of the block. AWS's variables have to hold credentials."""
    app = DomainDispatcherApplication(create_backend_app)
    store = ObjectStore("")

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        store.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if store.failures > 0:
            store.failures -= 1
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        conditional = store.conditions != "kept" and environ.pop("HTTP_IF_NONE_MATCH", None)
        if conditional and store.conditions == "refused":
            start_response("501 Not Implemented", [("Content-Length", "0")])
            return [b""]
        if store.before is not None:
            store.before(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        writes = environ["REQUEST_METHOD"] in ("PUT", "POST")
        if store.refused and writes and environ["PATH_INFO"] == f"/{BUCKET}/{store.refused}":
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    store.endpoint = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        # Its buckets are the process's: a server before this one may have left some.
        _emptied(store)
        FileSystems.set_options(PipelineOptions([store.option]))
        yield store
    finally:
        FileSystems.set_options(None)
        server.shutdown()
        thread.join()


def _emptied(store: ObjectStore) -> None:
    client = store.client
    if BUCKET in [one["Name"] for one in client.list_buckets()["Buckets"]]:
        for key in store.files():
            client.delete_object(Bucket=BUCKET, Key=key)
    else:
        client.create_bucket(Bucket=BUCKET)
    store.requests.clear()
