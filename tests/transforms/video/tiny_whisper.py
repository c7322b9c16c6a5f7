"""A Whisper of a few thousand random weights, made on the spot in the form of the hub's models."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

LANGUAGES = ("en", "de", "fr")


def write_tiny_whisper(folder: Path, *, seed: int = 0, multilingual: bool = True) -> Path:
    """Write the model into a folder; the same seed gives the same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    # Letters, and the blank before a word as byte-level tokenizers write it.
    vocabulary = {letter: number for number, letter in enumerate(string.ascii_lowercase + "Ġ")}
    vocabulary["<|endoftext|>"] = end = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    tokenizer = WhisperTokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
    )
    special = ["<|startoftranscript|>", *(f"<|{language}|>" for language in LANGUAGES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    tokenizer.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(1_501)])
    tokenizer.save_pretrained(str(folder))
    number = tokenizer.convert_tokens_to_ids
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=number("<|startoftranscript|>"),
        # Larger than usual, so that what is heard decides what is written.
        init_std=0.5,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    multi = {
        "lang_to_id": {f"<|{language}|>": number(f"<|{language}|>") for language in LANGUAGES},
        "task_to_id": {task: number(f"<|{task}|>") for task in ("transcribe", "translate")},
    }
    model.generation_config = GenerationConfig(
        is_multilingual=multilingual,
        **(multi if multilingual else {}),
        no_timestamps_token_id=number("<|notimestamps|>"),
        max_initial_timestamp_index=10,
        prev_sot_token_id=number("<|startofprev|>"),
        decoder_start_token_id=config.decoder_start_token_id,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        begin_suppress_tokens=[end],
        # Short, so that tests are.
        max_length=40,
        return_timestamps=False,
    )
    model.save_pretrained(str(folder))
    WhisperFeatureExtractor().save_pretrained(str(folder))
    return folder
