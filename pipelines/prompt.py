"""`proofreel prompt`: exactly what a teacher would be sent about a clip or a task of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipelines.config import Config, ConfigError
from pipelines.folder import Folder, NotFoundError
from pipelines.preflight import ToldAs, told_as
from pipelines.prompt_tokens import PromptTokens, count_prompt
from schemas.case import Case, Scene
from schemas.rollout import Rollout
from transforms.annotate.asking import params_json, seed_of
from transforms.annotate.conversation import Conversation, compose, shown_as_video
from transforms.annotate.describe import ClipDescriber
from transforms.annotate.prompts import FILES, load_templates, own_folder, seconds
from transforms.annotate.propose import Proposer
from transforms.annotate.seeing import Frames, Looker
from transforms.annotate.teacher import Purpose, Request, TeacherKind, TeacherSettings
from transforms.annotate.teachers import stored_replies
from transforms.publish.manifest import MANIFEST_FILE, Manifest, portable_config
from transforms.verify.loop import Answerer

DECIDING = ("seed", "tasks", "describe", "teacher", "verify")
"""Sections of the configuration that prompts hang on."""


@dataclass(frozen=True)
class Prompted:
    """A request with all that a teacher is sent for it."""

    subject: str
    request: Request
    said: Conversation
    """Exactly what the engines make their request of; frames with their pixels."""
    settings: TeacherSettings
    told: ToldAs
    tokens: PromptTokens
    notes: tuple[str, ...]

    @property
    def params(self) -> dict[str, object]:
        """How the reply would be sampled."""
        params: dict[str, object] = json.loads(params_json(self.settings, seed_of(self.request)))
        return params


def prompted(folder: Folder, identity: str, purpose: Purpose | None, config: Config) -> Prompted:
    """What would be sent about a clip, a task, a sample or a rollout of a finished run.

    Raises NotFoundError, ConfigError for prompt templates that can't be used, and ValueError for a
    clip whose file can't be decoded.
    """
    settings = config.teacher
    notes = []
    if settings.kind is TeacherKind.MEASURE:
        settings = settings.model_copy(update={"kind": TeacherKind.OPENAI})
        config = config.model_copy(update={"teacher": settings})
        notes.append(
            "teacher.kind is measure, which is sent no prompt: this is what a model behind a "
            "server would be sent (teacher.kind=openai)"
        )
    notes += _other_settings(folder, config)
    subject, request, rollout = _request(folder, identity, purpose, config)
    try:
        templates = load_templates(settings.prompts)
    except ValueError as error:
        raise ConfigError(f"teacher.prompts: {error}") from error
    said = compose(request, templates, settings, Looker(folder.store, settings, kept=8).look)
    told = told_as(settings, folder.store)
    if rollout is not None:
        same = said.prompt_sha256 == rollout.teacher.prompt_sha256
        notes.append(
            "this is the very text that the rollout's reply was asked for with"
            if same
            else "the rollout's reply was asked for with another text: prompts or settings differ"
        )
    if stored_replies(settings, folder.store, config.shots, [request]):
        notes.append("the reply to this very request is in the store")
    tokens = count_prompt(said, told.family)
    return Prompted(subject, request, said, settings, told, tokens, tuple(notes))


def _other_settings(folder: Folder, config: Config) -> list[str]:
    """A note, if the run in the folder was made with other settings."""
    text = (folder.root / "dataset" / MANIFEST_FILE).read_text("utf-8")
    run, given = Manifest.model_validate_json(text).config, portable_config(config.resolved())
    other = [name for name in DECIDING if run.get(name) != given[name]]
    if not other:
        return []
    return [f"the run in {folder.root} was made with other settings of {', '.join(other)}"]


# Which request -----------------------------------------------------------------------------------


def _request(
    folder: Folder, identity: str, purpose: Purpose | None, config: Config
) -> tuple[str, Request, Rollout | None]:
    """What it is about, in words, the request, and the rollout that was asked for, if one was."""
    case = folder.case_of(identity)
    if case is not None and purpose in (None, Purpose.SOLVE):
        rollout = next((one.rollout for one in case.attempts if one.rollout.id == identity), None)
        request = _solve(case, rollout, config)
        return f"task {case.task.id} of {_clip(case.scene)}", request, rollout
    clip_id = identity if case is None else case.task.clip_id
    scene = folder.scene(clip_id)
    if scene is None:
        raise NotFoundError(
            f"{identity}: no clip that was cut and no task in {folder.root} has this id; "
            f"`proofreel inspect {folder.root} FILE` lists the clips of a video"
        )
    if purpose is Purpose.SOLVE:
        tasks = ", ".join(one.task.id for one in folder.cases_of(clip_id)) or "none"
        raise NotFoundError(f"{identity}: a clip is not solved, but a task; it has: {tasks}")
    asker = (
        ClipDescriber(config.describe, config.seed)
        if purpose is Purpose.DESCRIBE
        else Proposer(config.teacher.kind, config.tasks, config.seed)
    )
    requests = asker.requests(scene, {})
    if not requests:
        raise NotFoundError(
            f"{identity}: {scene.video.source.uri} came with its own questions, so nothing is "
            f"asked about the clip but them: name a task"
        )
    return _clip(scene), requests[0], None


def _clip(scene: Scene) -> str:
    clip = scene.clip
    span = f"{clip.start_s:.3f} to {clip.end_s:.3f} s"
    return f"clip {clip.id}, {span} of {scene.video.source.uri}"


def _solve(case: Case, rollout: Rollout | None, config: Config) -> Request:
    """The first request about a task, or the one that a rollout came of."""
    if rollout is None:
        return Answerer(config.teacher, config.seed, 0).first_requests(case)[0]
    requests = Answerer(config.teacher, config.seed, rollout.round).first_requests(case)
    found = [one for one in requests if one.sample == rollout.sample]
    if not found:
        raise NotFoundError(
            f"{rollout.id}: with these settings (teacher.samples) it would not be asked for"
        )
    return found[0].model_copy(update={"tool_calls": rollout.tool_calls})


# In the terminal ---------------------------------------------------------------------------------


def print_prompt(shown: Prompted, console: Console) -> None:
    """The text and the times; for the pictures there is the page."""
    for line in (*heading(shown), *(f"note: {note}" for note in shown.notes)):
        _print(console, line)
    for turn in shown.said.turns:
        _print(console, f"\n--- {turn.role} ---")
        for part in turn.parts:
            _print(console, _frames_line(part, shown) if isinstance(part, Frames) else part)
    _print(console, "\n--- reply ---")
    if shown.said.schema is None:
        _print(console, "plain text, no schema")
    else:
        _print(console, json.dumps(shown.said.schema, indent=2))


def heading(shown: Prompted) -> list[str]:
    """What the prompt is for, how it is sampled, and about how long it is."""
    settings, tokens = shown.settings, shown.tokens
    params = ", ".join(f"{name} {value}" for name, value in shown.params.items())
    return [
        shown.subject,
        f"purpose {shown.request.purpose}, template {FILES[shown.request.purpose]}, "
        f"prompt {shown.said.prompt_sha256[:16]}",
        f"teacher {settings.kind} {settings.model or '(no model named)'}: {params}",
        f"times are told as {shown.told.family} ({shown.told.known_from})",
        f"about {tokens.text} tokens of text and {tokens.visual} of frames, {tokens.total} "
        f"together; a reply has at most {settings.max_tokens}",
    ]


def _frames_line(frames: Frames, shown: Prompted) -> str:
    times = ", ".join(seconds(time_s) for time_s in frames.times_s)
    _, height_px, width_px, _ = frames.pixels.shape
    size = f"{len(frames.times_s)} frames of {width_px}x{height_px} pixels"
    if shown_as_video(frames, shown.told.family):
        places = ", ".join(str(index) for index in frames.indices)
        return f"[{size} as a video of {frames.fps:g} fps: frames {places}, at {times}]"
    return f"[{size}, each an image after a text with its time: {times}]"


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True, emoji=False)


# Templates of one's own --------------------------------------------------------------------------


def copy_templates(folder: Path) -> Sequence[Path]:
    """Copy the prompt templates to a folder, to be edited.

    Raises ConfigError if one is there already: it may have been edited.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = [name for name in FILES.values() if (folder / name).exists()]
        if there:
            raise ConfigError(f"{folder} holds {', '.join(there)} already; name another folder")
        return [Path(shutil.copyfile(own_folder() / n, folder / n)) for n in FILES.values()]
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror or error}") from error
