"""The model that embeds pictures: CLIP, with open_clip; its settings and its weights."""

from __future__ import annotations

import functools
import hashlib
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from transforms.outcome import StopRunError
from transforms.processor import cpu_has_bf16
from transforms.shared_model import SharedModel, is_worker
from transforms.trouble import not_here

if TYPE_CHECKING:
    import torch

# torch takes seconds to import, so only what runs a model imports it.

RANDOM = "random"
NO_MODEL = "none"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

HUB_TIMEOUT_S = 5.0

Vectors = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


class FeatureSettings(BaseModel):
    """Section `features` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("ViT-B-32", description="open_clip architecture; none = no features")
    pretrained: str = Field(
        "laion2b_s34b_b79k",
        description="a tag of the hub, a path to weights, or random: near-duplicates only",
    )
    fps: float = Field(2.0, gt=0.0, le=30.0, description="frames per second that are embedded")

    @property
    def enabled(self) -> bool:
        return self.model != NO_MODEL

    @property
    def note(self) -> str:
        """What a reader of the dataset must know about its features; empty if nothing."""
        if not self.enabled:
            return "features.model is none: near-duplicate clips were not looked for."
        if self.pretrained == RANDOM:
            return (
                "features.pretrained is random: the CLIP weights are random, so features tell "
                "near-duplicate pictures apart and carry no meaning."
            )
        return ""


class WeightsError(StopRunError):
    """The weights can't be had; the message names the option to use instead."""


@dataclass(frozen=True)
class ClipModel:
    """An open_clip image encoder, ready on its device."""

    encoder: Any
    size_px: int
    device: str
    dtype: torch.dtype
    center: Vectors | None
    """Mean embedding of noise, taken off when weights are random (see `_center`)."""

    def embed(self, frames: npt.NDArray[np.uint8]) -> Vectors:
        """Unit vectors (n, d) of RGB pictures (n, h, w, 3)."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float()
            mean = torch.tensor(CLIP_MEAN, device=self.device).view(1, 3, 1, 1)
            std = torch.tensor(CLIP_STD, device=self.device).view(1, 3, 1, 1)
            pixels = ((pixels / 255.0 - mean) / std).to(self.dtype)
            found = self.encoder.encode_image(pixels).float().cpu().numpy()
        if self.center is not None:
            found = found - self.center
        return unit_vectors(found)


def unit_vectors(vectors: npt.NDArray[Any]) -> Vectors:
    """The same directions at length 1: (..., d)."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit


def prepare(frame: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.uint8]:
    """The middle square of a picture at the model's input size, as CLIP's own preprocessing."""
    import cv2

    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frame[top : top + side, left : left + side]
    if side != size_px:
        square = np.asarray(
            cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.uint8
        )
    return square


_LOADING = threading.Lock()


@functools.cache
def _load(model: str, pretrained: str) -> ClipModel:
    import open_clip
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    fast_bf16 = device == "cuda" or cpu_has_bf16()
    dtype = torch.bfloat16 if fast_bf16 else torch.float32
    if model not in open_clip.list_models():
        raise WeightsError(
            f"features.model: open_clip knows no {model!r}; see open_clip.list_models()"
        )
    torch.manual_seed(0)
    if pretrained == RANDOM:
        network = open_clip.create_model(model)
    else:
        if Path(pretrained).is_absolute() and not Path(pretrained).is_file():
            raise WeightsError(f"features.pretrained: {not_here(pretrained)}")
        try:
            network = open_clip.create_model(model, pretrained=pretrained)
        except Exception as error:
            settings = FeatureSettings(model=model, pretrained=pretrained)
            raise WeightsError(_no_weights(settings, error)) from error
    network = network.eval().to(device=device, dtype=dtype)
    size = network.visual.image_size
    size_px = int(size[0] if isinstance(size, tuple | list) else size)
    loaded = ClipModel(network, size_px, device, dtype, None)
    if pretrained == RANDOM:
        loaded = ClipModel(network, size_px, device, dtype, _center(loaded))
    return loaded


