"""Bad input in the midst of good: the good is published, each bad one gets its own reason."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import (
    FAST,
    bikes,
    call_without_rights,
    carphone,
    ffmpeg,
    funnel,
    index_rows,
    piece_of_long_video,
    reasons,
    rejected_rows,
    run_here,
    sha256_of_files,
)

from transforms.publish.check import check_dataset

NO_SUCH_RIGHT = 77
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="drops Linux capabilities")


class CountingServer(http.server.ThreadingHTTPServer):
    """Serves a real video to whoever asks, and counts."""

    daemon_threads = True

    def __init__(self, video: Path) -> None:
        self.hits: list[str] = []
        self.video = video.read_bytes()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, CountingServer)
        self.server.hits.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.video)))
        self.end_headers()
        self.wfile.write(self.server.video)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with CountingServer(carphone()) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield serving
        serving.shutdown()


def make_bad(folder: Path, server: CountingServer) -> dict[str, tuple[str, str]]:
    """Bad and odd files, and for each the stage and the reason it has to be rejected for."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = bikes().read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    (folder / "zeros.mp4").write_bytes(bytes(50_000))
    # bikes.mp4 has its index in front or at the end; both ways of cutting it are met below.
    (folder / "cut off.mp4").write_bytes(whole[: len(whole) // 2])
    faststart = folder / "index in front, cut off.mp4"
    ffmpeg("-i", bikes(), "-c", "copy", "-movflags", "+faststart", faststart)
    faststart.write_bytes(faststart.read_bytes()[: len(whole) // 2])
    ffmpeg("-f", "lavfi", "-i", "sine=duration=3", "-c:a", "aac", folder / "only sound.mp4")
    ffmpeg("-i", bikes(), "-frames:v", 1, "-c:v", "libx264", folder / "one frame.mp4")
    ffmpeg("-i", bikes(), "-t", 0.8, "-c:v", "libx264", folder / "too short.mp4")
    ffmpeg("-i", bikes(), "-t", 4, "-c:v", "libx264", "-f", "mpegts", folder / "elsewhere.bin")
    playlist = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", "#EXTINF:4,", "{}", "#EXT-X-ENDLIST", ""]
    for name, target in (
        ("points at a file.mp4", "elsewhere.bin"),
        ("points at an absolute file.mp4", str(folder / "elsewhere.bin")),
        ("points at a server.mp4", f"{server.url}/video.ts"),
    ):
        (folder / name).write_text("\n".join(playlist).format(target))
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile 'elsewhere.bin'\n")
    (folder / "session.mp4").write_text(
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nu={server.url}/sdp\n"
        "t=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    )
    (folder / "nowhere.mp4").symlink_to(folder / "missing")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    not_a_video = dict.fromkeys(
        (
            *("text.mp4", "zeros.mp4", "points at a file.mp4", "points at an absolute file.mp4"),
            *("points at a server.mp4", "concat.mp4", "session.mp4"),
        ),
        ("ingest", "not_a_video"),
    )
    return {
        **not_a_video,
        "empty.mp4": ("ingest", "empty_file"),
        "only sound.mp4": ("ingest", "no_video_stream"),
        "nowhere.mp4": ("ingest", "not_found"),
        "pipe.mp4": ("ingest", "unreadable"),
        "one frame.mp4": ("decode", "too_short"),
        "too short.mp4": ("decode", "too_short"),
        "index in front, cut off.mp4": ("decode", "truncated"),
    }


def test_bad_files_never_stop_the_good(tmp_path: Path, server: CountingServer) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    expected = make_bad(videos, server)
    piece_of_long_video(videos / "good.mp4", 90, 8)
    shutil.copyfile(bikes(), videos / "good too.mp4")
    shutil.copyfile(bikes(), videos / "the same again.mp4")
    expected["the same again.mp4"] = ("ingest", "duplicate")
    piece_of_long_video(videos / "too long.mp4", 60, 14)
    expected["too long.mp4"] = ("decode", "too_long")

    assert run_here(videos, "--out", out, *FAST, "--set", "input.max_duration_s=12") == 0

    found = reasons(out)
    cut_off = found.pop("cut off.mp4")
    assert cut_off in {("ingest", "not_a_video"), ("decode", "truncated")}
    assert found == expected
    assert server.hits == []
    assert check_dataset(out / "dataset") == []
    assert funnel(out)["decode"]["out"] == 2
    assert len({row["video_id"] for row in index_rows(out)}) == 2
    [twin] = [row for row in rejected_rows(out) if row["reason"] == "duplicate"]
    assert twin["subject"] == "the same again.mp4"
    assert "good too.mp4" in twin["detail"]
    assert twin["parent"] in {row["video_id"] for row in index_rows(out)}
    # Once more: a rejection is as lasting as a result.
    before = sha256_of_files(out / "dataset")
    assert run_here(videos, "--out", out, *FAST, "--set", "input.max_duration_s=12") == 0
    assert sha256_of_files(out / "dataset") == before


def test_rejections_say_in_words_what_is_wrong(tmp_path: Path, server: CountingServer) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    make_bad(videos, server)
    assert run_here(videos, "--out", out, *FAST) == 0
    rows = {row["parent"] or row["subject"]: row for row in rejected_rows(out)}
    assert "of 10.00 s" in rows["index in front, cut off.mp4"]["detail"]
    assert "1 frame" in rows["one frame.mp4"]["detail"]
    assert "internal_error" not in {row["reason"] for row in rows.values()}
    assert index_rows(out) == []
    assert check_dataset(out / "dataset") == []
    for row in rows.values():
        assert str(tmp_path) not in repr(row)


def test_manifest_rows(tmp_path: Path) -> None:
    shutil.copyfile(carphone(), tmp_path / "phone.mp4")
    piece_of_long_video(tmp_path / "street.mp4", 90, 8)
    rows: list[Any] = [
        {"uri": "phone.mp4", "license": "CC0-1.0"},
        {"path": "street.mp4"},
        {"uri": "missing.mp4"},
        {"uri": "http://127.0.0.1:9/video.mp4"},
        {"uri": "street.mp4", "spans": "[[0, 1"},
        ["street.mp4"],
        {"uri": "../" * 40 + "etc/hostname"},
        {"uri": "street.mp4"},
    ]
    manifest = tmp_path / "list.jsonl"
    lines = [json.dumps(row) for row in rows]
    manifest.write_text("\n".join([*lines, "{not JSON", ""]))
    out = tmp_path / "out"
    assert run_here(manifest, "--out", out, *FAST) == 0
    found = {row["subject"]: row for row in rejected_rows(out) if row["stage"] == "ingest"}
    assert {name: row["reason"] for name, row in found.items()} == {
        "list.jsonl:2": "bad_row",
        "list.jsonl:4": "bad_row",
        "list.jsonl:5": "bad_row",
        "list.jsonl:6": "bad_row",
        "list.jsonl:9": "bad_row",
        "missing.mp4": "not_found",
        "etc/hostname": "not_a_video",
    }
    assert "'uri'" in found["list.jsonl:2"]["detail"]
    assert "path" in found["list.jsonl:2"]["detail"]
    assert "only local files" in found["list.jsonl:4"]["detail"]
    assert "spans" in found["list.jsonl:5"]["detail"]
    assert funnel(out)["ingest"]["out"] == 2
    assert {row["video_id"] for row in index_rows(out)}
    assert check_dataset(out / "dataset") == []


@pytest.mark.parametrize("name", ["list.csv", "list.parquet", "list.json", "list.jsonl"])
def test_a_broken_manifest_is_a_rejection(name: str, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copyfile(carphone(), tmp_path / "videos" / "phone.mp4")
    (tmp_path / name).write_bytes(b"\x00\xff\x00 neither this nor that\n\xfe")
    out = tmp_path / "out"
    assert run_here(tmp_path / "videos", tmp_path / name, "--out", out, *FAST) == 0
    found = [row for row in rejected_rows(out) if row["stage"] == "ingest"]
    assert {row["reason"] for row in found} == {"bad_row"}
    assert all(row["subject"].startswith(name) for row in found)
    assert funnel(out)["ingest"]["out"] == 1


@needs_linux
@pytest.mark.parametrize(
    "inputs",
    [
        lambda videos: (videos, videos / "closed", videos / "locked.jsonl"),
        lambda videos: (videos, videos / "closed" / "inside.mp4"),
    ],
    ids=["found", "named"],
)
def test_what_may_not_be_read(inputs: Callable[[Path], tuple[Path, ...]], tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "closed").mkdir(parents=True)
    shutil.copyfile(carphone(), videos / "good.mp4")
    shutil.copyfile(carphone(), videos / "closed" / "inside.mp4")
    shutil.copyfile(bikes(), videos / "locked.mp4")
    (videos / "locked.mp4").chmod(0)
    (videos / "locked.jsonl").write_text('{"uri": "good.mp4"}')
    (videos / "locked.jsonl").chmod(0)
    (videos / "closed").chmod(0)
    try:
        code, _, stderr = call_without_rights("run", *inputs(videos), "--out", out, *FAST)
    finally:
        (videos / "closed").chmod(0o700)
    if code == NO_SUCH_RIGHT:
        pytest.skip("this user can't give up the right to read everything")
    assert code == 0, stderr
    found = reasons(out)
    assert found.pop("closed", found.pop(".", None)) == ("ingest", "unreadable")
    assert found.pop("locked.mp4") == ("ingest", "unreadable")
    assert set(found.values()) <= {("ingest", "unreadable"), ("ingest", "bad_row")}
    assert found.keys() <= {"inside.mp4", "closed", ".", "locked.jsonl"}
    assert funnel(out)["ingest"]["out"] == 1


@needs_linux
@pytest.mark.parametrize("what", ["parent", "work"])
def test_output_that_may_not_be_written(what: str, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    out = parent / "out"
    (out / "work").mkdir(parents=True)
    closed = {"parent": parent, "work": out / "work"}[what]
    if what == "parent":
        shutil.rmtree(out)
    closed.chmod(0o500)
    try:
        code, stdout, stderr = call_without_rights("run", carphone(), "--out", out, *FAST)
    finally:
        closed.chmod(0o700)
    if code == NO_SUCH_RIGHT:
        pytest.skip("this user can't give up the right to write everywhere")
    assert code == 1, stdout
    [line] = [line for line in stderr.splitlines() if line.startswith("proofreel:")]
    assert "ermission denied" in line
    assert str(closed) in line
    assert "Traceback" not in stderr


def test_busy_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (out / "work").mkdir(parents=True)
    with (out / "work" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run_here(carphone(), "--out", out, *FAST) == 1
    assert f"another run works on {out}" in capfd.readouterr().err
    assert not (out / "dataset").exists()
    assert run_here(carphone(), "--out", out, *FAST) == 0
