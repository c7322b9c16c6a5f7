"""`proofreel inspect`: the whole chain of whatever is named, by id or by file name."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pipeline_helpers import FAST, bikes, carphone, index_rows, rejected_rows, run_here, samples
from rich.console import Console

from pipelines.cli import main
from pipelines.folder import Folder
from pipelines.inspect import inspect
from pipelines.records import records
from schemas.case import Case
from schemas.rollout import Step, ToolCall
from transforms.publish.routing import pass_rate, routes

Capture = pytest.CaptureFixture[str]


MARK = "<- asked for"


def shown(capsys: Capture, *arguments: object) -> str:
    """What `inspect` says, on one line each however long."""
    assert main(["inspect", *(str(one) for one in arguments)]) == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def a_case(out: Path) -> Case:
    """A case with an accepted and a rejected attempt that is published."""
    published = {row["task_id"] for row in index_rows(out)}
    for task_id, text in records(out / "work" / "records", "case"):
        case = Case.from_json(text)
        if task_id in published and len({one.verdict.accepted for one in case.attempts}) == 2:
            return case
    raise AssertionError("no case has an accepted and a rejected attempt")


def test_inspect_of_a_task(finished: Path, capsys: Capture) -> None:
    case = a_case(finished)
    said = shown(capsys, finished, case.task.id)
    assert case.task.gold is not None
    assert case.scene.video.source.uri in said
    for wanted in (case.task.id, case.task.clip_id, case.scene.video.id, case.task.gold.text):
        assert wanted in said
    assert " ".join(case.task.question.split()[:4]) in said
    for attempt in case.attempts:
        assert attempt.rollout.id in said
        for check in attempt.verdict.checks:
            state = "passed" if check.passed else "failed"
            assert f"{state} {check.name} {check.score:g} (at least {check.threshold:g})" in said
    assert f"published as sft-{case.task.id} in sft/" in said


def test_inspect_of_samples_and_rollouts_leads_to_the_task(finished: Path, capsys: Capture) -> None:
    case = a_case(finished)
    whole = shown(capsys, finished, case.task.id)
    assert MARK not in whole
    rollouts = [attempt.rollout.id for attempt in case.attempts]
    published = [row["id"] for row in index_rows(finished) if row["task_id"] == case.task.id]
    for identity in (*rollouts, *published):
        assert shown(capsys, finished, identity).replace(f" {MARK}", "") == whole


def test_inspect_of_a_clip_and_a_video(finished: Path, capsys: Capture) -> None:
    scene = a_case(finished).scene
    said = shown(capsys, finished, scene.clip.id)
    for wanted in (scene.clip.id, scene.video.id, scene.video.source.uri, "brightness", "shots at"):
        assert wanted in said
    measures = scene.clip.measures
    assert all(f"{name} " in said for name in type(measures).model_fields)
    assert f"shot_type {measures.shot_type}" in said
    assert "crop_box " + " ".join(f"{edge:g}" for edge in measures.crop_box) in said
    for row in index_rows(finished):
        if row["clip_id"] == scene.clip.id:
            assert row["task_id"] in said
            assert json.loads(row["measures_json"]) == json.loads(measures.to_json())
    said = shown(capsys, finished, scene.video.id)
    for wanted in (scene.video.sha256, scene.clip.id, "decodes:", scene.video.source.uri):
        assert wanted in said


def test_inspect_says_why_something_was_rejected(finished: Path, capsys: Capture) -> None:
    for stage in ("propose", "answer", "verify", "route"):
        rows = [row for row in rejected_rows(finished) if row["stage"] == stage]
        assert rows
        said = shown(capsys, finished, rows[0]["subject"])
        if stage == "verify":  # its checks say it
            assert "rejected" in said
        else:
            assert f"rejected at {stage}: {rows[0]['reason']}" in said


def test_inspect_of_an_input_that_never_became_a_video(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text [1].mp4").write_text("no video")
    assert run_here(tmp_path / "text [1].mp4", "--out", tmp_path / "out", *FAST) == 0
    capsys.readouterr()
    said = shown(capsys, tmp_path / "out", "text [1].mp4")
    assert "text [1].mp4 " in said
    assert "rejected at ingest: not_a_video" in said


@pytest.mark.parametrize("identity", ["c0123", "t0", "", "*", "../../etc/passwd", "[bold]", "sft-"])
def test_inspect_of_an_unknown_id(identity: str, finished: Path, capsys: Capture) -> None:
    assert main(["inspect", str(finished), identity]) == 2
    said = capsys.readouterr()
    assert "nothing in" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        ("nowhere/s.png", "there is no folder"),
        ("s.txt", "name a file that ends in .png, .jpg"),
        ("s", "name a file that ends in .png, .jpg"),
        ("folder.png", "is a folder"),
    ],
)
def test_a_picture_that_cannot_be_written_is_told_first(
    picture: str, why: str, finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "folder.png").mkdir()
    case = a_case(finished)
    assert main(["inspect", str(finished), case.task.id, "--picture", f"{tmp_path}/{picture}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"proofreel: --picture {tmp_path}/{picture}: ")
    assert why in said.err


def test_a_dataset_is_not_taken_for_its_run(finished: Path, capsys: Capture) -> None:
    for command in (["inspect", "s1"], ["verify"]):
        assert main([command[0], str(finished / "dataset"), *command[1:]]) == 2
        said = capsys.readouterr().err
        assert "this is a dataset; give the folder of the run that holds it" in said
        assert f"which is {finished}" in said


def test_inspect_draws_a_picture(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    case = a_case(finished)
    picture = tmp_path / "sheet.png"
    said = shown(capsys, finished, f"sft-{case.task.id}", "--picture", picture)
    assert "drawn:" in said
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 100
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 100


def test_the_rollout_that_was_asked_for_is_marked(finished: Path, capsys: Capture) -> None:
    case = a_case(finished)
    for attempt in case.attempts:
        said = shown(capsys, finished, attempt.rollout.id)
        assert said.count(MARK) == 1
        before = said.partition(MARK)[0]
        assert before.rfind(attempt.rollout.id) == max(
            before.rfind(other.rollout.id) for other in case.attempts
        )


def preference_of(out: Path) -> tuple[Case, str]:
    """A case with a preference pair, and the id of its sample."""
    for row in index_rows(out):
        if row["id"].startswith("preference-"):
            case = Folder(out).case(row["task_id"])
            assert case is not None
            return case, row["id"]
    raise AssertionError("the run has no preference pair")


def test_both_replies_of_a_preference_pair_are_shown(finished: Path, capsys: Capture) -> None:
    case, sample_id = preference_of(finished)
    [pair] = [
        route for route in routes(case, Folder(finished).verify) if route.split == "preference"
    ]
    assert pair.best is not None
    assert pair.rejected is not None
    said = shown(capsys, finished, sample_id)
    parts = said.split(" rollout r")
    for attempt, what in ((pair.best, "chosen"), (pair.rejected, "rejected")):
        [part] = [one for one in parts if f"r{one}".startswith(attempt.rollout.id)]
        assert f"preference (the {what} one)" in part
        assert MARK in part
        assert f"answer: {attempt.rollout.answer_text}" in part
        assert " ".join(attempt.rollout.reasoning.split()) in part
    # The sample itself, and both of its replies.
    assert said.count(MARK) == 3


def test_the_pass_rate_is_the_published_one(finished: Path, capsys: Capture) -> None:
    published = samples(finished)
    seen = set()
    for key, sample in published.items():
        case = Folder(finished).case(key.partition("-")[2])
        assert case is not None
        share = sample["verdict"]["pass_rate"]
        seen.add(share)
        assert f"pass rate {share:g}" in shown(capsys, finished, key)
        # Not the share of all attempts: repaired ones do not count.
        line = f"{len(case.accepted)}/{len(case.attempts)} accepted, pass rate {share:g}"
        assert line in shown(capsys, finished, case.task.clip_id)
    assert len(seen) > 1


def test_a_video_is_found_by_its_name(finished: Path, capsys: Capture) -> None:
    for name in ("street.mp4", "town.mkv"):
        [found] = Folder(finished).videos_named(name)
        uri = found.video.source.uri
        assert uri.endswith(name)
        whole = shown(capsys, finished, found.video.id)
        assert shown(capsys, finished, name) == whole
        assert shown(capsys, finished, uri) == whole


def test_several_inputs_of_one_name_are_listed(tmp_path: Path, capsys: Capture) -> None:
    for folder, video in (("a", bikes()), ("b", carphone()), ("c", bikes())):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copyfile(video, tmp_path / "in" / folder / "clip.mp4")
    (tmp_path / "in" / "d").mkdir()
    (tmp_path / "in" / "d" / "clip.mp4").write_text("no video")
    out = tmp_path / "out"
    assert run_here(tmp_path / "in", "--out", out, *FAST) == 0
    capsys.readouterr()
    said = shown(capsys, out, "clip.mp4")
    for wanted in ("a/clip.mp4", "b/clip.mp4"):
        [found] = Folder(out).videos_named(wanted)
        assert f"video {found.video.id} {wanted}" in said
    assert "c/clip.mp4 rejected at ingest: duplicate" in said
    assert "d/clip.mp4 rejected at ingest: not_a_video" in said
    # The whole name tells them apart.
    assert "sha256" in shown(capsys, out, "b/clip.mp4")
    assert "not_a_video" in shown(capsys, out, "d/clip.mp4")


def test_thinking_steps_and_looks_of_a_rollout_are_shown(out: Path) -> None:
    case = a_case(out)
    first, *others = case.attempts
    look = ToolCall(text="show me", start_s=0.5, end_s=1.5, frame_times_s=(0.5, 0.75, 1.0))
    steps = (Step(text="It goes [left].", start_s=0.25, end_s=1.0), Step(text="So it is A."))
    more = {"thinking": "hm [bold]", "steps": steps, "tool_calls": (look,)}
    attempt = first.model_copy(update={"rollout": first.rollout.model_copy(update=more)})
    changed = case.model_copy(update={"attempts": (attempt, *others)})
    replace_case(out, changed)
    text = io.StringIO()
    inspect(out, case.task.id, None, Console(file=text, width=500))
    said = " ".join(text.getvalue().replace("│", " ").split())
    assert "thought: hm [bold]" in said
    assert "looked closer at 0.50 to 1.50 s: 3 frames; wrote show me" in said
    assert "0.25 to 1.00 s: It goes [left]." in said
    assert "So it is A." in said
    assert pass_rate(changed, Folder(out).verify) == pass_rate(case, Folder(out).verify)


def replace_case(out: Path, case: Case) -> None:
    """Put another record in the place of a kept one."""
    path = out / "work" / "records" / f"case-{case.task.id[1]}.parquet"
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        if row["id"] == case.task.id:
            row["json"] = case.to_json()
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_a_run_of_another_version_says_so(out: Path, capsys: Capture) -> None:
    case = a_case(out)
    path = out / "dataset" / "manifest.json"
    stored = json.loads(path.read_text())
    del stored["config"]["verify"]
    path.write_text(json.dumps(stored))
    assert main(["inspect", str(out), case.task.id]) == 2
    assert "another version" in capsys.readouterr().err
