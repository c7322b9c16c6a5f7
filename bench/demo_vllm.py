"""The whole way with a model that sees: vLLM on the CPU, the small checkpoint of bench/tiny_vlm.

Usage: python bench/demo_vllm.py [FOLDER]     (default: demo-vllm-out; needs scripts/vllm_env.sh)

The videos are constructed. Of the raw ones the model makes everything: captions, questions,
reasoning and answers. The others come with questions whose true answers are known.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "tiny_vlm"))
import clips
import numpy as np
import talk
from demo import draw_tasks, proofreel

TINY = Path(__file__).parent / "tiny_vlm"
VIDEOS = 16
SETTINGS = {
    "teacher.kind": "vllm",
    "teacher.model": str(TINY / "checkpoint"),
    "teacher.prompts": str(TINY / "prompts"),
    "teacher.frame_height_px": clips.SEEN_PX,
    "teacher.fps": 1 / clips.STEP_S,
    "teacher.max_tokens": 512,
    "teacher.engine_args.max_num_seqs": 32,
    # It was not taught to sum up captions.
    "describe.levels": "clip",
    # Clips before a plain ground look alike, are dark, and hardly move.
    "features.model": "none",
    "select.min_brightness": 0,
    "select.max_frozen_share": 1,
    "select.max_underexposed_share": 1,
    "select.min_sharpness": 0,
    # What it is taught is the one form of reasoning that it knows: a critique does not help it.
    "verify.repair_rounds": 0,
    # It is its own verifier. It was taught to answer questions about video of an even frame rate,
    # not to judge what others say.
    "verify.hide": "black",
    "verify.claims": False,
    "verify.conclusions": 0,
}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-vllm-out")
    inputs, out, pictures = folder / "videos", folder / "run", folder / "pictures"
    for place in (inputs, pictures):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    manifest = write_videos(inputs)
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    proofreel("run", str(manifest), "--out", str(out), *settings)
    proofreel("check", str(out))
    draw_tasks(out, pictures)


def write_videos(folder: Path) -> Path:
    """Constructed videos, and a manifest that gives every second one a few questions."""
    rows: list[dict[str, object]] = []
    for number in range(VIDEOS):
        clip = clips.make_clip(clips.Split.TEST, number)
        video = folder / f"shapes-{number:02}.mp4"
        clips.write_mp4(video, clip)
        if number % 2:
            rows.append({"uri": video.name})
            continue
        for question in talk.questions(clip, np.random.default_rng(number))[:7]:
            rows.append(
                {
                    "uri": video.name,
                    "question": question.text,
                    "answer": question.answer,
                    "answer_kind": question.kind,
                }
            )
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return manifest


if __name__ == "__main__":
    main()
