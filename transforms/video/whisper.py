"""A Whisper model that writes down speech with times; needs the extra `speech`.

Weights come from the hub or from a folder in the hub's form, as safetensors only: other formats can
run code when they are opened.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from transforms.features.embed import reach_hub
from transforms.outcome import StopRunError
from transforms.shared_model import SharedModel, is_worker
from transforms.trouble import not_here

RATE_HZ = 16_000
WINDOW_S = 30.0
NO_SPEECH_PROBABILITY = 0.6
LEAST_LOG_PROBABILITY = -1.0
"""Radford et al. 2022, section 4.5: a window above the one and below the other is silent."""

FILES = ("*.json", "*.txt", "*.safetensors")
NOT_NEEDED = ("*fp32*",)
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")

Sound = npt.NDArray[np.float32]


class SpeechSettings(BaseModel):
    """Section `speech` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        "",
        description="Whisper model that writes down what is said, such as "
        "openai/whisper-large-v3-turbo: a name on the hub or a folder; empty = speech is not used; "
        "needs the extra `speech`",
    )
    revision: str = Field("", description="revision of the model on the hub; empty = the newest")
    language: str = Field(
        "", description="language that is spoken, such as en; empty = the model finds out"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the model runs; auto = on a GPU if there is one"
    )


class SpeechUnavailable(StopRunError):  # noqa: N818 - a state, told to the user in one line
    """The model can't be had; says what is wrong and what to do."""


@dataclass(frozen=True)
class Said:
    """What is said in a span of seconds from the start of the sound."""

    start_s: float
    end_s: float
    text: str


class Whisper:
    """A model, ready on its device."""

    def __init__(self, folder: Path, settings: SpeechSettings) -> None:
        import torch
        from transformers import (
            WhisperFeatureExtractor,
            WhisperForConditionalGeneration,
            WhisperTokenizer,
        )
        from transformers.utils import logging

        quiet: Any = logging
        quiet.set_verbosity_error()
        quiet.disable_progress_bar()
        place: dict[str, Any] = {"local_files_only": True}
        self._device = settings.device
        if settings.device == "auto":
            self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = torch.float16 if self._device == "cuda" else torch.float32
        model: Any = WhisperForConditionalGeneration.from_pretrained(
            str(folder), dtype=self._dtype, use_safetensors=True, **place
        )
        self._model = model.eval().to(self._device)
        self._features: Any = WhisperFeatureExtractor.from_pretrained(str(folder), **place)
        self._tokenizer: Any = WhisperTokenizer.from_pretrained(str(folder), **place)
        self._options: dict[str, Any] = {}
        if getattr(self._model.generation_config, "is_multilingual", False):
            self._options["task"] = "transcribe"
            if settings.language:
                self._options["language"] = settings.language
        self._busy = threading.Lock()

    def listen(self, sound: Sound) -> list[Said]:
        """What is said in mono sound (n,) at 16 kHz in -1..1; the same sound gives the same."""
        import torch

        longer = len(sound) > WINDOW_S * RATE_HZ
        features = self._features(
            sound,
            sampling_rate=RATE_HZ,
            return_tensors="pt",
            return_attention_mask=True,
            **({"truncation": False, "padding": "longest"} if longer else {}),
        )
        with self._busy, torch.inference_mode():
            found = self._model.generate(
                input_features=features.input_features.to(self._device, self._dtype),
                attention_mask=features.attention_mask.to(self._device),
                return_timestamps=True,
                return_segments=True,
                do_sample=False,
                num_beams=1,
                temperature=0.0,
                condition_on_prev_tokens=False,
                no_speech_threshold=NO_SPEECH_PROBABILITY,
                logprob_threshold=LEAST_LOG_PROBABILITY,
                **self._options,
            )
        return list(self._said(found["segments"][0], len(sound) / RATE_HZ))

    def _said(self, segments: list[dict[str, Any]], length_s: float) -> Iterator[Said]:
        for segment in segments:
            # What is heard in the silence that fills up the last window is not there.
            start_s, end_s = float(segment["start"]), min(float(segment["end"]), length_s)
            text = self._tokenizer.decode(segment["tokens"], skip_special_tokens=True).strip()
            if text and start_s < end_s:
                yield Said(start_s, end_s, text)


_LOADING = threading.Lock()


class Listener(Protocol):
    """What writes down what is said."""

    def listen(self, sound: Sound) -> list[Said]: ...


class SharedWhisper(SharedModel):
    """A model that one process of this machine has loaded."""

    def __init__(self, settings_json: str) -> None:
        super().__init__(lambda: _load(settings_json), "whisper", settings_json)

    def listen(self, sound: Sound) -> list[Said]:
        found: list[Said] = self.call("listen", sound)
        return found


_shared = functools.cache(SharedWhisper)


