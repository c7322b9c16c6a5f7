"""`proofreel inspect`: the whole chain of one video, clip, task, rollout or sample."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from pipelines.folder import Folder, NotFoundError, input_of
from pipelines.inspect_examination import (
    add_attempt_examination,
    add_examination,
    answered_critique,
    in_rounds,
)
from schemas.case import Attempt, Case, Footage
from schemas.clip import Clip
from schemas.description import Description
from schemas.rejection import Rejected
from schemas.rollout import Rollout
from schemas.task import Origin
from transforms.publish.routing import pass_rate, routes
from transforms.publish.samples import sample_id
from transforms.verify.checks import VerifySettings

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
ASKED_FOR = "[bold yellow]<- asked for[/]"


class PictureError(Exception):
    """The picture can't be written where it should be, or not in that format."""


def inspect(root: Path, identity: str, picture: str | None, console: Console) -> None:
    """Print the chain of what has this id, or of the video with this file name.

    Raises NotFoundError, and PictureError before anything is printed; OSError if writing fails.
    """
    folder = Folder.of_finished_run(root)
    if picture:
        _check_picture(Path(picture))
    case = folder.case_of(identity)
    if case is not None:
        mp4 = folder.store.path(case.scene.media.ref)
        if picture and not mp4.is_file():
            raise NotFoundError(f"{identity}: its clip is gone from {root}/work; run it again")
        console.print(_case_tree(folder, case, identity))
        if picture:
            from transforms.publish.sheet import draw_case

            shown = _shown(case, identity, folder.verify)
            draw_case(case, mp4, folder.verify, shown).save(picture)
            console.print(f"drawn: {picture}", highlight=False, markup=False)
        return
    if picture:
        raise NotFoundError(f"{identity}: --picture draws a task or a sample, and this is neither")
    clip, footage = folder.clip(identity), folder.footage(identity)
    if clip is not None:
        console.print(_clip_tree(folder, clip))
    elif footage is not None:
        console.print(_video_tree(folder, footage))
    else:
        _inspect_named(folder, identity, console)


