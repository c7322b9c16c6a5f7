"""The model's words: every phrase, time and number that it is taught is one token.

Anything else is spelt in bytes, so that any text can be read, if not understood.
"""

from __future__ import annotations

import re

from clips import COLOURS, DIRECTIONS, DURATION_S, FORMS, GRID, STEP_S
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] in ['video', 'video_url'] %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] in ['image', 'image_url'] %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_KINDS = (
    "free_text", "count", "number", "temporal_grounding", "spatial_grounding", "mcq",
)  # fmt: skip
_ASKED = (
    "Times: ", "user\n", "assistant\n", "\nAsk. (", "\nDescribe.", "?", " (", ")",
    "What colour is the ", "Which shape is ", "Which shape is there", "Which shape appears ",
    "Which way does the ", " move", "How many shapes are there", "At what second does the ",
    " appear", "When is the ", " visible", "Where is the ", " when it appears",
    " when it is last seen", " shape", "shape", "first", "second", "third",
    ")\nA. ", "\nB. ", "\nC. ", "\nD. ",
)  # fmt: skip
_SAID = (
    "A ", " moves ", " from ", " s to ", " s. A ", " s. So the answer is ", ". A ",
    "Nothing is there.", " So the answer is ", " to ", "none", "-1",
)  # fmt: skip
_JSON = (
    '{"reasoning":"', '.","answer":"', '","segments":[', '{"label":"', ',{"label":"',
    '","start_s":', ',"end_s":', '],"boxes":[', '","t_s":', ',"xyxy_norm":[', "]}", "}",
    '{"tasks":[{"kind":"', '","question":"', '?","options":[', '],"answer":"',
    '?","options":["', '"],"answer":"', '","evidence":[[',
    ']],"tolerance":', '","evidence":[],"tolerance":', "],[", "}]}", '","',
    '{"captions":[{"start_s":', ',{"start_s":', ',"text":"', '."}', '."}]}',
)  # fmt: skip


def units() -> list[str]:
    """All that is one token, without the bytes and the special tokens."""
    times = {f"{step * STEP_S:.2f}" for step in range(round(DURATION_S / STEP_S) + 1)}
    places = {f"{step / GRID:.2f}" for step in range(GRID + 1)}
    told = (*COLOURS, *FORMS, *DIRECTIONS, *sorted(times | places))
    return list(dict.fromkeys((*told, *_KINDS, *_ASKED, *_SAID, *_JSON)))


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges, to which the units are whole words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    # How the byte level writes each unit: a space as another letter, and so on.
    spelt = [level.pre_tokenize_str(unit)[0][0] for unit in units() if len(unit) > 1]
    vocabulary = {token: place for place, token in enumerate([*alphabet, *spelt])}
    fast = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    # The longest first, since the first that fits is taken.
    longest = sorted(units(), key=lambda unit: (-len(unit), unit))
    pattern = "|".join(re.escape(unit) for unit in longest)
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), level]
    )
    fast.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        model_max_length=4096,
    )
