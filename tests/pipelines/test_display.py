"""What a person sees while a run works: counts, totals, and the summary."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pipeline_helpers import FAST, bikes, carphone, funnel, run_here
from rich.console import Console

from pipelines.counts import Counts, TeacherCount, replies_in
from pipelines.display import JsonLines, ProgressDisplay, view_on
from pipelines.times import slowest, time_table
from pipelines.told import LegTime, Told, told_by
from schemas.rejection import Stage
from schemas.usage import Usage
from transforms.progress import ProgressLog, Replied, Step


def counts(*steps: tuple[Stage, int, int]) -> Counts:
    found = Counts(inputs=10, samples=4)
    for number, step in enumerate(steps):
        found.add(*step, now_s=float(number))
    return found


def test_counts_add_up() -> None:
    found = counts((Stage.INGEST, 1, 0), (Stage.INGEST, 1, 1), (Stage.DECODE, 1, 0))
    assert (found.stages[Stage.INGEST].entered, found.stages[Stage.INGEST].rejected) == (2, 1)
    assert found.stages[Stage.INGEST].passed == 1
    assert found.stages[Stage.DECODE].entered == 1


def test_totals_follow_from_the_stage_before() -> None:
    found = counts(
        (Stage.INGEST, 10, 2), (Stage.SEGMENT, 30, 4), (Stage.SELECT, 26, 6), (Stage.TASK, 9, 1)
    )
    assert found.total(Stage.INGEST) == 10
    assert found.total(Stage.DECODE) == 8
    assert found.total(Stage.SELECT) == 26
    assert found.total(Stage.CUT) == 20
    assert found.total(Stage.DESCRIBE) is None
    assert found.total(Stage.PROPOSE) is None
    assert found.total(Stage.ANSWER) == 8 * 4
    assert found.total(Stage.ROUTE) == 8


def test_repair_rounds_raise_the_total() -> None:
    found = counts((Stage.TASK, 2, 0), (Stage.ANSWER, 8, 0), (Stage.ANSWER, 3, 0))
    assert found.total(Stage.ANSWER) == 11


def test_a_rate_needs_time() -> None:
    found = Counts(inputs=10, samples=4)
    found.add(Stage.INGEST, 3, 0, now_s=5.0)
    assert found.stages[Stage.INGEST].rate == 6.0
    found.add(Stage.INGEST, 3, 0, now_s=11.0)
    assert found.stages[Stage.INGEST].rate == 1.0


@pytest.mark.parametrize("terminal", [False, True], ids=["plain", "terminal"])
def test_everything_is_shown_at_the_end(terminal: bool, tmp_path: Path) -> None:
    log = ProgressLog(str(tmp_path / "progress.jsonl"))
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100)
    with ProgressDisplay(log, Counts(inputs=3, samples=4), view_on(console)):
        log.add(Stage.INGEST, entered=1, rejected=0)
        log.add(Stage.INGEST, entered=2, rejected=1)
        log.add(Stage.DECODE, entered=1, rejected=0)
    assert "3/3 inputs" in text.getvalue()
    assert "1 rejected" in text.getvalue()
    assert "1/2 videos" in text.getvalue()


def test_a_display_without_a_log_ends(tmp_path: Path) -> None:
    text = io.StringIO()
    none = ProgressLog(str(tmp_path / "none"))
    with ProgressDisplay(none, Counts(inputs=3, samples=4), view_on(Console(file=text))):
        pass
    assert text.getvalue() == ""


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    log = ProgressLog(str(tmp_path / "progress.jsonl"))
    log.add(Stage.CUT, entered=5, rejected=0)
    with (tmp_path / "progress.jsonl").open("a") as stream:
        stream.write('["cut", 1')
    steps, offset = log.read_from(0)
    assert steps == [(Stage.CUT, 5, 0)]
    with (tmp_path / "progress.jsonl").open("a") as stream:
        stream.write(", 1]\n")
    assert log.read_from(offset)[0] == [(Stage.CUT, 1, 1)]


def test_the_last_line_of_a_run_agrees_with_its_funnel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rejected rows, twins and bad files included: what the display counts is what happened."""
    shutil.copyfile(bikes(), tmp_path / "bikes.mp4")
    shutil.copyfile(bikes(), tmp_path / "twin.mp4")
    shutil.copyfile(carphone(), tmp_path / "phone.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    rows = [{"uri": name} for name in ("bikes.mp4", "twin.mp4", "phone.mp4", "text.mp4")]
    lines = [json.dumps(row) for row in [*rows, {"no": "uri"}]]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out"
    assert run_here(tmp_path / "list.jsonl", "--out", out, *FAST) == 0
    said = capsys.readouterr().err.splitlines()
    for stage, unit in (
        *(("ingest", "inputs"), ("decode", "videos"), ("select", "clips"), ("cut", "clips")),
        *(("propose", "clips"), ("answer", "rollouts"), ("verify", "rollouts"), ("route", "tasks")),
    ):
        entered = funnel(out)[stage]["in"]
        rejected = sum(funnel(out)[stage]["rejected"].values())
        last = [line for line in said if line.startswith(f"{stage} ")][-1]
        assert f"{stage}  {entered}/{entered} {unit}" in last
        assert "left" not in last
        assert last.endswith(f"  {rejected} rejected") == bool(rejected)


def test_a_stage_that_is_left_out_does_not_hide_the_total() -> None:
    before = ((Stage.SELECT, 5, 0), (Stage.CUT, 5, 1))
    assert counts(*before).total(Stage.PROPOSE) == 4
    assert counts(*before, (Stage.DESCRIBE, 3, 0)).total(Stage.PROPOSE) == 3
    assert counts(*before, (Stage.DESCRIBE, 3, 0)).total(Stage.DESCRIBE) == 4


def test_constructed_tasks_are_as_many_as_are_wanted_of_the_clips() -> None:
    found = counts((Stage.CUT, 5, 1))
    found.constructed = 3
    assert found.total(Stage.CONSTRUCT) == 4 * 3


def test_tokens_per_second_are_those_of_the_last_minute() -> None:
    teacher = TeacherCount()
    teacher.add(Replied(1, 0, 100, 600, 0.0), now_s=100.0)
    assert teacher.tokens_per_s(110.0) == pytest.approx(60.0)
    teacher.add(Replied(1, 0, 100, 1200, 0.0), now_s=130.0)
    assert teacher.tokens_per_s(150.0) == pytest.approx(1800 / 50)
    # The first is more than a minute ago.
    assert teacher.tokens_per_s(170.0) == pytest.approx(1200 / 60)
    assert teacher.tokens_per_s(1000.0) == 0.0
    assert (teacher.usage.prompt_tokens, teacher.usage.completion_tokens) == (200, 1800)


@pytest.mark.parametrize("terminal", [False, True], ids=["plain", "terminal"])
def test_the_teacher_and_what_it_reaches_are_shown(terminal: bool, tmp_path: Path) -> None:
    log = ProgressLog(str(tmp_path / "progress.jsonl"))
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=160)
    with ProgressDisplay(log, Counts(inputs=1, samples=4), view_on(console)):
        for stage in (Stage.CUT, Stage.TRANSCRIBE, Stage.DESCRIBE, Stage.PROPOSE):
            log.add(stage, entered=1, rejected=0)
        log.add(Stage.CONSTRUCT, entered=2, rejected=0)
        log.add(Stage.VERIFY, entered=8, rejected=2)
        log.add_replies(asked=2, prompt_tokens=500_000, completion_tokens=100_000, cost=1.0)
        log.add_replies(asked=1, cost=0.5)
        log.add_replies(reused=5)
    said = text.getvalue()
    for wanted in ("transcribe", "describe", "construct", "75% accepted"):
        assert wanted in said
    line = next(line for line in said.splitlines() if "3 replies" in line)
    for wanted in ("teacher", "tokens/s", "5 found", "cost 1.5"):
        assert wanted in line


