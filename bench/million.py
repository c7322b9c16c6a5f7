"""What a million hours of video would take: formulas over measured costs, and one table.

Costs on CPUs were measured (docs/benchmarks.md says where). What GPUs do was not measured here:
those figures are assumptions, marked as such, to be replaced by your own before they are believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

HOUR_S = 3600.0


@dataclass(frozen=True)
class Costs:
    """Costs of one unit of work. `assumed` in a comment: not measured here."""

    clip_s: float = 10.0  # assumed: mean length of a clip
    kept_share: float = 1.0  # assumed: share of the video that ends in clips; 1 is the worst case
    source_gb_per_h: float = 0.9  # assumed: 2 Mbit/s
    clip_gb_per_h: float = 0.9  # assumed: as the source

    ingest_video_s_per_core_s: float = 1070.0  # bench/curate.py speed
    analysis_video_s_per_core_s: float = 30.0  # bench/curate.py speed
    cut_video_s_per_core_s: float = 6.6  # bench/curate.py speed
    overhead_core_s_per_clip: float = 0.006  # bench/scale.py overhead, many clips a video
    verify_core_s_per_video_s: float = 0.063  # bench/curate.py speed: whole command - media legs

    block_clips: float = 20_000.0  # BLOCK_CLIPS of transforms/features/duplicates.py
    core_s_per_pair_of_blocks: float = 2.4  # bench/near_duplicates.py: 200,000 clips, 55 pairs

    pictures_per_s: float = 2.0  # features.fps
    pictures_per_gpu_s: float = 2000.0  # assumed: ViT-B-32, bf16, with its input ready
    requests_per_clip: float = 18.0  # 1 description, 1 proposal, 4 tasks of 4 samples
    prompt_tokens: float = 4000.0  # assumed: frames and text of a request
    completion_tokens: float = 300.0  # assumed
    prompt_tokens_per_gpu_s: float = 20000.0  # assumed: a 7 B model, with a cache of prefixes
    completion_tokens_per_gpu_s: float = 2500.0  # assumed: the same, many requests at once

    tasks_per_clip: float = 4.0  # tasks.per_clip
    samples_per_clip: float = 8.0  # assumed: each task once for SFT and once for RL
    rejections_per_clip: float = 4.5  # counted, with the measure teacher
    shuffled_bytes_per_clip: float = 11_400.0  # bench/shuffles.py; so are the next three
    shuffled_bytes_per_task: float = 5_200.0
    shuffled_bytes_per_sample: float = 4_500.0
    shuffled_bytes_per_rejection: float = 260.0
    entries_per_video: float = 2.0  # counted: probe, decode
    files_per_video: float = 4.0  # counted
    entries_per_clip: float = 3.0  # counted: cut, features, remeasure; replies come on top
    files_per_clip: float = 6.0  # counted
    shard_gb: float = 1.0  # publish.shard_bytes

    core_h_price: float = 0.04  # assumed
    gpu_h_price: float = 2.0  # assumed
    gb_month_price: float = 0.02  # assumed
    million_puts_price: float = 5.0  # assumed: requests that write to an object store


@dataclass(frozen=True)
class Needs:
    """What so many hours of video need."""

    clips: float
    media_core_h: float
    verify_core_h: float
    overhead_core_h: float
    near_duplicates_core_h: float
    """Grows with the square: each pair of blocks is compared."""
    embed_gpu_h: float
    teacher_gpu_h: float
    requests: float
    tokens: float
    shuffled_tb: float
    memo_entries: float
    memo_files: float
    entries_per_folder: float
    """In the fullest folder of the store: the replies' 256."""
    media_tb: float
    shards: float
    samples: float
    price: float

    @property
    def core_h(self) -> float:
        own = self.verify_core_h + self.overhead_core_h + self.near_duplicates_core_h
        return self.media_core_h + own

    @property
    def gpu_h(self) -> float:
        return self.embed_gpu_h + self.teacher_gpu_h


