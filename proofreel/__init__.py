"""What users import in their own code. Light: no Beam, no vLLM, no open_clip, no torch."""

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

__version__ = "0.1.0"

__all__ = [
    "SwiftReward",
    "__version__",
    "compute_score",
    "easyr1_score",
    "make_label",
    "read_label",
    "reward_func",
    "rewards",
    "score_response",
    "trl_reward",
]
