"""The published form of one sample: the `json` part of a shard entry.

Every field is always there; what is not set is "", [] or -1, never null, since readers such as
`datasets` freeze the schema on the first samples and qwen-vl-utils tests for the presence of keys.
"""

from __future__ import annotations

from typing import Literal

from schemas.base import Record
from schemas.clip import Measures
from schemas.task import Answer

Split = Literal["sft", "rl", "preference", "process", "online"]
SPLITS: tuple[Split, ...] = ("sft", "rl", "preference", "process", "online")
PROMPT_SPLITS: tuple[Split, ...] = ("rl", "online")
"""Those that show the question and no reply."""
Label = Literal["good", "bad", "unknown"]


class SampleMedia(Record):
    id: str
    kind: Literal["video", "image", "frames"]
    part: str
    """Which part of the shard entry holds it: `mp4`; "" for frames that lie in that of the clip."""
    uri: str
    sha256: str
    width_px: int
    height_px: int
    duration_s: float
    num_frames: int
    fps_num: int
    fps_den: int
    is_cfr: bool
    is_copied: bool
    """Whether the pictures are the source's own packets, not encoded anew."""
    has_audio: bool
    frame_pts_s: list[float]
    source_uri: str
    source_start_s: float
    source_end_s: float
    source_truncated: str
    """What is missing of the source video, in words; "" when it is whole."""
    measures: Measures
    """Of the clip: how bright, sharp, lively, loud it is, where its picture stands without bars."""


class Sampling(Record):
    """How a trainer should sample frames; -1 = not set."""

    fps: float = -1.0
    nframes: int = -1
    min_frames: int = -1
    max_frames: int = -1
    min_pixels: int = -1
    max_pixels: int = -1
    total_pixels: int = -1


class Part(Record):
    type: Literal["text", "video", "image"]
    text: str = ""
    media_id: str = ""


class Message(Record):
    role: Literal["system", "user", "assistant", "tool"]
    parts: list[Part]
    reasoning: str = ""
    loss: Literal[-1, 0, 1] = -1


class Reward(Record):
    style: Literal["rule", "model"]
    fn: str
    """Name of a function in rewards.py."""
    spec_json: str
    """Its keyword parameters."""


class Preference(Record):
    rejected: list[Message]
    margin: float


class StepLabel(Record):
    text: str
    label: Label
    """Whether the clip bears the step out; unknown where that was not, or could not be, seen."""


class GroundedBox(Record):
    ref: str
    media_id: str
    t_s: float
    xyxy_norm: tuple[float, float, float, float]


class GroundedSegment(Record):
    label: str
    media_id: str
    start_s: float
    end_s: float


class Grounding(Record):
    boxes: list[GroundedBox]
    segments: list[GroundedSegment]


class PublishedCheck(Record):
    name: str
    score: float
    threshold: float
    passed: bool


class PublishedVerdict(Record):
    pass_rate: float
    checks: list[PublishedCheck]
    conditions_json: str
    """`schemas.conditions.Conditions`."""


class Provenance(Record):
    teacher: str
    teacher_revision: str
    verifier: str
    prompt_sha256: str
    gen_params_json: str
    pipeline_version: str
    seed: int
    license: str
    source_url: str


class Sample(Record):
    """One entry of a shard: `{id}.json` beside `{id}.mp4`."""

    schema_version: str
    id: str
    split: Split
    data_source: str
    ability: str
    media: list[SampleMedia]
    sampling: Sampling
    messages: list[Message]
    answer: Answer
    reward: Reward
    preference: Preference
    steps: list[StepLabel]
    grounding: Grounding
    verdict: PublishedVerdict
    provenance: Provenance
    extra_json: str
