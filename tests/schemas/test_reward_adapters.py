"""The trainers' hooks: each row is graded by its own label, just as `grade` does it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_helpers import NASTY, ROWS, label_of, response, sample_of

import proofreel
from schemas import rewards
from schemas.rewards import (
    SwiftReward,
    compute_score,
    easyr1_score,
    grade,
    parse_response,
    reward_func,
    score_response,
    trl_reward,
)

ANSWERS = [gold for _, gold, _ in ROWS] + ["A", "C", "12.1", "4 to 7", "a cat"]
ROW = st.sampled_from(ROWS)
REPLY = st.one_of(
    NASTY,
    st.sampled_from(ANSWERS),
    st.sampled_from(ANSWERS).map(lambda answer: response("so it is", answer)),
    st.sampled_from(ANSWERS).map(lambda answer: f"<answer>{answer}</answer>"),
    NASTY.map(lambda answer: response("so it is", answer)),
)
BATCH = st.lists(st.tuples(REPLY, ROW), min_size=1, max_size=8)
ASKED = "Write <think>..</think><answer>..</answer>."
PROMPT = f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n"


def through_trl(replies, labels):
    return trl_reward(["?"] * len(replies), replies, [[0]] * len(replies), solution=labels)


def through_trl_chats(replies, labels):
    chats = [[{"role": "assistant", "content": reply}] for reply in replies]
    return trl_reward(prompts=replies, completions=chats, completion_ids=replies, solution=labels)


def through_verl(replies, labels):
    rows = zip(replies, labels, strict=True)
    return [
        compute_score("proofreel", reply, label, {"index": 1})["score"] for reply, label in rows
    ]


def through_easyr1(replies, labels):
    rows = [
        {"response": reply, "response_length": 7, "ground_truth": label}
        for reply, label in zip(replies, labels, strict=True)
    ]
    scores = [score["overall"] for score in easyr1_score(rows)]
    assert scores == [easyr1_score(row)["overall"] for row in rows]
    return scores


def through_swift(replies, labels):
    return SwiftReward(args=None)(replies, solution=labels, messages=replies, trainer_state=None)


def through_openrlhf(replies, labels):
    queries = [PROMPT + reply + "<|im_end|>\n" for reply in replies]
    return reward_func(queries, [PROMPT] * len(queries), labels)["rewards"].tolist()


ROWWISE = [through_verl, through_easyr1]
BATCHWISE = [through_trl, through_trl_chats, through_swift, through_openrlhf]
HOOKS = ROWWISE + BATCHWISE


# What every hook promises.


@pytest.mark.parametrize("hook", HOOKS)
@settings(deadline=None, max_examples=60)
@given(batch=BATCH)
def test_every_row_earns_what_grade_gives_it(hook, batch):
    """Total = 0.9 * answer reward + 0.1 * format reward, in a batch of mixed kinds of task."""
    expected = []
    for reply, (fn, gold, spec) in batch:
        answer = grade(fn, parse_response(reply).answer, gold, **spec)
        expected.append(0.9 * answer + 0.1 * grade("format", reply, ""))
    replies, labels = [reply for reply, _ in batch], [label_of(*row) for _, row in batch]
    assert hook(replies, labels) == pytest.approx(expected)


@pytest.mark.parametrize("hook", HOOKS)
@settings(deadline=None, max_examples=30)
@given(batch=BATCH, data=st.data())
def test_the_order_of_rows_does_not_matter(hook, batch, data):
    order = data.draw(st.permutations(range(len(batch))))
    replies, labels = [reply for reply, _ in batch], [label_of(*row) for _, row in batch]
    scores = hook(replies, labels)
    turned = hook([replies[i] for i in order], [labels[i] for i in order])
    assert turned == [scores[i] for i in order]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_batch_of_all_kinds_is_graded_row_by_row(hook):
    replies = [response("so", gold) for _, gold, _ in ROWS]
    labels = [label_of(*row) for row in ROWS]
    for turn in range(len(ROWS)):
        turned = [part[turn:] + part[:turn] for part in (replies, labels)]
        assert hook(*turned) == pytest.approx([1.0] * len(ROWS))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_never_raises_on_a_reply_and_always_on_a_bad_label(hook):
    for reply in ("", "\ud800", "<answer>", "x" * 300_000, "</answer>" * 9_000, "\x00 ﬀ ٣"):
        assert hook([reply], [label_of("mcq", "B")]) == [0.0]
    good = [response("so", "B"), label_of("mcq", "B")]
    for bad in ("B", "", None, label_of("mcqq", "B")):
        with pytest.raises(ValueError, match="bad label"):
            hook([good[0]] * 3, [good[1], bad, good[1]])


@pytest.mark.parametrize("hook", BATCHWISE)
def test_a_batch_with_a_label_too_few_is_refused(hook):
    with pytest.raises(ValueError, match="zip"):
        hook([response("so", "B")] * 2, [label_of("mcq", "B")])


# The trainers, each as it calls.


def test_trl_gets_a_list_and_its_metrics():
    metrics = []
    labels = [label_of("mcq", "B")] * 2
    scores = trl_reward(
        prompts=[[{"role": "user", "content": "?"}]] * 2,
        completions=[[{"role": "assistant", "content": response("so", "B")}], []],
        completion_ids=[[1, 2], [3]],
        solution=labels,
        trainer_state=None,
        log_extra=None,
        log_metric=lambda name, value: metrics.append((name, value)),
    )
    assert scores == [1.0, 0.0]
    assert metrics == [("proofreel/answer", 0.5), ("proofreel/format", 0.5)]
    with pytest.raises(TypeError, match="solution"):
        trl_reward(["?"], ["B"], [[1]], answer=labels[:1])


@pytest.mark.parametrize(
    "chat",
    [
        [{"role": "assistant", "content": response("so", "B")}],
        ({"role": "assistant", "content": [{"type": "text", "text": response("so", "B")}]},),
        [{"role": "assistant", "content": "<answer>B</answer>", "reasoning_content": "so"}],
        [
            {
                "role": "assistant",
                "content": "<tool_call>{}</tool_call>",
                "reasoning_content": "look closer",
            },
            {"role": "tool", "content": response("so", "A")},
            {"role": "assistant", "content": response("so", "B")},
        ],
    ],
)
def test_chats_are_graded_by_the_last_word_of_the_assistant(chat):
    assert score_response(chat, label_of("mcq", "B")) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "chat",
    [[], [{}], [None], None, 3, {}, [{"role": "assistant"}], [{"role": "tool", "content": "B"}]]
    + [[{"role": "assistant", "content": content}] for content in (None, 3, [None], [{"text": 3}])],
)
def test_chats_without_words_earn_nothing(chat):
    assert score_response(chat, label_of("mcq", "B")) == (0.0, 0.0, 0.0)


def test_verl_gets_numbers_under_the_same_keys_for_every_row():
    call = {"data_source": "proofreel", "extra_info": {}, "reward_router_address": "x"}
    right = compute_score(
        **call, solution_str=response("so", "B"), ground_truth=label_of("mcq", "B")
    )
    wrong = compute_score("proofreel", "B", label_of("mcq", "B"))
    assert right == {"score": 1.0, "acc": 1.0, "format": 1.0}
    assert wrong == {"score": 0.0, "acc": 0.0, "format": 0.0}
    assert compute_score("", "<answer>B</answer>", label_of("mcq", "B"), format_weight=0.5) == {
        "score": 0.5,
        "acc": 1.0,
        "format": 0.0,
    }


def test_easyr1_gets_a_dict_for_a_dict_and_a_list_for_a_list():
    row = {
        "response": "<answer>B</answer>",
        "response_length": 3,
        "ground_truth": label_of("mcq", "B"),
    }
    assert easyr1_score(row) == {"overall": 0.9, "accuracy": 1.0, "format": 0.0}
    assert (
        easyr1_score([row, row], format_weight=0.5)
        == [{"overall": 0.5, "accuracy": 1.0, "format": 0.0}] * 2
    )
    assert (rewards.REWARD_NAME, rewards.REWARD_TYPE) == ("proofreel", "batch")


def test_swift_makes_its_reward_with_arguments_or_without():
    class Strict(SwiftReward):
        format_weight = 0.5

    labels = [label_of("mcq", "B")]
    for orm in (SwiftReward(), SwiftReward(args=object()), SwiftReward(None, tokenizer=None)):
        assert orm(["<answer>B</answer>"], solution=labels) == [0.9]
    assert Strict()(["<answer>B</answer>"], solution=labels) == [0.5]


def test_openrlhf_gets_tensors_and_filters_by_the_answer_reward():
    queries = [PROMPT + response("so", "B") + "<|im_end|>", PROMPT + response("so", "C")]
    done = reward_func(queries, [PROMPT] * 2, [label_of("mcq", "B")] * 2, unknown=1)
    assert done.keys() == {"rewards", "scores", "extra_logs"}
    assert torch.equal(done["rewards"], torch.tensor([1.0, 0.1]))
    assert torch.equal(done["scores"], torch.tensor([1.0, 0.0]))
    assert torch.equal(done["extra_logs"]["answer"], done["scores"])
    assert torch.equal(done["extra_logs"]["format"], torch.tensor([1.0, 1.0]))


def openrlhf_format(query, prompt):
    done = reward_func([query], [prompt], [label_of("mcq", "B")])
    return done["extra_logs"]["format"].item()


@pytest.mark.parametrize(
    "end",
    ["", "\n", "<|im_end|>", "<|im_end|>\n<|endoftext|>", "</s>", " <eos>", "<｜end▁of▁text｜>"],
)
def test_marks_at_the_end_of_a_query_cost_no_format(end):
    query = PROMPT + response("so", "B") + end
    assert openrlhf_format(query, PROMPT) == 1.0


@pytest.mark.parametrize("end", ["and more", "<answer>C</answer>", "<|im_end|>B", "<|im_end|"])
def test_words_at_the_end_of_a_query_do(end):
    query = PROMPT + response("so", "B") + end
    assert openrlhf_format(query, PROMPT) == 0.0


def test_a_prompt_that_was_changed_on_the_way_is_not_graded():
    """Media are expanded into many marks, and a long prompt loses its start."""
    prompt = PROMPT.replace("user\n", "user\n<image>")
    expanded = PROMPT.replace("user\n", "user\n" + "<|image_pad|>" * 50)
    for query in (expanded, prompt[9:]):
        assert openrlhf_format(query + response("so", "B"), prompt) == 1.0


def test_a_reply_that_says_the_end_of_the_prompt_again_is_graded_whole():
    prompt = PROMPT.replace("user\n", "user\n<image>")
    reply = "junk" + PROMPT[-16:] + response("so", "B")
    for asked, query in ((PROMPT, PROMPT), (prompt, PROMPT)):
        assert openrlhf_format(query + reply, asked) == 0.0


# The file alone.

ALONE = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("custom_reward_fn", "rewards.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
label = module.make_label(json.load(open("sample.json")))
reply = "<think>so</think><answer>(B)</answer>"
row = {"response": reply, "response_length": 3, "ground_truth": label}
print(json.dumps([
    module.trl_reward(["?"], [reply], [[1]], solution=[label]),
    module.compute_score("proofreel", reply, label, None)["score"],
    module.easyr1_score([row])[0]["overall"],
    module.SwiftReward()([reply], solution=[label]),
    module.REWARD_TYPE,
    [name for name in ("schemas", "proofreel", "torch", "swift", "trl") if name in sys.modules],
    [name for name in ("schemas", "proofreel") if importlib.util.find_spec(name)],
]))
"""


def test_the_file_alone_loads_by_path_as_trainers_load_it(tmp_path: Path):
    """In an empty folder, by an interpreter that can import nothing but the standard library."""
    source = Path(rewards.__file__).read_bytes()
    (tmp_path / "rewards.py").write_bytes(source)
    (tmp_path / "sample.json").write_text(json.dumps(sample_of("mcq", "B")), encoding="utf-8")
    command = [sys.executable, "-I", "-S", "-c", ALONE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[1.0], 1.0, 1.0, [1.0], "batch", [], []]


def test_the_hooks_have_the_names_that_trainers_look_for(tmp_path: Path):
    """verl takes `compute_score` and OpenRLHF `reward_func` unless told otherwise."""
    (tmp_path / "rewards.py").write_bytes(Path(rewards.__file__).read_bytes())
    spec = importlib.util.spec_from_file_location("reward_func", tmp_path / "rewards.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hooks = {name for name in proofreel.__all__ if hasattr(rewards, name)}
    assert {"compute_score", "reward_func", "trl_reward", "easyr1_score", "SwiftReward"} <= hooks
    for name in hooks:
        assert callable(getattr(module, name))
        assert getattr(proofreel, name) is getattr(rewards, name)
        assert getattr(proofreel, name).__doc__
