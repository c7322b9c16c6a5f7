"""Conditions on samples: what they mean, and what is no condition."""

from __future__ import annotations

from typing import Any

import pytest
from publish_helpers import Clip, make_sample

from transforms.publish.index import index_entry
from transforms.publish.where import first_failed, parse_condition

HOLDS = [
    *("split=sft", "split=rl,sft", "split!=rl", "split != rl , online", "task_kind=mcq"),
    *("pass_rate>=0.75", "pass_rate<=0.75", "pass_rate=0.75", "pass_rate=.750,1", "pass_rate>0.7"),
    *("pass_rate!=0.5", "mp4_bytes<1e3", "scores.answer>=1", "measures.brightness<0.51"),
    *("measures.shot_type=edited", "condition_scores.difficulty=-1"),
    *("measures.loudness_lufs<-1", "measures.loudness_lufs>-30"),
    *("license=CC BY 3.0", "license=mit,cc_by-3.0", "license!=mit", "duration_s>=1.5"),
    *("source_url=https://example.org/one", "teacher=measure"),
]
FAILS = [
    *("split=rl", "split!=sft", "split!=rl,sft", "split=SFT", "pass_rate>0.75", "pass_rate<0.75"),
    *("pass_rate=0.5", "scores.answer>1", "license=cc-by-4.0", "license=", "duration_s<1.5"),
    # Not known is not little.
    *("condition_scores.language_prior<0.2", "condition_scores.difficulty<=0.5"),
    *("measures.text_share<0.1", "condition_scores.difficulty!=-1"),
    *("scores.nothing>=0", "scores.nothing!=3", "measures.shot_type>0", "measures.crop_box=0"),
]


def asked(text: str, clips: list[Clip]) -> str:
    sample = make_sample("s1", clips[0])
    entry = index_entry(sample, "train", video_id="v", clip_id="c", task_id="t")
    row: dict[str, Any] = {**entry.model_dump(mode="json"), "mp4_bytes": 900, "json_bytes": 100}
    return first_failed([parse_condition(text)], row, sample)


@pytest.mark.parametrize("text", HOLDS)
def test_conditions_that_a_sample_fulfils(text: str, clips: list[Clip]) -> None:
    assert asked(text, clips) == ""


@pytest.mark.parametrize("text", FAILS)
def test_conditions_that_a_sample_fails_say_what_it_has(text: str, clips: list[Clip]) -> None:
    assert asked(text, clips).startswith(f"asked for {text}, has ")


def test_what_no_sample_has_is_called_none(clips: list[Clip]) -> None:
    assert asked("scores.nothing>=0", clips) == "asked for scores.nothing>=0, has none"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pass_rate", "is no condition"),
        ("pass_rate ~ 3", "is no condition"),
        ("__import__('os').system('x')=1", "is no condition"),
        ("pass_rat>=0.5", "there is no field 'pass_rat'; known are id, split"),
        ("shard=x", "there is no field 'shard'"),
        ("scores>=1", "there is no field 'scores'"),
        ("pass_rate>=half", "'half' is no number"),
        ("pass_rate>=nan", "'nan' is no number"),
        ("pass_rate=0.5,", "'' is no number"),
        ("measures.brightnes>0.1", "measures holds no 'brightnes' (did you mean brightness?)"),
        ("measures.zzz>0.1", "measures holds no 'zzz'; it holds brightness, contrast, under"),
        ("condition_scores.dificulty<1", "(did you mean difficulty?); it holds difficulty"),
        ("measures.brightness<dark", "'dark' is no number"),
        ("split>a", "split is a text; compare it by = or !="),
    ],
)
def test_what_is_no_condition_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".*") as raised:
        parse_condition(text)
    assert why in str(raised.value)


def test_a_loudness_can_be_one_below_zero() -> None:
    assert parse_condition("measures.loudness_lufs>-2").holds(-1.0)
    assert not parse_condition("pass_rate<0.5").holds(-1.0)
