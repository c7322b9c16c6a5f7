"""What a reasoning claims, step by step, and whether the clip bears it out.

First without a model: whether the claimed time and place exist. What exists is then looked up: the
verifier's model is shown the frames of that time and that part of them, and told the step's words.
And the reasoning without its answer is told to somebody who was not shown the clip, to see whether
it leads there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from schemas.case import Case
from schemas.claim import CheckedClaim, Claim, Shown
from schemas.clip import Media
from schemas.rejection import Rejected
from schemas.rollout import Rollout
from schemas.view import Condition, View
from transforms.annotate.asker import Replies
from transforms.annotate.replies import CheckReply, ConcludeReply, read_reply
from transforms.annotate.teacher import Reply, Request
from transforms.verify.checks import EDGE_S
from transforms.verify.claim_reading import Corners, Reading, read_claims
from transforms.verify.conclude import told
from transforms.verify.conditions import SAMPLE_FROM, turned, turned_back
from transforms.verify.steps import reasoning_steps

NO_REPLIES: Replies = MappingProxyType({})
MOMENT_S = 0.2
"""Frames this much before and after a cited moment are shown with it: a time in a text is rounded,
and one frame shows no change."""
BOX_MARGIN = 0.05
"""Share of the frame by which a cited box is widened on each side: a close cut hides what it is."""
MAX_LOOKED_UP = 64
"""Claims of a rollout that are looked up, the first ones; more is a reasoning gone wild."""
LOOKS_AGAIN = 2
"""So many times as often a claim that is refuted is looked up once more, before it counts: a
reasoning makes many claims, and one hasty look must not turn it down."""
NO_ANSWER = "none"
"""What those write to whom the reasoning leads nowhere."""


# Existence ---------------------------------------------------------------------------------------


def exists(claim: Claim, media: Media) -> bool:
    """Whether the claimed time lies within the clip (to `EDGE_S`), and the box in the frame."""
    if claim.box:
        left, top, right, bottom = claim.box
        if not (0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0):
            return False
    if claim.start_s == claim.end_s == -1.0:
        return True
    return 0.0 <= claim.start_s <= claim.end_s <= media.duration_s + EDGE_S


# Looking up --------------------------------------------------------------------------------------


def view_of(claim: Claim, media: Media) -> View:
    """Where a claim that exists is looked up: the frames on screen at its time, or all of them if
    it names none, and of a box claim only the part around the box."""
    if claim.start_s < 0:
        span = (0.0, round(media.duration_s, 6))
    else:
        span = _shown_s(claim.start_s, claim.end_s, media)
    box = _widened(claim.box) if claim.box else ()
    return View(condition=Condition.EVIDENCE, spans_s=(span,), box=box)


def _shown_s(start_s: float, end_s: float, media: Media) -> tuple[float, float]:
    """The span of a view in which the frames on screen at these times lie. Around a single frame as
    many before as after: of a view with many frames some are left out, but not its middle."""
    fps, last = media.fps_num / media.fps_den, media.num_frames - 1
    first, final = (min(int(time_s * fps + 1e-6), last) for time_s in (start_s, end_s))
    if first == final:
        room = max(min(first, last - first), 1)
        around = min(max(int(MOMENT_S * fps), 1), room)
        first, final = first - around, final + around
    # A quarter of a frame, so that rounding leaves out no frame and takes in no other.
    return max(round((first - 0.25) / fps, 6), 0.0), round((final + 0.25) / fps, 6)


def _widened(box: Corners) -> Corners:
    left, top, right, bottom = box
    return (
        round(max(left - BOX_MARGIN, 0.0), 6),
        round(max(top - BOX_MARGIN, 0.0), 6),
        round(min(right + BOX_MARGIN, 1.0), 6),
        round(min(bottom + BOX_MARGIN, 1.0), 6),
    )


def statement_of(reading: Reading, question: str, *, is_last: bool) -> str:
    """What is asked about a claim. It must be understood without the other steps, so a box comes
    with what is said to be in it, and an answer with its question; "" = nothing can be asked."""
    claim = reading.claim
    label = reading.label if claim.box and reading.label != claim.text else ""
    said = f"{label}: {claim.text}" if label else claim.text
    return f'Asked "{question}": {said}' if is_last and said else said


def claim_requests(
    case: Case, rollout: Rollout, samples: int, seed: int, replies: Replies = NO_REPLIES
) -> Sequence[Request]:
    """What is asked about the claims of a rollout: each view and statement once per sample; and
    what the replies so far refute `LOOKS_AGAIN` times as often again."""
    asked = {
        request.id: request
        for _, requests in _lookups(case, rollout, samples, seed, replies)
        for request in requests
    }
    return list(asked.values())


def checked_claims(
    case: Case, rollout: Rollout, samples: int, seed: int, replies: Replies
) -> tuple[CheckedClaim, ...]:
    """The claims of a rollout with what the replies say of them."""
    media = case.scene.media
    checked = []
    for claim, requests in _lookups(case, rollout, samples, seed, replies):
        votes = tuple(vote(replies[one.id]) for one in requests if one.id in replies)
        checked.append(
            CheckedClaim(
                claim=claim,
                exists=exists(claim, media),
                shown=majority(votes) if votes else Shown.NOT_ASKED,
                votes=votes,
            )
        )
    return tuple(checked)


def _lookups(
    case: Case, rollout: Rollout, samples: int, seed: int, replies: Replies
) -> Iterator[tuple[Claim, list[Request]]]:
    """Every claim with its requests, as far as the replies so far tell: none for what does not
    exist, and of the last step, which states the answer, none for what names no time."""
    last = len(reasoning_steps(rollout)) - 1
    left = MAX_LOOKED_UP
    for reading in read_claims(rollout, case.task.kind):
        claim = reading.claim
        is_last = 0 <= claim.step == last
        statement = statement_of(reading, case.task.question, is_last=is_last)
        timeless_answer = is_last and claim.start_s < 0
        asks = bool(statement) and not timeless_answer and exists(claim, case.scene.media)
        if not asks or left == 0:
            yield claim, []
            continue
        left -= 1
        view = view_of(claim, case.scene.media)
        first = Request(scene=case.scene, view=view, statement=statement, seed=seed)
        yield claim, _looks(first, samples, replies)


def _looks(first: Request, samples: int, replies: Replies) -> list[Request]:
    """The looks at a claim, and those that follow if the first refute it."""
    several = [
        first.model_copy(update={"sample": SAMPLE_FROM + sample})
        for sample in range(samples * (1 + LOOKS_AGAIN))
    ]
    known = [replies[one.id] for one in several[:samples] if one.id in replies]
    refuted = len(known) == samples and majority([vote(one) for one in known]) is Shown.NO
    return several if refuted else several[:samples]


def vote(reply: Reply) -> Shown:
    """What a reply says; one that failed or can't be read says nothing, and refutes nothing."""
    if reply.error:
        return Shown.UNCLEAR
    try:
        return Shown(read_reply(reply.text, CheckReply).shown)
    except Rejected:
        return Shown.UNCLEAR


