"""How a sample asks for its frames, as the keys of qwen-vl-utils."""

from __future__ import annotations

from schemas.sample import Sampling


def sampling_keys(sampling: Sampling) -> dict[str, float]:
    """The keys that are set, since readers look whether a key is there, not what it holds.

    Never both `fps` and `nframes`, which is refused: the number of frames says it all.
    """
    keys = {name: value for name, value in sampling.model_dump().items() if value >= 0}
    if "nframes" in keys:
        keys.pop("fps", None)
    return keys
