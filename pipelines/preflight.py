"""Looking at the teacher before the work starts: what would fail after hours is told at once."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pipelines.config import Config, ConfigError
from pipelines.prompt_tokens import count_prompt, part_tokens
from pipelines.typical import (
    describe_request,
    propose_request,
    solve_request,
    typical_scene,
    unseen_frames,
)
from schemas.view import View
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.conversation import Look, compose
from transforms.annotate.prompts import Templates, load_templates
from transforms.annotate.teacher import Family, TeacherKind, TeacherSettings
from transforms.annotate.teachers import make_teacher, open_teacher
from transforms.annotate.visual_tokens import visual_tokens
from transforms.memo import Entry, MemoStore
from transforms.needs import Hints

VERSION = "1"
USUAL_SIZE_PX = (1280, 720)
"""Of a video that nobody has opened yet."""
TEACHER, VERIFIER = "teacher", "verifier"
MOST_CLIP_S = 600.0
"""Of a clip that is a whole video, when reckoning: by then `max_frames` decides."""


# How times are told ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToldAs:
    """How a model is told the times of frames, and how that is known."""

    family: Family
    known_from: str


def told_as(settings: TeacherSettings, store: MemoStore) -> ToldAs:
    """How the model will be told the times, as far as that is known without loading it."""
    if settings.kind is not TeacherKind.VLLM:
        return ToldAs(Family.IMAGES, "servers take frames as images")
    if settings.family is not Family.AUTO:
        return ToldAs(settings.family, "teacher.family says so")
    opened = Opened.read(_marker(settings, store))
    if opened is not None:
        return ToldAs(opened.family, "the model was opened before")
    from transforms.annotate.vllm_engine import family_of_type

    model_type = _model_type(settings.model)
    if model_type:
        return ToldAs(family_of_type(model_type), f"the checkpoint is a {model_type}")
    name = re.sub(r"[^a-z0-9]+", "_", settings.model.casefold())
    for family, parts in (
        (Family.QWEN3_VL, ("qwen3_vl", "qwen3_5")),
        (Family.QWEN2_5_VL, ("qwen2_5_vl", "qwen2_vl")),
    ):
        if any(part in name for part in parts):
            return ToldAs(family, "guessed from the model's name")
    return ToldAs(Family.IMAGES, "guessed, for the model's name does not tell")


@lru_cache(maxsize=4)
def _model_type(model: str) -> str:
    """What a checkpoint in a local folder says that it is; "" if it is none."""
    try:
        config = json.loads(Path(model, "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


# Checks ------------------------------------------------------------------------------------------


def check_prompts(config: Config) -> Templates | None:
    """The prompt templates, or None for the measure teacher. Raises ConfigError.

    Those of the verifier are looked at, too.
    """
    for name, one in models_of(config).items():
        try:
            load_templates(one.teacher.prompts)
        except ValueError as error:
            raise ConfigError(f"{name}.prompts: {error}") from error
    measures = config.teacher.kind is TeacherKind.MEASURE
    return None if measures else load_templates(config.teacher.prompts)


def own_templates(config: Config) -> dict[str, Templates]:
    """The prompt templates of the user's own, by the folder that they are in."""
    folders = {one.teacher.prompts for one in models_of(config).values()} - {""}
    return {folder: load_templates(folder) for folder in folders}


def models_of(config: Config) -> dict[str, Config]:
    """The models that are asked, by their section: each in the place of the teacher.

    A verifier of its own that asks nobody, or is the teacher itself, is none.
    """
    found = {TEACHER: config} if config.teacher.kind is not TeacherKind.MEASURE else {}
    if config.verifier is not None and config.examiner is not None:
        found[VERIFIER] = config.model_copy(update={"teacher": config.examiner})
    return found


def check_installed(config: Config) -> None:
    """Raise TeacherUnavailable if what the models need on this machine is not there."""
    for name, one in models_of(config).items():
        if one.teacher.kind is TeacherKind.VLLM and importlib.util.find_spec("vllm") is None:
            raise TeacherUnavailable(
                f"{name}.kind is vllm, which is not installed: pip install 'proofreel[vllm]', or "
                f"use a server with {name}.kind=openai"
            )