def test_replies_of_a_log_are_summed_up(tmp_path: Path) -> None:
    log = ProgressLog(str(tmp_path / "progress.jsonl"))
    assert replies_in(log) == (0, 0, 0, 0, 0)
    log.add(Stage.CUT, entered=5, rejected=0)
    log.add_replies(asked=1, prompt_tokens=7, completion_tokens=3, cost=0.25)
    log.add_replies(asked=2, reused=4, prompt_tokens=1, cost=0.5)
    assert replies_in(log) == (3, 4, 8, 3, 0.75)


def test_time_left_is_told_only_when_it_is_known_what_comes() -> None:
    """While videos still arrive, nobody knows how many clips there will be."""
    found = Counts(inputs=4, samples=2)
    for step, now_s in (((Stage.INGEST, 4, 0), 0.0), ((Stage.DECODE, 2, 0), 1.0)):
        found.add(*step, now_s=now_s)
    found.add(Stage.SEGMENT, 20, 0, now_s=1.0)
    found.add(Stage.SELECT, 10, 0, now_s=1.0)
    found.add(Stage.SELECT, 0, 0, now_s=3.0)
    assert (found.total(Stage.SELECT), found.is_final(Stage.SELECT)) == (20, False)
    assert found.left_s(Stage.SELECT) is None
    found.add(Stage.DECODE, 2, 0, now_s=3.0)
    assert found.is_final(Stage.SELECT)
    assert found.left_s(Stage.SELECT) == pytest.approx(2.0)
    assert found.left_s(Stage.INGEST) is None


