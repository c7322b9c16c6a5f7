"""From a conversation to vLLM's form of a prompt: text with places for media, and the media."""

from __future__ import annotations

from typing import Any

from PIL import Image

from schemas.base import content_hash
from transforms.annotate.conversation import Conversation, as_images, shown_as_video
from transforms.annotate.seeing import Frames
from transforms.annotate.teacher import Family
from transforms.annotate.vllm_engine import Engine


def engine_prompt(
    said: Conversation, family: Family, engine: Engine, media_sha256: str
) -> dict[str, Any]:
    """The conversation as a prompt of vLLM: text with places for media, and the media.

    Every picture and video goes with an id of our own: vLLM's, made from the pixels alone, is the
    same for the same pictures at other times, and then it takes the times of the first.
    """
    media: dict[str, list[Any]] = {"video": [], "image": []}
    ids: dict[str, list[str]] = {"video": [], "image": []}
    messages: list[dict[str, Any]] = []
    for turn in said.turns:
        content: list[dict[str, Any]] = []
        for part in turn.parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            elif shown_as_video(part, family):
                content.append({"type": "video"})
                media["video"].append((part.pixels, video_metadata(part)))
                ids["video"].append(_media_id("video", media_sha256, part, part.times_s))
            else:
                for (text, pixels), time_s in zip(as_images(part), part.times_s, strict=True):
                    content += [{"type": "text", "text": text}, {"type": "image"}]
                    media["image"].append(Image.fromarray(pixels))
                    ids["image"].append(_media_id("image", media_sha256, part, (time_s,)))
        messages.append({"role": turn.role, "content": content})
    prompt: dict[str, Any] = {"prompt": engine.chat_text(messages)}
    if said.videos:
        prompt["multi_modal_data"] = {kind: items for kind, items in media.items() if items}
        prompt["multi_modal_uuids"] = {kind: names for kind, names in ids.items() if names}
    return prompt


def _media_id(kind: str, media_sha256: str, frames: Frames, times_s: tuple[float, ...]) -> str:
    """Changes with all that a model's processor makes its input of."""
    _, height, width, _ = frames.pixels.shape
    place = [frames.fps, frames.num_frames, frames.duration_s]
    view = frames.view.model_dump(mode="json")
    return content_hash(kind, media_sha256, list(times_s), [height, width], place, view)


def video_metadata(frames: Frames) -> dict[str, Any]:
    """What a model is told of the frames: from this it computes their times.

    The indices are places in the clip's file at its own frame rate, so that index / fps is the
    true time (Qwen3-VL), and frames / total * fps the true rate of the frames shown (Qwen2.5-VL).
    """
    return {
        "fps": frames.fps,
        "total_num_frames": frames.num_frames,
        "frames_indices": list(frames.indices),
        "duration": frames.duration_s,
        "video_backend": "pyav",
        "do_sample_frames": False,
    }