def _center(model: ClipModel) -> Vectors:
    """Mean embedding of pictures of plain noise and plain gray.

    A network with random weights maps all pictures into a narrow cone: any two look alike. Seen
    from the middle of the cone they point in different directions.
    """
    import torch

    generator = np.random.default_rng(0)
    shape = (model.size_px, model.size_px, 3)
    noise = [generator.integers(0, 256, shape, np.uint8) for _ in range(8)]
    gray = [np.full(shape, level, np.uint8) for level in range(16, 256, 32)]
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack(noise + gray)).to(model.device)
        pixels = (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0).to(model.dtype)
        found = model.encoder.encode_image(pixels).float().cpu().numpy()
    middle: Vectors = found.mean(axis=0).astype(np.float32)
    return middle


class Embedder(Protocol):
    """What turns pictures into embeddings."""

    @property
    def size_px(self) -> int: ...

    def embed(self, frames: Pictures) -> Vectors: ...


class SharedClip(SharedModel):
    """An encoder that one process of this machine has loaded."""

    def __init__(self, model: str, pretrained: str) -> None:
        super().__init__(lambda: _load(model, pretrained), "clip", model, pretrained)

    @functools.cached_property
    def size_px(self) -> int:
        return int(self.read("size_px"))

    def embed(self, frames: Pictures) -> Vectors:
        found: Vectors = self.call("embed", frames)
        return found


_shared = functools.cache(SharedClip)


def load_model(settings: FeatureSettings) -> Embedder:
    """The encoder, loaded once however many threads and worker processes ask.

    Raises WeightsError in words for the person who chose the weights.
    """
    if is_worker():
        return _shared(settings.model, settings.pretrained)
    with _LOADING:
        return _load(settings.model, settings.pretrained)


def check_weights(settings: FeatureSettings) -> None:
    """Before any work: see to it that the weights are here. Raises WeightsError."""
    if not settings.enabled or settings.pretrained == RANDOM or Path(settings.pretrained).is_file():
        return
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(settings.model)
    if settings.pretrained not in tags:
        raise WeightsError(
            f"features.pretrained: {settings.pretrained!r} is neither a file nor one of the tags "
            f"of {settings.model}: {', '.join(tags) or 'none'}"
        )
    try:
        config = open_clip.get_pretrained_cfg(settings.model, settings.pretrained)
        if not _is_cached(config.get("hf_hub", "")):
            reach_hub()
        open_clip.download_pretrained(config)
    except Exception as error:
        raise WeightsError(_no_weights(settings, error)) from error


def _is_cached(hub_path: str) -> bool:
    """Whether the weights of `owner/model/[file]` are in the hub's local cache."""
    from huggingface_hub import try_to_load_from_cache

    model_id, _, name = hub_path.rpartition("/")
    names = [name] if name else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    return any(isinstance(try_to_load_from_cache(model_id, one), str) for one in names if model_id)


def reach_hub() -> None:
    """Raise OSError at once where the hub can't be reached: its own client retries for a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    if getproxies():
        return
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    socket.create_connection((address.hostname or "", port), timeout=HUB_TIMEOUT_S).close()


def _no_weights(settings: FeatureSettings, error: Exception) -> str:
    said = (str(error).splitlines() or [""])[0][:200]
    return (
        f"features.pretrained: weights {settings.pretrained!r} for {settings.model} can't be had "
        f"({type(error).__name__}: {said}). Without a hub, give a path to the weights, or "
        "--set features.pretrained=random (near-duplicates only)"
    )


@functools.cache
def _file_sha256(path: str, size_bytes: int, changed_ns: int) -> str:
    """Hash of a file of weights, read once per process unless it changes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def identity(settings: FeatureSettings) -> dict[str, Any]:
    """What embeddings are made by: a part of the key of all that is made of them."""
    facts = settings.model_dump(mode="json")
    if Path(settings.pretrained).is_file():
        # Other weights under the same name must not meet old features.
        weights = Path(settings.pretrained).stat()
        facts["pretrained"] = _file_sha256(
            settings.pretrained, weights.st_size, weights.st_mtime_ns
        )
    return facts
