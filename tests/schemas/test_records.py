"""Records: frozen, closed, named by their content, the same in JSON and back."""

from __future__ import annotations

import ast
import json
import math
import os
import pickle
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import schemas.base
import schemas.case
import schemas.sample
from schemas.base import Record, canonical_json, content_hash, content_id, unit_interval
from schemas.clip import Media, clip_id
from schemas.rejection import UNITS, Reason, Rejected, Rejection, Stage
from schemas.rollout import rollout_id
from schemas.source import Source, location
from schemas.task import Answer, AnswerBox, Origin, Task, TaskKind
from schemas.verdict import check, judge
from schemas.video import video_id

FOLDER = Path(schemas.base.__file__).parent
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)  # fmt: skip


def all_records() -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = []
    pending: list[type[BaseModel]] = [Record]
    while pending:
        several = pending.pop().__subclasses__()
        found += several
        pending += several
    return [one for one in found if one.__module__.startswith("schemas.")]


# What holds for all records


def test_every_record_is_frozen_and_closed_and_knows_no_nan() -> None:
    records = all_records()
    assert len(records) >= 25
    for record in records:
        assert record.model_config.get("frozen") is True, record
        assert record.model_config.get("extra") == "forbid", record
        assert record.model_config.get("allow_inf_nan") is False, record


def test_schemas_import_nothing_of_ours() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            ours = {"transforms", "pipelines", "runners", "proofreel"}
            assert not ours & {name.split(".")[0] for name in names}, path.name


def answer(**fields: object) -> Answer:
    return Answer.model_validate({"kind": "mcq", "text": "B", "options": ("a", "b")} | fields)


def test_what_a_record_does_not_know_is_refused() -> None:
    with pytest.raises(ValidationError):
        answer(colour="red")
    with pytest.raises(ValidationError):
        Answer.from_json('{"kind": "mcq", "text": "B", "hint": ""}')
    with pytest.raises(ValidationError):
        answer().text = "A"  # type: ignore[misc]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_nan_or_infinite(value: float) -> None:
    with pytest.raises(ValidationError):
        answer(tolerance=value)
    with pytest.raises(ValidationError):
        answer(intervals_s=((0.0, value),))
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [value]})


FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANSWERS = st.builds(
    Answer,
    kind=st.sampled_from(TaskKind),
    text=st.text(),
    options=st.lists(st.text()).map(tuple),
    option_index=st.integers(-1, 9),
    intervals_s=st.lists(st.tuples(FINITE, FINITE)).map(tuple),
    boxes=st.lists(
        st.builds(AnswerBox, t_s=FINITE, xyxy_norm=st.tuples(*[FINITE] * 4)), max_size=2
    ).map(tuple),
    tolerance=FINITE,
)


@settings(max_examples=60, deadline=None)
@given(ANSWERS)
def test_json_and_back_is_the_same(one: Answer) -> None:
    text = one.to_json()
    assert Answer.from_json(text) == one
    assert Answer.from_json(text.encode()).to_json() == text


# Content names things


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_change_a_hash(value: dict[str, object], rng: object) -> None:
    items = list(value.items())
    rng.shuffle(items)  # type: ignore[attr-defined]
    assert canonical_json(dict(items)) == canonical_json(value)
    assert content_hash(dict(items)) == content_hash(value)
    assert json.loads(canonical_json(value)) == value


def test_hashes_are_those_of_yesterday() -> None:
    """A change here gives every id and every stored result another name."""
    assert canonical_json({"b": 1.0, "a": ["ü", None]}) == '{"a":["ü",null],"b":1.0}'
    assert content_hash("a", 1).startswith("135f17a475a61afd")
    assert content_id("v", "x") == "v" + content_hash("x")[:20]
    assert len(content_id("v", "x")) == 21


def test_parts_of_a_hash_do_not_run_together() -> None:
    several = [("ab", "c"), ("a", "bc"), ("abc",), (["ab", "c"],), ("ab", "c", "")]
    kinds = [("1",), (1,), (1.0,), (True,), (None,)]
    assert len({content_hash(*parts) for parts in [*several, *kinds]}) == 10


