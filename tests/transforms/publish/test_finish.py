"""The ledger of a run: nothing vanishes and nothing doubles, or the dataset is not published."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas.rewards
from schemas.rejection import OPTIONAL, UNITS, Reason, Rejection, Stage
from schemas.usage import Usage
from transforms.outcome import words_of_stop
from transforms.publish.card_counts import Counts
from transforms.publish.finish import ConservationError, RunFacts, finish_dataset, make_funnel
from transforms.publish.index import index_table, rejected_table
from transforms.publish.manifest import FILES, MANIFEST_FILE, rejection_counts

ENTERED = {
    Stage.INGEST: 6,
    Stage.DECODE: 5,
    Stage.SEGMENT: 9,
    Stage.SELECT: 8,
    Stage.CUT: 7,
    Stage.TRANSCRIBE: 7,
    Stage.CONSTRUCT: 5,
    Stage.DESCRIBE: 7,
    Stage.PROPOSE: 7,
    Stage.TASK: 20,
    Stage.ANSWER: 72,
    Stage.VERIFY: 71,
    Stage.EXAMINE: 60,
    Stage.ROUTE: 22,
    Stage.DERIVE: 40,
}
OUT = {
    Stage.INGEST: 5,
    Stage.DECODE: 4,
    Stage.SEGMENT: 8,
    Stage.SELECT: 7,
    Stage.CUT: 7,
    Stage.TRANSCRIBE: 7,
    Stage.CONSTRUCT: 4,
    Stage.DESCRIBE: 7,
    Stage.PROPOSE: 6,
    Stage.TASK: 18,
    Stage.ANSWER: 71,
    Stage.VERIFY: 60,
    Stage.EXAMINE: 55,
    Stage.ROUTE: 21,
    Stage.DERIVE: 37,
}


def rejections() -> list[Rejection]:
    return [
        Rejection(stage=stage, reason=Reason.INTERNAL_ERROR, subject=f"{stage}-{number}")
        for stage in Stage
        for number in range(ENTERED[stage] - OUT[stage])
    ]


def test_a_ledger_that_balances_becomes_the_funnel() -> None:
    funnel = make_funnel(ENTERED, OUT, rejection_counts(rejections()))
    assert [line.stage for line in funnel] == list(Stage)
    for line in funnel:
        assert line.in_ == line.out + sum(line.rejected.values())
        assert line.unit == UNITS[line.stage]


def test_a_run_without_input_balances() -> None:
    funnel = make_funnel({}, {}, {})
    assert [line.in_ for line in funnel] == [0] * len(funnel)
    assert [line.stage for line in funnel] == [stage for stage in Stage if stage not in OPTIONAL]


def test_a_stage_that_is_left_out_is_passed_by() -> None:
    entered = {stage: count for stage, count in ENTERED.items() if stage not in OPTIONAL}
    out = {stage: count for stage, count in OUT.items() if stage not in OPTIONAL}
    entered[Stage.ROUTE], out[Stage.ROUTE] = 18, 17
    several = [one for one in rejections() if one.stage not in OPTIONAL]
    funnel = make_funnel(entered, out, rejection_counts(several))
    assert {line.stage for line in funnel} == set(entered)
    with pytest.raises(ConservationError, match="route: in 22 is not the 18"):
        make_funnel(entered | {Stage.ROUTE: 22}, out | {Stage.ROUTE: 21}, rejection_counts(several))


@pytest.mark.parametrize("stage", list(Stage))
def test_what_vanishes_or_doubles_in_a_stage_is_noticed(stage: Stage) -> None:
    for change in (-1, 1):
        with pytest.raises(ConservationError, match=f"{stage}: in {ENTERED[stage] + change} "):
            make_funnel(
                ENTERED | {stage: ENTERED[stage] + change}, OUT, rejection_counts(rejections())
            )
        with pytest.raises(ConservationError, match=str(stage)):
            make_funnel(ENTERED, OUT | {stage: OUT[stage] + change}, rejection_counts(rejections()))


def test_a_part_that_was_done_twice_with_two_ends_is_told_with_what_to_do() -> None:
    """An engine did cutting again: a clip that was rejected the first time came out then."""
    lost = [*rejections(), Rejection(stage=Stage.CUT, reason=Reason.CUT_FAILED, subject="c1")]
    with pytest.raises(ConservationError) as caught:
        make_funnel(ENTERED, OUT, rejection_counts(lost))
    # As a runner tells it, with the traceback of a worker.
    text = f"Traceback:\n  ...\nConservationError: {caught.value} [while running 'Finish']"
    said = words_of_stop(text)
    assert said.startswith("cut: in 7 is not out 7 + rejected 1 = 8. Something vanished or doubled")
    assert "did a part twice" in said and "run the same command again" in said


@pytest.mark.parametrize("stage", [s for s in Stage if ENTERED[s] > OUT[s]])
def test_a_rejection_lost_or_doubled_is_noticed(stage: Stage) -> None:
    several = rejections()
    at = next(place for place, one in enumerate(several) if one.stage is stage)
    for wrong in (several[:at] + several[at + 1 :], [*several, several[at]]):
        with pytest.raises(ConservationError, match=str(stage)):
            make_funnel(ENTERED, OUT, rejection_counts(wrong))


@pytest.mark.parametrize(
    ("stage", "unit"),
    [(Stage.DECODE, "videos"), (Stage.SELECT, "clips"), (Stage.CUT, "clips"),
     (Stage.DESCRIBE, "clips"), (Stage.PROPOSE, "clips"), (Stage.VERIFY, "rollouts"),
     (Stage.ROUTE, "tasks")],
)  # fmt: skip
def test_what_vanishes_between_stages_is_noticed(stage: Stage, unit: str) -> None:
    """The stage itself balances, but it does not get what the stage before gave."""
    entered, out = dict(ENTERED), dict(OUT)
    entered[stage] -= 1
    out[stage] -= 1
    with pytest.raises(ConservationError, match=f"{stage}: in .* came out of"):
        make_funnel(entered, out, rejection_counts(rejections()))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(list(Stage)), st.integers(-3, 3), max_size=4))
def test_only_a_ledger_that_balances_passes(changes: dict[Stage, int]) -> None:
    entered = {stage: count + changes.get(stage, 0) for stage, count in ENTERED.items()}
    if all(change == 0 for change in changes.values()):
        make_funnel(entered, OUT, rejection_counts(rejections()))
    else:
        with pytest.raises(ConservationError):
            make_funnel(entered, OUT, rejection_counts(rejections()))


USED = {
    "propose": Usage(replies=7, prompt_tokens=7_000, completion_tokens=700),
    "answer": Usage(replies=72, prompt_tokens=72_000, completion_tokens=14_400),
}


def facts(folder: str) -> RunFacts:
    return RunFacts(
        proofreel_version="0.1.0",
        seed=3,
        config={"seed": 3, "features": {"pretrained": f"{folder}/weights.pt"}},
        versions={"ffmpeg": "7.0"},
        prompts={},
        notes=("weights are random",),
        prices=(2.0, 10.0),
    )


def finish(folder: Path, seed: int) -> dict[str, bytes]:
    folder.mkdir()
    several = rejections()
    random.Random(seed).shuffle(several)
    funnel = make_funnel(ENTERED, OUT, rejection_counts(several))
    index, rejected = [index_table([], [])], [rejected_table(several)]
    finish_dataset(folder, facts(str(folder)), funnel, [], Counts(), index, rejected, USED)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_everything_beside_the_shards_is_written_the_same_every_time(tmp_path: Path) -> None:
    one = finish(tmp_path / "one", 1)
    other = finish(tmp_path / "two", 2)
    assert one == other
    assert set(one) == {MANIFEST_FILE, *FILES}
    assert one["rewards.py"] == Path(schemas.rewards.__file__).read_bytes()
    manifest = json.loads(one[MANIFEST_FILE])
    assert manifest["config"]["features"]["pretrained"] == "weights.pt"
    assert manifest["notes"] == ["weights are random"]
    assert manifest["usage"]["answer"]["completion_tokens"] == 14_400
    assert manifest["cost"] == 0.309, "79,000 x 2 + 15,100 x 10, per million"
    assert set(manifest["files"]) == set(FILES)
    assert str(tmp_path).encode() not in b"".join(one.values())


def test_the_cost_does_not_depend_on_the_order_of_the_stages() -> None:
    """They come from a side input, in any order; a sum of floats is not the same in each."""
    used = {
        "propose": Usage(replies=1, prompt_tokens=100_000),
        "roll": Usage(replies=1, prompt_tokens=200_000),
        "tell": Usage(replies=1, prompt_tokens=300_000),
    }
    priced = replace(facts("/models"), prices=(1.0, 1.0))
    orders = [dict(order) for order in permutations(used.items())]
    assert len({sum(one.cost(1.0, 1.0) for one in order.values()) for order in orders}) > 1
    assert len({priced.cost(order) for order in orders}) == 1
