"""`proofreel prompt`: what is shown is what is sent, to the byte, and in no other order."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chat_server import ChatServer
from pipeline_helpers import UNEXAMINED, call, run_here, sha256_of_files
from rich.console import Console
from served_run import CAMERAS, HOSTILE, RIDDEN, answer, purpose_of, run_served, settings

from pipelines.cli import main
from pipelines.config import Config, load_config
from pipelines.folder import Folder
from pipelines.prompt import Prompted, print_prompt, prompted
from pipelines.prompt_page import prompt_page
from pipelines.records import records
from schemas.case import Case
from transforms.annotate.conversation import as_images
from transforms.annotate.prompts import FILES
from transforms.annotate.seeing import Frames
from transforms.annotate.teacher import Purpose
from transforms.annotate.vllm_prompt import video_metadata

Capture = pytest.CaptureFixture[str]
QWEN3 = (
    *("--set", "teacher.kind=vllm", "--set", "teacher.model=Qwen/Qwen3-VL-8B-Instruct"),
    *("--set", "teacher.tool_calls=1"),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChatServer, Path]]:
    """A finished run, and the server that was asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        server = ChatServer(answer).start()
        out = tmp_path_factory.mktemp("served") / "out"
        assert run_served(server, out, *UNEXAMINED) == 0
        yield server, out
        server.stop()


def config_of(server: ChatServer, *more: str) -> Config:
    given = (*settings(server), *UNEXAMINED, *more)
    return load_config(None, [one for one in given if one != "--set"])


def cases(out: Path) -> list[Case]:
    return [Case.from_json(text) for _, text in records(Folder(out).records, "case")]


class Said(HTMLParser):
    """What a page shows of a conversation: texts and pictures in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self._in_text = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        if given.get("class") == "said":
            self._in_text = True
            self.parts.append(("text", ""))
        if tag == "img":
            self.parts.append(("picture", given["src"] or ""))

    def handle_endtag(self, tag: str) -> None:
        self._in_text = False

    def handle_data(self, data: str) -> None:
        if self._in_text:
            kind, text = self.parts[-1]
            self.parts[-1] = kind, text + data


def sent(body: dict[str, object]) -> list[tuple[str, str]]:
    """What a request holds, as `Said` has it."""
    found: list[tuple[str, str]] = []
    messages = body["messages"]
    assert isinstance(messages, list)
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for part in content:
            if part["type"] == "text":
                found.append(("text", part["text"]))
            else:
                found.append(("picture", part["image_url"]["url"]))
    return found


def test_page_and_request_are_the_same(served: tuple[ChatServer, Path]) -> None:
    """Of every request that the server got: describe, propose, solve, look closer, repair."""
    server, out = served
    config, folder = config_of(server), Folder(out)
    [clip_id] = {case.task.clip_id for case in cases(out)}
    shown = [prompted(folder, clip_id, one, config) for one in (Purpose.DESCRIBE, None)]
    shown += [prompted(folder, case.task.id, None, config) for case in cases(out)]
    rollouts = [one.rollout for case in cases(out) for one in case.attempts]
    assert {rollout.round for rollout in rollouts} >= {0, 1}
    assert any(rollout.tool_calls for rollout in rollouts)
    shown += [prompted(folder, rollout.id, None, config) for rollout in rollouts]
    pages = [Said(prompt_page(one)).parts for one in shown]
    asked = [sent(ask.body) for ask in server.asks]
    assert {purpose_of(ask) for ask in server.asks} == {"describe", "propose", "solve"}
    for parts in asked:
        assert parts in pages
    for one, parts in zip(shown, pages, strict=True):
        assert parts in asked
        [ask, *_] = [ask for ask in server.asks if sent(ask.body) == parts]
        schema = ask.body["response_format"]["json_schema"]["schema"]
        assert json.dumps(schema, indent=2) in html.unescape(prompt_page(one))
        seeds = [two.body["seed"] for two in server.asks if sent(two.body) == parts]
        assert one.params["seed"] in seeds
        assert one.params["max_tokens"] == ask.body["max_tokens"]
    for rollout in rollouts:
        notes = prompted(folder, rollout.id, None, config).notes
        assert "this is the very text that the rollout's reply was asked for with" in notes
        assert "the reply to this very request is in the store" in notes


def in_terminal(shown: Prompted) -> str:
    text = io.StringIO()
    print_prompt(shown, Console(file=text, width=80))
    return text.getvalue()


def test_the_terminal_says_the_text_and_the_times(served: tuple[ChatServer, Path]) -> None:
    server, out = served
    for ask_id in [case.task.id for case in cases(out)]:
        shown = prompted(Folder(out), ask_id, None, config_of(server))
        said = in_terminal(shown)
        for part in (part for turn in shown.said.turns for part in turn.parts):
            if isinstance(part, Frames):
                assert ", ".join(f"{time_s:.2f} s" for time_s in part.times_s) in said
                assert f"{len(part.times_s)} frames of" in said
            else:
                assert part in said
        assert f"{shown.tokens.total} together" in said
    assert any(RIDDEN in ask.text for ask in server.asks)


def test_a_page_holds_no_script_and_refers_to_nothing(served: tuple[ChatServer, Path]) -> None:
    server, out = served
    [case] = [case for case in cases(out) if case.task.question == RIDDEN]
    shown = prompted(Folder(out), case.task.id, None, config_of(server))
    page = prompt_page(shown)
    said = Said(page)
    assert any(HOSTILE in text for _, text in said.parts)
    assert said.tags & {"script", "link", "iframe", "object", "b", "a"} == set()
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,)', page) == []
    assert "default-src 'none'" in page


def test_a_family_with_metadata_is_shown_its_own_way(served: tuple[ChatServer, Path]) -> None:
    server, out = served
    rollout = next(
        one.rollout for case in cases(out) for one in case.attempts if one.rollout.tool_calls
    )
    config = load_config(None, [one for one in QWEN3 if one != "--set"])
    shown = prompted(Folder(out), rollout.id, None, config)
    page = html.unescape(prompt_page(shown))
    assert len(shown.said.videos) == 2
    for frames in shown.said.videos:
        facts = json.dumps(video_metadata(frames))
        assert facts in page
        assert '"frames_indices": [' in facts
        said = in_terminal(shown)
        assert f"frames {', '.join(map(str, frames.indices))}, at" in said
        for text, _ in as_images(frames):
            assert text not in page
    assert "qwen3_vl (guessed from the model's name)" in page
    same = prompted(Folder(out), rollout.id, None, config_of(server))
    assert same.tokens.visual > shown.tokens.visual


def test_settings_can_be_tried_before_a_run(
    served: tuple[ChatServer, Path],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fewer frames, other prompts; nothing is asked, and nothing written into the run."""
    server, out = served
    monkeypatch.chdir(tmp_path)
    assert main(["prompt", "--copy", "mine"]) == 0
    assert "--set teacher.prompts=mine" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(FILES.values())
    solve = tmp_path / "mine" / FILES[Purpose.SOLVE]
    solve.write_text("Now then.\n" + solve.read_text())
    asked, before = len(server.asks), sha256_of_files(out)
    case = cases(out)[0]
    more = ["--set", "teacher.prompts=mine", "--set", "teacher.max_frames=4"]
    assert main(["prompt", str(out), case.task.id, *settings(server), *more, "--html"]) == 0
    said = capsys.readouterr().out
    assert "[4 frames of" in said
    assert "\nNow then.\n" in said
    assert "made with other settings of teacher" in said
    assert "page: prompt.html" in said
    page = Said((tmp_path / "prompt.html").read_text("utf-8")).parts
    assert sum(kind == "picture" for kind, _ in page) == 4
    assert (len(server.asks), sha256_of_files(out)) == (asked, before)
    # What was edited is not overwritten.
    assert main(["prompt", "--copy", "mine"]) == 2
    assert "name another folder" in capsys.readouterr().err
    assert solve.read_text().startswith("Now then.")