def test_drawing_by_content_is_even_and_never_one() -> None:
    drawn = [unit_interval("seed", number) for number in range(2_000)]
    assert all(0.0 <= value < 1.0 for value in drawn)
    tenths = [sum(value // 0.1 == tenth for value in drawn) for tenth in range(10)]
    chi_square = sum((count - 200) ** 2 / 200 for count in tenths)
    # The 0.999 quantile of chi-square with 9 degrees of freedom; the seed is fixed.
    assert chi_square < 27.9


def test_a_task_is_named_by_what_is_asked_not_by_its_answer() -> None:
    task = Task(clip_id="c", kind=TaskKind.MCQ, question="What?", options=("a", "b"),
                origin=Origin.GIVEN)  # fmt: skip
    same = task.model_copy(
        update={"gold": answer(), "evidence_s": ((0.0, 1.0),), "origin": Origin.PROPOSED}
    )
    assert same.id == task.id
    others = [
        task.model_copy(update=change)
        for change in (
            {"clip_id": "d"}, {"kind": TaskKind.ORDERING}, {"question": "Who?"},
            {"options": ("b", "a")}, {"options": ("a",)}, {"options": ("ab",)},
        )
    ]  # fmt: skip
    assert len({task.id, *(one.id for one in others)}) == 7


def test_a_copy_with_other_values_forgets_what_followed_from_the_old_ones() -> None:
    class Named(Record):
        text: str

        @cached_property
        def id(self) -> str:
            return content_id("n", self.text)

    one = Named(text="one")
    named = one.id
    other = one.model_copy(update={"text": "two"})
    assert other.id == Named(text="two").id != named == one.id
    assert one.to_json() == '{"text":"one"}'


def test_ids_of_different_kinds_never_meet() -> None:
    ids = [video_id("x"), clip_id("x", 0, 1), rollout_id("x", 0, 0), content_id("t", "x")]
    assert [one[0] for one in ids] == ["v", "c", "r", "t"]
    assert len({rollout_id("t", number // 5, number % 5) for number in range(25)}) == 25


def test_a_clip_is_named_by_its_span_to_the_microsecond() -> None:
    assert clip_id("v", 0.1 + 0.2, 1.0) == clip_id("v", 0.3, 1.0)
    assert clip_id("v", 0.300001, 1.0) != clip_id("v", 0.3, 1.0)
    assert clip_id("v", 0.0, 1.0) != clip_id("w", 0.0, 1.0)


def test_half_a_frame() -> None:
    media = Media(
        clip_id="c", ref="", sha256="", size_bytes=1, width_px=2, height_px=2, num_frames=1,
        fps_num=30_000, fps_den=1_001, duration_s=1.0, has_audio=False,
    )  # fmt: skip
    assert media.half_frame_s == pytest.approx(1_001 / 60_000)


# Sources, rejections, verdicts


@settings(max_examples=80, deadline=None)
@given(
    st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name and b"/" not in name)
)
def test_any_file_name_survives(name: bytes) -> None:
    path = b"/films/" + name
    source = Source(uri="x", location=location(os.fsdecode(path)))
    assert source.location.isascii()
    read = Source.from_json(source.to_json())
    assert os.fsencode(read.path) == os.fsencode(Path(os.fsdecode(path)).absolute())


def test_every_stage_has_a_unit_and_reasons_are_words() -> None:
    assert list(UNITS) == list(Stage)
    for one in [*Stage, *Reason]:
        assert one.value.replace("_", "").isalpha()
        assert one.value == one.value.lower()


def test_a_subject_is_rejected_once_per_stage() -> None:
    first = Rejection(stage=Stage.CUT, reason=Reason.CUT_FAILED, subject="c1", detail="a")
    again = Rejection(stage=Stage.CUT, reason=Reason.INTERNAL_ERROR, subject="c1", detail="b")
    later = Rejection(stage=Stage.PROPOSE, reason=Reason.CUT_FAILED, subject="c1")
    assert first.id == again.id != later.id
    with pytest.raises(ValidationError):
        Rejection.model_validate({"stage": "cut", "reason": "bad_mood", "subject": "c1"})
    raised = Rejected(Reason.TOO_DARK, "0.01")
    assert (raised.lasting, str(raised)) == (True, "too_dark: 0.01")


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_check_passes_exactly_at_its_threshold(score: float, threshold: float) -> None:
    assert check("x", score, threshold).passed is (score >= threshold)


def test_a_verdict_accepts_what_passed_everything() -> None:
    good, bad = check("a", 1.0, 1.0), check("b", 0.5, 0.7, "why")
    assert judge("r", (good, good)).accepted
    assert not judge("r", (good, bad)).accepted
    assert judge("r", (good, bad)).id == "r"


def test_pickled_records_come_back_whole_and_small() -> None:
    """As they wait between the steps of a pipeline."""
    source = Source(uri="a.mp4", location="a.mp4", questions=({"question": "What? " * 200},))
    packed = pickle.dumps(source)
    assert pickle.loads(packed) == source
    assert len(packed) < len(source.to_json()) / 2
