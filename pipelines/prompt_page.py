"""A prompt as one page that stands alone: text, pictures and times as the teacher gets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pipelines.prompt import Prompted, heading
from transforms.annotate.conversation import Part, as_images, shown_as_video
from transforms.annotate.openai_messages import encode
from transforms.annotate.prompts import seconds
from transforms.annotate.teacher import Family
from transforms.annotate.vllm_prompt import video_metadata

TEMPLATE = Path(__file__).with_name("prompt_page.html.j2")


def prompt_page(shown: Prompted) -> str:
    """The page as HTML; it refers to nothing outside of it and holds no script."""
    page = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(TEMPLATE.read_text("utf-8"))
    said = shown.said
    schema = "plain text" if said.schema is None else json.dumps(said.schema, indent=2)
    turns = [
        {"role": turn.role, "parts": [_part(part, shown.told.family) for part in turn.parts]}
        for turn in said.turns
    ]
    return page.render(heading=heading(shown), notes=shown.notes, turns=turns, schema=schema)


def _part(part: Part, family: Family) -> dict[str, Any]:
    if isinstance(part, str):
        return {"frames": [], "text": part}
    as_video = shown_as_video(part, family)
    frames = [
        {"said": "" if as_video else said, "url": url, "time": seconds(time_s), "index": index}
        for (said, _), url, time_s, index in zip(
            as_images(part), encode(part).urls, part.times_s, part.indices, strict=True
        )
    ]
    if not as_video:
        told = f"{len(frames)} images, each after a text with its time"
        return {"frames": frames, "told": told, "metadata": ""}
    told = f"one video of {len(frames)} frames with these facts, from which the model has the times"
    facts = json.dumps(video_metadata(part))
    return {"frames": frames, "told": told, "metadata": facts}
