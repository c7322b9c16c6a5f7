"""`proofreel inspect`: the whole chain of one video, clip, task or sample."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from pipelines.records import find_record, records
from schemas.case import Attempt, Case, Footage
from schemas.clip import Clip
from schemas.rollout import Rollout
from schemas.sample import SPLITS
from transforms.memo import MemoStore
from transforms.publish.manifest import INDEX_FILE, REJECTED_FILE


class NotFoundError(Exception):
    """Nothing in the folder has this id."""


@dataclass(frozen=True)
class Folder:
    """Where a run's records and dataset lie."""

    root: Path

    @property
    def records(self) -> Path:
        return self.root / "work" / "records"

    def footage(self, video_id: str) -> Footage | None:
        text = find_record(self.records, "video", video_id)
        return None if text is None else Footage.from_json(text)

    def clip(self, clip_id: str) -> Clip | None:
        text = find_record(self.records, "clip", clip_id)
        return None if text is None else Clip.from_json(text)

    def case(self, task_id: str) -> Case | None:
        text = find_record(self.records, "case", task_id)
        return None if text is None else Case.from_json(text)

    def clips_of(self, video_id: str) -> list[Clip]:
        clips = [Clip.from_json(text) for _, text in records(self.records, "clip")]
        own = [clip for clip in clips if clip.video_id == video_id]
        return sorted(own, key=lambda clip: clip.start_s)

    def cases_of(self, clip_id: str) -> list[Case]:
        cases = [Case.from_json(text) for _, text in records(self.records, "case")]
        return [case for case in cases if case.task.clip_id == clip_id]

    def rejections(self, subject: str) -> Iterator[dict[str, str]]:
        table = pq.read_table(self.root / "dataset" / REJECTED_FILE)
        yield from table.filter(pc.field("subject") == subject).to_pylist()

    def samples_of(self, task_id: str) -> list[dict[str, object]]:
        table = pq.read_table(self.root / "dataset" / INDEX_FILE)
        rows: list[dict[str, object]] = table.filter(pc.field("task_id") == task_id).to_pylist()
        return rows


def inspect(root: Path, identity: str, picture: str | None, console: Console) -> None:
    """Print the chain of what has this id. Raises NotFoundError."""
    folder = Folder(root)
    if not (root / "dataset" / REJECTED_FILE).exists():
        raise NotFoundError(f"{root}: holds no finished run")
    task_id = _task_of(folder, identity)
    case = folder.case(task_id) if task_id else None
    if case is not None:
        console.print(_case_tree(folder, case))
        if picture:
            from transforms.publish.sheet import draw_case

            store = MemoStore(str(root / "work" / "memo"))
            draw_case(case, store.path(case.scene.media.ref)).save(picture)
            console.print(f"drawn: {picture}", highlight=False)
        return
    if picture:
        raise NotFoundError(f"{identity}: --picture draws a task or a sample, and this is neither")
    clip = folder.clip(identity)
    if clip is not None:
        console.print(_clip_tree(folder, clip))
        return
    footage = folder.footage(identity)
    if footage is not None:
        console.print(_video_tree(folder, footage))
        return
    found = list(folder.rejections(identity))
    if not found:
        raise NotFoundError(f"{identity}: nothing in {root} has this id")
    tree = Tree(escape(identity))
    _add_rejections(tree, folder, identity)
    console.print(tree)


def _task_of(folder: Folder, identity: str) -> str:
    """The task that a task, sample or rollout id speaks of, or ""."""
    for split in SPLITS:
        if identity.startswith(f"{split}-"):
            return identity.removeprefix(f"{split}-")
    if identity.startswith("r"):
        for task_id, text in records(folder.records, "case"):
            attempts = Case.from_json(text).attempts
            if any(attempt.rollout.id == identity for attempt in attempts):
                return task_id
    return identity


def _add_rejections(tree: Tree, folder: Folder, subject: str) -> None:
    for row in folder.rejections(subject):
        tree.add(f"[red]rejected[/] at {row['stage']}: {row['reason']} {escape(row['detail'])}")


