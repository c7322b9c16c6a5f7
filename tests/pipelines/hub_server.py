"""A real server on the loopback with the part of the Hugging Face hub's HTTP interface that its
client uses for datasets: repositories, git-LFS uploads, commits, listings, downloads.

It keeps what it was sent, so that a test can look at it and read it back with the real client.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_stand_in_token_that_nobody_may_see"
READ_TOKEN = "hf_stand_in_token_that_may_only_read"
USER = "squarelab"
LARGE = (".tar", ".parquet")
"""What goes the way of large files; the hub decides it by .gitattributes."""
PIECE = 1 << 16


@dataclass
class Repo:
    """A dataset repository with one branch."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.tar lfs\n"})
    commits: list[list[dict[str, Any]]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        said = json.dumps(self.commits, sort_keys=True) + str(sorted(self.files))
        return hashlib.sha1(said.encode()).hexdigest()


class Answer(Exception):  # noqa: N818 - it is no error to answer
    """What a request comes to, where that is no success."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class Hub:
    """The state behind the server."""

    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(method, path) of all requests."""
    received: dict[str, int] = field(default_factory=dict)
    """Bytes of bodies that came in, by large file, over all attempts."""
    address: str = ""
    on_piece: Callable[[str, int], bool] = lambda oid, so_far: True
    """Called while a large file comes in; False drops the connection."""
    before_commit: Callable[[], object] = lambda: None

    def sent(self, method: str) -> list[str]:
        """Paths of the requests of a method."""
        return [path for one, path in self.requests if one == method]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        url = urlsplit(self.path)
        self.hub.requests.append((self.command, url.path))
        self.query = parse_qs(url.query)
        self.is_read = False
        try:
            for method, pattern, act in ROUTES:
                match = re.fullmatch(pattern, url.path)
                if match and self.command in method.split():
                    act(self, *(unquote(one) for one in match.groups()))
                    return
            raise Answer(404, "", f"the stand-in has no {self.command} {url.path}")
        except Answer as answer:
            self._drain()
            headers = {"X-Error-Code": answer.code, "X-Error-Message": answer.message}
            said = {name: value for name, value in headers.items() if value}
            self._send(json.dumps({"error": answer.message}).encode(), answer.status, said)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815 - names of the standard library

    def _send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_json(self, value: object) -> None:
        self._send(json.dumps(value).encode())

    def _body(self) -> bytes:
        self.is_read = True
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().strip() or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _drain(self) -> None:
        if not self.is_read:
            self._body()

    # Who asks, for what --------------------------------------------------------------------------

    @property
    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _writer(self, repo: str) -> None:
        if self._token != TOKEN or not repo.startswith(f"{USER}/"):
            raise Answer(403, "", f"You don't have the rights to write to {repo}")

    def _repo(self, name: str, revision: str = "main") -> Repo:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and self._token not in (TOKEN, READ_TOKEN)):
            raise Answer(404 if self._token else 401, "RepoNotFound", "Repository not found")
        if revision not in ("main", repo.sha):
            raise Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def whoami(self) -> None:
        if self._token not in (TOKEN, READ_TOKEN):
            raise Answer(401, "", "Invalid credentials in Authorization header")
        self._send_json({"type": "user", "name": USER, "auth": {"type": "access_token"}})

    def create(self) -> None:
        asked = json.loads(self._body())
        name = f"{asked['organization'] or USER}/{asked['name']}"
        assert asked["type"] == "dataset"
        self._writer(name)
        url = f"{self.hub.address}/datasets/{name}"
        if name in self.hub.repos:
            said = json.dumps({"error": "You already created this dataset repo", "url": url})
            self._send(said.encode(), 409)
            return
        self.hub.repos[name] = Repo(private=asked.get("visibility") == "private")
        self._send_json({"url": url, "name": name})

    def info(self, name: str, revision: str = "main") -> None:
        repo = self._repo(name, revision)
        siblings = [{"rfilename": path} for path in sorted(repo.files)]
        facts = {"id": name, "sha": repo.sha, "private": repo.private, "siblings": siblings}
        self._send_json({**facts, "lastModified": "2026-11-29T00:00:00.000Z", "tags": []})

    def validate_yaml(self) -> None:
        content = json.loads(self._body())["content"]
        assert content.startswith("---\n")
        self._send_json({"errors": [], "warnings": []})

    # Sending -------------------------------------------------------------------------------------

    def preupload(self, name: str, revision: str) -> None:
        asked = json.loads(self._body())["files"]
        self._writer(name)
        repo = self._repo(name, revision)
        files = []
        for one in asked:
            path = one["path"]
            large = path.endswith(LARGE)
            answer = {"path": path, "uploadMode": "lfs" if large else "regular"}
            answer |= {"shouldIgnore": False}
            if path in repo.files:
                answer["oid"] = (sha256 if large else git_sha1)(repo.files[path])
            files.append(answer)
        self._send_json({"files": files})

    def lfs_batch(self, name: str) -> None:
        asked = json.loads(self._body())
        self._writer(name)
        assert (asked["operation"], asked["hash_algo"]) == ("upload", "sha256")
        objects = []
        for one in asked["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.blobs:
                upload = {"href": f"{self.hub.address}/storage/{one['oid']}"}
                verify = {"href": f"{self.hub.address}/verify/{one['oid']}"}
                answer["actions"] = {"upload": upload, "verify": verify}
            objects.append(answer)
        self._send_json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        """A signed address of the hub's storage: without a token."""
        assert not self._token, "the token goes to the hub alone"
        left = int(self.headers["Content-Length"])
        pieces = []
        self.is_read = True
        while left > 0 and (piece := self.rfile.read(min(left, PIECE))):
            pieces.append(piece)
            left -= len(piece)
            self.hub.received[oid] = self.hub.received.get(oid, 0) + len(piece)
            if not self.hub.on_piece(oid, self.hub.received[oid]):
                self.close_connection = True
                self.connection.shutdown(2)
                return
        data = b"".join(pieces)
        if left or sha256(data) != oid:
            raise Answer(400, "", "the content is not what was announced")
        self.hub.blobs[oid] = data
        self._send(b"")

    def verify(self, oid: str) -> None:
        asked = json.loads(self._body())
        held = self.hub.blobs.get(oid, b"")
        if asked != {"oid": oid, "size": len(held)}:
            raise Answer(422, "", "not what was stored")
        self._send_json({})

    def commit(self, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        self._writer(name)
        self.hub.before_commit()
        repo = self._repo(name, revision)
        header = lines[0]["value"]
        if header.get("parentCommit", repo.sha) != repo.sha:
            raise Answer(412, "", "A commit has happened since.")
        files = dict(repo.files)
        for line in lines[1:]:
            value = line["value"]
            path = value["path"]
            assert not path.startswith(("/", ".")) and ".." not in path
            if line["key"] == "file":
                files[path] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    raise Answer(400, "", f"{path}: its content was not uploaded")
                files[path] = self.hub.blobs[value["oid"]]
            else:
                assert line["key"] == "deletedFile", line["key"]
                del files[path]
        repo.files = files
        repo.commits.append(lines)
        url = f"{self.hub.address}/datasets/{name}/commit/{repo.sha}"
        self._send_json({"success": True, "commitOid": repo.sha, "commitUrl": url})

    # Reading back --------------------------------------------------------------------------------

    def tree(self, name: str, revision: str, folder: str = "") -> None:
        repo = self._repo(name, revision)
        entries: dict[str, dict[str, Any]] = {}
        deep = self.query.get("recursive", ["false"])[0].lower() == "true"
        for path, data in sorted(repo.files.items()):
            below = PurePosixPath(path)
            if folder and not below.is_relative_to(folder):
                continue
            depth = len(below.relative_to(folder).parts)
            for parent in list(below.parents)[:-1]:
                above = str(parent) != folder and parent.is_relative_to(folder or ".")
                if above and (deep or len(parent.relative_to(folder).parts) == 1):
                    entry = {"type": "directory", "path": str(parent), "size": 0}
                    entries[str(parent)] = entry | {"oid": git_sha1(str(parent).encode())}
            if deep or depth == 1:
                entries[path] = file_entry(path, data)
        if folder and not entries:
            raise Answer(404, "EntryNotFound", f"{folder} does not exist")
        self._send_json(list(entries.values()))

    def paths_info(self, name: str, revision: str) -> None:
        asked = parse_qs(self._body().decode())
        repo = self._repo(name, revision)
        found = []
        for path in asked["paths"]:
            if path in repo.files:
                found.append(file_entry(path, repo.files[path]))
            elif any(one.startswith(f"{path}/") for one in repo.files):
                found.append({"type": "directory", "path": path, "size": 0, "oid": "0" * 40})
        self._send_json(found)

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name, revision)
        if path not in repo.files:
            raise Answer(404, "EntryNotFound", f"{path} does not exist")
        data = repo.files[path]
        tag = (sha256 if path.endswith(LARGE) else git_sha1)(data)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": repo.sha, "Accept-Ranges": "bytes"}
        headers["Content-Type"] = "application/octet-stream"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            self._send(data, 200, headers)
            return
        start, end = int(asked[1]), int(asked[2] or len(data) - 1)
        if start >= len(data):
            raise Answer(416, "", "out of range")
        end = min(end, len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        self._send(data[start : end + 1], 206, headers)


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("GET", rf"/api/datasets/{REPO}", Handler.info),
    ("GET", rf"/api/datasets/{REPO}/revision/([^/]+)", Handler.info),
    ("POST", rf"/api/datasets/{REPO}/preupload/([^/]+)", Handler.preupload),
    ("POST", rf"/datasets/{REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/storage/(\w+)", Handler.store),
    ("POST", r"/verify/(\w+)", Handler.verify),
    ("POST", rf"/api/datasets/{REPO}/commit/([^/]+)", Handler.commit),
    ("GET", rf"/api/datasets/{REPO}/tree/([^/]+)", Handler.tree),
    ("GET", rf"/api/datasets/{REPO}/tree/([^/]+)/(.+)", Handler.tree),
    ("POST", rf"/api/datasets/{REPO}/paths-info/([^/]+)", Handler.paths_info),
    ("GET HEAD", rf"/datasets/{REPO}/resolve/([^/]+)/(.+)", Handler.resolve),
]


def file_entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
    entry["oid"] = git_sha1(data)
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
    return entry


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that is killed hangs up; anything else is a fault of these tests.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serving_hub() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()
    handler = type("HandlerOfHub", (Handler,), {"hub": hub})
    server = Server(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
