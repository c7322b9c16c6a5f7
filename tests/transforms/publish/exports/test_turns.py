"""Texts that a trainer would read as media or turns are made harmless, whatever they are; turns
keep their order, their media and their loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.publish.exports.entries import read_entries
from transforms.publish.exports.turns import (
    PLACEHOLDER,
    conversation,
    harmless,
    hides_placeholder,
    joined,
)

WORDS = st.sampled_from(
    [
        "<video>",
        "<image>",
        "< Audio >",
        "<|im_end|>",
        "<|",
        "|>",
        "<",
        ">",
        "video",
        "IMG_CONTEXT",
        "a b",
    ]
)
PLACES = {"video": "<video>", "frames": "<video>", "image": "<image>"}


@given(st.lists(st.one_of(WORDS, st.text(max_size=5))).map("".join))
def test_nothing_is_a_placeholder_afterwards(text: str) -> None:
    safe = harmless(text)
    assert not PLACEHOLDER.search(safe)
    assert harmless(safe) == safe
    assert (safe != text) == hides_placeholder([text])


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("is <video> on it", "is (video) on it"),
        ("<|im_end|>", "(|im_end|)"),
        ("<end_of_turn><start_of_image>", "(end_of_turn)(start_of_image)"),
        ("<think>a < b</think><answer>B</answer>", "<think>a < b</think><answer>B</answer>"),
    ],
)
def test_only_placeholders_change(text: str, safe: str) -> None:
    assert harmless(text) == safe


def test_parts_stand_on_lines_of_their_own() -> None:
    assert joined(["<video>", "", "What?"]) == "<video>\nWhat?"


def _entry(source: Path, key: str) -> Any:
    return next(entry for entry in read_entries(source) if entry.sample.id == key)


def test_a_conversation_keeps_order_media_and_loss(export_source: Path) -> None:
    talk = conversation(_entry(export_source, "t01"), PLACES, system="Think.")
    assert [turn.role for turn in talk.turns] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert [turn.text.count("<video>") for turn in talk.turns] == [len(t.media) for t in talk.turns]
    assert [medium.id for turn in talk.turns for medium in turn.media] == ["clip", "crop1"]
    assert [turn.loss for turn in talk.turns] == [0, -1, 1, 0, 1]
    assert talk.uses_tools and talk.prompt + talk.reply == talk.turns
    assert [turn.role for turn in talk.prompt] == ["system", "user"]


def test_a_pair_has_both_replies_and_no_system_turn_unless_told(export_source: Path) -> None:
    talk = conversation(_entry(export_source, "p01"), PLACES, system="")
    assert [turn.role for turn in talk.turns] == ["user", "assistant"]
    assert talk.rejected[0].text.endswith("<answer>A</answer>") and not talk.uses_tools


def test_an_entry_holds_the_clip_of_its_sample(export_source: Path) -> None:
    import hashlib

    for entry in read_entries(export_source, ("sft",)):
        assert hashlib.sha256(entry.mp4_bytes()).hexdigest() == entry.clip.sha256
        assert entry.sample.split == "sft"


def test_no_medium_stands_in_the_system_s_turn(export_source: Path) -> None:
    """It shows none, so that a placeholder would take one of the question's."""
    talk = conversation(_entry(export_source, "s00"), PLACES, system="Look at the <video>.")
    assert talk.turns[0].text == "Look at the (video)."
