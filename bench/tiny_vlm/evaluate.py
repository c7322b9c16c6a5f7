"""How good the tiny model is on held-out clips, straight through vLLM on a CPU, greedy.

Every question is asked four times: with the clip's frames, with these in another order, with black
frames, and with the frames of another clip. The last two show what chance gives.

Usage: python bench/tiny_vlm/evaluate.py [--clips N] [--model FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from clips import TIMES_S, Clip, Split, frames, make_clip, metadata
from numpy.typing import NDArray
from talk import (
    Question,
    describe_prompt,
    describe_reply,
    propose_prompt,
    questions,
    solve_prompt,
)

from schemas.rewards import box_iou, consistency, format_response, number, segments_iou
from transforms.annotate.vllm_engine import cpu_arguments

Pictures = NDArray[np.uint8]
KINDS = ("free_text", "count", "number", "temporal_grounding", "spatial_grounding", "mcq")


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties),
        "additionalProperties": False,
    }  # fmt: skip


def _list(items: dict[str, Any], *, exactly: int | None = None) -> dict[str, Any]:
    bounds = {} if exactly is None else {"minItems": exactly, "maxItems": exactly}
    return {"type": "array", "items": items, **bounds}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
SEGMENT = _object(label=TEXT, start_s=NUMBER, end_s=NUMBER)
BOX = _object(label=TEXT, t_s=NUMBER, xyxy_norm=_list(NUMBER, exactly=4))
SOLVE = _object(reasoning=TEXT, answer=TEXT, segments=_list(SEGMENT), boxes=_list(BOX))
CAPTION = _object(start_s=NUMBER, end_s=NUMBER, text=TEXT)
DESCRIBE = _object(captions=_list(CAPTION))
TASK = _object(
    kind={"type": "string", "enum": list(KINDS)}, question=TEXT, options=_list(TEXT), answer=TEXT,
    evidence=_list(_list(NUMBER, exactly=2)), tolerance=NUMBER,
)  # fmt: skip
PROPOSE = _object(tasks=_list(TASK, exactly=1))


class Engine:
    """vLLM with the checkpoint, as the product starts it."""

    def __init__(self, model: Path) -> None:
        os.environ.update(
            VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1",
            HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR",
        )  # fmt: skip
        import vllm
        from vllm.sampling_params import StructuredOutputsParams

        self.llm = vllm.LLM(
            model=str(model), max_model_len=1024, limit_mm_per_prompt={"video": 1, "image": 0},
            structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
            **cpu_arguments(),
        )  # fmt: skip
        self._params = lambda schema: vllm.SamplingParams(
            temperature=0.0, max_tokens=400, structured_outputs=StructuredOutputsParams(json=schema)
        )

    def ask(self, asked: Sequence[tuple[str, Pictures, dict[str, Any]]]) -> list[str]:
        """The replies to (prompt, frames, JSON schema)."""
        prompts = [
            {
                "prompt": "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>"
                f"{prompt}<|im_end|>\n<|im_start|>assistant\n",
                "multi_modal_data": {"video": [(pictures, metadata(TIMES_S))]},
            }
            for prompt, pictures, _ in asked
        ]
        params = [self._params(schema) for _, _, schema in asked]
        return [out.outputs[0].text for out in self.llm.generate(prompts, params, use_tqdm=False)]


def loaded(text: str) -> dict[str, Any]:
    """A reply as JSON; {} if it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def score(question: Question, answer: str) -> float:
    """1 for the right answer, 0 for another; IoU for spans and boxes."""
    if question.kind == "temporal_grounding":
        return segments_iou(answer, question.answer)
    if question.kind == "spatial_grounding":
        return box_iou(answer, question.answer)
    if question.kind == "number":
        return number(answer, question.answer, tolerance=0.25)
    return float(answer == question.answer)


