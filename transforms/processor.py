"""What the processor can do that decides how models run on it."""

from __future__ import annotations


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 itself; without that, bf16 takes several times as long as
    fp32."""
    import torch

    capability = torch.cpu.get_capabilities()
    return bool(capability.get("avx512_bf16") or capability.get("amx_bf16"))
