"""Lists of videos that must not come in: what an entry means, and what is no list."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from schemas.rejection import Reason, Stage
from schemas.source import Source
from schemas.video import Probe, Video, video_id
from transforms.video.exclude import load_exclusion
from transforms.video.inputs import BadInputError

SHA256 = hashlib.sha256(b"a video").hexdigest()
ID = "aqz-KE-bpKQ"


def source(uri: str = "x/a/b.mp4", **more: str) -> Source:
    return Source(uri=uri, location="/somewhere", **more)


def why(entry: str, one: Source, folder: Path, sha256: str = "") -> str:
    path = folder / "list.txt"
    path.write_text(f"# videos of a benchmark\n\n{entry}\n", "utf-8")
    return load_exclusion([str(path)]).why(one, sha256)


@pytest.mark.parametrize(
    ("entry", "one"),
    [
        ("x/a/b.mp4", source()),
        ("a/b.mp4", source()),
        ("b.mp4", source()),
        ("b", source()),
        ("q17", source(user_id="q17")),
        (ID, source(f"{ID}.mkv")),
        (ID, source(f"deep/v_{ID}.mp4")),
        (ID, source(f"Big Buck Bunny [{ID}].webm")),
        (ID, source(f"{ID}_12.5_20.mp4")),
        (ID, source(source_url=f"https://www.youtube.com/watch?v={ID}&t=3")),
        (f"videos/{ID}.mp4", source(source_url=f"https://youtu.be/{ID}")),
        (f"https://youtube.com/shorts/{ID}", source(f"{ID}.mp4")),
        (f"https://m.youtube.com/watch?list=x&v={ID}", source(user_id=ID)),
        ("http://example.org/v/1.mp4", source(source_url="https://www.example.org/v/1.mp4/")),
        (json.dumps({"videoID": ID, "question": "b"}), source(f"{ID}.mp4")),
        (json.dumps({"sha256": None, "uri": "b.mp4"}), source()),
        ("b.webm", source()),
        (json.dumps({"id": 17}), source("17.mp4")),
        (SHA256.upper(), source()),
        (video_id(SHA256), source()),
    ],
)
def test_entries_that_mean_a_video(entry: str, one: Source, tmp_path: Path) -> None:
    assert why(entry, one, tmp_path, SHA256).endswith(" of list.txt")


@pytest.mark.parametrize(
    ("entry", "one"),
    [
        ("y/b.mp4", source()),
        ("a", source()),
        (".mp4", source()),
        ("ab.mp4", source()),
        (ID.lower(), source(f"{ID}.mp4")),
        (ID, source(f"{ID}x.mp4")),
        (f"https://example.org/watch?v={ID}", source(f"{ID}.mp4")),
        ("https://example.org/v?id=1", source(source_url="https://example.org/v?id=2")),
        (json.dumps({"uri": "c.mp4", "question": "b"}), source()),
        (json.dumps({"video_id": "001", "videoID": ID}), source("001.mp4")),
        ("y/b.webm", source()),
        (hashlib.sha256(b"another").hexdigest(), source()),
    ],
)
def test_entries_that_mean_another(entry: str, one: Source, tmp_path: Path) -> None:
    assert why(entry, one, tmp_path, SHA256) == ""


def video(uri: str) -> Video:
    probe = Probe(
        container="mp4", video_index=0, codec="h264", pix_fmt="yuv420p", width_px=64, height_px=48,
        rotation_deg=0, start_time_s=0, claimed_duration_s=1, container_duration_s=1,
        color_range=0, color_space=2, color_primaries=2, color_transfer=2, audio=None,
    )  # fmt: skip
    return Video(sha256=SHA256, size_bytes=9, probe=probe, source=source(uri))


def test_a_copy_under_another_name_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({"youtube_id": ID}) + "\n", "utf-8")
    exclusion = load_exclusion([str(path)])
    several = [video("renamed.mp4"), video(f"{ID}.mp4")]
    found = {one.subject: one.detail for one in exclusion.left_out(several)}
    assert found == {
        f"{ID}.mp4": f"'{ID}' of bench.jsonl",
        "renamed.mp4": f"same bytes as {ID}.mp4, which is '{ID}' of bench.jsonl",
    }
    assert {(one.stage, one.reason) for one in exclusion.left_out(several)} == {
        (Stage.INGEST, Reason.EXCLUDED)
    }
    assert exclusion.left_out(several[:1]) == []
    [note] = exclusion.notes
    assert note.startswith("Videos named in bench.jsonl were left out (1 entries, sha256 ")


def test_bytes_may_be_known_from_elsewhere() -> None:
    exclusion = load_exclusion([], {SHA256: "the video 'q' of bench"})
    [rejection] = exclusion.left_out([video("b.mp4")])
    assert rejection.detail == "the video 'q' of bench"
    assert load_exclusion([]).left_out([video("b.mp4")]) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        (b"", "holds no entry"),
        (b"# only a comment\n", "holds no entry"),
        (b"\xff\xfe\n", "is no UTF-8 text"),
        (b"ok\n{'uri': 1}\n", "list:2: is not JSON"),
        (b'{"question": "Why?"}\n', "list:1: names no video; columns are id"),
        (b"{" + b"[" * 50_000 + b"\n", "list:1: is not JSON"),
        (b"x" * 100_001, "list:1: is longer than"),
    ],
)
def test_what_is_no_list_is_said(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"^input\.exclude: ") as raised:
        load_exclusion([str(path)])
    assert told in str(raised.value)