def test_metrics_of_an_engine_are_shown_without_a_log() -> None:
    """They are totals, and one that comes late or comes down takes nothing back."""
    found = Counts(inputs=4, samples=2)
    found.take(Told((Step(Stage.DECODE, 3, 1),), Replied(2, 1, 10, 5, 0.5)), now_s=1.0)
    found.take(Told((Step(Stage.DECODE, 2, 1),), Replied(1, 1, 10, 5, 0.5)), now_s=2.0)
    found.take(Told((Step(Stage.DECODE, 4, 1),), Replied(3, 1, 20, 9, 0.75)), now_s=3.0)
    decode, teacher = found.stages[Stage.DECODE], found.teacher
    assert (decode.entered, decode.rejected) == (4, 1)
    assert (teacher.asked, teacher.reused, teacher.cost) == (3, 1, 0.75)
    assert teacher.usage == Usage(replies=3, prompt_tokens=20, completion_tokens=9)


def test_what_a_finished_run_tells_holds(tmp_path: Path) -> None:
    """A restarted engine did some work twice, and its workers wrote that down twice."""
    log = ProgressLog(str(tmp_path / "log"))
    log.add(Stage.INGEST, entered=4, rejected=2)
    log.add_replies(asked=4, completion_tokens=8, cost=2.0)
    found = Counts(inputs=5, samples=1, refused=3)
    found.add(Stage.INGEST, 3, 3, now_s=0.0)
    with ProgressDisplay(log, found) as display:
        ended = (Step(Stage.INGEST, 2, 1), Step(Stage.CUT, 1, 0), Step(Stage.ROUTE, 0, 0))
        display.settle(Told(ended, Replied(2, 0, 0, 4, 1.0)))
    ingest, cut = found.stages[Stage.INGEST], found.stages[Stage.CUT]
    assert (ingest.entered, ingest.rejected) == (2 + 3, 1 + 3), "no worker tells of refused inputs"
    assert (cut.entered, cut.rejected) == (1, 0)
    assert (found.teacher.asked, found.teacher.cost) == (2, 1.0)
    assert found.teacher.usage == Usage(replies=2, completion_tokens=4)


def test_refused_inputs_stay_counted_when_metrics_come() -> None:
    found = Counts(inputs=5, samples=1, refused=3)
    found.add(Stage.INGEST, 3, 3, now_s=0.0)
    found.take(Told((Step(Stage.INGEST, 2, 1),)), now_s=1.0)
    assert (found.stages[Stage.INGEST].entered, found.stages[Stage.INGEST].rejected) == (5, 4)


