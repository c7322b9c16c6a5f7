"""The network: a Qwen2.5-VL of the common architecture, small, and its training-time forward pass.

The forward pass uses the modules of transformers, but sees all clips of a batch at once, since all
have the same size, and shares the video between several questions about it. `check_same` holds it
against transformers' own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from clips import SEEN_PX
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from words import CHAT_TEMPLATE

PATCH = 14
MERGE = 2
FIELDS = SEEN_PX // PATCH // MERGE
"""Tokens across and down a frame."""
HEAD_DIM = 32
"""vLLM on a CPU takes no smaller attention heads."""
MROPE = [4, 6, 6]
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def build(words: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """The network with random weights; set torch's seed before."""
    place = words.convert_tokens_to_ids
    end = place("<|im_end|>")
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 128, "intermediate_size": 384,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "mrope_section": MROPE,
                                "rope_theta": 10_000.0},
            "bos_token_id": place("<|endoftext|>"), "eos_token_id": end,
            "pad_token_id": place("<|endoftext|>"),
        },
        # One window is one frame. With a position per step in time and as many steps as fields
        # across a frame, all readers of this architecture agree where the text goes on.
        vision_config={
            "depth": 3, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4,
            "out_hidden_size": 128, "patch_size": PATCH, "spatial_merge_size": MERGE,
            "window_size": SEEN_PX, "fullatt_block_indexes": [2], "tokens_per_second": 1,
        },
        image_token_id=place("<|image_pad|>"),
        video_token_id=place("<|video_pad|>"),
        vision_start_token_id=place("<|vision_start|>"),
        vision_end_token_id=place("<|vision_end|>"),
        tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, eos_token_id=end, pad_token_id=place("<|endoftext|>")
    )
    return model


