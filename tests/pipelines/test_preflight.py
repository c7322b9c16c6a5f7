"""Before the work starts: what is wrong with the teacher is told at once, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from chat_server import MODEL, Answer, ChatServer
from pipeline_helpers import FAST, bikes, run_here
from rich.console import Console
from served_run import answer, run_served

from pipelines import preflight, run
from pipelines.config import Config, load_config
from pipelines.preflight import Opened, check_context, check_teacher, tokens_needed, told_as
from runners.launch import prepare, works_here
from transforms.annotate import vllm_teacher
from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.teacher import Family
from transforms.annotate.teachers import _opened
from transforms.annotate.vllm_engine import Facts
from transforms.memo import MemoStore

Capture = pytest.CaptureFixture[str]
QWEN3 = "Qwen/Qwen3-VL-8B-Instruct"


def vllm_config(*more: str) -> Config:
    return load_config(None, ["teacher.kind=vllm", f"teacher.model={QWEN3}", *more])


# The context -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [Family.QWEN3_VL, Family.QWEN2_5_VL, Family.IMAGES])
def test_a_context_too_short_names_the_numbers_and_a_setting_that_fits(family: Family) -> None:
    config = vllm_config("shots.max_clip_s=60", "teacher.max_frames=120")
    needed = tokens_needed(config, family, whole=False)
    assert check_context(config, Opened(needed.total, family), whole=False) == []
    context = needed.total * 2 // 3
    with pytest.raises(TeacherUnavailable) as caught:
        check_context(config, Opened(context, family), whole=False)
    said = str(caught.value)
    for number in (context, needed.visual, needed.text, 1024, needed.total, needed.frames):
        assert re.search(rf"\b{number}\b", said), said
    for name in ("teacher.fps", "teacher.frame_height_px", "shots.max_clip_s"):
        assert name in said
    [most] = re.findall(r"Set teacher\.max_frames=(\d+)", said)
    fewer = vllm_config("shots.max_clip_s=60", f"teacher.max_frames={most}")
    assert check_context(fewer, Opened(context, family), whole=False) == []
    # And it is the most that fits, but for the times in the text that go with the frames.
    one_more = vllm_config("shots.max_clip_s=60", f"teacher.max_frames={int(most) + 12}")
    with pytest.raises(TeacherUnavailable):
        check_context(one_more, Opened(context, family), whole=False)


@pytest.mark.parametrize(
    "change",
    [
        *("shots.max_clip_s=60", "teacher.fps=4", "teacher.frame_height_px=672"),
        *("teacher.max_tokens=4096", "teacher.tool_calls=2"),
    ],
)
def test_what_makes_requests_longer_is_counted(change: str) -> None:
    plain = tokens_needed(vllm_config("teacher.max_frames=256"), Family.QWEN3_VL, whole=False)
    longer = vllm_config("teacher.max_frames=256", change)
    assert tokens_needed(longer, Family.QWEN3_VL, whole=False).total > plain.total + 500


def test_whole_videos_can_be_longer_than_clips() -> None:
    config = vllm_config("teacher.max_frames=512")
    clip = tokens_needed(config, Family.QWEN3_VL, whole=False)
    assert tokens_needed(config, Family.QWEN3_VL, whole=True).frames > clip.frames == 60


def test_a_budget_of_tokens_is_kept() -> None:
    config = vllm_config("teacher.max_frames=512", "teacher.max_visual_tokens=2000")
    assert tokens_needed(config, Family.QWEN3_VL, whole=False).visual < 2_300


def test_a_reply_that_fills_the_context_can_not_be_mended_by_fewer_frames() -> None:
    config = vllm_config("teacher.max_tokens=4000")
    with pytest.raises(TeacherUnavailable, match=r"Raise teacher\.max_model_len, or lower teach"):
        check_context(config, Opened(4096, Family.QWEN3_VL), whole=False)


# A server ----------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one = ChatServer(answer).start()
    yield one
    one.stop()


def listing(model: str, **facts: Any) -> Answer:
    return Answer(json.dumps({"data": [{"id": model, **facts}]}).encode())


def test_a_server_with_a_short_context_is_told_before_any_work(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    model = "some/Qwen2.5-VL-7B"
    server.models = listing(model, max_model_len=4096)
    out = tmp_path / "out"
    assert run_served(server, out, "--set", f"teacher.model={model}") == 1
    said = capsys.readouterr().err
    assert "4096 tokens, too short" in said
    assert "the server's context" in said
    assert server.asks == []
    assert not (out / "work" / "memo").exists()
    assert not (out / "dataset").exists()


@pytest.mark.parametrize("told", [100_000, None, "many", True, -1])
def test_a_server_with_room_or_without_a_word_is_used(
    told: object, server: ChatServer, tmp_path: Path
) -> None:
    server.models = listing("qwen-vl", max_model_len=told)
    config = load_config(
        None, [f"teacher.url={server.url}", "teacher.kind=openai", "teacher.model=qwen-vl"]
    )
    store = MemoStore(str(tmp_path))
    assert check_teacher(config, store, here=True, whole=False) == []
    assert server.probes


def test_an_unknown_model_gets_a_note_since_its_tokens_are_a_guess(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    server.models = listing(MODEL, max_model_len=4096)
    assert run_served(server, tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert f"note: the context of {MODEL} is 4096 tokens, too short" in said
    assert "reckoned as Qwen2.5-VL counts" in said


def test_the_shortest_of_several_contexts_counts(server: ChatServer, tmp_path: Path) -> None:
    other = ChatServer(answer).start()
    server.models = listing("qwen", max_model_len=100_000)
    other.models = listing("qwen", max_model_len=3000)
    urls = f"teacher.url=[{server.url}, {other.url}]"
    config = load_config(None, [urls, "teacher.kind=openai", "teacher.model=qwen"])
    with pytest.raises(TeacherUnavailable, match="3000 tokens"):
        check_teacher(config, MemoStore(str(tmp_path)), here=True, whole=False)
    other.stop()


def test_a_busy_folder_is_told_before_the_teacher_is_opened(
    server: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    """Two engines at once would not fit on a GPU."""
    (tmp_path / "out" / "work").mkdir(parents=True)
    with run.locked(tmp_path / "out" / "work" / "lock"):
        assert run_served(server, tmp_path / "out") == 1
    assert "another run works on" in capsys.readouterr().err
    assert server.listed == 0


# vLLM in this process ----------------------------------------------------------------------------


class Puppet:
    """An engine as far as opening it goes; the real one is in tests/slow."""

    def __init__(self, context_tokens: int, model_type: str = "qwen3_vl") -> None:
        self.facts = Facts(model_type, frozenset({"image", "video"}), context_tokens, 8)

    def chat_text(self, messages: Sequence[dict[str, Any]]) -> str:
        parts = [part for message in messages for part in message["content"]]
        return " ".join(part.get("text", f"<{part['type']}>") for part in parts)

    def close(self) -> None:
        pass


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The engines that were loaded, with a context as long as their max_model_len."""
    found: list[dict[str, Any]] = []

    def load(arguments: dict[str, Any], *_: Any) -> Puppet:
        found.append(arguments)
        return Puppet(arguments.get("max_model_len", 32_768))

    monkeypatch.setattr(vllm_teacher, "load_engine", load)
    monkeypatch.setattr(preflight, "check_installed", lambda _: None)
    yield found
    vllm_teacher.close_engines()
    _opened.cache_clear()


