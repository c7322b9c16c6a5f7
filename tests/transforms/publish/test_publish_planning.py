"""Planning: pure, bounded, complete, and kind to readers that guess the schema."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.sample import SPLITS
from transforms.publish.planning import (
    PlannedSample,
    entry_bytes,
    plan_shards,
    tar_bytes,
)

FIELDS = ("answer.options", "steps", "grounding.boxes", "grounding.segments", "answer.intervals_s")


@st.composite
def planned(draw: st.DrawFn) -> list[PlannedSample]:
    keys = draw(
        st.lists(st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True), unique=True, max_size=40)
    )
    return [
        PlannedSample(
            key=key,
            split=draw(st.sampled_from(SPLITS)),
            partition=draw(st.sampled_from(["train", "validation"])),
            json_bytes=draw(st.integers(1, 5_000)),
            mp4_bytes=draw(st.integers(1, 60_000)),
            filled=tuple(sorted(draw(st.sets(st.sampled_from(FIELDS))))),
        )
        for key in keys
    ]


@given(planned(), st.integers(1, 200_000), st.randoms())
def test_plan(samples: list[PlannedSample], shard_bytes: int, order: random.Random) -> None:
    plans = plan_shards(samples, shard_bytes)
    shuffled = list(samples)
    order.shuffle(shuffled)
    assert plan_shards(shuffled, shard_bytes) == plans, "depends on the order of the input"

    placed = [sample for plan in plans for sample in plan.samples]
    assert sorted(placed, key=lambda one: one.key) == sorted(samples, key=lambda one: one.key)

    groups: dict[str, list[Any]] = {}
    for plan in plans:
        assert plan.samples, "an empty shard"
        size = tar_bytes(sum(entry_bytes(sample) for sample in plan.samples))
        assert size <= shard_bytes or len(plan.samples) == 1
        groups.setdefault(plan.path.rsplit("-", 1)[0], []).append(plan)
        assert {f"{one.split}/{one.partition}" for one in plan.samples} == {
            plan.path.rsplit("-", 1)[0]
        }
    for name, group in groups.items():
        assert [plan.path for plan in group] == [f"{name}-{n:06d}.tar" for n in range(len(group))]
        ordered = [sample for plan in group for sample in plan.samples]
        lead = {path for sample in ordered[:5] for path in sample.filled}
        assert lead == {path for sample in ordered for path in sample.filled}
        keys = [sample.key for sample in ordered[5:]]
        assert keys == sorted(keys)


def sample(key: str = "a", **values: Any) -> PlannedSample:
    given: dict[str, Any] = {"split": "sft", "partition": "train", "filled": ()}
    return PlannedSample(key=key, **{**given, "json_bytes": 10, "mp4_bytes": 10, **values})


@pytest.mark.parametrize("key", ["", "a.b", "A", "a/b", "../a", "a" * 65, "ä", "a\n"])
def test_key_that_readers_would_cut_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="can't be a key"):
        plan_shards([sample(key)], 1_000)


def test_same_id_twice_is_refused_across_splits() -> None:
    with pytest.raises(ValueError, match="two samples have the id a"):
        plan_shards([sample(), sample(split="rl")], 1_000)


@pytest.mark.parametrize("size", [0, 8**11])
def test_size_that_a_tar_cannot_hold_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="mp4 of sample a"):
        plan_shards([sample(mp4_bytes=size)], 1_000)


def test_shard_bytes_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"publish\.shard_bytes"):
        plan_shards([sample()], 0)
