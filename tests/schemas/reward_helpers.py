"""What the tests of the rewards share: texts, strategies, and one call for all rewards."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from schemas.rewards import REWARD_FOR_KIND, REWARDS

REQUIRED = {"temporal_iou_edges": {"duration_s": 20.0}}
ALL = sorted(REWARDS)

MARKS = ["<think>", "</think>", "<answer>", "</answer>", "<t>", "</t>", "<box>", "</box>", "<obj>"]
SIGNS = [*"[](){},;:.-'/ \n\x00", "\\", "\\frac{", "\\boxed{", "½", "٣", "３", "\ud800", "İ", "ﬀ"]
TERMS = ["to", "and", "between", "s", "seconds", "A", "B", "(B)", "C.", "nan", "inf", "-inf", "1/0"]
DIGITS = ["3", "3.2", "7.75", "01:02.5", "-1", "9" * 20, "1e999", '"time"', '"boxes"', "null"]
JSONS = ['{"time": [3, NaN]}', '{"boxes": {"9": [1, 2, 3, 4]}}', "[[7, 3]]", "[1e400, 2]"]
FRAGMENTS = st.sampled_from(MARKS + SIGNS + TERMS + DIGITS + JSONS)
NASTY = st.one_of(st.text(max_size=40), st.lists(FRAGMENTS, max_size=14).map("".join))

TIMES = st.integers(0, 2000).map(lambda i: i / 100)
SPAN = st.tuples(TIMES, TIMES).filter(lambda s: s[0] < s[1])
SPANS = st.lists(SPAN, min_size=1, max_size=5)
NUMBERS = st.floats(-1e9, 1e9).map(lambda x: round(x, 3))
WORDS = st.lists(st.sampled_from(["a", "dog", "cat", "runs", "over", "the", "mat"]), min_size=1)
BOX = st.tuples(*[st.integers(0, 100)] * 4).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1]
)
TRACK = st.dictionaries(st.integers(0, 20).map(str), BOX, min_size=1, max_size=5)
LETTERS = st.lists(st.sampled_from("ABCDEFGHIJ"), min_size=1, unique=True)


def text_of(spans):
    return "; ".join(f"{start} to {end}" for start, end in spans)


def response(think, answer="B"):
    return f"<think>{think}</think><answer>{answer}</answer>"


def any_score(name, answer, gold):
    return REWARDS[name](answer, gold, **REQUIRED.get(name, {}))


# A gold and keywords for each kind of task.

GOLD_BOX = "[0.1, 0.2, 0.3, 0.4]"
GOLD_TRACK = '{"time": [3, 5], "boxes": {"4": [0.1, 0.2, 0.3, 0.4]}}'
GOLDS = {
    "mcq": ("B", {}),
    "multi_choice": ("A,C", {}),
    "count": ("3", {}),
    "number": ("12.5", {"tolerance": 0.5}),
    "ordering": ("B,A,C", {}),
    "temporal_grounding": ("3.20 to 7.75", {}),
    "spatial_grounding": (GOLD_BOX, {}),
    "spatio_temporal_grounding": (GOLD_TRACK, {}),
    "free_text": ("the cat sat", {}),
    "causal": ("A", {}),
    "next_event": ("D", {}),
}
ROWS = [(REWARD_FOR_KIND[kind], gold, spec) for kind, (gold, spec) in GOLDS.items()]


def label_of(fn, gold, spec=None):
    return json.dumps({"fn": fn, "gold": gold, "spec": spec or {}})


def sample_of(fn, gold, spec="{}", style="rule"):
    """What of a published sample is graded."""
    reward = {"style": style, "fn": fn, "spec_json": spec}
    return {"answer": {"kind": "mcq", "text": gold}, "reward": reward}
