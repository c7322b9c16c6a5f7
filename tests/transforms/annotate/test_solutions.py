"""Whatever its form, a reply is read strictly; a closer look stays inside the clip."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clip import Media
from schemas.rejection import Reason, Rejected
from transforms.annotate.solutions import read_solution, read_tool_call
from transforms.annotate.teacher import ReplyForm, TeacherSettings

BOX = {"label": "cup", "t_s": 1.5, "xyxy_norm": [0.1, 0.2, 0.3, 0.4]}
TEXT = {
    "reasoning": " A cup falls at 1.50 s. So the answer is B. ",
    "answer": " B ",
    "segments": [{"label": "it falls", "start_s": 1.0, "end_s": 2.0}],
    "boxes": [BOX],
}
STEPS = {
    "steps": [
        {"text": "A cup falls.", "start_s": 1.0, "end_s": 2.0},
        {"text": "So the answer is B.", "start_s": -1, "end_s": -1},
    ],
    "answer": "B",
    "boxes": [BOX],
}
THINK = (
    "<think>From 1.00 s to 2.00 s a <obj>cup</obj><box>[0.1, 0.2, 0.3, 0.4]</box>at<t>1.5</t>s "
    "falls.\nSo the answer is B.</think>\n<answer>B</answer>"
)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (ReplyForm.TEXT, json.dumps(TEXT)),
        (ReplyForm.STEPS, json.dumps(STEPS)),
        (ReplyForm.THINK, THINK),
    ],
)
def test_every_form_says_the_same(form: ReplyForm, text: str) -> None:
    solved = read_solution(text, form)
    assert solved.answer == "B"
    assert solved.reasoning.endswith("So the answer is B.")
    assert [(one.start_s, one.end_s) for one in solved.segments] == [(1.0, 2.0)]
    [box] = solved.boxes
    assert (box.t_s, box.xyxy_norm) == (1.5, (0.1, 0.2, 0.3, 0.4))
    steps = ["A cup falls.", "So the answer is B."] if form is ReplyForm.STEPS else []
    assert [step.text for step in solved.steps] == steps
    if steps:
        assert solved.reasoning == "\n".join(steps)


@pytest.mark.parametrize("other", list(ReplyForm))
@pytest.mark.parametrize("form", list(ReplyForm))
def test_another_form_is_no_reply(form: ReplyForm, other: ReplyForm) -> None:
    texts = {ReplyForm.TEXT: json.dumps(TEXT), ReplyForm.STEPS: json.dumps(STEPS)}
    if form is not other:
        with pytest.raises(Rejected) as caught:
            read_solution(texts.get(other, THINK), form)
        assert caught.value.reason is Reason.BAD_REPLY


@pytest.mark.parametrize(
    ("form", "text", "complaint"),
    [
        (ReplyForm.THINK, "<think></think><answer>B</answer>", "nothing stands between <think>"),
        (ReplyForm.THINK, "<think>So B.</think>", "nothing stands between <answer>"),
        (ReplyForm.STEPS, json.dumps(STEPS | {"steps": []}), "steps: "),
        (
            ReplyForm.STEPS,
            json.dumps(STEPS | {"steps": [{"text": "x", "start_s": 1.0, "end_s": -1}]}),
            "steps.0: 1 to -1 s is no span",
        ),
        (
            ReplyForm.STEPS,
            json.dumps(STEPS | {"steps": [{"text": "x", "start_s": -0.5, "end_s": -0.5}]}),
            "steps.0: -0.5 to -0.5 s is no span",
        ),
        (ReplyForm.TEXT, json.dumps(TEXT | {"thoughts": "?"}), "thoughts: "),
    ],
)
def test_what_is_wrong_is_said(form: ReplyForm, text: str, complaint: str) -> None:
    with pytest.raises(Rejected, match="bad_reply") as caught:
        read_solution(text, form)
    assert complaint in caught.value.detail


@given(st.text(max_size=300), st.sampled_from(list(ReplyForm)))
def test_no_text_breaks_the_reading(text: str, form: ReplyForm) -> None:
    settings = TeacherSettings(reply_form=form, tool_calls=1)
    for read in (
        lambda: read_solution(text, form),
        lambda: read_tool_call(text, settings, media(Fraction(25), 100)),
    ):
        try:
            read()
        except Rejected as rejected:
            assert rejected.reason is Reason.BAD_REPLY


# A closer look


def media(fps: Fraction, num_frames: int) -> Media:
    return Media(
        clip_id="c", ref="r", sha256="0" * 64, size_bytes=1, width_px=64, height_px=48,
        num_frames=num_frames, fps_num=fps.numerator, fps_den=fps.denominator,
        duration_s=float(num_frames / fps), has_audio=False,
    )  # fmt: skip


def call(start_s: Any, end_s: Any, form: ReplyForm = ReplyForm.TEXT) -> str:
    wish = {"name": "crop_video", "start_s": start_s, "end_s": end_s}
    if form is ReplyForm.THINK:
        return f"Let me look. <tool_call>{json.dumps(wish)}</tool_call>"
    return json.dumps({"tool_call": wish})


@pytest.mark.parametrize("form", list(ReplyForm))
def test_a_call_shows_denser_frames_of_the_span(form: ReplyForm) -> None:
    settings = TeacherSettings(reply_form=form, tool_fps=4.0, tool_max_frames=16)
    found = read_tool_call(call(2, 3.5, form), settings, media(Fraction(25), 250))
    assert found is not None
    assert (found.start_s, found.end_s) == (2.0, 3.5)
    assert found.frame_times_s == (2.0, 2.24, 2.48, 2.72, 3.0, 3.24)
    assert found.text == call(2, 3.5, form)


def test_an_answer_is_no_call() -> None:
    clip = media(Fraction(25), 250)
    for form, text in (
        (ReplyForm.TEXT, json.dumps(TEXT)), (ReplyForm.STEPS, json.dumps(STEPS)),
        (ReplyForm.THINK, THINK), (ReplyForm.TEXT, "no JSON"), (ReplyForm.TEXT, "[]"),
        (ReplyForm.THINK, call(1, 2, ReplyForm.THINK) + "<answer>B</answer>"),
    ):  # fmt: skip
        assert read_tool_call(text, TeacherSettings(reply_form=form), clip) is None


@pytest.mark.parametrize(
    "wish",
    [call(3, 2), call(2, 2), call(11, 12), call(9.99, 9.999), call(-1, 2), call("1", 2),
     call(float("nan"), 2), '{"tool_call": {"name": "rm", "start_s": 0, "end_s": 1}}',
     '{"tool_call": []}', '{"tool_call": null, "answer": "B"}'],
)  # fmt: skip
def test_a_call_that_can_not_be_granted_is_turned_down(wish: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_tool_call(wish, TeacherSettings(), media(Fraction(25), 250))
    assert caught.value.reason is Reason.BAD_REPLY


@given(
    st.floats(0, 50), st.floats(0, 50), st.integers(1, 400),
    st.sampled_from([Fraction(1), Fraction(25), Fraction(30000, 1001), Fraction(60)]),
    st.floats(0.1, 100), st.integers(2, 64),
)  # fmt: skip
def test_what_is_shown_are_frames_of_the_clip(
    start_s: float, end_s: float, num_frames: int, fps: Fraction, tool_fps: float, most: int
) -> None:
    settings = TeacherSettings(tool_fps=tool_fps, tool_max_frames=most)
    clip = media(fps, num_frames)
    try:
        found = read_tool_call(call(start_s, end_s), settings, clip)
    except Rejected:
        return
    assert found is not None and 1 <= len(found.frame_times_s) <= most
    assert 0.0 <= found.start_s < found.end_s <= clip.duration_s
    ticks = [round(time_s * fps) for time_s in found.frame_times_s]
    assert ticks == sorted(set(ticks)) and ticks[-1] < num_frames
    for tick, time_s in zip(ticks, found.frame_times_s, strict=True):
        assert time_s == pytest.approx(float(tick / fps), abs=1e-6)
        assert found.start_s - 1 / fps - 1e-6 <= time_s < found.end_s