def save(
    model: Qwen2_5_VLForConditionalGeneration, words: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write weights (bfloat16), configuration, processor, tokenizer and chat template."""
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder, state_dict=weights)
    # Frames of any size are scaled to the one that it knows.
    pixels = {"min_pixels": SEEN_PX**2, "max_pixels": SEEN_PX**2}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        video_processor=Qwen2VLVideoProcessor(**pixels, do_sample_frames=False),
        tokenizer=words,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)


def patches(pictures: Tensor) -> Tensor:
    """Frames (B, T, H, W, 3) uint8, T even, to patches (B * T / 2, patches, 3 * 2 * 14 * 14)."""
    mean, std = (torch.tensor(values) * 255 for values in (PIXEL_MEAN, PIXEL_STD))
    light = (pictures.float() - mean) / std
    batch, times, height, width, _ = light.shape
    light = light.reshape(
        batch * times // 2, 2, height // PATCH // MERGE, MERGE, PATCH,
        width // PATCH // MERGE, MERGE, PATCH, 3,
    )  # fmt: skip
    # To (step, row, column, row in field, column in field, channel, frame, y, x).
    light = light.permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return light.reshape(light.shape[0], -1, 3 * 2 * PATCH * PATCH)


def prefix_positions(start: int, steps: int, length: int) -> Tensor:
    """Positions (3, length) in time, down and across of a text with a video at `start`.

    As vLLM has them: the text goes on after the highest position in the video.
    """
    if not steps:
        return torch.arange(length).expand(3, -1)
    axes = [torch.arange(steps), torch.arange(FIELDS), torch.arange(FIELDS)]
    video = torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(3, -1) + start
    after = torch.arange(length - start - video.shape[1]) + int(video.max()) + 1
    return torch.cat((torch.arange(start).expand(3, -1), video, after.expand(3, -1)), dim=1)


def _norm(module: nn.Module, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), 1e-6)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; x (..., S, head_dim)."""
    half = x.shape[-1] // 2
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


def _heads(x: Tensor) -> Tensor:
    """(B, S, heads * head_dim) to (B, heads, S, head_dim)."""
    return x.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention (B, S, heads * head_dim); by hand, since torch's own is slow backwards on a CPU."""
    scores = (q * HEAD_DIM**-0.5).to(v.dtype) @ k.to(v.dtype).transpose(-1, -2)
    if mask is not None:
        scores = scores + mask.to(v.dtype)
    return (scores.softmax(-1, dtype=v.dtype) @ v).transpose(1, 2).flatten(2)


def see(visual: nn.Module, seen: Tensor) -> Tensor:
    """Patches (steps, patches, values) to tokens (steps, FIELDS^2, width of the text)."""
    x = functional.linear(seen, visual.patch_embed.proj.weight.flatten(1))
    grid = torch.arange(FIELDS * MERGE).reshape(FIELDS, MERGE)
    row, within, column, across = torch.meshgrid(
        torch.arange(FIELDS), torch.arange(MERGE), torch.arange(FIELDS), torch.arange(MERGE),
        indexing="ij",
    )  # fmt: skip
    places = torch.stack((grid[row, within], grid[column, across])).transpose(2, 3)
    angles = places.reshape(2, -1, 1) * visual.rotary_pos_emb.inv_freq
    angle = torch.cat((angles[0], angles[1]), dim=-1).repeat(1, 2)
    cos, sin = angle.cos(), angle.sin()
    for block in visual.blocks:
        q, k, v = map(_heads, block.attn.qkv(_norm(block.norm1, x)).chunk(3, dim=-1))
        x = x + block.attn.proj(_attend(_turn(q, cos, sin), _turn(k, cos, sin), v))
        x = x + block.mlp(_norm(block.norm2, x))
    return visual.merger.mlp(_norm(visual.merger.ln_q, x).unflatten(1, (-1, MERGE**2)).flatten(2))


def _angles(language: nn.Module, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (S, head_dim) of positions (3, S) in time, down and across."""
    angle = positions.unsqueeze(-1) * language.rotary_emb.inv_freq
    parts = [part[axis] for axis, part in enumerate(angle.split(MROPE, dim=-1))]
    angle = torch.cat(parts, dim=-1).repeat(1, 2)
    return angle.cos(), angle.sin()


def read(
    language: nn.Module,
    prefix: Tensor,
    positions: Tensor,
    blocks: list[Tensor],
    owners: list[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """States of prefixes (B, P, width) and of groups of blocks (N, L, width) that go on from them.

    `positions` (3, P) are those of a prefix, `owners` (N,) say which prefix a block goes on from.
    A block sees its prefix and what is before in itself, as if each were a sequence of its own.
    """
    shapes = [prefix.shape[:2], *(group.shape[:2] for group in blocks)]
    sizes = [rows * length for rows, length in shapes]
    shared, longest = prefix.shape[1], max(length for _, length in shapes[1:])
    after = torch.arange(longest).expand(3, -1) + positions.max() + 1
    cos, sin = _angles(language, torch.cat((positions, after), dim=1))
    mask = torch.full((shared + longest, shared + longest), -1e9).triu(1)
    # All that works on single tokens works on all of them at once.
    x = torch.cat([part.flatten(0, 1) for part in (prefix, *blocks)])
    for layer in language.layers:
        own, normed = layer.self_attn, _norm(layer.input_layernorm, x)
        split = [
            [_heads(part.unflatten(0, shape)) for part, shape in zip(made, shapes, strict=True)]
            for made in (proj(normed).split(sizes) for proj in (own.q_proj, own.k_proj, own.v_proj))
        ]
        heard = []
        for place, (q, k, v) in enumerate(zip(*split, strict=True)):
            at = slice(0, shared) if not place else slice(shared, shared + q.shape[2])
            q, k = _turn(q, cos[at], sin[at]), _turn(k, cos[at], sin[at])
            if not place:
                first = k, v
            else:
                before = (part[owners[place - 1]] for part in first)
                k, v = (torch.cat(pair, dim=2) for pair in zip(before, (k, v), strict=True))
            heard.append(_attend(q, k, v, mask[at, : at.stop]).flatten(0, 1))
        x = x + own.o_proj(torch.cat(heard))
        x = x + layer.mlp(_norm(layer.post_attention_layernorm, x))
    states = [
        part.unflatten(0, shape)
        for part, shape in zip(_norm(language.norm, x).split(sizes), shapes, strict=True)
    ]
    return states[0], states[1:]


def check_same(
    model: Qwen2_5_VLForConditionalGeneration, pictures: Tensor, prefix: Tensor, block: Tensor
) -> None:
    """Raises AssertionError if transformers computes something else than `see` and `read`.

    `pictures` (1, T, H, W, 3), `prefix` (P,) with the video in it, and what follows (L,).
    """
    steps = pictures.shape[1] // 2
    seen = patches(pictures)
    grid = torch.tensor([[steps, FIELDS * MERGE, FIELDS * MERGE]])
    inner, pads = model.model, prefix == model.config.video_token_id
    ids = torch.cat((prefix, block))
    with torch.no_grad():
        x = inner.language_model.embed_tokens(prefix).clone()
        x[pads] = see(inner.visual, seen).flatten(0, 1)
        y = inner.language_model.embed_tokens(block)
        positions = prefix_positions(int(pads.nonzero()[0]), steps, len(prefix))
        states, (after,) = read(
            inner.language_model, x[None], positions, [y[None]], [torch.tensor([0])]
        )
        ours = model.lm_head(torch.cat((states, after), dim=1))
        # Without positions: those that transformers works out must be the same, too.
        theirs = model(
            input_ids=ids[None], pixel_values_videos=seen.flatten(0, 1), video_grid_thw=grid,
            second_per_grid_ts=torch.tensor([1.0]),
            mm_token_type_ids=(ids == model.config.video_token_id)[None].long() * 2,
        ).logits  # fmt: skip
    assert torch.allclose(ours, theirs, atol=1e-4), float((ours - theirs).abs().max())