def load_whisper(settings: SpeechSettings) -> Listener:
    """The model, loaded once however many threads and worker processes ask.

    Raises SpeechUnavailable.
    """
    if is_worker():
        return _shared(settings.model_dump_json())
    with _LOADING:
        return _load(settings.model_dump_json())


@functools.cache
def _load(settings_json: str) -> Whisper:
    settings = SpeechSettings.model_validate_json(settings_json)
    folder = _folder(settings)
    try:
        return Whisper(folder, settings)
    except SpeechUnavailable:
        raise
    except Exception as error:
        raise _unavailable(settings, f"{type(error).__name__}: {error}") from error


def check_speech(settings: SpeechSettings) -> None:
    """Before any work: see to it that the model is here and whole. Raises SpeechUnavailable."""
    if not settings.model:
        return
    folder = _folder(settings)
    _check_config(settings, folder)
    if settings.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise _unavailable(settings, "speech.device is cuda, and torch can use no GPU")
    from safetensors import SafetensorError, safe_open

    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise _unavailable(settings, "it has no weights as safetensors")
    for path in weights:
        try:
            with safe_open(str(path), "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise _unavailable(settings, f"{path.name}: {error}") from error


def _check_config(settings: SpeechSettings, folder: Path) -> None:
    kind = _read(settings, folder, "config.json").get("model_type")
    if kind != "whisper":
        raise _unavailable(settings, f"it is no Whisper model (model_type {kind!r})")
    for name in ("preprocessor_config.json", "tokenizer.json"):
        _read(settings, folder, name)
    generation = _read(settings, folder, "generation_config.json")
    known = ["en"]
    if generation.get("is_multilingual"):
        known = sorted(name.strip("<|>") for name in generation.get("lang_to_id") or ())
    if settings.language and settings.language not in known:
        raise SpeechUnavailable(
            f"speech.language: {settings.model} knows no {settings.language!r}; it knows "
            f"{', '.join(known)}"
        )


def _read(settings: SpeechSettings, folder: Path, name: str) -> dict[str, Any]:
    try:
        values = json.loads((folder / name).read_text("utf-8"))
        if isinstance(values, dict):
            return values
    except (OSError, ValueError):
        pass
    raise _unavailable(settings, f"it has no {name} that can be read")


def _folder(settings: SpeechSettings) -> Path:
    """Where the model's files lie, fetched if need be. Raises SpeechUnavailable."""
    try:
        metadata.version("transformers")
    except metadata.PackageNotFoundError as error:
        raise SpeechUnavailable(
            "speech.model is set, and transformers is not installed: "
            "pip install 'proofreel[speech]', or leave speech.model empty"
        ) from error
    if Path(settings.model).is_dir():
        return Path(settings.model)
    if not HUB_NAME.fullmatch(settings.model):
        raise _unavailable(settings, f"there is no such folder: {not_here(settings.model)}")
    try:
        return _hub_folder(settings.model, settings.revision)
    except Exception as error:
        words = (str(error).splitlines() or [""])[0][:200]
        raise _unavailable(settings, f"{type(error).__name__}: {words}") from error


@functools.cache
def _hub_folder(model: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    fetch = functools.partial(
        snapshot_download,
        model,
        revision=revision or None,
        allow_patterns=list(FILES),
        ignore_patterns=list(NOT_NEEDED),
    )
    try:
        folder = Path(fetch(local_files_only=True))
        if any(folder.glob("*.safetensors")):
            return folder
    except LocalEntryNotFoundError:
        pass
    reach_hub()
    return Path(fetch())


def _unavailable(settings: SpeechSettings, words: str) -> SpeechUnavailable:
    return SpeechUnavailable(
        f"speech.model: {settings.model!r} can't be used: {words}. Give the name of a Whisper "
        "model on the hub or a folder with one, or leave it empty"
    )


def identity(settings: SpeechSettings) -> dict[str, Any]:
    """What lines are made by: a part of the key of all that is made of them.

    Raises SpeechUnavailable.
    """
    folder = _folder(settings)
    if Path(settings.model).is_dir():
        # Other weights under the same name must not meet old lines.
        files = [path for pattern in FILES for path in folder.glob(pattern)]
        facts = [(path.name, path.stat()) for path in sorted(files)]
        states = [(name, one.st_size, one.st_mtime_ns) for name, one in facts]
        revision = _folder_sha256(str(folder), tuple(states))
    else:
        # The hub's cache names the folder after the commit.
        revision = folder.name
    return {
        "model": revision,
        "language": settings.language,
        "device": settings.device,
        "transformers": metadata.version("transformers"),
    }


@functools.cache
def _folder_sha256(folder: str, states: tuple[tuple[str, int, int], ...]) -> str:
    """Hash of a model's files, read once per process unless they change."""
    digest = hashlib.sha256()
    for name, _, _ in states:
        with Path(folder, name).open("rb") as stream:
            digest.update(f"{name}\n{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
