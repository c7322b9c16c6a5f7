"""What a teacher puts to a server, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking_servers import ask, solving, teacher_of
from chat_server import MODEL, SCENES, Answer, Ask, ChatServer, completion, completion_of, solved

from schemas.description import Caption
from transforms.annotate.asker import gather
from transforms.annotate.asking import seed_of
from transforms.annotate.conversation import conversation_version
from transforms.annotate.openai_messages import split_thinking
from transforms.annotate.openai_teacher import OpenAITeacher
from transforms.annotate.prompts import load_templates
from transforms.annotate.reply_forms import reply_schema
from transforms.annotate.solutions import read_solution, read_tool_call
from transforms.annotate.teacher import ReplyForm, Request, TeacherSettings, answers_by_id
from transforms.memo import MemoStore

Serve = Callable[..., ChatServer]
CALL = {"tool_call": {"name": "crop_video", "start_s": 1.0, "end_s": 2.0}}


def test_what_is_sent(clip_store: MemoStore, serve: Serve) -> None:
    server = serve(lambda said: solved("ok"))
    extra = {"max_completion_tokens": 99, "max_tokens": None}
    teacher = teacher_of(clip_store, server, temperature=0.3, extra_body=extra)
    scene = SCENES.make_scene(clip_store, 1)
    solve = Request(scene=scene, task=SCENES.make_task(scene, gold="hidden-gold"), seed=5)
    changes: tuple[dict[str, Any], ...] = (
        {"sample": 1}, {"round": 1}, {"seed": 6}, {"task": None, "wanted": 2}, {"task": None},
    )  # fmt: skip
    others = [solve.model_copy(update=change) for change in changes]
    replies = list(answers_by_id(teacher, [solve, *others]))
    assert len({seed_of(request) for request in [solve, *others[:3]]}) == 4
    assert {said.body["seed"] for said in server.asks} == {
        seed_of(request) for request in [solve, *others]
    }
    for said in server.asks:
        assert said.body["model"] == MODEL and said.body["temperature"] == 0.3
        assert said.body["max_completion_tokens"] == 99 and "max_tokens" not in said.body
        assert said.body["response_format"]["type"] == "json_schema"
        assert "hidden-gold" not in json.dumps(said.body)
    schemas = [said.body["response_format"]["json_schema"] for said in server.asks]
    assert all(schema["strict"] and schema["schema"]["type"] == "object" for schema in schemas)
    names = sorted(schema["name"] for schema in schemas)
    assert names == ["describe", "propose", *["solve"] * 4]
    params = json.loads(replies[0].params_json)
    assert params["seed"] == seed_of(solve) and params["extra_body"] == extra
    assert len({reply.prompt_sha256 for reply in replies}) == 3


def test_captions_are_summed_up_without_pictures(clip_store: MemoStore, serve: Serve) -> None:
    server = serve(lambda said: completion_of({"summary": "A dog runs, then it sleeps."}))
    teacher = teacher_of(clip_store, server)
    captions = (
        Caption(start_s=0.0, end_s=2.0, text="A dog runs."),
        Caption(start_s=2.0, end_s=4.0, text="A dog sleeps."),
    )
    [reply] = answers_by_id(teacher, [Request(captions=captions)])
    assert json.loads(reply.text) == {"summary": "A dog runs, then it sleeps."}
    [said] = server.asks
    assert "image_url" not in json.dumps(said.body)
    assert isinstance(said.messages[0]["content"], str)
    assert "2.00 s to 4.00 s: A dog sleeps." in said.text
    assert said.body["response_format"]["json_schema"]["name"] == "summarize"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_native_thinking_is_kept_apart(name: str, clip_store: MemoStore, serve: Serve) -> None:
    thought = "Let me see \ud800. It is red."
    text = json.dumps({"reasoning": "It is red.", "answer": "red"})
    server = serve(lambda said: completion(text, **{name: thought}))
    replies = ask(teacher_of(clip_store, server), solving(clip_store, "Which?"))
    assert replies["Which?"].text == text
    assert replies["Which?"].thinking == "Let me see ?. It is red."


@pytest.mark.parametrize(
    ("content", "thinking"),
    [
        ('<think>It is "red"</think>\n{}', 'It is "red"'),
        ("It is red.\n</think>\n\n{}", "It is red."),
        ("{}", ""),
        ('```json\n{"answer": "</think>"}\n```', ""),
    ],
)
def test_thinking_left_before_json_is_split_off(
    content: str, thinking: str, clip_store: MemoStore, serve: Serve
) -> None:
    text = '{"reasoning": "so </think> it is", "answer": "red"}'
    server = serve(lambda said: completion(content.replace("{}", text)))
    replies = ask(teacher_of(clip_store, server), solving(clip_store, "Which?"))
    reply = replies["Which?"]
    assert reply.thinking == thinking
    assert reply.text.strip() == content.replace("{}", text).removeprefix(
        content.partition("{}")[0] if thinking else ""
    )


def test_thinking_without_an_end_is_no_reply(clip_store: MemoStore, serve: Serve) -> None:
    server = serve(lambda said: completion("<think>and on and on", "length"))
    replies = ask(teacher_of(clip_store, server), solving(clip_store, "Which?"))
    assert "cut at teacher.max_tokens" in replies["Which?"].error
    assert split_thinking("<think>and on and on") == ("", "<think>and on and on")


def test_tags_are_asked_for_and_read_without_a_grammar(clip_store: MemoStore, serve: Serve) -> None:
    tags = "<think>At 0.50 s it is red.</think>\n<answer>red</answer>"

    def answer(said: Ask) -> Answer:
        return completion(tags if said.question == "whole" else tags[:-9], "length")

    server = serve(answer)
    teacher = teacher_of(clip_store, server, reply_form="think")
    replies = ask(teacher, solving(clip_store, "whole", "cut"))
    assert replies["whole"].text == tags and not replies["whole"].thinking
    assert "cut at teacher.max_tokens" in replies["cut"].error
    assert read_solution(replies["whole"].text, ReplyForm.THINK).answer == "red"
    assert all("response_format" not in said.body for said in server.asks)
    assert "between <think> and </think>" in server.asks[0].text
    # Questions are asked for in JSON all the same.
    scene = SCENES.make_scene(clip_store, 1)
    list(answers_by_id(teacher, [Request(scene=scene, wanted=1)]))
    assert "response_format" in server.asks[-1].body


def test_steps_are_asked_for_and_read(clip_store: MemoStore, serve: Serve) -> None:
    steps = [{"text": "It is red.", "start_s": 0.5, "end_s": 1.0}]
    server = serve(lambda said: completion_of({"steps": steps, "answer": "red", "boxes": []}))
    teacher = teacher_of(clip_store, server, reply_form="steps")
    [request] = solving(clip_store, "Which?")
    replies = ask(teacher, [request])
    solution = read_solution(replies["Which?"].text, ReplyForm.STEPS)
    assert solution.steps[0].start_s == 0.5 and solution.answer == "red"
    [said] = server.asks
    sent = said.body["response_format"]["json_schema"]["schema"]
    assert sent == reply_schema(request, teacher.settings) and "steps" in sent["properties"]
    assert '"steps"' in said.text


class Solving:
    """Asks once, and once more after a wish to look closer."""

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings

    def requests(self, subject: Request, replies: Any) -> list[Request]:
        asked = [subject]
        while (reply := replies.get(asked[-1].id)) is not None and reply.text:
            assert subject.scene is not None
            call = read_tool_call(reply.text, self.settings, subject.scene.media)
            if call is None:
                break
            calls = (*asked[-1].tool_calls, call)
            asked.append(subject.model_copy(update={"tool_calls": calls}))
        return asked

    def read(self, subject: Request, replies: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("form", [ReplyForm.TEXT, ReplyForm.THINK])
def test_a_closer_look_shows_the_model_its_call_and_denser_frames(
    form: ReplyForm, clip_store: MemoStore, serve: Serve
) -> None:
    call = json.dumps(CALL)
    if form is ReplyForm.THINK:
        call = f"<tool_call>{json.dumps(CALL['tool_call'])}</tool_call>"

    def answer(said: Ask) -> Answer:
        if len(said.messages) == 1:
            return completion(call)
        return completion(json.dumps(said.seen))

    server = serve(answer)
    teacher = teacher_of(
        clip_store, server, reply_form=form, tool_calls=1, fps=1.0, tool_fps=8.0, in_flight=4
    )
    subjects = [one for code in (1, 2, 3) for one in solving(clip_store, "Why?", code=code)]
    answered = gather(
        Solving(teacher.settings),
        subjects,
        lambda several: {one.request_id: one for one in answers_by_id(teacher, several)},
    )
    assert len(server.asks) == 6
    for code, one in enumerate(answered, 1):
        _, last = one.replies.values()
        whole, closer = json.loads(last.text)
        # 3 s at 8 frames/s: a few frames, then each frame of the second that was asked for.
        assert whole == [[code, n, round(n / 8, 2)] for _, n, _ in whole] and len(whole) < 8
        assert closer == [[code, 8 + n, round(1 + n / 8, 2)] for n in range(8)]
    twice = [said for said in server.asks if len(said.messages) == 3]
    for said in twice:
        first, assistant, second = said.messages
        assert assistant == {"role": "assistant", "content": call}
        assert [first["role"], second["role"]] == ["user", "user"]
        text = second["content"][-1]["text"]
        assert "8 frames of the clip from 1.00 s to 2.00 s" in text and "1.12 s" in text
        assert "you can't look again" in text
    if form is ReplyForm.TEXT:
        for said in server.asks:
            schema = said.body["response_format"]["json_schema"]["schema"]
            assert ("anyOf" in schema) == (len(said.messages) == 1)


def test_pictures_are_encoded_once_for_all_requests_about_a_clip(
    clip_store: MemoStore, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transforms.annotate import openai_teacher

    encoded: list[tuple[float, ...]] = []

    def counted(frames: Any) -> Any:
        encoded.append(frames.times_s)
        return original(frames)

    original = openai_teacher.encode
    monkeypatch.setattr(openai_teacher, "encode", counted)
    server = serve(lambda said: solved("ok"))
    teacher = teacher_of(clip_store, server, tool_calls=2)
    requests = solving(clip_store, *"abcdefgh")
    assert requests[0].scene is not None
    look_closer = read_tool_call(json.dumps(CALL), teacher.settings, requests[0].scene.media)
    closer = [one.model_copy(update={"tool_calls": (look_closer,)}) for one in requests]
    assert not any(reply.error for reply in answers_by_id(teacher, [*requests, *closer]))
    assert len(encoded) == 2 and len(set(encoded)) == 2
    whole = [said.seen[0] for said in server.asks]
    assert len(whole) == 16 and all(one == whole[0] for one in whole)


def test_the_version_follows_prompts_and_forms(tmp_path: Path, clip_store: MemoStore) -> None:
    ours = OpenAITeacher(TeacherSettings(), clip_store)
    assert ours.version() == f"openai-2-{conversation_version(load_templates())}"
    (tmp_path / "solve.v3.j2").write_text("hello", "utf-8")
    theirs = OpenAITeacher(TeacherSettings(prompts=str(tmp_path)), clip_store)
    assert theirs.version() != ours.version()
    assert theirs.settings.identity() == ours.settings.identity()
    # As workers get it, on whose machine the folder is not.
    sent = load_templates(str(tmp_path))
    gone = OpenAITeacher(TeacherSettings(prompts=str(tmp_path / "gone")), clip_store, sent)
    assert gone.version() == theirs.version()