def check_named_models(config: Config) -> None:
    """Raise ConfigError if workers elsewhere would not find a model by the name it is given.

    The name is published and a part of keys, so it is not made another one.
    """
    for name, one in models_of(config).items():
        model = Path(one.teacher.model)
        if one.teacher.kind is TeacherKind.VLLM and model.is_dir() and not model.is_absolute():
            raise ConfigError(
                f"{name}.model: {model} is a folder below the working folder of this command, and "
                f"workers have another. Give its full path, {model.absolute()}, which must be the "
                "same on each worker's machine"
            )


def check_gpu(config: Config, hints: Hints) -> None:
    """Raise ConfigError if a model needs a GPU and the engine is asked for none."""
    for name, one in models_of(config).items():
        if one.teacher.kind is TeacherKind.VLLM and not hints.gpu:
            raise ConfigError(
                f"{name}.kind: vllm runs on a GPU, and the engine gives one only to who asks: add "
                "--gpu nvidia-l4 --gpu_machine_type g2-standard-8, or another kind"
            )


def check_teacher(config: Config, store: MemoStore, *, here: bool, whole: bool) -> list[str]:
    """Open the teacher, and the verifier if it is another model; gives notes.

    So what is wrong with them is told before any work. A vLLM engine is loaded only if the work is
    done in this process (`here`), where it is then at hand, and only if this very model was not
    opened before: a rerun over finished work needs no engine. `whole`: whether some videos become
    one clip each. Raises TeacherUnavailable.
    """
    notes: list[str] = []
    for name, one in models_of(config).items():
        try:
            found = _check_model(one, store, name, here=here, whole=whole)
        except TeacherUnavailable as error:
            raise TeacherUnavailable(_about(name, str(error))) from error
        notes += [_about(name, note) for note in found]
    return notes


def _about(name: str, words: str) -> str:
    """What is said of a model, with the names of its own section: models know only `teacher`."""
    if name == TEACHER:
        return words
    for before, after in (("a ", " of kind"), ("the ", "'s ")):
        words = words.replace(f"{before}{TEACHER}{after}", f"{before}{name}{after}")
    words = re.sub(r"\bteacher\.", f"{name}.", words)
    return f"{name}: {words}"


def _check_model(
    config: Config, store: MemoStore, name: str, *, here: bool, whole: bool
) -> list[str]:
    settings = config.teacher
    opened: Opened | None = None
    if settings.kind is TeacherKind.OPENAI:
        opened = _open_server(config, store)
    elif settings.kind is TeacherKind.VLLM:
        entry = _marker(settings, store)
        opened = Opened.read(entry)
        if opened is None and here:
            opened = _open_engine(config, store)
            entry.put(opened.to_dict())
    if opened is None or not opened.context_tokens:
        return []
    return check_context(config, opened, whole=whole, name=name)


@dataclass(frozen=True)
class Opened:
    """What was learned when a teacher was opened."""

    context_tokens: int
    """Longest prompt and reply together; 0 = not told."""
    family: Family
    knows_frames: bool = True
    """Whether the tokens of frames are reckoned by the model's own rule."""

    def to_dict(self) -> dict[str, Any]:
        return {"context_tokens": self.context_tokens, "family": self.family}

    @classmethod
    def read(cls, entry: Entry) -> Opened | None:
        """What was stored, or None."""
        stored = entry.get()
        return None if stored is None else cls(stored["context_tokens"], Family(stored["family"]))


def _marker(settings: TeacherSettings, store: MemoStore) -> Entry:
    from transforms.annotate.vllm_teacher import VLLMTeacher

    made_of = [VLLMTeacher(settings, store).version(), settings.identity()]
    return store.entry("teacher_opened", VERSION, made_of)


def _open_engine(config: Config, store: MemoStore) -> Opened:
    from transforms.annotate.vllm_engine import family_of
    from transforms.annotate.vllm_teacher import VLLMTeacher, shared_loop

    teacher = open_teacher(config.teacher, store, config.shots)
    assert isinstance(teacher, VLLMTeacher)
    facts = shared_loop(config.teacher).engine.facts
    return Opened(teacher.context_tokens(), family_of(config.teacher, facts))


def _open_server(config: Config, store: MemoStore) -> Opened:
    from transforms.annotate.openai_teacher import OpenAITeacher

    teacher = make_teacher(config.teacher, store, config.shots)
    assert isinstance(teacher, OpenAITeacher)
    teacher.open()
    try:
        context_tokens = teacher.context_tokens()
    finally:
        teacher.close()
    # How many tokens an image takes is known of the Qwen-VL models alone.
    return Opened(context_tokens, Family.IMAGES, "qwen" in config.teacher.model.casefold())


