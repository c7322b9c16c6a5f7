"""A conversation as a chat request of OpenAI's form, and what a chat completion says."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from transforms.annotate.asking import cut_short
from transforms.annotate.conversation import Conversation, Part, Turn, as_images, texts
from transforms.annotate.replies import MAX_REPLY_CHARS
from transforms.annotate.seeing import Frames
from transforms.annotate.teacher import ReplyForm, TeacherSettings

JPEG_QUALITY = 90
PROBE_PX = 64
"""Side of the picture of a probe: some models take none below 28 or 32 pixels."""
PROBE_SCHEMA = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}},
    "required": ["ready"],
    "additionalProperties": False,
}


class Refused(Exception):  # noqa: N818 - its words are what is read
    """The server's answer is of no use, and asking again would not change that."""


# What is sent ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures(Frames):
    """Frames as JPEG data URLs. Their pixels are let go, (T, 0, 0, 3): those take the memory."""

    urls: tuple[str, ...] = ()


def encode(frames: Frames) -> Pictures:
    """Frames as they are sent."""
    urls = []
    for pixels in frames.pixels:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
        encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
        urls.append(f"data:image/jpeg;base64,{encoded}")
    return Pictures(
        pixels=np.zeros((len(urls), 0, 0, 3), np.uint8),
        times_s=frames.times_s,
        fps=frames.fps,
        num_frames=frames.num_frames,
        duration_s=frames.duration_s,
        urls=tuple(urls),
    )


def chat_body(
    conversation: Conversation, settings: TeacherSettings, *, seed: int, name: str
) -> dict[str, Any]:
    """The body of a chat request; `name` is what the schema is called. Frames must be `Pictures`.

    A schema that allows one of several forms (`anyOf` at its root: an answer or a look) is sent as
    it is. vLLM, SGLang and llama.cpp take it; OpenAI's own service wants an object at the root of a
    strict schema and refuses it, so `teacher.tool_calls` is for the others.
    """
    body = {
        "model": settings.model,
        "messages": [_message(turn) for turn in conversation.turns],
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "seed": seed,
    }
    if conversation.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name, "strict": True, "schema": conversation.schema},
        }
    return {key: value for key, value in (body | settings.extra_body).items() if value is not None}


def _message(turn: Turn) -> dict[str, Any]:
    if any(isinstance(part, Frames) for part in turn.parts):
        return {"role": turn.role, "content": [one for part in turn.parts for one in _parts(part)]}
    return {"role": turn.role, "content": texts(turn.parts)}


def _parts(part: Part) -> Iterator[dict[str, Any]]:
    if isinstance(part, str):
        yield {"type": "text", "text": part}
        return
    if not isinstance(part, Pictures):
        raise TypeError("frames must be encoded before they are sent")
    for (said, _), url in zip(as_images(part), part.urls, strict=True):
        yield {"type": "text", "text": said}
        yield {"type": "image_url", "image_url": {"url": url}}


def probe_body(settings: TeacherSettings, *, picture: bool) -> dict[str, Any]:
    """A small request of the same kind as the real ones: whoever refuses it refuses all of them."""
    gray = np.full((1, PROBE_PX, PROBE_PX, 3), 128, np.uint8)
    frames = encode(Frames(pixels=gray, times_s=(0.0,), fps=1.0, num_frames=1, duration_s=1.0))
    said = 'This is a test of the connection. Reply with {"ready": true} and nothing else.'
    turn = Turn("user", (frames, said) if picture else (said,))
    # Without a grammar where the answers go without one too.
    schema = None if settings.reply_form is ReplyForm.THINK else PROBE_SCHEMA
    return chat_body(Conversation((turn,), schema, ""), settings, seed=0, name="probe")


# What comes back -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Completion:
    text: str
    thinking: str
    """What the model thought before, if the server tells it apart or leaves it before JSON."""


def read_completion(
    answer: dict[str, Any], settings: TeacherSettings, *, json_wanted: bool
) -> Completion:
    """What a chat completion says. Raises Refused when there is nothing that can be used."""
    message, finish = message_of(answer)
    text, refusal = message.get("content"), message.get("refusal")
    if refusal:
        raise Refused(f"the model refused: {refusal}")
    thinking = ""
    if json_wanted and isinstance(text, str):
        thinking, text = split_thinking(text)
    if finish == "length" and (cut := _cut(text, settings, json_wanted=json_wanted)):
        raise Refused(cut)
    if not isinstance(text, str) or not text.strip():
        raise Refused(f"the answer holds no text (finish reason: {finish})")
    if len(text) > MAX_REPLY_CHARS:
        raise Refused(f"the reply has {len(text)} characters, more than {MAX_REPLY_CHARS}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused("the answer holds lone surrogates, which are no text") from error
    # Newer servers say `reasoning`, older ones `reasoning_content`.
    told = message.get("reasoning") or message.get("reasoning_content")
    thinking = told if isinstance(told, str) else thinking
    # Nothing is checked against it, so what can't be stored may go.
    kept = thinking[:MAX_REPLY_CHARS].encode("utf-8", "replace").decode("utf-8")
    return Completion(text, kept.strip())


def message_of(answer: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Message and finish reason of a completion. Raises Refused if it has none."""
    try:
        choice = answer["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        message, finish = None, None
    if not isinstance(message, dict):
        said = json.dumps(answer, ensure_ascii=True)[:200]
        raise Refused(f"the answer holds no message: {said}")
    return message, finish


def split_thinking(text: str) -> tuple[str, str]:
    """What a model thought, if its server left that in front of the JSON, and what follows.

    The first tag may be missing: some chat templates write it themselves.
    """
    bare = text.lstrip()
    head, tag, rest = bare.partition("</think>")
    if not tag or bare.startswith(("{", "[", "```")):
        return "", text
    return head.strip().removeprefix("<think>").strip(), rest


def _cut(text: Any, settings: TeacherSettings, *, json_wanted: bool) -> str:
    """What to say of a completion that met the limit of tokens; "" if it is whole all the same."""
    text = text if isinstance(text, str) else ""
    whole = not json_wanted and text.rstrip().endswith(("</answer>", "</tool_call>"))
    return "" if whole else cut_short(text, settings)


def count_tokens(answer: dict[str, Any]) -> dict[str, int]:
    """`prompt_tokens` and `completion_tokens` of a completion; -1 = the server does not say."""
    usage = answer.get("usage")
    told = usage if isinstance(usage, dict) else {}
    names = ("prompt_tokens", "completion_tokens")
    return {name: _count(told.get(name)) for name in names}


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 62 else -1
