"""Samples and whole small datasets for the tests of publishing."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from schemas import rewards
from schemas.base import SCHEMA_VERSION, canonical_json
from schemas.clip import Measures, ShotType
from schemas.conditions import AskedView, Conditions, ConditionScores
from schemas.rejection import UNITS, Reason, Rejection, Stage
from schemas.sample import (
    PROMPT_SPLITS,
    GroundedBox,
    GroundedSegment,
    Grounding,
    Message,
    Part,
    Preference,
    Provenance,
    PublishedCheck,
    PublishedVerdict,
    Reward,
    Sample,
    SampleMedia,
    Sampling,
    StepLabel,
)
from schemas.task import Answer, AnswerBox, TaskKind
from schemas.view import Condition
from transforms.publish.card import CardFacts, render_card
from transforms.publish.card_counts import card_entry, count
from transforms.publish.croissant import DESCRIBED, WrittenFile, render_croissant
from transforms.publish.files import write_bytes, write_text
from transforms.publish.index import index_entry, index_table, rejected_table, write_parquet
from transforms.publish.manifest import (
    CARD_FILE,
    CROISSANT_FILE,
    INDEX_FILE,
    MANIFEST_FILE,
    REJECTED_FILE,
    REWARDS_FILE,
    FunnelStage,
    Manifest,
    ShardEntry,
    funnel_stage,
    rejection_counts,
)
from transforms.publish.shards import plan_sample, plan_shards, write_shard

FPS = 10
WIDTH, HEIGHT = 64, 48
CONFIG = {
    "seed": 0,
    "select": {"near_duplicate_cosine": 0.97},
    "verify": {"samples": 4, "thresholds": {"answer": 0.5, "spans": 1.0}},
}

MEASURES = Measures(
    brightness=0.5, contrast=0.2, underexposed_share=0.0, overexposed_share=0.0, sharpness=0.1,
    motion=0.1, motion_speed=0.1, motion_speed_p90=0.2, black_share=0.0, frozen_share=0.0,
    crop_box=(0.0, 0.1, 1.0, 0.9), text_share=-1.0, loudness_lufs=-20.0, sound_share=1.0,
    average_shot_s=2.5, shot_type=ShotType.EDITED,
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    path: Path
    sha256: str
    duration_s: float
    has_audio: bool


def make_clip(path: Path, duration_s: float, source: str, *, audio: bool = False) -> Clip:
    """Encode a small real mp4."""
    size = f"size={WIDTH}x{HEIGHT}:rate={FPS}:duration={duration_s}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-threads", "1"]
    command += ["-f", "lavfi", "-i", f"{source}={size}"]
    if audio:
        command += ["-f", "lavfi", "-i", f"sine=frequency=440:duration={duration_s}", "-c:a", "aac"]
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-fflags", "+bitexact", str(path)]
    subprocess.run(command, check=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Clip(path=path, sha256=digest, duration_s=duration_s, has_audio=audio)


def make_sample(
    key: str,
    clip: Clip,
    *,
    split: str = "sft",
    kind: TaskKind = TaskKind.MCQ,
    filled: Sequence[str] = (),
    license: str = "CC-BY-3.0",
) -> Sample:
    """A sample that holds together; `filled` names optional lists that are not empty."""
    answers = {
        TaskKind.MCQ: Answer(
            kind=kind, text="B", options=("left", "right", "up", "down"), option_index=1
        ),
        TaskKind.TEMPORAL_GROUNDING: Answer(
            kind=kind, text="0.2 to 0.9", intervals_s=((0.2, 0.9),)
        ),
        TaskKind.COUNT: Answer(kind=kind, text="3"),
    }
    fns = {
        TaskKind.MCQ: "mcq",
        TaskKind.TEMPORAL_GROUNDING: "temporal_iou",
        TaskKind.COUNT: "exact_count",
    }
    answer = answers[kind]
    if "answer_boxes" in filled:
        box = AnswerBox(t_s=0.5, xyxy_norm=(0.1, 0.1, 0.5, 0.5))
        answer = answer.model_copy(update={"boxes": (box,)})
    question = Message(
        role="user",
        parts=[Part(type="video", media_id="clip"), Part(type="text", text=f"What is in {key}?")],
    )
    reasoning = "The square moves from 0.2 s to 0.9 s."
    reply = Message(
        role="assistant",
        parts=[Part(type="text", text=rewards.format_response(reasoning, answer.text))],
        reasoning=reasoning,
        loss=1,
    )
    if split == "process":
        reply = reply.model_copy(update={"loss": 0})
    doubt = "The square moves from 0.1 s to 0.8 s."
    wrong = Message(
        role="assistant",
        parts=[Part(type="text", text=rewards.format_response(doubt, "A"))],
        reasoning=doubt,
    )
    views = (
        [until(0.5 * clip.duration_s, 0), until(clip.duration_s, 4)] if split == "online" else []
    )
    moment_s = views[-1].until_s if views else -1.0
    extra: dict[str, object] = {}
    if split == "preference":
        extra["rejected_because"] = ["answer"]
    if split == "online":
        extra["answerable_from_s"] = moment_s
    table = Conditions(
        model="qwen" if views else "",
        views=tuple(views),
        scores=ConditionScores(answerable_from_s=moment_s),
    )
    segment = GroundedSegment(label="motion", media_id="clip", start_s=0.2, end_s=0.9)
    grounded = GroundedBox(ref="square", media_id="clip", t_s=0.5, xyxy_norm=(0.2, 0.2, 0.4, 0.4))
    frames = round(clip.duration_s * FPS)
    return Sample(
        schema_version=SCHEMA_VERSION,
        id=key,
        split=split,
        data_source="proofreel",
        ability=str(kind),
        media=[
            SampleMedia(
                id="clip",
                kind="video",
                part="mp4",
                uri=f"{key}.mp4",
                sha256=clip.sha256,
                width_px=WIDTH,
                height_px=HEIGHT,
                duration_s=clip.duration_s,
                num_frames=frames,
                fps_num=FPS,
                fps_den=1,
                is_cfr=True,
                is_copied=False,
                has_audio=clip.has_audio,
                frame_pts_s=[n / FPS for n in range(frames)] if "pts" in filled else [],
                source_uri="videos/one.mp4",
                source_start_s=2.0,
                source_end_s=2.0 + clip.duration_s,
                source_truncated="",
                measures=MEASURES,
            )
        ],
        sampling=Sampling(fps=2.0),
        messages=[question] if split in PROMPT_SPLITS else [question, reply],
        answer=answer,
        reward=Reward(style="rule", fn=fns[kind], spec_json="{}"),
        preference=Preference(
            rejected=[wrong] if split == "preference" else [],
            margin=1.0 if split == "preference" else 0.0,
        ),
        steps=[StepLabel(text="It moves.", label="good")]
        if "steps" in filled or split == "process"
        else [],
        grounding=Grounding(
            boxes=[grounded] if "boxes" in filled else [],
            segments=[segment] if "segments" in filled else [],
        ),
        verdict=PublishedVerdict(
            pass_rate=0.75,
            checks=[
                PublishedCheck(name="answer", score=1.0, threshold=0.5, passed=True),
                PublishedCheck(name="spans", score=1.0, threshold=1.0, passed=True),
            ],
            conditions_json=table.to_json(),
        ),
        provenance=Provenance(
            teacher="measure",
            teacher_revision="1",
            verifier="measure",
            prompt_sha256="",
            gen_params_json="{}",
            pipeline_version="0.1.0",
            seed=0,
            license=license,
            source_url="https://example.org/one",
        ),
        extra_json=canonical_json(extra),
    )


def until(until_s: float, right: int) -> AskedView:
    """A view of the beginning of a clip, and how many of four answers were right; four options."""
    return AskedView(
        condition=Condition.PREFIX,
        spans_s=[],
        until_s=until_s,
        order=0,
        black=False,
        asked=4,
        right=right,
        share=round(max(right / 4 - 0.25, 0) / 0.75, 6),
    )


@dataclass(frozen=True)
class Item:
    sample: Sample
    partition: Any
    clip: Clip
    video_id: str = ""


def make_items(clips: Sequence[Clip]) -> list[Item]:
    """Samples of all splits. Lists that hardly any sample fills are filled in late keys. The last
    clip is the one of validation."""
    grounding = TaskKind.TEMPORAL_GROUNDING
    items = [Item(make_sample(f"s{n:02}", clips[n % 2]), "train", clips[n % 2]) for n in range(8)]
    late = [
        ("s90", TaskKind.MCQ, ("steps",)),
        ("s91", TaskKind.COUNT, ("boxes", "segments")),
        ("s92", grounding, ("answer_boxes",)),
        ("s93", grounding, ("pts", "segments")),
    ]
    items += [
        Item(make_sample(key, clips[0], kind=kind, filled=filled), "train", clips[0])
        for key, kind, filled in late
    ]
    last = clips[-1]
    items.append(Item(make_sample("s95", last, filled=("segments",)), "validation", last))
    items.append(Item(make_sample("r01", clips[0], split="rl", kind=grounding), "train", clips[0]))
    items += [
        Item(make_sample(key, clips[0], split=split), "train", clips[0])
        for key, split in (("p01", "preference"), ("c01", "process"), ("o01", "online"))
    ]
    return items


def make_rejections() -> list[Rejection]:
    return [
        Rejection(stage=Stage.SELECT, reason=Reason.NEAR_DUPLICATE, subject="c2", detail="like c1"),
        Rejection(stage=Stage.SELECT, reason=Reason.TOO_DARK, subject="c1", parent="v1"),
        Rejection(stage=Stage.INGEST, reason=Reason.EMPTY_FILE, subject="empty.mp4"),
    ]


def make_funnel(tasks: int) -> list[FunnelStage]:
    lost = rejection_counts(make_rejections())
    counts = [(Stage.INGEST, 3, 2), (Stage.DECODE, 2, 2), (Stage.SEGMENT, 6, 6)]
    counts += [(Stage.SELECT, 6, 4), (Stage.CUT, 4, 4), (Stage.TASK, tasks, tasks)]
    counts += [(Stage.ROUTE, tasks, tasks)]
    assert {stage for stage, _, _ in counts} <= UNITS.keys()
    return [funnel_stage(stage, in_, out, lost) for stage, in_, out in counts]


def build_dataset(
    folder: Path,
    items: Sequence[Item],
    *,
    shard_bytes: int = 60_000,
    config: dict[str, Any] = CONFIG,
    funnel: Sequence[FunnelStage] = (),
) -> Manifest:
    """Write a whole dataset with the functions under test, in the order that a run uses them."""
    by_key = {item.sample.id: item for item in items}
    plans = plan_shards(
        [plan_sample(i.sample, i.partition, i.clip.path.stat().st_size) for i in items],
        shard_bytes,
    )
    shards = [
        write_shard(
            plan,
            {one.key: by_key[one.key].sample for one in plan.samples},
            {one.key: by_key[one.key].clip.path for one in plan.samples},
            folder,
        )
        for plan in plans
    ]
    entries = [
        index_entry(
            item.sample,
            item.partition,
            video_id=item.video_id or f"v-{item.partition}",
            clip_id=item.clip.path.stem,
            task_id=f"t-{item.sample.id}",
        )
        for item in items
    ]
    listed = [ShardEntry(**one.model_dump(exclude={"entries"})) for one in shards]
    funnel = list(funnel) or make_funnel(len(items))
    facts = CardFacts(
        title="Small",
        proofreel_version="0.1.0",
        config=config,
        versions={"ffmpeg": "7"},
        shards=tuple(listed),
        funnel=tuple(funnel),
        prompts={"answer": "Look at the frames.\n```\nAnswer.\n```"},
        notes=("random weights were used",),
    )
    counted = count(card_entry(item.sample, item.partition) for item in items)
    card = render_card(facts, counted)
    files = {
        INDEX_FILE: write_parquet(index_table(entries, shards), folder / INDEX_FILE),
        REJECTED_FILE: write_parquet(rejected_table(make_rejections()), folder / REJECTED_FILE),
        CARD_FILE: write_text(folder / CARD_FILE, card),
        REWARDS_FILE: write_bytes(folder / REWARDS_FILE, Path(rewards.__file__).read_bytes()),
    }
    described = {
        name: WrittenFile(files[name], (folder / name).stat().st_size) for name in DESCRIBED
    }
    croissant = render_croissant(facts, counted, described)
    files[CROISSANT_FILE] = write_text(folder / CROISSANT_FILE, croissant)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        proofreel_version="0.1.0",
        seed=0,
        config=config,
        versions={"ffmpeg": "7"},
        shards=listed,
        funnel=funnel,
        files=files,
        notes=["random weights were used"],
    )
    write_text(folder / MANIFEST_FILE, manifest.to_text())
    return manifest


Members = list[tuple[str, bytes]]


def read_members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def rewrite_shard(folder: Path, shard: str, change: Callable[[Members], Members]) -> None:
    """What an attacker does: change a shard, and make the manifest's hash and size fit."""
    path = folder / shard
    changed = change(read_members(path))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in changed:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    fix_hash(folder, shard)


