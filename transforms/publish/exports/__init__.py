"""Exporters: one file per trainer, over the same turns, media files and writers."""

NAMES = (
    "webdataset",
    "energon",
    "hf",
    "llama-factory",
    "ms-swift",
    "openrlhf",
    "trl",
    "verl",
    "easyr1",
    "video-r1",
    "qwen",
    "internvl",
    "llava",
)
"""As they are called on the command line, whose start must not wait for all of them to load."""
