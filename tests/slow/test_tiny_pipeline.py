"""The whole way through the small trained model on the real vLLM: in process, and as a server.

What it makes is checked as any dataset is; and since it really sees, a fair part of its answers to
questions with known answers is right.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

pytest.importorskip("vllm", reason="needs an environment of its own: scripts/vllm_env.sh")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = ROOT / "bench" / "tiny_vlm"
STARTS_WITHIN_S = 240.0
ENVIRONMENT = os.environ | {
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR",
    "PYTHONPATH": str(ROOT),
}  # fmt: skip


def run(*arguments: str) -> str:
    """Run Python as a user would; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def funnel(out: Path) -> dict[str, dict[str, int]]:
    manifest = json.loads((out / "dataset" / "manifest.json").read_text("utf-8"))
    return {line["stage"]: line for line in manifest["funnel"]}


def failures(out: Path) -> list[dict[str, str]]:
    """Requests that the engine could not answer, with what it said."""
    rejected = pq.read_table(out / "dataset" / "rejected.parquet").to_pylist()
    return [row for row in rejected if row["reason"] in ("teacher_failed", "internal_error")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    run(str(ROOT / "bench" / "demo_vllm.py"), str(folder))
    return folder


def test_the_demo_makes_a_dataset_of_what_the_model_saw(demo: Path) -> None:
    out = demo / "run"
    lines = funnel(out)
    assert lines["describe"]["in"] == lines["propose"]["in"] == 16
    assert lines["answer"]["in"] == 4 * lines["task"]["out"]
    assert lines["answer"]["out"] >= 0.95 * lines["answer"]["in"], "replies can be read"
    assert failures(out) == [], "what failed would be asked again by a rerun"
    # Four samples at temperature 1; a model that does not see gets hardly one in ten right.
    assert lines["verify"]["out"] >= 0.3 * lines["verify"]["in"]
    # It finds most answers again, needs the frames for them, and errs: some do not stand it.
    assert lines["examine"]["in"] == lines["verify"]["out"]
    assert 0.2 * lines["examine"]["in"] <= lines["examine"]["out"] < lines["examine"]["in"]
    index = pq.read_table(out / "dataset" / "index.parquet").to_pylist()
    assert {row["split"] for row in index} == {"sft", "rl", "preference"}
    assert len({row["task_kind"] for row in index if row["split"] == "sft"}) >= 4
    assert len(list((demo / "pictures").iterdir())) == 6


def test_a_rerun_asks_the_engine_nothing_and_gives_the_same_bytes(demo: Path) -> None:
    before = (demo / "run" / "dataset" / "manifest.json").read_bytes()
    said = run(str(ROOT / "bench" / "demo_vllm.py"), str(demo))
    assert re.search(r"\b0 replies asked for", said), said
    assert (demo / "run" / "dataset" / "manifest.json").read_bytes() == before


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`vllm serve` on loopback; its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model",
        str(TINY / "checkpoint"), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port",
        str(port), "--enforce-eager", "--no-enable-chunked-prefill", "--limit-mm-per-prompt",
        '{"image": 16}', "--structured-outputs-config",
        '{"backend": "xgrammar", "disable_any_whitespace": true}',
    ]  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=file, stderr=file)
        try:
            until = time.monotonic() + STARTS_WITHIN_S
            while not _answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
                time.sleep(1.0)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).is_success
    except httpx.TransportError:
        return False


def test_the_same_model_as_a_server(demo: Path, server: str, tmp_path: Path) -> None:
    """As images it was not taught to see, so it is mostly wrong here: the verifier's work."""
    arguments = ["-m", "pipelines.cli", "run", str(demo / "videos" / "manifest.jsonl")]
    settings = {
        "teacher.kind": "openai", "teacher.url": server, "teacher.model": "tiny",
        "teacher.prompts": str(TINY / "prompts"), "teacher.frame_height_px": 112,
        "teacher.max_tokens": 512, "teacher.samples": 2, "verify.samples": 2,
        "verify.repair_rounds": 0, "features.model": "none", "select.min_brightness": 0,
        "select.max_frozen_share": 1, "select.max_underexposed_share": 1, "select.min_sharpness": 0,
        "describe.levels": "clip", "verify.conditions": "[]", "verify.claims": False,
        "verify.conclusions": 0,
    }  # fmt: skip
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    run(*arguments, "--out", str(tmp_path), "--limit", "6", *sets)
    lines = funnel(tmp_path)
    assert lines["describe"]["in"] == 6
    assert lines["answer"]["in"] == 2 * lines["task"]["out"] > 0
    for line in lines.values():
        assert line["in"] == line["out"] + sum(line["rejected"].values())
    assert lines["answer"]["out"] >= 0.9 * lines["answer"]["in"], "the grammar holds replies"
    run("-m", "pipelines.cli", "check", str(tmp_path))