def majority(votes: Sequence[Shown]) -> Shown:
    """What most votes say; a tie is unclear."""
    ranked = Counter(votes).most_common(2)
    tied = not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1])
    return Shown.UNCLEAR if tied else ranked[0][0]


# Conclusions -------------------------------------------------------------------------------------


def conclusion_requests(case: Case, rollout: Rollout, samples: int, seed: int) -> Sequence[Request]:
    """What is asked to see whether the reasoning leads to its answer; nothing if it says nothing
    but the answer."""
    reasoning = told(rollout, case.task)
    if not reasoning:
        return []
    return [
        Request(
            task=turned(case.task, sample),
            reasoning=reasoning,
            sample=SAMPLE_FROM + sample,
            seed=seed,
        )
        for sample in range(samples)
    ]


def conclusions(
    case: Case, rollout: Rollout, samples: int, seed: int, replies: Replies
) -> tuple[str, ...]:
    """The answers that others came to, in the letters of the task; "" where none can be read, and
    where there was nothing to tell them."""
    requests = conclusion_requests(case, rollout, samples, seed)
    if not requests:
        return ("",) * samples
    return tuple(
        turned_back(_concluded(replies[request.id]), case.task, sample)
        for sample, request in enumerate(requests)
    )


def _concluded(reply: Reply) -> str:
    if reply.error:
        return ""
    try:
        answer = read_reply(reply.text, ConcludeReply).answer.strip()
    except Rejected:
        return ""
    return "" if answer.casefold().rstrip(".") == NO_ANSWER else answer
