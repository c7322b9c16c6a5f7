"""What is put to a model for one request: turns of frames and text, the same for every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.base import content_hash
from schemas.case import Scene
from schemas.rollout import ToolCall
from schemas.view import WHOLE, View
from transforms.annotate.prompts import Templates, plain, render_prompt, seconds
from transforms.annotate.reply_forms import may_call_tool, reply_schema, schemas_version
from transforms.annotate.seeing import VERSION as SEEING_VERSION
from transforms.annotate.seeing import Frames
from transforms.annotate.teacher import Family, Request, TeacherSettings

Part = str | Frames
Look = Callable[[Scene, tuple[float, ...] | None, View], Frames | None]
"""Frames of a scene at these times, or those that the settings ask for; of them, those that a view
shows (None: none)."""


@dataclass(frozen=True)
class Turn:
    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Conversation:
    """All turns, the last one of the user, and the JSON schema of the reply (None = free text)."""

    turns: tuple[Turn, ...]
    schema: dict[str, Any] | None
    prompt_sha256: str

    @property
    def videos(self) -> tuple[Frames, ...]:
        """Frames in the order in which they are shown, one entry per look."""
        return tuple(part for turn in self.turns for part in turn.parts if isinstance(part, Frames))


def compose(
    request: Request, templates: Templates, settings: TeacherSettings, look: Look
) -> Conversation:
    """The conversation of a request. Raises what `render_prompt` and `look` raise."""
    scene = request.scene
    frames = None if scene is None else look(scene, None, request.view)
    shown = () if frames is None else (frames,)
    prompt = render_prompt(
        request, templates, settings, frame_times_s=shown[0].times_s if shown else ()
    )
    turns = [Turn("user", (*shown, prompt.text))]
    for number, call in enumerate(request.tool_calls, 1):
        assert scene is not None
        again = may_call_tool(request, settings) or number < len(request.tool_calls)
        turns.append(Turn("assistant", (plain(call.text),)))
        closer = look(scene, call.frame_times_s, WHOLE)
        assert closer is not None, "a call that shows nothing is refused"
        turns.append(Turn("user", (closer, crop_text(call, again=again))))
    sha256 = prompt.sha256
    if len(turns) > 1:
        sha256 = content_hash(sha256, [p for turn in turns for p in turn.parts if type(p) is str])
    return Conversation(tuple(turns), reply_schema(request, settings), sha256)


def crop_text(call: ToolCall, *, again: bool) -> str:
    """What is said with the frames that a model asked for."""
    times = ", ".join(seconds(time_s) for time_s in call.frame_times_s)
    said = (
        f"These are {len(call.frame_times_s)} frames of the clip from {seconds(call.start_s)} to "
        f"{seconds(call.end_s)}; their times are: {times}."
    )
    return said if again else f"{said} Now give your answer; you can't look again."


def conversation_version(templates: Templates) -> str:
    """Changes with the templates, with the forms of replies and with how frames are chosen."""
    return content_hash(templates.version(), schemas_version(), SEEING_VERSION)[:16]


def shown_as_video(frames: Frames, family: Family) -> bool:
    """Whether a model of this family is told the right times when it gets these frames as video.

    Qwen2.5-VL is told only the seconds per step, so its frames must be evenly spaced.
    """
    return family is Family.QWEN3_VL or (family is Family.QWEN2_5_VL and frames.is_even)


def as_images(frames: Frames) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each frame (H, W, 3) with the text that goes before it and says its time."""
    for time_s, pixels in zip(frames.times_s, frames.pixels, strict=True):
        yield f"Frame at {seconds(time_s)}:", pixels


def texts(parts: Sequence[Part]) -> str:
    """The text of a turn."""
    return "\n".join(part for part in parts if isinstance(part, str))