def is_true(clip: Clip, task: dict[str, Any]) -> bool:
    """Whether a proposed question can be asked of the clip and has the proposed answer."""
    for draw in range(60):
        for question in questions(clip, np.random.default_rng(draw)):
            if (question.kind, question.text) != (task["kind"], task["question"]):
                continue
            answer = task["answer"]
            if question.kind != "mcq":
                return score(question, answer) == 1.0
            right = question.options["ABCD".index(question.answer)]
            options = dict(zip("ABCD", task["options"], strict=False))
            return len(set(options.values())) == 4 and options.get(answer) == right
    return False


def measure(engine: Engine, clips: Sequence[Clip], shown: Sequence[Pictures]) -> dict[str, float]:
    """Mean score by topic, of the clips when these frames are shown, and how many replies per s."""
    asked: list[tuple[str, Pictures, dict[str, Any]]] = []
    marks: list[Callable[[dict[str, Any]], tuple[str, float]]] = []
    found: dict[str, list[float]] = defaultdict(list)

    def described(clip: Clip, reply: dict[str, Any]) -> tuple[str, float]:
        return "describe", float(reply == json.loads(describe_reply(clip)))

    def proposed(clip: Clip, reply: dict[str, Any]) -> tuple[str, float]:
        return "propose", float(is_true(clip, reply["tasks"][0]))

    def answered(clip: Clip, question: Question, reply: dict[str, Any]) -> tuple[str, float]:
        answer = reply.get("answer", "")
        response = format_response(reply.get("reasoning", ""), answer)
        found["ends in the answer"].append(consistency(response, ""))
        value = score(question, answer)
        number_of = len(clip.shapes)
        if clip.shapes:
            found[f"all of {number_of} shape{'s' * (number_of > 1)}"].append(value)
            spans = [(segment["start_s"], segment["end_s"]) for segment in reply["segments"]]
            truth = [(shape.start_s, shape.end_s) for shape in question.shapes]
            found["cited spans"].append(float(spans == truth))
        return question.topic, value

    for place, (clip, pictures) in enumerate(zip(clips, shown, strict=True)):
        rng = np.random.default_rng((Split.TEST, place))
        for question in questions(clip, rng):
            asked.append((solve_prompt(question, 4.0, TIMES_S), pictures, SOLVE))
            marks.append(partial(answered, clip, question))
        if clip.shapes:
            kind = KINDS[place % len(KINDS)]
            asked.append((propose_prompt(kind, 4.0, TIMES_S), pictures, PROPOSE))
            marks.append(partial(proposed, clip))
        asked.append((describe_prompt(4.0, TIMES_S), pictures, DESCRIBE))
        marks.append(partial(described, clip))
    since = time.monotonic()
    for text, mark in zip(engine.ask(asked), marks, strict=True):
        reply = loaded(text)
        found["valid JSON"].append(float(bool(reply)))
        if reply:
            topic, value = mark(reply)
            found[topic].append(value)
    found["replies per second"] = [len(asked) / (time.monotonic() - since)]
    return {topic: sum(values) / len(values) for topic, values in found.items()}


def conditions(clips: Sequence[Clip]) -> dict[str, list[Pictures]]:
    """The frames that are shown in place of the clips', by the name of the condition."""
    full = [frames(clip) for clip in clips]
    rng = np.random.default_rng(0)
    return {
        "full": full,
        "shuffled": [pictures[rng.permutation(len(pictures))] for pictures in full],
        "black": [np.zeros_like(pictures) for pictures in full],
        "another": full[1:] + full[:1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("checkpoint"))
    arguments = parser.parse_args()
    engine = Engine(arguments.model.resolve())
    clips = [make_clip(Split.TEST, seed) for seed in range(arguments.clips)]
    table = {name: measure(engine, clips, shown) for name, shown in conditions(clips).items()}
    print(f"{'':20}" + "".join(f"{name:>10}" for name in table))
    for topic in table["full"]:
        cells = "".join(f"{table[name].get(topic, float('nan')):10.3f}" for name in table)
        print(f"{topic:20}{cells}")


if __name__ == "__main__":
    main()
