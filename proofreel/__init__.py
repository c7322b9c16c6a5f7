"""What users import in their own code. Light: no Beam, no vLLM, no open_clip, no torch.

What reads datasets is imported when it is first used: rewards are wanted in places where nothing
but the standard library is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from schemas import rewards
from schemas.rewards import (
    SwiftReward,
    compute_score,
    easyr1_score,
    make_label,
    read_label,
    reward_func,
    score_response,
    trl_reward,
)

if TYPE_CHECKING:
    from transforms.read.entry import Entry
    from transforms.read.frames import Look, Shown
    from transforms.read.opening import open_dataset as open  # noqa: A004
    from transforms.read.ranges import ReadError
    from transforms.read.torch_dataset import EntryDataset

__version__ = "0.1.0"

__all__ = [
    "Entry",
    "EntryDataset",
    "Look",
    "ReadError",
    "Shown",
    "SwiftReward",
    "__version__",
    "compute_score",
    "easyr1_score",
    "make_label",
    "open",
    "read_label",
    "reward_func",
    "rewards",
    "score_response",
    "trl_reward",
]

_LATER = {
    "Entry": ("transforms.read.entry", "Entry"),
    "EntryDataset": ("transforms.read.torch_dataset", "EntryDataset"),
    "Look": ("transforms.read.frames", "Look"),
    "ReadError": ("transforms.read.ranges", "ReadError"),
    "Shown": ("transforms.read.frames", "Shown"),
    "open": ("transforms.read.opening", "open_dataset"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATER[name]
    return getattr(import_module(module), attribute)