def _check_picture(path: Path) -> None:
    """Raises PictureError if nothing can be written there."""
    if path.suffix.lower() not in PICTURES:
        raise PictureError(f"--picture {path}: name a file that ends in {', '.join(PICTURES)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise PictureError(f"--picture {path}: {what}")


def _inspect_named(folder: Folder, name: str, console: Console) -> None:
    """What has this file name, or whatever else was rejected under it."""
    videos, refused = folder.videos_named(name), folder.refused_named(name)
    refused = refused or list(folder.rejections(name))
    if len(videos) == 1 and not refused:
        console.print(_video_tree(folder, videos[0]))
        return
    if not videos and not refused:
        raise NotFoundError(f"{name}: nothing in {folder.root} has this id or file name")
    tree = Tree(escape(name))
    for footage in videos:
        tree.add(f"video {footage.video.id}  {escape(footage.video.source.uri)}")
    for row in refused:
        known = input_of(row)
        tree.add(f"{'' if known == name else escape(known) + '  '}{_rejected(row)}")
    console.print(tree)


def _add_rejections(tree: Tree, folder: Folder, subject: str) -> None:
    for row in folder.rejections(subject):
        tree.add(_rejected(row))


def _rejected(row: dict[str, str]) -> str:
    return f"[red]rejected[/] at {row['stage']}: {row['reason']} {escape(row['detail'])}"


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
    subtitles = footage.subtitles
    if subtitles.origin:
        tree.add(f"subtitles from {escape(subtitles.origin)}")
    for note in subtitles.notes:
        tree.add(f"[yellow]subtitles[/] {escape(note)}")
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
    _add_description(tree, folder.description(clip.id))
    _add_rejections(tree, folder, clip.id)
    for case in folder.cases_of(clip.id):
        tree.add(
            f"task {case.task.id}  {case.task.kind}: {escape(case.task.question)}  "
            f"{len(case.accepted)}/{len(case.attempts)} accepted, "
            f"{_pass_rate(case, folder.verify)}"
        )
    return tree


def _pass_rate(case: Case, settings: VerifySettings) -> str:
    """As it is published."""
    share = round(pass_rate(case, settings), 6)
    return "pass rate not known" if share < 0 else f"pass rate {share:g}"


def _add_description(tree: Tree, description: Description) -> None:
    if description == Description():
        return
    branch = tree.add("description")
    for caption in description.captions:
        branch.add(f"{caption.start_s:.2f} to {caption.end_s:.2f} s: {escape(caption.text)}")
    for name in ("event", "story"):
        if said := getattr(description, name):
            branch.add(f"{name}: {escape(said)}")
    if description.error:
        branch.add(f"[red]lacks[/] {escape(description.error)}")


def _number(value: object) -> str:
    """A measure as people read it."""
    if isinstance(value, list):
        return " ".join(f"{one:g}" for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _case_tree(folder: Folder, case: Case, identity: str) -> Tree:
    task, scene = case.task, case.scene
    tree = Tree(f"task {task.id}  {task.kind}, {task.origin}")
    chain = tree.add(f"video {scene.video.id}  {escape(scene.video.source.uri)}")
    clip = chain.add(f"clip {scene.clip.id}  {scene.clip.start_s:.3f} to {scene.clip.end_s:.3f} s")
    media = scene.media
    clip.add(
        f"mp4 {media.width_px}x{media.height_px}, {media.num_frames} frames, "
        f"{media.duration_s:.3f} s, sha256 {media.sha256}"
    )
    for line in scene.lines:
        times = f"{line.start_s:.2f} to {line.end_s:.2f} s"
        clip.add(f"{line.source} {times}: {escape(line.text)}")
    _add_description(tree, scene.description)
    question = tree.add(f"[bold]{escape(task.question)}[/]")
    for number, option in enumerate(task.options):
        question.add(f"{'ABCDEFGHIJ'[number]}. {escape(option)}")
    question.add(f"answer: {escape(task.gold.text) if task.gold else 'not known'}")
    if task.spec_json != "{}":
        what = "constructed" if task.origin is Origin.CONSTRUCTED else "measures"
        question.add(f"{what}: {escape(task.spec_json)}")
    question.add(_pass_rate(case, folder.verify))
    add_examination(tree, case, folder.verify)
    published = folder.samples_of(task.id)
    # Held back by its licence, a case shows in no sample.
    uses = _uses(case, folder.verify) if published else {}
    rounds = list(in_rounds(case))
    for number, attempts in rounds:
        place = tree if len(rounds) == 1 else tree.add(f"round {number}{', repair' * (number > 0)}")
        for attempt in attempts:
            used = uses.get(attempt.rollout.id, {})
            asked = identity == attempt.rollout.id or identity in used
            branch = _add_attempt(place, case, attempt, list(used.values()), asked=asked)
            add_attempt_examination(branch, case, attempt, folder.verify)
    _add_rejections(tree, folder, task.id)
    for row in published:
        mark = f"  {ASKED_FOR}" if row["id"] == identity else ""
        tree.add(f"[green]published[/] as {row['id']} in {row['shard']}{mark}")
    return tree


def _shown(case: Case, identity: str, settings: VerifySettings) -> Attempt | None:
    """The attempt that an id of a rollout or a sample speaks of; of a pair the chosen one."""
    uses = _uses(case, settings)
    asked = [
        one
        for one in case.attempts
        if identity == one.rollout.id or identity in uses.get(one.rollout.id, {})
    ]
    return min(asked, key=lambda one: not one.verdict.accepted, default=None)


def _uses(case: Case, settings: VerifySettings) -> dict[str, dict[str, str]]:
    """By rollout id: the ids of the samples that show it, each with what it is there for."""
    uses: dict[str, dict[str, str]] = {}
    try:
        found = routes(case, settings)
    except Rejected:
        return uses
    for route in found:
        sample = sample_id(case, route)
        if route.best is not None:
            of_pair = " (the chosen one)" if route.rejected else ""
            uses.setdefault(route.best.rollout.id, {})[sample] = f"{route.split}{of_pair}"
        if route.rejected is not None:
            uses.setdefault(route.rejected.rollout.id, {})[sample] = (
                f"{route.split} (the rejected one)"
            )
    return uses


def _add_attempt(tree: Tree, case: Case, attempt: Attempt, uses: list[str], *, asked: bool) -> Tree:
    rollout, verdict = attempt.rollout, attempt.verdict
    mark = "[green]accepted[/]" if verdict.accepted else "[red]rejected[/]"
    if asked:
        mark = f"{mark}  {ASKED_FOR}"
    branch = tree.add(
        f"rollout {rollout.id}  round {rollout.round}, sample {rollout.sample} {mark}"
    )
    if uses:
        branch.add(f"[green]published[/] in {', '.join(uses)}")
    branch.add(f"teacher {rollout.teacher.kind} {rollout.teacher.model} {_params(rollout)}")
    for complaint in answered_critique(case, attempt):
        branch.add(f"tried again, for: {escape(complaint)}")
    if rollout.thinking:
        branch.add(f"thought: {escape(rollout.thinking)}")
    for call in rollout.tool_calls:
        branch.add(
            f"looked closer at {call.start_s:.2f} to {call.end_s:.2f} s: "
            f"{len(call.frame_times_s)} frames; wrote {escape(call.text)}"
        )
    if rollout.steps:
        steps = branch.add("reasoning, step by step")
        for step in rollout.steps:
            span = f"{step.start_s:.2f} to {step.end_s:.2f} s: " if step.start_s >= 0 else ""
            steps.add(f"{span}{escape(step.text)}")
    else:
        branch.add(escape(rollout.reasoning))
    branch.add(f"answer: {escape(rollout.answer_text)}")
    for segment in rollout.segments:
        branch.add(f"cites {segment.start_s:.2f} to {segment.end_s:.2f} s: {escape(segment.label)}")
    for box in rollout.boxes:
        corners = " ".join(f"{edge:g}" for edge in box.xyxy_norm)
        branch.add(f"cites box {corners} at {box.t_s:.2f} s: {escape(box.label)}")
    for check in verdict.checks:
        sign = "[green]passed[/]" if check.passed else "[red]failed[/]"
        line = f"{sign} {check.name} {check.score:g} (at least {check.threshold:g})"
        branch.add(f"{line} {escape(check.detail)}")
    return branch


def _params(rollout: Rollout) -> str:
    params = json.loads(rollout.teacher.params_json)
    return escape(" ".join(f"{name}={value}" for name, value in params.items()))
