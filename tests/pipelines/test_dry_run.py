"""`proofreel run --dry-run`: what is reckoned before a run, and what is counted after it."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import Answer, Ask, ChatServer
from listed_inputs import expand_inputs
from pipeline_helpers import FAST, UNEXAMINED, bikes, carphone, run_here, sha256_of_files
from served_run import answer, purpose_of, run_served, settings

from pipelines import survey as surveying
from pipelines.config import Config, load_config
from pipelines.dry_run import duration
from pipelines.estimate import Estimate, Line, estimate
from pipelines.estimate_examination import CLAIMS_PER_ROLLOUT
from pipelines.run import locked
from pipelines.store import store_of
from pipelines.survey import LookUpStore, NotInStore, left_out_clips, survey
from schemas.rejection import Reason, Rejection, Stage
from transforms.memo import MemoStore
from transforms.publish.index import rejected_table, write_parquet
from transforms.publish.manifest import REJECTED_FILE

Capture = pytest.CaptureFixture[str]
SHORT = ("--set", "shots.max_clip_s=4.5")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one = ChatServer(answer).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChatServer, Path]]:
    """A finished run of several clips, not to be changed, and the server that was asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        server = ChatServer(answer).start()
        out = tmp_path_factory.mktemp("served") / "out"
        assert run_served(server, out, *SHORT) == 0
        yield server, out
        server.stop()


def config_of(server: ChatServer, *more: str) -> Config:
    return load_config(None, [one for one in (*settings(server), *more) if one != "--set"])


def estimated(out: Path, config: Config, *inputs: object) -> Estimate:
    sources, _ = expand_inputs([str(one) for one in inputs or (bikes(),)], out)
    return estimate(survey(sources, out, config, store_of(out)), config, store_of(out))


def by_kind(found: Estimate) -> dict[str, Line]:
    return {line.kind: line for line in found.lines}


def dry(*arguments: object) -> int:
    return run_here(*arguments, "--dry-run")


# Before a run ------------------------------------------------------------------------------------