def test_an_engine_is_opened_once_for_all_runs(loads: list[dict[str, Any]], tmp_path: Path) -> None:
    """A rerun over finished work loads no engine, and still knows its context and its family."""
    store = MemoStore(str(tmp_path))
    config = vllm_config("teacher.max_model_len=20000")
    for _ in range(2):
        assert check_teacher(config, store, here=True, whole=False) == []
        vllm_teacher.close_engines()
        _opened.cache_clear()
    assert len(loads) == 1
    assert told_as(config.teacher, store).known_from == "the model was opened before"
    assert told_as(config.teacher, store).family is Family.QWEN3_VL
    # Another model, or another context, is another teacher.
    assert check_teacher(vllm_config(), store, here=True, whole=False) == []
    assert len(loads) == 2


def test_a_stored_context_is_checked_again_when_clips_get_longer(
    loads: list[dict[str, Any]], tmp_path: Path
) -> None:
    store = MemoStore(str(tmp_path))
    small = ("teacher.max_model_len=9000", "teacher.fps=0.5")
    assert check_teacher(vllm_config(*small), store, here=True, whole=False) == []
    longer = vllm_config(*small, "shots.max_clip_s=120")
    with pytest.raises(TeacherUnavailable, match="9000 tokens, too short"):
        check_teacher(longer, store, here=True, whole=False)
    assert len(loads) == 1