def test_json_lines_are_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line stands alone, nothing in them goes down, and the last says how it ended."""
    shutil.copyfile(bikes(), tmp_path / "bikes.mp4")
    out, told = tmp_path / "out", tmp_path / "told.jsonl"
    assert run_here(tmp_path / "bikes.mp4", "--out", out, *FAST, "--progress-json", told) == 0
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert {line["schema"] for line in lines} == {1}
    *running, last = lines
    assert {line["event"] for line in running} == {"progress"}
    times = [line["elapsed_s"] for line in lines]
    assert times == sorted(times)
    decoded = [line["stages"].get("decode", {}).get("entered", 0) for line in running]
    assert decoded == sorted(decoded)
    for stage, count in running[-1]["stages"].items():
        assert count["entered"] == funnel(out)[stage]["in"]
        assert count["rejected"] == sum(funnel(out)[stage]["rejected"].values())
    assert last["event"] == "done"
    assert last["samples"] > 0
    assert {"decode", "cut", "answer", "verify"} <= last["legs"].keys()
    cut = last["legs"]["cut"]
    assert 0 < cut["p50_s"] <= cut["p95_s"] <= cut["longest_s"] <= cut["busy_s"] + 1e-3
    replies = last["legs"]["answer"]["worked"]
    assert replies > 0
    for leg, new in (("ingest", 1), ("decode", 1), ("cut", 1), ("answer", replies)):
        assert (last["legs"][leg]["reused"], last["legs"][leg]["worked"]) == (0, new), leg
    assert "decode  1/1 videos" in capsys.readouterr().err
    # What was done is found again, and told; to machines alone, since people want quiet.
    again = (tmp_path / "bikes.mp4", "--out", out, *FAST, "--progress-json", told, "--quiet")
    assert run_here(*again) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "where the time went" in said.out and f"dataset: {out / 'dataset'}" in said.out
    legs = json.loads(told.read_text().splitlines()[-1])["legs"]
    for leg, old in (("ingest", 1), ("decode", 1), ("cut", 1), ("answer", replies)):
        assert (legs[leg]["reused"], legs[leg]["worked"]) == (old, 0), leg


def test_json_lines_say_what_went_wrong(tmp_path: Path) -> None:
    told = tmp_path / "told.jsonl"
    nothing = tmp_path / "nothing.mp4"
    assert run_here(nothing, "--out", tmp_path / "out", "--progress-json", told) == 2
    [line] = [json.loads(line) for line in told.read_text().splitlines()]
    assert (line["event"], line["exit_code"]) == ("failed", 2)
    assert "nothing.mp4" in line["error"]


class Asked:
    """A result as that of a job server: it keeps what it was told, and asking takes its time."""

    def __init__(self) -> None:
        self._metrics: Asked | None = None
        self.asked = 0

    def metrics(self) -> Asked | None:
        if not self._metrics:
            self.asked += 1
            time.sleep(0.01)
            self._metrics = self
            time.sleep(0.01)
        return self._metrics

    def query(self, _: object) -> dict[str, list[object]]:
        return {"counters": [], "distributions": []}


def test_two_may_ask_for_metrics_at_once() -> None:
    """The display and whoever waits for the end: none of them is told nothing."""
    result = Asked()
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(told_by, [result] * 24))
    assert told == [Told()] * 24
    assert result.asked == 24, "each was told what was true then"


def test_machines_that_listen_no_more_cost_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        machine = JsonLines(stream)
        machine.say("progress", stages={})
        assert json.loads(os.read(reader, 1000))["event"] == "progress"
        os.close(reader)
        machine.close(Counts(inputs=1, samples=1))
        machine.say("done", samples=3)
    [said] = [record.getMessage() for record in caplog.records]
    assert "Broken pipe" in said


def test_the_summary_says_where_the_time_went(tmp_path: Path) -> None:
    log = ProgressLog(str(tmp_path / "log"))
    for busy_s, video in ((2.0, "v1"), (9.0, "v2"), (3.0, "v3")):
        log.add_busy("decode", busy_s, [(video, f"{video}.mp4")])
    log.add_busy("cut", 0.1, [("c1", "v1")])
    assert [(one.leg, one.busy_s, one.subject) for one in slowest(log)] == [("decode", 9.0, "v2")]
    times = [
        LegTime("decode", 3, 14.0, 9.0, {2048: 1, 4096: 1, 16384: 1}),
        LegTime("cut", 2, 6.0, 4.0, {2048: 1, 4096: 1}),
        LegTime("select", 2, 0.01, 0.005, {8: 2}),
    ]
    said = printed_times(times, 100)
    assert [word in said for word in ("decode", "70%", "14.0 s", "9.0 s", "the rest")] == [True] * 5


def printed_times(times: list[LegTime], width_chars: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width_chars).print(time_table(times, width_chars))
    return text.getvalue()


def test_a_narrow_terminal_gets_fewer_columns_and_whole_names() -> None:
    """Of a run of days, whose numbers are wide."""
    below = {128: 6000, 4096: 6000}
    times = [
        LegTime("examine", 12000, 812_345.0, 12_000.0, below, 4000, 8000),
        LegTime("transcribe", 12000, 52_300.0, 1_000.0, below, 4000, 8000),
    ]
    wide, narrow, tiny = (printed_times(times, width) for width in (120, 80, 56))
    for said in (wide, narrow, tiny):
        assert "transcribe" in said and "…" not in said
        assert "226 h" in said and "94%" in said
    assert "mean" in wide and "4000 of 12000" in wide and "17 min" in wide
    assert "mean" not in narrow and "4000 of 12000" in narrow
    assert "found" not in tiny
