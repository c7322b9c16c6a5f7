"""Where things lie on a machine is in no published word."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.rejection import Reason, Stage
from transforms.machine_paths import without_paths
from transforms.outcome import rejections

FOLDERS = st.lists(
    st.text("abcxyzé0-_.+@ ", min_size=1, max_size=8).map(lambda text: f"Q{text}Q"),
    min_size=1,
    max_size=5,
)
"""Names that occur nowhere else."""
NAMES = st.text("abcxyzé0-_+", min_size=1, max_size=8).map(lambda text: f"{text}.mp4")
ROOTS = st.sampled_from(["/", "//", "file:///"])


@given(ROOTS, FOLDERS, NAMES)
def test_of_paths_that_programs_name_the_last_part_stays(
    root: str, folders: list[str], name: str
) -> None:
    path = root + "/".join([*folders, name])
    for text in (
        str(FileNotFoundError(2, "No such file or directory", path)),
        str(OSError(28, "No space left on device", path, None, path + "2")),
        f"KeyError: {path!r}",
        f'File "{path}", line 3',
        f"moov atom not found: {path}: Invalid data",
        f"{path}: Invalid data",
        f"can't open {path.replace(' ', '_')}, nor {path.replace(' ', '_')}2",
        f"in ({path.replace(' ', '_')}); given path={path.replace(' ', '_')}",
    ):
        told = without_paths(text)
        assert "Q" not in told, text
        assert "/" not in told, text
        assert name in told, text
        assert without_paths(told) == told


@given(st.text())
def test_words_without_a_slash_stay(text: str) -> None:
    words = text.replace("/", "")
    assert without_paths(words) == words


@pytest.mark.parametrize(
    "text",
    [
        "24000/1001 frames and/or 3 / 4",
        "s3://films/a/b.mp4: can't be read",
        "the server at http://127.0.0.1:8000/v1/models says no",
        "clips/a.mp4 and ./b/c and ../d/e",
        "KeyError: '</think>'",
        "KeyError: '/'",
        "",
    ],
)
def test_what_is_no_path_of_a_machine_stays(text: str) -> None:
    assert without_paths(text) == text


def test_what_failed_is_told_without_paths_and_bounded() -> None:
    told = {
        reason: next(rejections(Stage.CUT, [("c", "v")], reason, "'/home/me/a.mp4' " + "x" * 600))
        for reason in (Reason.INTERNAL_ERROR, Reason.CUT_FAILED, Reason.BAD_TASK)
    }
    for reason in (Reason.INTERNAL_ERROR, Reason.CUT_FAILED):
        assert told[reason].detail.startswith("'a.mp4' x")
        assert len(told[reason].detail) == 500
    # A question may well speak of paths.
    assert told[Reason.BAD_TASK].detail.startswith("'/home/me/a.mp4' x")


@pytest.mark.parametrize(
    "text", ["/a" * 1_000_000 + "'", "'/" * 1_000_000, "a" * 1_000_000 + "://"]
)
def test_words_of_any_length_take_no_time(text: str) -> None:
    began_s = time.monotonic()
    [told] = rejections(Stage.CUT, [("c", "v")], Reason.INTERNAL_ERROR, text)
    assert len(told.detail) <= 500
    assert time.monotonic() - began_s < 1.0