def needs(hours: float, costs: Costs = Costs(), *, video_h: float = 0.1) -> Needs:
    """What it takes; `video_h`: mean length of a video in hours."""
    video_s = hours * HOUR_S
    kept_s = video_s * costs.kept_share
    clips, files = kept_s / costs.clip_s, hours / video_h
    media_s = (
        video_s / costs.ingest_video_s_per_core_s
        + video_s / costs.analysis_video_s_per_core_s
        + kept_s / costs.cut_video_s_per_core_s
    )
    blocks = math.ceil(clips / costs.block_clips)
    requests = clips * costs.requests_per_clip
    reply_s = (
        costs.prompt_tokens / costs.prompt_tokens_per_gpu_s
        + costs.completion_tokens / costs.completion_tokens_per_gpu_s
    )
    shuffled = (
        costs.shuffled_bytes_per_clip
        + costs.tasks_per_clip * costs.shuffled_bytes_per_task
        + costs.samples_per_clip * costs.shuffled_bytes_per_sample
        + costs.rejections_per_clip * costs.shuffled_bytes_per_rejection
    )
    entries = files * costs.entries_per_video + clips * costs.entries_per_clip + requests
    media_gb = hours * costs.kept_share * costs.clip_gb_per_h
    found = Needs(
        clips=clips,
        media_core_h=media_s / HOUR_S,
        verify_core_h=kept_s * costs.verify_core_s_per_video_s / HOUR_S,
        overhead_core_h=clips * costs.overhead_core_s_per_clip / HOUR_S,
        near_duplicates_core_h=blocks * (blocks + 1) / 2 * costs.core_s_per_pair_of_blocks / HOUR_S,
        embed_gpu_h=kept_s * costs.pictures_per_s / costs.pictures_per_gpu_s / HOUR_S,
        teacher_gpu_h=requests * reply_s / HOUR_S,
        requests=requests,
        tokens=requests * (costs.prompt_tokens + costs.completion_tokens),
        shuffled_tb=clips * shuffled / 1e12,
        memo_entries=entries,
        memo_files=files * costs.files_per_video + clips * costs.files_per_clip + requests,
        entries_per_folder=requests / 256,
        media_tb=media_gb / 1e3,
        shards=media_gb / costs.shard_gb,
        samples=clips * costs.samples_per_clip,
        price=0.0,
    )
    price = (
        found.core_h * costs.core_h_price
        + found.gpu_h * costs.gpu_h_price
        # The clips twice, in the store and in shards, for a month; and what writing them takes.
        + 2 * media_gb * costs.gb_month_price
        + found.memo_files / 1e6 * costs.million_puts_price
    )
    return replace(found, price=price)


LABELS = {
    "clips": "clips",
    "media_core_h": "probe, analyse, cut: core-hours",
    "verify_core_h": "second look at each clip: core-hours",
    "overhead_core_h": "Python and Beam between: core-hours",
    "near_duplicates_core_h": "near-duplicates: core-hours",
    "embed_gpu_h": "CLIP: GPU-hours (assumed)",
    "teacher_gpu_h": "teacher: GPU-hours (assumed)",
    "requests": "requests to the teacher",
    "tokens": "their tokens (assumed)",
    "shuffled_tb": "through shuffles: TB",
    "memo_entries": "entries of the memo store",
    "memo_files": "files in them",
    "entries_per_folder": "entries in its fullest folder",
    "media_tb": "clips: TB (assumed)",
    "shards": "shards of 1 GB",
    "samples": "samples (assumed)",
    "price": "price (assumed)",
}


def _said(value: float) -> str:
    for size, name in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if value >= size:
            return f"{value / size:,.3g}{name}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def rows(hours: tuple[float, ...], costs: Costs = Costs()) -> Iterator[str]:
    yield "| | " + " | ".join(f"{one:,.0f} h" for one in hours) + " |"
    yield "|---" * (len(hours) + 1) + "|"
    several = [needs(one, costs) for one in hours]
    for field in fields(Needs):
        values = " | ".join(_said(getattr(one, field.name)) for one in several)
        yield f"| {LABELS[field.name]} | {values} |"
    month_h = 30 * 24
    for label, kind in (("cores for 30 days", "core_h"), ("GPUs for 30 days", "gpu_h")):
        values = " | ".join(_said(getattr(one, kind) / month_h) for one in several)
        yield f"| {label} | {values} |"


def table() -> str:
    """The table of docs/scale.md."""
    return "\n".join(rows((1.0, 1_000.0, 1_000_000.0)))
