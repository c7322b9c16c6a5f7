"""Before the work starts: what is wrong with a verifier of its own is told with its own names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import MODEL, Answer, ChatServer, completion
from listed_inputs import expand_inputs
from pipeline_helpers import UNEXAMINED, bikes
from served_run import answer, run_served

from pipelines.config import Config, ConfigError, load_config
from pipelines.dry_run import lines
from pipelines.estimate import estimate
from pipelines.estimate_examination import EXAMINATION, most_asked
from pipelines.preflight import check_installed, check_prompts, check_teacher, models_of
from pipelines.survey import survey
from transforms.annotate.asking import TeacherUnavailable
from transforms.memo import MemoStore

NO_PICTURES = Answer(b"images are not supported", 400)
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one = ChatServer(answer).start()
    yield one
    one.stop()


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    one = ChatServer(answer).start()
    yield one
    one.stop()


def of_verifier(url: str, **fields: object) -> list[str]:
    named = {"kind": "openai", "model": MODEL, "url": url} | fields
    return [part for key, one in named.items() for part in ("--set", f"verifier.{key}={one}")]


def config_of(*given: str) -> Config:
    return load_config(None, [one for one in given if one != "--set"])


def listing(model: str, **facts: object) -> Answer:
    return Answer(json.dumps({"data": [{"id": model, **facts}]}).encode())


def refused(config: Config, out: Path) -> str:
    with pytest.raises(TeacherUnavailable) as caught:
        check_teacher(config, MemoStore(str(out)), here=True, whole=False)
    return str(caught.value)


def test_a_verifier_that_is_not_there_stops_the_run_before_any_work(
    server: ChatServer, other: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    other.stop()
    out = tmp_path / "out"
    assert run_served(server, out, *of_verifier(other.url, retries=0)) == 1
    said = capsys.readouterr().err
    assert "proofreel: verifier: " in said
    assert other.url in said
    assert "teacher.url" not in said and "verifier.url" in said
    assert server.asks == []
    assert not (out / "work" / "memo").exists()


def test_a_verifier_must_know_its_model_and_see_pictures(
    server: ChatServer, tmp_path: Path
) -> None:
    other_model = config_of(*of_verifier(server.url, model="another"))
    said = refused(other_model, tmp_path)
    assert "(verifier.model)" in said and "(teacher.model)" not in said
    assert "the verifier's server" in said
    server.probe = lambda ask: completion("{}") if "image" not in str(ask.body) else NO_PICTURES
    assert "verifier.model must be a vision-language model" in refused(
        config_of(*of_verifier(server.url)), tmp_path
    )


def test_the_context_of_a_verifier_counts_too(server: ChatServer, tmp_path: Path) -> None:
    server.models = listing("qwen", max_model_len=3_000)
    said = refused(config_of(*of_verifier(server.url, model="qwen", fps=4)), tmp_path)
    assert "3000 tokens, too short" in said
    assert "verifier.max_tokens" in said and "verifier.max_frames=" in said
    assert "teacher." not in said
    server.models = listing("qwen", max_model_len=100_000)
    config = config_of(*of_verifier(server.url, model="qwen", fps=4))
    assert check_teacher(config, MemoStore(str(tmp_path)), here=True, whole=False) == []


def test_a_verifier_that_asks_nobody_is_not_opened(server: ChatServer, tmp_path: Path) -> None:
    server.stop()
    config = config_of(*of_verifier(server.url), *UNEXAMINED)
    assert models_of(config) == {}
    assert check_teacher(config, MemoStore(str(tmp_path)), here=True, whole=False) == []


def test_its_prompts_and_its_engine_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"verifier\.prompts: .* holds no prompt template"):
        check_prompts(config_of(*of_verifier("http://a/v1", prompts=tmp_path)))
    config = config_of("verifier.kind=vllm", "verifier.model=some/model")
    with pytest.raises(TeacherUnavailable, match=r"verifier\.kind is vllm"):
        check_installed(config)


# What it would be asked --------------------------------------------------------------------------


def test_what_the_verifier_would_be_asked_is_told_at_its_prices(
    server: ChatServer, tmp_path: Path
) -> None:
    teacher = [f"teacher.{one}" for one in ("kind=openai", f"model={MODEL}", f"url={server.url}")]
    dear = of_verifier(server.url, price_completion=1_000_000, max_tokens=100)
    config = config_of(*teacher, *dear, "verify.prefixes=3", "verify.conditions=[full,prefix]")
    sources, _ = expand_inputs([str(bikes())], tmp_path)
    store = MemoStore(str(tmp_path / "work" / "memo"))
    found = estimate(survey(sources, tmp_path, config, store), config, store)
    asked = {line.kind: line for line in found.lines}
    rollouts = found.tasks * config.teacher.samples
    assert asked["examine"].requests == found.tasks * (1 + 3) * config.verify.condition_samples
    assert asked["conclude"].requests == rollouts * config.verify.conclusions
    of_verifier_alone = sum(asked[kind].requests for kind in EXAMINATION)
    assert {asked[kind].completion_tokens for kind in EXAMINATION} == {100}
    assert found.cost(repair=False) == pytest.approx(100 * of_verifier_alone)
    assert asked["examine"].prompt_tokens == asked["solve"].prompt_tokens
    said = "\n".join(lines(found, config, None, inputs=1, refused=0))
    assert f"asks verifier.model {MODEL}" in said
    assert f"cost: {100 * of_verifier_alone:.4g}" in said
    none = config_of(*teacher, *dear, *UNEXAMINED)
    assert not most_asked(none, 3, 12)


def test_a_run_pays_the_verifier_its_own_price(
    server: ChatServer, other: ChatServer, tmp_path: Path, capsys: Capture
) -> None:
    """Either writes 7 tokens a reply: two millions each for the teacher, one for the verifier."""
    out = tmp_path / "out"
    of_teacher = ("--set", "teacher.price_completion=2_000_000")
    given = of_verifier(other.url, price_completion=1_000_000)
    assert run_served(server, out, *of_teacher, *given) == 0
    assert {one.purpose for one in other.asks} == {"solve", "check", "conclude"}
    assert not {one.purpose for one in server.asks} & {"check", "conclude"}
    manifest = json.loads((out / "dataset" / "manifest.json").read_text("utf-8"))
    assert manifest["usage"]["examine"]["replies"] == len(other.asks)
    cost = 14 * len(server.asks) + 7 * len(other.asks)
    assert manifest["cost"] == cost
    assert manifest["config"]["verifier"]["url"] == ""
    # The display and the summary say the same while and after it runs.
    said = capsys.readouterr()
    [*_, last] = [line for line in said.err.splitlines() if line.startswith("teacher ")]
    assert last.endswith(f"cost {cost:.4g}")
    assert f"cost {cost:.4g} in this run, {cost:.4g} in all" in " ".join(said.out.split())