def test_a_run_of_measure_can_be_looked_at(finished: Path, capsys: Capture) -> None:
    case = next(one for one in cases(finished))
    assert main(["prompt", str(finished), case.task.clip_id]) == 0
    said = capsys.readouterr().out
    assert "purpose propose" in said
    assert "teacher.kind is measure, which is sent no prompt" in said
    assert "You are shown" in said
    assert main(["prompt", str(finished), f"sft-{case.task.id}", "--purpose", "solve"]) == 0
    assert case.task.question in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["OUT", "c0"], "no clip that was cut and no task"),
        (["OUT", "CLIP", "--purpose", "solve"], "a clip is not solved, but a task; it has: t"),
        (["OUT", "CLIP", "--set", "teacher.prompts=nowhere"], "teacher.prompts: nowhere"),
        (["OUT", "CLIP", "--set", "teacher.kind=vllm"], "teacher.model"),
        (["OUT", "ROLLOUT", "--set", "teacher.samples=1"], "teacher.samples"),
    ],
)
def test_what_can_not_be_shown(
    arguments: list[str], named: str, served: tuple[ChatServer, Path], capsys: Capture
) -> None:
    _, out = served
    [case] = [case for case in cases(out) if case.task.question == CAMERAS]
    last = next(one.rollout for one in case.attempts if one.rollout.sample == 1)
    places = {"OUT": str(out), "CLIP": case.task.clip_id, "ROLLOUT": last.id}
    assert main(["prompt", *(places.get(one, one) for one in arguments)]) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert said.out == ""


def test_a_video_with_questions_of_its_own_is_only_solved(
    tmp_path: Path, videos: Path, capsys: Capture
) -> None:
    row = {"uri": str(videos / "first" / "bikes.mp4"), "question": "What is it?", "answer": "bikes"}
    (tmp_path / "asked.jsonl").write_text(json.dumps(row))
    out = tmp_path / "out"
    assert run_here(tmp_path / "asked.jsonl", "--out", out, "--set", "features.model=none") == 0
    capsys.readouterr()
    [case] = cases(out)
    assert main(["prompt", str(out), case.task.clip_id]) == 2
    assert "came with its own questions" in capsys.readouterr().err
    assert main(["prompt", str(out), case.task.id]) == 0
    assert "What is it?" in capsys.readouterr().out


def test_a_clip_that_is_gone_is_told(out: Path, capsys: Capture) -> None:
    case = cases(out)[0]
    Folder(out).store.path(case.scene.media.ref).unlink()
    assert main(["prompt", str(out), case.task.id]) == 1
    said = capsys.readouterr().err
    assert "can't be decoded" in said
    assert "Traceback" not in said


def test_from_a_shell(finished: Path, tmp_path: Path) -> None:
    case = cases(finished)[0]
    page = tmp_path / "p.html"
    code, said, stderr = call("prompt", finished, case.task.id, "--html", page)
    assert (code, stderr) == (0, "")
    assert case.task.question in said
    assert page.read_text("utf-8").startswith("<!doctype html>")
