"""`proofreel inspect` of what was examined: views, scores, claims, conclusions, rounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer
from PIL import Image
from pipeline_helpers import index_rows
from served_run import answer, run_served

from pipelines.cli import main
from pipelines.inspect_examination import claim_line, view_name
from pipelines.records import records
from schemas.case import Attempt, Case
from schemas.claim import CheckedClaim, Claim, ClaimKind, Shown
from schemas.view import Condition, View
from transforms.memo import MemoStore
from transforms.publish.claim_strip import COLORS, MOST, draw_claims
from transforms.publish.sheet import draw_case
from transforms.publish.sheet_style import fitted, font
from transforms.verify.checks import VerifySettings

Capture = pytest.CaptureFixture[str]
WIDTH_PX = 1_200


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run with an examined task and one that was tried again in vain; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        server = ChatServer(answer).start()
        folder = tmp_path_factory.mktemp("inspected") / "out"
        assert run_served(server, folder) == 0
        server.stop()
        yield folder


def case_of(out: Path, *, examined: bool) -> Case:
    cases = [Case.from_json(text) for _, text in records(out / "work" / "records", "case")]
    [found] = [case for case in cases if bool(case.examination.rows) is examined]
    return found


def shown(capsys: Capture, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> list[str]:
    """The lines of what `inspect` says, without the branches of its tree."""
    monkeypatch.setenv("COLUMNS", "400")
    capsys.readouterr()
    assert main(["inspect", *(str(one) for one in arguments)]) == 0
    said = capsys.readouterr().out
    for branch in "│├└─┃┏┓┡┩┗┛":
        said = said.replace(branch, " ")
    return [" ".join(line.split()) for line in said.splitlines()]


def test_the_table_tells_every_view(
    out: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(out, examined=True)
    said = shown(capsys, monkeypatch, out, case.task.id)
    assert f"examined by {case.examination.model}" in said
    # It knows the answer exactly if it is shown the cited span. Where a lucky guess would count, it
    # is asked twice as often.
    for view, asked, right in (
        ("full", 4, 4), ("blind", 8, 0), ("evidence 0.50 to 1.00 s", 4, 4),
        ("masked 0.50 to 1.00 s", 8, 0), ("shuffled", 4, 4),
    ):  # fmt: skip
        row = f"{view} {asked} {right} {right / asked:.2f} "
        assert any(line.startswith(row) for line in said), view
    assert "difficulty 0.00, language prior 0.00, order sensitivity 0.00" in said
    examined = [one for one in case.attempts if one.examined]
    rests = "examined: rests on 0.50 to 1.00 s; sufficiency 1.00, necessity 1.00"
    assert said.count(rests) == len(examined) == 2
    for attempt in examined:
        for one in attempt.claims:
            assert claim_line(one).partition("[/] ")[2] in " ".join(said)
        assert f"others conclude: {', '.join(attempt.conclusions)}" in " ".join(said)


def test_rounds_follow_each_other_with_what_was_wrong(
    out: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(out, examined=False)
    last = case.attempts[-1].rollout
    said = shown(capsys, monkeypatch, out, last.id)
    places = [said.index("round 0"), said.index("round 1, repair")]
    assert places == sorted(places)
    for attempt in case.attempts:
        [line] = [
            n for n, text in enumerate(said) if text.startswith(f"rollout {attempt.rollout.id}")
        ]
        assert (line > places[1]) is (attempt.rollout.round == 1)
        assert ("<- asked for" in said[line]) is (attempt.rollout.id == last.id)
    assert said.count("tried again, for: the answer '7' is not right") == 2
    assert not any("asked again under" in line for line in said)


def test_a_sample_of_labelled_steps_is_found_by_its_rollout(
    out: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [row, *_] = [row for row in index_rows(out) if row["split"] == "process"]
    picture = tmp_path / "sheet.png"
    said = shown(capsys, monkeypatch, out, row["id"], "--picture", picture)
    rollout = row["id"].removeprefix("process-")
    [line] = [text for text in said if text.startswith(f"rollout {rollout}")]
    assert "<- asked for" in line
    assert picture.stat().st_size > 10_000
    assert main(["inspect", str(out), "process-r0"]) == 2


# Words -------------------------------------------------------------------------------------------


def claim(text: str = "It is seen.", start_s: float = 0.5, **more: object) -> CheckedClaim:
    about = {"step": 0, "kind": ClaimKind.TIME, "text": text, "start_s": start_s, "end_s": start_s}
    known = set(Claim.model_fields)
    found = Claim(**about | {key: one for key, one in more.items() if key in known})
    rest = {key: one for key, one in more.items() if key not in known}
    return CheckedClaim(claim=found, **{"exists": True, "shown": Shown.YES} | rest)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (View(), "full"),
        (View(condition=Condition.BLIND, black=True), "blind, black"),
        (View(condition=Condition.PREFIX, until_s=2.5), "prefix to 2.50 s"),
        (
            View(condition=Condition.MASKED, spans_s=((0.0, 1.0), (2.0, 3.25))),
            "masked 0.00 to 1.00, 2.00 to 3.25 s",
        ),
    ],
)
def test_views_in_words(view: View, words: str) -> None:
    assert view_name(view) == words


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (claim(), "[green]yes[/] time step 1, 0.50 s: It is seen."),
        (claim(exists=False, shown=Shown.NOT_ASKED), "[red]does not exist[/] time step 1, 0.50 s"),
        (
            claim(end_s=1.0, step=2, kind=ClaimKind.SPAN, shown=Shown.NO),
            "[red]no[/] span step 3, 0.50 to 1.00 s",
        ),
        (claim(start_s=-1.0, number=3, kind=ClaimKind.COUNT), "count step 1, number 3: It"),
        (claim(votes=(Shown.YES, Shown.UNCLEAR)), "(yes, unclear) time"),
        (claim("a [bold] claim"), r"a \[bold] claim"),
        (claim(box=(0.1, 0.2, 0.3, 0.4), kind=ClaimKind.BOX), "[0.1 0.2 0.3 0.4]: It is seen."),
    ],
)
def test_claims_in_words(one: CheckedClaim, words: str) -> None:
    assert words in claim_line(one)


# Pictures ----------------------------------------------------------------------------------------


def strip(out: Path, *claims: CheckedClaim) -> Image.Image | None:
    case = case_of(out, examined=True)
    attempt = case.attempts[0].model_copy(update={"claims": claims})
    media = case.scene.media
    mp4 = MemoStore(str(out / "work" / "memo")).path(media.ref)
    return draw_claims(attempt, media, mp4, WIDTH_PX)


def colors(picture: Image.Image) -> set[str]:
    found = picture.convert("RGB").getcolors(1 << 24) or []
    return {"#{:02x}{:02x}{:02x}".format(*rgb) for _, rgb in found if isinstance(rgb, tuple)}


def test_the_strip_shows_what_was_looked_at(out: Path) -> None:
    assert strip(out) is None
    several = [claim(shown=one) for one in Shown]
    picture = strip(out, *several)
    assert picture is not None
    assert colors(picture) >= set(COLORS.values())
    # Eight stand in a row, and of very many only the first are drawn.
    one, two, many = (strip(out, *[claim()] * number) for number in (8, 9, 40))
    assert one is not None and two is not None and many is not None
    assert one.height == picture.height < two.height == many.height
    assert MOST == 16 and one.width == WIDTH_PX


def test_a_box_is_cut_out_of_its_frame(out: Path) -> None:
    whole, part = strip(out, claim()), strip(out, claim(box=(0.0, 0.0, 0.2, 1.0)))
    assert whole is not None and part is not None
    assert whole.size == part.size and whole.tobytes() != part.tobytes()


def test_odd_claims_are_drawn(out: Path) -> None:
    odd = (
        claim(start_s=-1.0),
        claim(start_s=99.0, exists=False, shown=Shown.NOT_ASKED),
        claim("w" * 900, start_s=9.96),
        claim(box=(0.999, 0.999, 1.0, 1.0)),
        claim("", start_s=0.0),
    )
    assert strip(out, *odd) is not None


def test_the_sheet_holds_table_and_strip(out: Path) -> None:
    case, settings = case_of(out, examined=True), VerifySettings()
    mp4 = MemoStore(str(out / "work" / "memo")).path(case.scene.media.ref)
    [first, *_] = case.attempts
    plain = first.model_copy(update={"claims": (), "examined": False})
    bare = case.model_copy(update={"attempts": (plain,), "examination": type(case.examination)()})
    sheets: list[Image.Image] = [
        draw_case(one, mp4, settings, shown)
        for one, shown in ((bare, None), (case, first), (case, None))
    ]
    assert sheets[0].height < sheets[1].height
    assert sheets[1].size == sheets[2].size
    failed: Attempt = case_of(out, examined=False).attempts[0]
    assert "#c62828" in colors(draw_case(case_of(out, examined=False), mp4, settings, failed))


def test_texts_fit() -> None:
    for text in ("W" * 200, "i l " * 90, "Bilder und Wörter " * 20, "short"):
        lines = fitted(text, 150, 13, 3)
        assert 0 < len(lines) <= 3
        assert all(font(13).getlength(line) <= 150 + 13 for line in lines)
    assert fitted("", 150, 13, 3) == []
