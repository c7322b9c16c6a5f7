"""What `proofreel inspect` shows of an examination: views, scores, claims, critiques."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from schemas.case import Attempt, Case
from schemas.claim import CheckedClaim, Shown
from schemas.conditions import Conditions
from schemas.examination import Asked
from schemas.view import Condition, View
from transforms.publish.examined import conditions_of
from transforms.verify.checks import VerifySettings, critique
from transforms.verify.conditions import cited_spans, right_answers, right_share
from transforms.verify.gold import gold_of

COLORS = {
    Shown.YES: "green",
    Shown.NO: "red",
    Shown.UNCLEAR: "yellow",
    Shown.NOT_ASKED: "bright_black",
}


def view_name(view: View) -> str:
    """A view in words: `evidence 1.50 to 3.00 s`."""
    name = f"{view.condition}"
    if view.condition in (Condition.EVIDENCE, Condition.MASKED):
        spans = ", ".join(f"{start_s:.2f} to {end_s:.2f}" for start_s, end_s in view.spans_s)
        name = f"{name} {spans} s"
    if view.condition is Condition.PREFIX:
        name = f"{name} to {view.until_s:.2f} s"
    return f"{name}, black" if view.black else name


def rows_in_order(case: Case) -> list[Asked]:
    """The rows of a case's table by condition, then by what of the clip they show."""
    order = list(Condition)
    return sorted(
        case.examination.rows,
        key=lambda row: (order.index(row.condition), row.view.until_s, row.view.spans_s),
    )


def condition_table(case: Case, settings: VerifySettings) -> Table:
    """Each view, how often it was asked, how often rightly answered, and the corrected share."""
    table = Table("asked again under", title=f"examined by {escape(case.examination.model)}")
    table.title_justify = "left"
    for name in ("asked", "right", "corrected share"):
        table.add_column(name, justify="right")
    table.add_column("answers", overflow="fold")
    gold = gold_of(case, settings)
    for row in rows_in_order(case):
        said = ", ".join(answer or "unreadable" for answer in row.answers)
        table.add_row(
            view_name(row.view),
            str(len(row.answers)),
            str(right_answers(row, gold, settings.thresholds)),
            f"{right_share(row, case.task, gold, settings.thresholds):.2f}",
            escape(said),
        )
    return table


def add_examination(tree: Tree, case: Case, settings: VerifySettings) -> None:
    """The table of a case and what it says of the task itself."""
    if not case.examination.rows:
        if any(attempt.examined for attempt in case.attempts):
            tree.add(f"examined by {escape(case.examination.model)}, under no other view")
        return
    branch = tree.add("examination")
    branch.add(condition_table(case, settings))
    branch.add(", ".join(task_scores(conditions_of(case, None, settings))))


def task_scores(table: Conditions) -> list[str]:
    """The scores of a task in words."""
    scores = table.scores
    since = scores.answerable_from_s
    return [
        f"difficulty {known(scores.difficulty)}",
        f"language prior {known(scores.language_prior)}",
        f"order sensitivity {known(scores.order_sensitivity)}",
        *([f"answerable from {since:.2f} s"] if since >= 0 else ()),
    ]


def evidence_scores(table: Conditions) -> list[str]:
    """The scores of what an attempt cites, in words."""
    scores = table.scores
    return [
        f"sufficiency {known(scores.sufficiency)}",
        f"necessity {known(scores.necessity)}",
    ]


def known(score: float) -> str:
    """A score as people read it; -1 stands for one that nobody knows."""
    return "not known" if score < 0 else f"{score:.2f}"


# One attempt -------------------------------------------------------------------------------------


def add_attempt_examination(
    branch: Tree, case: Case, attempt: Attempt, settings: VerifySettings
) -> None:
    """What was found when an attempt was examined: its evidence, claims and conclusions."""
    if not attempt.examined:
        return
    media = case.scene.media
    spans = cited_spans(attempt.rollout, case.task.kind, media.duration_s)
    rests = ", ".join(f"{start_s:.2f} to {end_s:.2f} s" for start_s, end_s in spans)
    scores = ", ".join(evidence_scores(conditions_of(case, attempt, settings)))
    branch.add(f"examined: rests on {rests or 'no span'}; {scores}")
    if attempt.claims:
        claims = branch.add("claims")
        for one in attempt.claims:
            claims.add(claim_line(one))
    if attempt.conclusions:
        said = ", ".join(answer or "unreadable" for answer in attempt.conclusions)
        branch.add(f"told without its end, others conclude: {escape(said)}")


def claim_line(one: CheckedClaim) -> str:
    """A claim with where it was looked up and what the look gave."""
    claim = one.claim
    color = COLORS[one.shown if one.exists else Shown.NO]
    found = one.shown.value.replace("_", " ") if one.exists else "does not exist"
    votes = f" ({', '.join(vote.value for vote in one.votes)})" if len(one.votes) > 1 else ""
    return f"[{color}]{found}[/]{votes} {claim.kind} {where(one)}: {escape(claim.text)}"


def where(one: CheckedClaim) -> str:
    """Step, time and place of a claim."""
    claim = one.claim
    parts = [f"step {claim.step + 1}"]
    if claim.start_s >= 0:
        till = f" to {claim.end_s:.2f}" if claim.end_s > claim.start_s else ""
        parts.append(f"{claim.start_s:.2f}{till} s")
    if claim.box:
        parts.append("[" + " ".join(f"{edge:g}" for edge in claim.box) + "]")
    if claim.number >= 0:
        parts.append(f"number {claim.number}")
    return escape(", ".join(parts))


# Rounds ------------------------------------------------------------------------------------------


def in_rounds(case: Case) -> Iterator[tuple[int, list[Attempt]]]:
    """The attempts by round of repair, in order."""
    rounds = sorted({attempt.rollout.round for attempt in case.attempts})
    for number in rounds:
        yield number, [one for one in case.attempts if one.rollout.round == number]


def answered_critique(case: Case, attempt: Attempt) -> Sequence[str]:
    """What the verifier said of the attempt that this one repairs; () if it repairs none."""
    rollout = attempt.rollout
    for other in case.attempts:
        before = other.rollout
        if before.sample == rollout.sample and before.round == rollout.round - 1:
            return critique(other.verdict)
    return ()
