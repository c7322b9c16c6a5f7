"""Broken and hostile subtitles cost only themselves: the video stays, and a note says why."""

from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from clock_video import Clock, Work, run_ffmpeg, work_through, write_clock
from listed_inputs import expand_inputs
from subtitled import DEFAULT, footage_of, scenes_of, srt, texts

from schemas.source import Source
from transforms.memo import MemoStore
from transforms.outcome import is_fatal
from transforms.video import sidecars, subtitles
from transforms.video.cues import tidy

GOOD = (0.1, 0.5, "good")
EMPTY = "movie.srt: it holds no cues"


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A video that was worked through, so that only subtitles are left to be read."""
    folder = tmp_path_factory.mktemp("movie")
    return work_through(write_clock(folder, Clock("movie.mp4")), MemoStore(str(folder / "store")))


@pytest.fixture
def folder(tmp_path: Path, movie: Work) -> Path:
    """A folder of its own in which the video lies."""
    place = tmp_path / "videos"
    place.mkdir()
    os.link(movie.path, place / "movie.mp4")
    return place


def ends(folder: Path, movie: Work, source: Source | None = None) -> tuple[list[str], list[str]]:
    """The texts of all clips, and the notes."""
    what = source or folder / "movie.mp4"
    scenes = scenes_of(what, movie.store)
    assert [scene.media for scene in scenes] == [movie.media[clip.id] for clip in movie.clips]
    for scene in scenes:
        for line in scene.lines:
            assert 0.0 <= line.start_s < line.end_s <= scene.media.duration_s
            assert line.text == line.text.strip() != ""
    return texts(scenes), list(footage_of(what, movie.store, DEFAULT).subtitles.notes)


def noise(length: int) -> bytes:
    return random.Random(0).randbytes(length)


def stamps(start: str, end: str) -> str:
    """A good cue, and one with other times."""
    return f"1\n{start} --> {end}\nodd\n\n{srt([GOOD])}"


BROKEN: list[tuple[str, bytes | str, list[str], list[str]]] = [
    ("empty", b"", [], [EMPTY]),
    ("blank", b"\n\n \r\n" * 100, [], [EMPTY]),
    ("prose", "Once upon a time there was a file.\n" * 50, [], [EMPTY]),
    ("zeros", bytes(10_000), [], [EMPTY]),
    ("too_large", b"\n" * (sidecars.MAX_FILE_BYTES + 1), [], ["movie.srt: larger than 8 MiB"]),
    ("nan", stamps("nan:nan:nan,nan", "nan"), ["good"], []),
    ("no_end", stamps("00:00:00,600", ""), ["good"], []),
    ("equal", stamps("00:00:00,600", "00:00:00,600"), ["good"],
     ["movie.srt: 1 cues can't be used"]),
    ("billion_seconds", stamps("277777:46:40,000", "277777:46:41,000"), ["good"], []),
    ("overflow", stamps("99999999999999999999:00:00,000", "99999999999999999999:00:01,000"),
     ["good"], []),
    ("hundred_hours", stamps("100:00:00,100", "100:00:00,500"), ["good"], []),
    ("negative", stamps("-00:00:03,000", "-00:00:02,000"), ["good"],
     ["movie.srt: 1 cues can't be used"]),
    ("after_the_end", srt([(50.0, 60.0, "late")]), [], []),
    ("no_text", srt([(0.1, 0.5, ""), (0.6, 0.9, "<b></b>{\\an8}")]), [], [EMPTY]),
    ("only_marks", srt([(0.1, 0.5, "\u202e\u200b\x07\ufeff")]), [], [EMPTY]),
    ("one_huge_cue", srt([(0.1, 0.5, "x" * 1_000_000)]), [],
     [EMPTY]),
    ("braces", srt([(0.1, 0.5, "{" * 4_000_000), (0.6, 0.9, "after")]), ["after"],
     ["movie.srt: 1 cues can't be used"]),
    ("brackets", srt([(0.1, 0.5, "<a" * 2_000_000), (0.6, 0.9, "after")]), ["after"],
     ["movie.srt: 1 cues can't be used"]),
    ("stamps_only", "00:00:01,000 --> 00:00:02,000\n" * 200_000, [], [EMPTY]),
    ("the_same_100000_times", srt([GOOD] * 100_000), ["good"], []),
    ("no_line_ends", b"a" * 4_000_000, [], [EMPTY]),
    ("a_playlist", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", [], [EMPTY]),
    ("half_a_file", srt([GOOD])[:25], [], [EMPTY]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected", "notes"),
    [row[1:] for row in BROKEN],
    ids=[row[0] for row in BROKEN],
)
def test_a_broken_file_beside(
    folder: Path, movie: Work, content: bytes | str, expected: list[str], notes: list[str]
) -> None:
    data = content.encode() if isinstance(content, str) else content
    (folder / "movie.srt").write_bytes(data)
    assert ends(folder, movie) == (expected, notes)


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".ass", ".ssa"])
@pytest.mark.parametrize("content", [noise(100_000), b"\xff\xfe" + noise(9_999), b"\x7fELF\0\0"])
def test_noise(
    folder: Path, movie: Work, caplog: pytest.LogCaptureFixture, suffix: str, content: bytes
) -> None:
    (folder / f"movie{suffix}").write_bytes(content)
    found, notes = ends(folder, movie)
    assert found == []
    assert notes
    for note in notes:
        assert note.startswith(f"movie{suffix}: ")
        assert f"movie.mp4: subtitles: {note}" in caplog.text


def test_a_broken_file_does_not_hide_a_good_one(folder: Path, movie: Work) -> None:
    (folder / "movie.srt").write_text("nothing")
    (folder / "movie.en.srt").write_text(srt([GOOD]))
    assert ends(folder, movie) == (["good"], [EMPTY])


def test_more_cues_than_any_film_has(folder: Path, movie: Work) -> None:
    """As many different ones as the largest file holds, all on the screen at once."""
    count = sidecars.MAX_FILE_BYTES // 52
    cue = "00:00:00,000 --> 99:00:00,000\n"
    (folder / "movie.srt").write_text("".join(f"{n}\n{cue}n {n}\n\n" for n in range(count)))
    found, [note] = ends(folder, movie)
    assert found[0] == "n 0"
    assert len(found) < 1_000, "what a clip shows is limited"
    assert note == f"movie.srt: {count - 50_000} cues can't be used"


def test_a_link_within_the_folder_is_followed(folder: Path, movie: Work) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "real.srt").write_text(srt([GOOD]))
    (folder / "movie.srt").symlink_to(folder / "texts" / "real.srt")
    assert ends(folder, movie) == (["good"], [])


@pytest.mark.parametrize("outside", ["secret.srt", "videos2/secret.srt"])
def test_a_link_out_of_the_folder_is_not(folder: Path, movie: Work, outside: str) -> None:
    secret = folder.parent / outside
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(srt([(0.1, 0.5, "secret")]))
    (folder / "movie.srt").symlink_to(secret)
    assert ends(folder, movie) == ([], ["movie.srt: it leads out of its folder"])
    (folder / "movie.srt").unlink()
    (folder / "movie.srt").symlink_to("/dev/zero")
    assert ends(folder, movie) == ([], ["movie.srt: it leads out of its folder"])


def test_what_is_no_file(folder: Path, movie: Work) -> None:
    (folder / "movie.srt").mkdir()
    os.mkfifo(folder / "movie.vtt")
    (folder / "movie.ass").symlink_to("movie.ass")
    (folder / "movie.en.srt").symlink_to("gone.srt")
    assert ends(folder, movie) == (
        [],
        [
            "movie.srt: Is a directory",
            "movie.vtt: not a regular file",
            "movie.ass: Too many levels of symbolic links",
            "movie.en.srt: No such file or directory",
        ],
    )


NAMED = [
    ("../secret.srt", "../secret.srt: it leads out of its folder"),
    ("deep/../../secret.srt", "deep/../../secret.srt: it leads out of its folder"),
    ("ABSOLUTE", "ABSOLUTE: it leads out of its folder"),
    ("link/secret.srt", "link/secret.srt: it leads out of its folder"),
    ("gone.srt", "gone.srt: No such file or directory"),
    ("a\0b.srt", "a b.srt: its name can't be one of a file"),
    ("\x1b[31m\n.srt", "[31m .srt: No such file or directory"),
    ("x" * 5_000 + ".srt", "x" * 200 + ": File name too long"),
    ("movie.mp4", "movie.mp4: not one of .srt, .vtt, .ass, .ssa"),
    ("https://example.org/a.srt", "https://example.org/a.srt: No such file or directory"),
]


@pytest.mark.parametrize(("name", "note"), NAMED, ids=lambda text: text[:30])
def test_what_a_manifest_names_may_not_lead_out(
    folder: Path, movie: Work, name: str, note: str
) -> None:
    secret = folder.parent / "secret.srt"
    secret.write_text(srt([(0.1, 0.5, "secret")]))
    (folder / "deep").mkdir()
    (folder / "link").symlink_to(folder.parent)
    (folder / "movie.srt").write_text(srt([GOOD]))
    name, note = (text.replace("ABSOLUTE", str(secret)) for text in (name, note))
    manifest = folder / "all.jsonl"
    manifest.write_text(json.dumps({"uri": "movie.mp4", "subtitles": name}))
    [source], _ = expand_inputs([str(manifest)])
    assert ends(folder, movie, source) == (["good"], [note])


def test_a_reader_that_hangs_or_dies_is_tried_again(
    folder: Path, movie: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own text, so that no other test has stored it.
    (folder / "movie.srt").write_text(srt([(0.1, 0.5, "read at last")]))
    child = tmp_path / "child.py"
    for script, word in (
        ("import time; time.sleep(60)", "decode_timeout"),
        ("import os; os.kill(os.getpid(), 11)", "decoder_crashed"),
        ("raise SystemExit('broken')", "decoder_crashed: broken"),
    ):
        child.write_text(script)
        with monkeypatch.context() as patch:
            patch.setattr(subtitles, "CHILD", child)
            patch.setattr(subtitles, "FILE_TIMEOUT_S", 0.5)
            found, [note] = ends(folder, movie)
        assert found == []
        assert note.startswith(f"movie.srt: {word}")
    assert ends(folder, movie) == (["read at last"], [])


def test_a_full_disk_is_no_broken_file(
    folder: Path, movie: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "movie.srt").write_text(srt([GOOD]))

    def failing(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(sidecars.os, "open", failing)
    with pytest.raises(OSError, match="Too many") as raised:
        sidecars.read_sidecar(sidecars.Sidecar(str(folder), "movie.srt"))
    assert is_fatal(raised.value)


def test_a_disk_that_fails_over_one_file_costs_that_file(
    folder: Path, movie: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "movie.srt").write_text(srt([GOOD]))
    opened = os.open

    def failing(path: Any, *flags: Any, **more: Any) -> int:
        if str(path).endswith(".srt"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, *flags, **more)

    with monkeypatch.context() as broken:
        broken.setattr(sidecars.os, "open", failing)
        assert ends(folder, movie) == ([], ["movie.srt: Input/output error"])
    assert ends(folder, movie) == (["good"], [])


def test_damaged_streams(tmp_path: Path, store: MemoStore) -> None:
    """Bytes within the subtitles' packets are overwritten: what is left is used."""
    first = write_clock(tmp_path, Clock("first.mp4"))
    beside = tmp_path / "cues.srt"
    beside.write_text(srt([(0.1, 0.5, "AAAAAAAA"), (0.6, 0.9, "BBBBBBBB"), (1.0, 1.4, "CCCC")]))
    path = tmp_path / "movie.mkv"
    run_ffmpeg(
        *("-i", str(first), "-i", str(beside), "-map", "0", "-map", "1", "-c:v", "copy"),
        *("-c:s", "srt", str(path)),
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"AAAAAAAA", b"A\xff\xfe\x80AAAA").replace(b"BBBB", b"B\0\x1bB"))
    scenes = scenes_of(path, store)
    notes = footage_of(path, store, DEFAULT).subtitles.notes
    assert "CCCC" in texts(scenes)
    assert all(text.isprintable() for text in texts(scenes))
    assert notes == ("stream 1: 1 cues can't be used",)


def test_sensible_times_only() -> None:
    raw = [
        (float("nan"), 1.0, "a"), (0.0, float("nan"), "b"), (0.0, float("inf"), "c"),
        (float("-inf"), 1.0, "d"), (2.0, 1.0, "e"), (1.0, 1.0, "f"), (-3.0, -1.0, "g"),
    ]  # fmt: skip
    assert [(cue.start_s, cue.end_s, cue.text) for cue in tidy(raw)] == [(0.0, 1.0, "d")]


def test_layers_and_single_frames_are_one_text() -> None:
    frames = [(number / 10, number / 10 + 0.1, "sign") for number in range(10)]
    layers = [(0.3, 0.7, "spoken"), (0.3, 0.7, "spoken"), (0.30, 0.69, "spoken")]
    found = [(cue.start_s, cue.end_s, cue.text) for cue in tidy([*frames, *layers])]
    assert found == [(0.0, 1.0, "sign"), (0.3, 0.7, "spoken")]