# The context -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Needed:
    """What the longest request takes, about, in tokens."""

    frames: int
    """How many are shown first."""
    clip_s: float
    visual: int
    """Of these."""
    closer: int
    """Of what the model may ask to see more of."""
    text: int
    reply: int

    @property
    def total(self) -> int:
        return self.visual + self.closer + self.text + self.reply


def tokens_needed(config: Config, family: Family, *, whole: bool, name: str = TEACHER) -> Needed:
    """What a request about the longest clip takes, reckoned for a 16:9 picture.

    The verifier is asked only for answers, about frames and about words.
    """
    settings = config.teacher
    longest_s = _longest_s(config, whole=whole)
    scene = typical_scene(longest_s, *USUAL_SIZE_PX)
    look: Look = partial(_unseen, settings)
    templates = load_templates(settings.prompts)
    requests = [solve_request(scene)]
    if name == TEACHER:
        requests += [describe_request(scene), propose_request(scene, config)]
    found = [
        count_prompt(compose(request, templates, settings, look), family) for request in requests
    ]
    frames = unseen_frames(scene, settings)
    _, height_px, width_px, _ = frames.pixels.shape
    # Frames that were asked for are shown as video too, or as images: the dearer of both counts.
    closer = max(
        visual_tokens(one, settings.tool_max_frames, width_px, height_px)
        for one in (family, Family.IMAGES)
    )
    return Needed(
        frames=len(frames.times_s),
        clip_s=longest_s,
        visual=max(one.visual for one in found),
        closer=settings.tool_calls * closer,
        text=max(one.text for one in found),
        reply=settings.max_tokens,
    )


def _longest_s(config: Config, *, whole: bool) -> float:
    return min(config.input.max_duration_s, MOST_CLIP_S) if whole else config.shots.max_clip_s


def _unseen(
    settings: TeacherSettings, scene: Any, times_s: tuple[float, ...] | None, _: View
) -> Any:
    # No view shows more than the whole clip.
    return unseen_frames(scene, settings, times_s)


def check_context(config: Config, opened: Opened, *, whole: bool, name: str = TEACHER) -> list[str]:
    """Nothing, or a note if the context may be too short.

    Raises TeacherUnavailable, with all numbers and what to change, if it is.
    """
    needed = tokens_needed(config, opened.family, whole=whole, name=name)
    if needed.total <= opened.context_tokens:
        return []
    words = _too_long(config, opened, needed, whole=whole)
    if opened.knows_frames:
        raise TeacherUnavailable(words)
    return [f"{words}. The tokens of frames are reckoned as Qwen2.5-VL counts them"]


def _too_long(config: Config, opened: Opened, needed: Needed, *, whole: bool) -> str:
    settings = config.teacher
    closer = f", {needed.closer} for what teacher.tool_calls may show" if needed.closer else ""
    said = (
        f"the context of {settings.model} is {opened.context_tokens} tokens, too short: a clip of "
        f"{needed.clip_s:g} s is shown as {needed.frames} frames of about {needed.visual} tokens"
        f"{closer}, the prompt takes about {needed.text} and the reply up to teacher.max_tokens = "
        f"{needed.reply}, together {needed.total}"
    )
    room = opened.context_tokens - needed.closer - needed.text - needed.reply
    most = _most_frames(config, opened.family, room, whole=whole)
    longer = (
        "teacher.max_model_len" if settings.kind is TeacherKind.VLLM else "the server's context"
    )
    if most < 2:
        tools = " and teacher.tool_calls" if needed.closer else ""
        return f"{said}. Raise {longer}, or lower teacher.max_tokens{tools}"
    return (
        f"{said}. Set teacher.max_frames={most} (now {settings.max_frames}), or lower teacher.fps, "
        f"teacher.frame_height_px or shots.max_clip_s, or raise {longer}"
    )


def _most_frames(config: Config, family: Family, room: int, *, whole: bool) -> int:
    """The most frames that take no more tokens than `room`; 0 if not even 2 do."""
    scene = typical_scene(_longest_s(config, whole=whole), *USUAL_SIZE_PX)
    for number in range(config.teacher.max_frames, 1, -1):
        fewer = config.teacher.model_copy(update={"max_frames": number})
        if part_tokens(unseen_frames(scene, fewer), family) <= room:
            return number
    return 0