def fix_hash(folder: Path, shard: str, **more: Any) -> None:
    data = (folder / shard).read_bytes()
    stated = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **more}
    edit_manifest(
        folder,
        lambda value: [one.update(stated) for one in value["shards"] if one["path"] == shard],
    )


def fix_croissant(folder: Path) -> None:
    """Make croissant.json fit the files and the manifest fit it: nothing gives a change away."""
    path = folder / CROISSANT_FILE
    value = json.loads(path.read_text("utf-8"))
    for one in value["distribution"]:
        if "sha256" in one:
            data = (folder / one["@id"]).read_bytes()
            one |= {"sha256": hashlib.sha256(data).hexdigest(), "contentSize": f"{len(data)} B"}
    sha256 = write_text(path, json.dumps(value))
    edit_manifest(folder, lambda value: value["files"].update({CROISSANT_FILE: sha256}))


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / MANIFEST_FILE
    value = json.loads(path.read_text("utf-8"))
    edit(value)
    path.write_text(Manifest.model_validate(value).to_text(), "utf-8")


def edit_sample(
    folder: Path, key: str, edit: Callable[[dict[str, Any]], Any], *, shard: str = ""
) -> str:
    """Edit a sample's JSON inside its shard, with fixed-up hashes; gives the shard back."""
    found = shard or find_shard(folder, key)

    def change(members: Members) -> Members:
        out: Members = []
        for name, data in members:
            if name == f"{key}.json":
                value = json.loads(data)
                edit(value)
                text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
                data = text.encode("utf-8")
            out.append((name, data))
        return out

    rewrite_shard(folder, found, change)
    return found


def find_shard(folder: Path, key: str) -> str:
    for path in sorted(folder.rglob("*.tar")):
        if any(name == f"{key}.json" for name, _ in read_members(path)):
            return path.relative_to(folder).as_posix()
    raise AssertionError(f"no shard holds {key}")