def test_an_engine_that_does_not_load_leaves_no_mark(
    loads: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise TeacherUnavailable("vLLM can't load it")

    store = MemoStore(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(vllm_teacher, "load_engine", fail)
        with pytest.raises(TeacherUnavailable, match="can't load"):
            check_teacher(vllm_config(), store, here=True, whole=False)
    assert check_teacher(vllm_config(), store, here=True, whole=False) == []
    assert len(loads) == 1


def test_elsewhere_no_engine_is_loaded_here(loads: list[dict[str, Any]], tmp_path: Path) -> None:
    assert check_teacher(vllm_config(), MemoStore(str(tmp_path)), here=False, whole=False) == []
    assert loads == []


def test_an_engine_is_opened_before_anything_is_decoded(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise TeacherUnavailable("GPU 0 has 1.0 of 24.0 GiB free")

    monkeypatch.setattr(vllm_teacher, "load_engine", fail)
    monkeypatch.setattr(run, "check_installed", lambda _: None)
    out = tmp_path / "out"
    chosen = ("--set", "teacher.kind=vllm", "--set", f"teacher.model={QWEN3}")
    assert run_here(bikes(), "--out", out, *FAST, *chosen) == 1
    assert "GPU 0 has 1.0 of 24.0 GiB free" in capsys.readouterr().err
    assert not (out / "work" / "memo").exists()


@pytest.mark.parametrize(
    ("arguments", "here"),
    [
        ([], True),
        (["--direct_num_workers=1"], True),
        (["--direct_num_workers=2", "--direct_running_mode=multi_processing"], False),
        (["--runner=FlinkRunner"], True),
        (["--runner=FlinkRunner", "--flink_master=http://far:8081"], False),
        (["--runner=PrismRunner"], True),
        (["--runner=PrismRunner", "--environment_type=DOCKER"], False),
    ],
)
def test_an_engine_is_loaded_here_only_where_the_work_is_done_here(
    arguments: list[str], here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class EnoughError(Exception):
        pass

    def see(*_: Any) -> None:
        raise EnoughError

    def check(*_: Any, here: bool, **__: Any) -> list[str]:
        asked.append(here)
        return []

    monkeypatch.setattr(run, "_run_pipeline", see)
    monkeypatch.setattr(run, "check_installed", lambda _: None)
    monkeypatch.setattr(run, "check_teacher", check)
    runner, options = prepare(arguments)
    assert isinstance(options, PipelineOptions)
    assert works_here(runner, options) == here
    for kind in ("vllm", "measure"):
        given = ["teacher.kind=" + kind, "teacher.model=m", "features.model=none"]
        with pytest.raises(EnoughError):
            run.run(
                [str(bikes())],
                tmp_path / kind,
                load_config(None, given),
                prepare,
                arguments,
                console=Console(quiet=True),
            )
    assert asked == [here, here]


@pytest.mark.parametrize(
    ("model", "family", "word"),
    [
        ("Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", Family.QWEN3_VL, "guessed from"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", Family.QWEN2_5_VL, "guessed from"),
        ("OpenGVLab/InternVL3_5-8B", Family.IMAGES, "does not tell"),
        ("CHECKPOINT", Family.QWEN3_VL, "qwen3_vl_moe"),
    ],
)
def test_how_times_are_told_is_known_before_a_model_is_opened(
    model: str, family: Family, word: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_vl_moe"}))
    model = str(tmp_path) if model == "CHECKPOINT" else model
    config = load_config(None, ["teacher.kind=vllm", f"teacher.model={model}"])
    found = told_as(config.teacher, MemoStore(str(tmp_path / "memo")))
    assert found.family is family
    assert word in found.known_from