def _video_tree(folder: Folder, footage: Footage) -> Tree:
    video, decoded = footage.video, footage.decoded
    tree = Tree(f"video {video.id}  {escape(video.source.uri)}")
    tree.add(f"sha256 {video.sha256}, {video.size_bytes} bytes")
    probe = video.probe
    tree.add(
        f"{probe.container}: {probe.codec} {probe.pix_fmt} {probe.width_px}x{probe.height_px}, "
        f"rotation {probe.rotation_deg}, audio {probe.audio.codec if probe.audio else 'none'}"
    )
    rate = f"{decoded.fps_num}/{decoded.fps_den}" + (" (variable)" if decoded.is_vfr else "")
    tree.add(
        f"decodes: {decoded.num_frames} frames, {decoded.duration_s:.3f} s from "
        f"{decoded.first_pts_s:.3f} s, rate {rate}"
    )
    _add_rejections(tree, folder, video.id)
    for clip in folder.clips_of(video.id):
        line = f"clip {clip.id}  {clip.start_s:.3f} to {clip.end_s:.3f} s"
        branch = tree.add(f"{line}, {len(clip.shot_starts_s)} shots")
        _add_rejections(branch, folder, clip.id)
    return tree


def _clip_tree(folder: Folder, clip: Clip) -> Tree:
    tree = Tree(f"clip {clip.id}  {clip.start_s:.3f} to {clip.end_s:.3f} s of {clip.video_id}")
    footage = folder.footage(clip.video_id)
    if footage is not None:
        tree.add(f"video {escape(footage.video.source.uri)}")
    starts = ", ".join(f"{start - clip.start_s:.2f}" for start in clip.shot_starts_s)
    tree.add(f"shots at {starts} s")
    measures = tree.add("measures")
    for name, value in clip.measures.model_dump(mode="json").items():
        measures.add(f"{name} {_number(value)}")
    _add_rejections(tree, folder, clip.id)
    for case in folder.cases_of(clip.id):
        accepted = len(case.accepted)
        tree.add(
            f"task {case.task.id}  {case.task.kind}: {escape(case.task.question)}  "
            f"{accepted}/{len(case.attempts)} accepted"
        )
    return tree


def _number(value: object) -> str:
    """A measure as people read it."""
    if isinstance(value, list):
        return " ".join(f"{one:g}" for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _case_tree(folder: Folder, case: Case) -> Tree:
    task, scene = case.task, case.scene
    tree = Tree(f"task {task.id}  {task.kind}, {task.origin}")
    chain = tree.add(f"video {scene.video.id}  {escape(scene.video.source.uri)}")
    clip = chain.add(f"clip {scene.clip.id}  {scene.clip.start_s:.3f} to {scene.clip.end_s:.3f} s")
    media = scene.media
    clip.add(
        f"mp4 {media.width_px}x{media.height_px}, {media.num_frames} frames, "
        f"{media.duration_s:.3f} s, sha256 {media.sha256}"
    )
    question = tree.add(f"[bold]{escape(task.question)}[/]")
    for number, option in enumerate(task.options):
        question.add(f"{'ABCDEFGHIJ'[number]}. {escape(option)}")
    question.add(f"answer: {escape(task.gold.text) if task.gold else 'not known'}")
    if task.spec_json != "{}":
        question.add(f"measures: {escape(task.spec_json)}")
    for attempt in case.attempts:
        _add_attempt(tree, attempt)
    _add_rejections(tree, folder, task.id)
    for row in folder.samples_of(task.id):
        tree.add(f"[green]published[/] as {row['id']} in {row['shard']}")
    return tree


def _add_attempt(tree: Tree, attempt: Attempt) -> None:
    rollout, verdict = attempt.rollout, attempt.verdict
    mark = "[green]accepted[/]" if verdict.accepted else "[red]rejected[/]"
    branch = tree.add(
        f"rollout {rollout.id}  round {rollout.round}, sample {rollout.sample} {mark}"
    )
    branch.add(f"teacher {rollout.teacher.kind} {rollout.teacher.model} {_params(rollout)}")
    branch.add(escape(rollout.reasoning))
    branch.add(f"answer: {escape(rollout.answer_text)}")
    for segment in rollout.segments:
        branch.add(f"cites {segment.start_s:.2f} to {segment.end_s:.2f} s: {escape(segment.label)}")
    for check in verdict.checks:
        sign = "[green]passed[/]" if check.passed else "[red]failed[/]"
        line = f"{sign} {check.name} {check.score:g} (at least {check.threshold:g})"
        branch.add(f"{line} {escape(check.detail)}")


def _params(rollout: Rollout) -> str:
    params = json.loads(rollout.teacher.params_json)
    return escape(" ".join(f"{name}={value}" for name, value in params.items()))
