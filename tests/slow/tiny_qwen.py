"""Models of half a million random weights, so that the real vLLM runs in seconds on a CPU.

They have the real architecture, processor and chat template, and a byte-level tokenizer made on
the spot; they know nothing. Attention heads are 32 wide: vLLM on a CPU takes no less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
THINKING = ("<think>", "</think>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING_TEMPLATE = CHAT_TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")

TEXT = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 32768,
}  # fmt: skip
VISION = {
    "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 64,
}  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: place for place, character in enumerate(alphabet)}
    fast = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+|\S+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    fast.decoder = decoders.ByteLevel()
    words = PreTrainedTokenizerFast(
        tokenizer_object=fast,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        model_max_length=32768,
    )
    # As with the real ones, the marks of thinking are tokens of their own, but stand in the text.
    words.add_tokens(list(THINKING))
    return words


def _text(words: PreTrainedTokenizerFast, rope: dict[str, Any]) -> dict[str, Any]:
    ids = {token: words.convert_tokens_to_ids(token) for token in SPECIAL}
    return TEXT | {
        "vocab_size": len(words), "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0} | rope,
        "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
    }  # fmt: skip


def _media_ids(words: PreTrainedTokenizerFast) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
    }  # fmt: skip
    return {name: words.convert_tokens_to_ids(token) for name, token in names.items()}


def _save(folder: Path, model: Any, words: PreTrainedTokenizerFast) -> None:
    model.eval().generation_config.eos_token_id = words.convert_tokens_to_ids("<|im_end|>")
    model.save_pretrained(folder)


def build(folder: Path, seed: int = 0) -> None:
    """Write a Qwen2.5-VL; frames of at least 28x28 pixels keep their size."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = Qwen2_5_VLConfig(
        text_config=_text(words, {"mrope_section": [4, 6, 6]}),
        vision_config=VISION
        | {"window_size": 112, "fullatt_block_indexes": [1], "tokens_per_second": 2},
        **_media_ids(words),
    )
    _save(folder, Qwen2_5_VLForConditionalGeneration(config), words)
    pixels = {"min_pixels": 28 * 28, "max_pixels": 512 * 28 * 28}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        video_processor=Qwen2VLVideoProcessor(**pixels),
        tokenizer=words,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)


def build_qwen3_vl(folder: Path, seed: int = 0) -> None:
    """Write a Qwen3-VL that thinks first; frames of at least 32x32 pixels keep their size."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = Qwen3VLConfig(
        text_config=_text(words, {"mrope_section": [6, 5, 5], "mrope_interleaved": True})
        | {"head_dim": 32},
        vision_config=VISION
        | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0], "patch_size": 16},
        **_media_ids(words),
    )
    _save(folder, Qwen3VLForConditionalGeneration(config), words)
    size = {"shortest_edge": 32 * 32, "longest_edge": 2048 * 32 * 32}
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, patch_size=16),
        video_processor=Qwen3VLVideoProcessor(size=size),
        tokenizer=words,
        chat_template=THINKING_TEMPLATE,
    ).save_pretrained(folder)


def build_text_only(folder: Path, seed: int = 0) -> None:
    """Write a Qwen3, which sees nothing."""
    torch.manual_seed(seed)
    words = tokenizer()
    words.chat_template = CHAT_TEMPLATE
    config = Qwen3Config(**_text(words, {}), head_dim=32)
    _save(folder, Qwen3ForCausalLM(config), words)
    words.save_pretrained(folder)