def test_before_a_run_all_is_reckoned_from_the_lengths(server: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = config_of(server, *SHORT, "--set", "tasks.per_clip=3")
    found = estimated(out, config, bikes(), carphone())
    # 10 s and 4 s, in clips of up to 4.5 s.
    assert (found.clips, found.known_clips, found.tasks) == (3 + 1, 0, 12)
    assert "shots.max_clip_s = 4.5" in found.clips_from
    asked = {kind: line.requests for kind, line in by_kind(found).items()}
    assert asked == {
        "describe": 4,
        "propose": 4,
        # Of the one video with several clips: one event, which is the whole of it.
        "summarize": 1,
        "solve": 12 * 2,
        "repair": 12 * 2 * config.verify.repair_rounds,
        # Full, blind and shuffled of each task; evidence and masked of each rollout. Blind and
        # masked twice as often, since what is asked may be guessed.
        "examine": (12 * (1 + 2 + 1) + 12 * 2 * (1 + 2)) * config.verify.condition_samples,
        "claims": 12 * 2 * CLAIMS_PER_ROLLOUT,
        "conclude": 12 * 2 * config.verify.conclusions,
    }
    assert all(line.stored == 0 and not line.measured for line in found.lines)
    assert {line.completion_tokens for line in found.lines} == {config.teacher.max_tokens}
    seen = by_kind(found)
    # Frames of a moment are few, and whoever draws a conclusion is shown none.
    assert seen["conclude"].prompt_tokens < 500 < seen["claims"].prompt_tokens < 4 * 28 * 12 + 500
    # The same but for the offer to look closer.
    assert 0 < seen["solve"].prompt_tokens - seen["examine"].prompt_tokens < 150
    # 9 frames of 784x336 pixels, each a token per 28x28 pixels.
    assert 9 * 28 * 12 < seen["solve"].prompt_tokens < 9 * 28 * 12 + 1500
    assert seen["summarize"].prompt_tokens < 1500
    assert server.asks == server.probes == []
    assert not out.exists()


def test_what_is_settled_is_counted(server: ChatServer, tmp_path: Path) -> None:
    """Questions that are given, constructed tasks, and no descriptions."""
    rows = [{"uri": str(bikes()), "question": f"Is it {one}?"} for one in ("red", "fast", "far")]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out"
    config = config_of(server, *SHORT, *UNEXAMINED)
    found = estimated(out, config, tmp_path / "asked.jsonl")
    assert {kind: line.requests for kind, line in by_kind(found).items()} == {
        "solve": 3 * 2,
        "repair": 3 * 2 * config.verify.repair_rounds,
    }
    assert (found.clips, found.tasks) == (1, 3)
    more = ("--set", "constructed.per_clip=2", "--set", "describe.levels=none")
    found = estimated(out, config_of(server, *more, *UNEXAMINED), bikes())
    assert set(by_kind(found)) == {"propose", "solve", "repair"}
    assert found.tasks == 4 + 2
    assert by_kind(found)["solve"].requests == 6 * 2


def test_inputs_that_can_not_be_used_are_told_of(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copyfile(bikes(), tmp_path / "bikes.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert dry(tmp_path, "--out", tmp_path / "out", *settings(server)) == 0
    said = capsys.readouterr().out
    assert "inputs: 3, 2 of them can't be used" in said
    assert "clips: about 1, 0 cut by an earlier run, the rest reckoned from" in said


def test_of_many_inputs_a_part_stands_for_all(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        shutil.copyfile(carphone() if number % 3 else bikes(), tmp_path / f"{number}.mp4")
    config = config_of(server, *SHORT)
    whole = estimated(tmp_path / "out", config, tmp_path)
    assert whole.clips == 2 * 3 + 4
    monkeypatch.setattr(surveying, "MOST_LOOKED_AT", 3)
    part = estimated(tmp_path / "out", config, tmp_path)
    # Of 0, 2 and 4: three clips, one and one.
    assert part.clips == 2 * 5
    assert "50.0% of the inputs were looked at" in part.clips_from
    assert by_kind(part)["solve"].requests == 10 * 4 * 2


# After a run -------------------------------------------------------------------------------------


def asked(server: ChatServer) -> Counter[str]:
    return Counter(purpose_of(one) for one in server.asks)


def test_after_a_run_all_is_counted_and_nothing_left_to_ask(
    served: tuple[ChatServer, Path],
) -> None:
    server, out = served
    before = sha256_of_files(out)
    found = estimated(out, config_of(server, *SHORT))
    seen = by_kind(found)
    counted = asked(server)
    assert seen["describe"].requests == counted["describe"] == found.clips > 2
    assert seen["propose"].requests == counted["propose"] == found.clips
    assert seen["summarize"].requests == counted["summarize"] > 0
    solved = seen["solve"].requests + seen["repair"].requests + seen["examine"].requests
    assert solved == counted["solve"]
    assert seen["claims"].requests == counted["check"]
    assert seen["conclude"].requests == counted["conclude"]
    assert seen["repair"].requests > 0
    assert [line.missing for line in found.lines] == [0] * 8
    assert found.missing(repair=True) == 0
    assert found.tokens(repair=True) == (0, 0)
    # As the server told: 11 and 7 of each.
    assert {(line.prompt_tokens, line.completion_tokens) for line in found.lines} == {(11, 7)}
    assert sha256_of_files(out) == before


def test_a_run_that_never_ended_is_counted_from_its_store(
    served: tuple[ChatServer, Path], tmp_path: Path
) -> None:
    server, finished = served
    out = tmp_path / "out"
    shutil.copytree(finished / "work" / "memo", out / "work" / "memo")
    config = config_of(server, *SHORT)
    assert estimated(out, config) == estimated(finished, config)


def forget(out: Path, kind: str) -> None:
    """Take one reply to a request of this kind out of the store."""
    for path in sorted((out / "work" / "memo" / "reply").glob("*/*/result.json")):
        reply = json.loads(path.read_text())["result"]
        found = json.loads(reply["text"])
        if {"propose": "tasks", "describe": "captions", "solve": "answer"}[kind] in found:
            shutil.rmtree(path.parent)
            return
    raise AssertionError("no such reply")


@pytest.mark.parametrize("kind", ["describe", "propose", "solve"])
def test_a_reply_that_is_gone_is_to_be_asked_again(
    kind: str, served: tuple[ChatServer, Path], tmp_path: Path
) -> None:
    server, finished = served
    out = tmp_path / "out"
    shutil.copytree(finished / "work" / "memo", out / "work" / "memo")
    forget(out, kind)
    config = config_of(server, *SHORT)
    found, whole = estimated(out, config), estimated(finished, config)
    if kind == "describe":
        # All that was said after it may be other now, and so is reckoned.
        assert by_kind(found)["describe"].missing == 1
        assert by_kind(found)["propose"].missing == found.clips
    elif kind == "propose":
        assert by_kind(found)["propose"].missing == 1
        assert by_kind(found)["describe"].missing == 0
        # As many tasks as of the other clips.
        assert found.tasks == whole.tasks
    else:
        assert by_kind(found)["propose"].missing == 0
        assert by_kind(found)["solve"].missing + by_kind(found)["repair"].missing >= 1


def test_other_settings_are_asked_anew(served: tuple[ChatServer, Path]) -> None:
    server, out = served
    one_more = estimated(out, config_of(server, *SHORT, "--set", "teacher.samples=3"))
    whole = estimated(out, config_of(server, *SHORT))
    solve = by_kind(one_more)["solve"]
    # One more rollout of each task; whether it looks closer is not known before.
    assert solve.missing == whole.tasks
    # And until it is known how it ends, all rollouts of its task may be tried again.
    rounds = config_of(server).verify.repair_rounds
    assert by_kind(one_more)["repair"].requests == whole.tasks * 3 * rounds
    hotter = estimated(out, config_of(server, *SHORT, "--set", "teacher.temperature=0.5"))
    assert by_kind(hotter)["describe"].stored == 0
    assert hotter.known_clips == whole.clips
    # Clips of another length are not there: what is known of the video is its length.
    longer = estimated(out, config_of(server, "--set", "shots.max_clip_s=6"))
    assert (longer.clips, longer.known_clips) == (2, 0)


def test_new_videos_are_reckoned_with_the_clips_that_there_are(
    served: tuple[ChatServer, Path], tmp_path: Path
) -> None:
    server, out = served
    shutil.copyfile(bikes(), tmp_path / "bikes.mp4")
    shutil.copyfile(carphone(), tmp_path / "phone.mp4")
    config = config_of(server, *SHORT)
    whole = estimated(out, config)
    found = estimated(out, config, tmp_path)
    assert found.known_clips == whole.clips
    assert found.clips > whole.clips
    assert f"mean length of the {whole.clips} clips" in found.clips_from
    # As many tasks of each new clip as came of the known ones, not as many as were wanted.
    assert found.tasks == whole.tasks + round((found.clips - whole.clips) * 2)


def test_the_measure_teacher_takes_no_tokens(finished: Path, videos: Path, capsys: Capture) -> None:
    given = (
        *("--set", "shots.max_clip_s=10", "--set", "publish.shard_bytes=900000"),
        *("--set", "publish.validation_share=0.6"),
    )
    inputs = (videos / "first", videos / "second")
    assert dry(*inputs, "--out", finished, *FAST, *given) == 0
    said = capsys.readouterr().out
    assert "to be asked: 0 requests" in said
    assert "all cut by an earlier run" in said
    assert "takes no tokens" in said


def test_looking_into_a_store_does_no_work(tmp_path: Path) -> None:
    """Neither what is stored at once nor what is built first may be begun."""
    MemoStore(str(tmp_path)).entry("step", "known").put({"is": "here"})
    store = LookUpStore(str(tmp_path))
    assert store.entry("step", "known").get() == {"is": "here"}
    unknown = store.entry("step", "unknown")
    before = sha256_of_files(tmp_path)
    for work in (unknown.get, lambda: unknown.put({}), lambda: unknown.building().__enter__()):
        with pytest.raises(NotInStore):
            work()
    assert sha256_of_files(tmp_path) == before


def test_of_what_was_left_out_only_the_videos_looked_at_are_kept(tmp_path: Path) -> None:
    """Clips left out because of others: of a million rejections a survey needs a handful."""
    ends = [
        (Stage.SELECT, Reason.NEAR_DUPLICATE, "twin", "v1"),
        (Stage.SELECT, Reason.TOO_DARK, "dark", "v1"),
        (Stage.SELECT, Reason.CONTAMINATED, "known", "v2"),
        (Stage.CUT, Reason.DUPLICATE, "black", "v1"),
        *((Stage.SELECT, Reason.NEAR_DUPLICATE, f"c{n:05}", "v9") for n in range(9_000)),
    ]
    rejections = [
        Rejection(stage=stage, reason=reason, subject=subject, parent=parent, detail="")
        for stage, reason, subject, parent in ends
    ]
    path = tmp_path / "dataset" / REJECTED_FILE
    write_parquet(rejected_table(rejections), path)
    assert left_out_clips(tmp_path, {"v1", "v2"}) == {"twin", "known", "black"}
    assert left_out_clips(tmp_path, ()) == set()
    path.write_bytes(b"PAR1 and nothing else")
    assert left_out_clips(tmp_path, {"v1"}) == set()
    assert left_out_clips(tmp_path / "nowhere", {"v1"}) == set()


# What is printed ---------------------------------------------------------------------------------


def test_cost_and_time_are_told_as_far_as_they_are_known(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    arguments = (bikes(), "--out", tmp_path / "out", *settings(server), *SHORT)
    assert dry(*arguments) == 0
    said = capsys.readouterr().out
    assert "teacher.tool_calls: up to 1 requests more" in said
    assert "cost: not known" in said
    assert "time: not known; --calibrate N" in said
    assert "tokens were not measured" in said
    prices = ("--set", "teacher.price_completion=2000000")
    assert dry(*arguments, *prices) == 0
    said = capsys.readouterr().out
    [low, high] = map(float, re.findall(r"cost: (\S+) to (\S+)", said)[0])
    [least, most] = re.findall(r"to be asked: (\d+) to (\d+) requests", said)[0]
    assert low == pytest.approx(2 * 1024 * int(least), rel=1e-3)
    assert high == pytest.approx(2 * 1024 * int(most), rel=1e-3)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (90, "90 s"), (150, "2.5 min"), (7199, "120.0 min"), (9000, "2.5 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# Calibration -------------------------------------------------------------------------------------


def test_calibration_measures_and_its_replies_are_not_lost(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    one_clip = ("--set", "describe.levels=clip")
    arguments = (bikes(), "--out", out, *settings(server), *one_clip)
    assert dry(*arguments, "--calibrate", 4) == 0
    said = capsys.readouterr().out
    assert len(server.asks) == 4
    assert asked(server) == {"describe": 1, "propose": 1, "solve": 2}
    assert re.search(r"at [1-9]\d* tokens/s of replies, measured with 4 requests, at most 2", said)
    assert "time of the teacher: " in said
    assert not (out / "dataset").exists()
    assert run_served(server, out, *one_clip) == 0
    capsys.readouterr()
    bodies = [json.dumps(one.body, sort_keys=True) for one in server.asks]
    assert len(bodies) == len(set(bodies)), "the run asks nothing again"
    # Once more, there is nothing left to be asked.
    assert dry(*arguments, "--calibrate", 4) == 0
    said = capsys.readouterr().out
    assert len(server.asks) == len(bodies)
    assert "not calibrated" in said
    assert "to be asked: 0 requests" in said


def test_calibration_asks_about_clips_that_there_are(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert run_served(server, out) == 0
    kept = set(MemoStore(str(out / "work" / "memo")).path("cut").rglob("*.mp4"))
    before = len(server.asks)
    hotter = ("--set", "teacher.temperature=0.5")
    assert dry(bikes(), "--out", out, *settings(server), *hotter, "--calibrate", 3) == 0
    assert len(server.asks) == before + 3
    assert set(MemoStore(str(out / "work" / "memo")).path("cut").rglob("*.mp4")) == kept


def test_a_calibration_that_gets_no_answer_fails(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    def refuse(_: Ask) -> Answer:
        return Answer(b"no credit left", 402)

    server.answer = refuse
    arguments = (bikes(), "--out", tmp_path / "out", *settings(server))
    assert dry(*arguments, "--calibrate", 2) == 1
    assert "no request of the calibration was answered: HTTP 402" in capsys.readouterr().err


def test_a_calibration_waits_for_nobody(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    work = tmp_path / "out" / "work"
    work.mkdir(parents=True)
    arguments = (bikes(), "--out", tmp_path / "out", *settings(server))
    with locked(work / "lock"):
        assert dry(*arguments, "--calibrate", 2) == 1
        assert "another run works on" in capsys.readouterr().err
        # Only looking is allowed.
        assert dry(*arguments) == 0
    assert server.asks == []
