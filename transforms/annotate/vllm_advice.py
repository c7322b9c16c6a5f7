"""What to tell a user whose engine does not load."""

from __future__ import annotations

from collections.abc import Sequence


def advice(error: Exception, gpus: Sequence[tuple[int, int]], share: float) -> str:
    """What to do about an engine that does not load, given (free, total) bytes of each GPU."""
    for number, (free, total) in enumerate(gpus):
        if free < share * total:
            return (
                f"GPU {number} has {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, less than "
                f"teacher.gpu_memory_share = {share:g} asks for: free it, choose another with "
                "CUDA_VISIBLE_DEVICES, or lower the share"
            )
    if "Engine core initialization failed" in str(error):
        return (
            "The engine's log above says why; if memory is short, lower teacher.max_model_len or "
            "choose a smaller model or more GPUs (teacher.tensor_parallel)"
        )
    return "If the model hub can't be reached, give the path of a local checkpoint"


def gpu_memory() -> list[tuple[int, int]]:
    """(free, total) bytes of each GPU, asked for without starting CUDA in this process."""
    try:
        from vllm.third_party import pynvml

        pynvml.nvmlInit()
        try:
            handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
            facts = [pynvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
            return [(int(fact.free), int(fact.total)) for fact in facts]
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # noqa: BLE001 - no NVIDIA driver, or none that answers: then nothing is known
        return []
