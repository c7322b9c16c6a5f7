"""Dialects give back what they were given, within the digits that they keep, and the graders read
them; the sizes that pixel boxes count in are those of the model's own processor."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rewards import format_response, grade, parse_response, score_response
from transforms.publish.exports.dialects import (
    CANONICAL,
    CLOCK,
    NORM1,
    QWEN3,
    SECONDS,
    TAGGED,
    THOUSAND,
    TIME_DIALECTS,
    TIME_JSON,
    BoxScale,
    TimeDialect,
    join_thinking,
    pixel_scale,
    read_boxes,
    read_spans,
    read_times,
    resized,
    split_thinking,
    write_boxes,
)

SHARES = st.floats(0, 1)
BOXES = st.tuples(SHARES, SHARES, SHARES, SHARES).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)
TIMES = st.floats(0, 90_000)
SPANS = st.lists(st.tuples(TIMES, TIMES).map(lambda v: (min(v), max(v))), min_size=1, max_size=4)
SIDES = st.integers(16, 4_000)
SCALES = st.one_of(
    st.just(THOUSAND),
    st.just(NORM1),
    st.tuples(SIDES, SIDES)
    .filter(lambda size: max(size) <= 200 * min(size))
    .map(lambda size: pixel_scale(resized(size))),
)
EPSILON = 1e-9


@given(boxes=st.lists(st.tuples(st.text(max_size=8), BOXES), max_size=4), scale=SCALES)
def test_boxes_come_back(boxes: list, scale: BoxScale) -> None:
    back = read_boxes(write_boxes(boxes, scale), scale)
    assert [label for label, _ in back] == [label for label, _ in boxes]
    for (_, box), (_, other) in zip(boxes, back, strict=True):
        off = max(abs(a - b) for a, b in zip(box, other, strict=True))
        assert off <= scale.resolution + EPSILON
        assert other[0] <= other[2] and other[1] <= other[3]


@given(boxes=st.lists(st.tuples(st.just("x"), BOXES), max_size=3), scale=SCALES)
def test_what_was_read_is_written_as_it_was(boxes: list, scale: BoxScale) -> None:
    text = write_boxes(boxes, scale)
    assert write_boxes(read_boxes(text, scale), scale) == text


def test_boxes_as_the_models_write_them() -> None:
    box = (0.1, 0.2, 0.5, 1.0)
    assert THOUSAND.write(box) == [100, 200, 500, 1000]
    assert NORM1.write(box) == [0.1, 0.2, 0.5, 1.0]
    assert pixel_scale((644, 392)).write(box) == [64, 78, 322, 392]
    fenced = '```json\n[{"bbox_2d": [100, 200, 500, 1200], "label": "cup"}]\n```'
    assert read_boxes(fenced, THOUSAND) == [("cup", box)]
    for bad in ("", "none", '[{"label": "cup"}]', '[{"bbox_2d": [1, 2]}]', "[1, 2, 3, 4]"):
        with pytest.raises(ValueError, match="no list of bbox_2d"):
            read_boxes(bad, THOUSAND)


@settings(max_examples=200, deadline=None)
@given(width=SIDES, height=SIDES, cell_px=st.sampled_from([28, 32]))
def test_sizes_are_those_of_the_processor(width: int, height: int, cell_px: int) -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    if max(width, height) > 200 * min(width, height):
        with pytest.raises(ValueError, match="200 times"):
            resized((width, height), cell_px)
        return
    assert resized((width, height), cell_px) == smart_resize(height, width, cell_px)[::-1]


@pytest.mark.parametrize("dialect", TIME_DIALECTS, ids=lambda one: one.name)
@given(spans=SPANS)
def test_spans_come_back(dialect: TimeDialect, spans: list) -> None:
    back = read_spans(dialect.write_spans(spans))
    assert len(back) == len(spans)
    for span, other in zip(spans, back, strict=True):
        off = max(abs(a - b) for a, b in zip(span, other, strict=True))
        assert off <= dialect.resolution_s + EPSILON


@pytest.mark.parametrize("dialect", [SECONDS, CLOCK, TAGGED, QWEN3], ids=lambda one: one.name)
@given(time_s=TIMES)
def test_moments_come_back_from_a_sentence(dialect: TimeDialect, time_s: float) -> None:
    (back,) = read_times(f"The door opens at {dialect.write_time(time_s)}, slowly.")
    assert abs(back - time_s) <= dialect.resolution_s + EPSILON


def test_times_as_the_models_write_them() -> None:
    spans = [(12.54, 17.83)]
    assert CANONICAL.write_spans(spans) == "12.54 to 17.83"
    assert SECONDS.write_spans(spans) == "12.54 s to 17.83 s"
    assert CLOCK.write_spans(spans) == "00:12.54 to 00:17.83"
    assert TAGGED.write_spans(spans) == "From <t>12.54</t>s to <t>17.83</t>s"
    assert TIME_JSON.write_spans(spans) == '{"time": [12.54, 17.83]}'
    assert QWEN3.write_spans(spans) == "<12.5 seconds> to <17.8 seconds>"
    two = TIME_JSON.write_spans([(0.5, 1), (61.25, 62)])
    assert json.loads(two) == {"time": [[0.5, 1.0], [61.25, 62.0]]}
    assert json.loads(TIME_JSON.write_spans([])) == {"time": []}


def test_a_time_just_under_a_minute_is_no_sixtieth_second() -> None:
    assert CLOCK.write_time(59.999) == "01:00.00"
    assert CLOCK.write_time(3_599.996) == "60:00.00"
    assert CANONICAL.write_time(0.996) == "1.00"


@pytest.mark.parametrize(
    "dialect", [one for one in TIME_DIALECTS if one is not QWEN3], ids=lambda one: one.name
)
def test_the_graders_read_every_dialect_of_two_digits(dialect: TimeDialect) -> None:
    gold = "12.54 to 17.83; 20.00 to 21.50"
    answer = dialect.write_spans(read_spans(gold))
    assert grade("segments_iou", answer, gold) == 1.0


CLEAN = st.text(max_size=40).filter(lambda text: "think>" not in text and "answer>" not in text)


@given(reasoning=CLEAN.filter(lambda text: text.strip()), answer=CLEAN)
def test_thinking_comes_back_and_is_graded_the_same(reasoning: str, answer: str) -> None:
    reply = format_response(reasoning, answer)
    thought, rest = split_thinking(reply)
    assert (thought, join_thinking(thought, rest)) == (reasoning, reply)
    assert "think>" not in rest and parse_response(rest).answer == answer.strip()
    apart = [{"role": "assistant", "reasoning_content": thought, "content": rest}]
    label = '{"fn":"mcq","gold":"B","spec":{}}'
    assert score_response(apart, label) == score_response(reply, label)


def test_a_reply_without_thinking_stays() -> None:
    assert split_thinking("B") == ("", "B") and join_thinking("", "B") == "B"
