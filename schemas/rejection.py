"""Why something was left out: closed lists of stages and reasons."""

from __future__ import annotations

from enum import StrEnum

from schemas.base import Record, content_id


class Stage(StrEnum):
    """The legs of the way, in order. In each: in = out + rejected."""

    INGEST = "ingest"
    DECODE = "decode"
    SEGMENT = "segment"
    SELECT = "select"
    CUT = "cut"
    TRANSCRIBE = "transcribe"
    CONSTRUCT = "construct"
    DESCRIBE = "describe"
    PROPOSE = "propose"
    TASK = "task"
    ANSWER = "answer"
    VERIFY = "verify"
    EXAMINE = "examine"
    ROUTE = "route"
    DERIVE = "derive"
    """Merging, choosing from and re-sharding finished datasets."""


UNITS: dict[Stage, str] = {
    Stage.INGEST: "input",
    Stage.DECODE: "video",
    Stage.SEGMENT: "clip",
    Stage.SELECT: "clip",
    Stage.CUT: "clip",
    Stage.TRANSCRIBE: "clip",
    Stage.CONSTRUCT: "task",
    Stage.DESCRIBE: "clip",
    Stage.PROPOSE: "clip",
    Stage.TASK: "task",
    Stage.ANSWER: "rollout",
    Stage.VERIFY: "rollout",
    Stage.EXAMINE: "rollout",
    Stage.ROUTE: "task",
    Stage.DERIVE: "sample",
}
"""What each stage counts."""

OPTIONAL = frozenset(
    {Stage.TRANSCRIBE, Stage.CONSTRUCT, Stage.DESCRIBE, Stage.EXAMINE, Stage.DERIVE}
)
"""Stages that a dataset may have gone without; where nothing entered they are not listed."""
SOURCES = frozenset({Stage.CONSTRUCT, Stage.TASK})
"""Stages that make what they count: nothing of it came out of a stage before."""


class Reason(StrEnum):
    """Every reason there is. It says what is wrong; the detail says where."""

    # ingest
    UNREADABLE = "unreadable"
    NOT_FOUND = "not_found"
    BAD_ROW = "bad_row"
    EMPTY_FILE = "empty_file"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    DUPLICATE = "duplicate"
    EXCLUDED = "excluded"
    # decode
    NO_DECODABLE_FRAME = "no_decodable_frame"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    DECODE_TIMEOUT = "decode_timeout"
    DECODER_CRASHED = "decoder_crashed"
    # select
    CONTAMINATED = "contaminated"
    NEAR_DUPLICATE = "near_duplicate"
    TOO_DARK = "too_dark"
    OVEREXPOSED = "overexposed"
    FROZEN = "frozen"
    TOO_STILL = "too_still"
    TOO_FAST = "too_fast"
    BLURRED = "blurred"
    BORDERS = "borders"
    TEXT_OVERLAY = "text_overlay"
    SILENT = "silent"
    TOO_QUIET = "too_quiet"
    SHOT_TYPE = "shot_type"
    FEATURES_FAILED = "features_failed"
    # cut; duplicate, too
    CUT_FAILED = "cut_failed"
    # transcribe
    SPEECH_FAILED = "speech_failed"
    # construct
    CANNOT_CONSTRUCT = "cannot_construct"
    # propose, task, answer
    NOTHING_TO_ASK = "nothing_to_ask"
    BAD_TASK = "bad_task"
    TEACHER_FAILED = "teacher_failed"
    TEACHER_CANNOT_ANSWER = "teacher_cannot_answer"
    BAD_REPLY = "bad_reply"
    # verify, examine
    CHECK_FAILED = "check_failed"
    NOT_EXAMINED = "not_examined"
    # route
    NO_ACCEPTED_ROLLOUT = "no_accepted_rollout"
    LICENSE = "license"
    # derive; duplicate, too
    NOT_CHOSEN = "not_chosen"
    IN_VALIDATION = "in_validation"
    # any stage
    INTERNAL_ERROR = "internal_error"


FAILURES = frozenset(
    {
        *(Reason.UNREADABLE, Reason.DECODE_TIMEOUT, Reason.DECODER_CRASHED),
        *(Reason.FEATURES_FAILED, Reason.CUT_FAILED, Reason.SPEECH_FAILED),
        *(Reason.TEACHER_FAILED, Reason.NOT_EXAMINED, Reason.INTERNAL_ERROR),
    }
)
"""Reasons that speak of machines, models that can't be had, and our own code. Where they are many,
something else is wrong than the subjects."""

OF_CONTENT = frozenset(
    {
        # What was given: a list may well name files that have gone.
        *(Reason.NOT_FOUND, Reason.BAD_ROW, Reason.EMPTY_FILE, Reason.NOT_A_VIDEO),
        *(Reason.NO_VIDEO_STREAM, Reason.DUPLICATE, Reason.EXCLUDED),
        *(Reason.NO_DECODABLE_FRAME, Reason.TRUNCATED, Reason.DAMAGED),
        *(Reason.TOO_SHORT, Reason.TOO_LONG),
        # What it shows.
        *(Reason.CONTAMINATED, Reason.NEAR_DUPLICATE, Reason.TOO_DARK, Reason.OVEREXPOSED),
        *(Reason.FROZEN, Reason.TOO_STILL, Reason.TOO_FAST, Reason.BLURRED, Reason.BORDERS),
        *(Reason.TEXT_OVERLAY, Reason.SILENT, Reason.TOO_QUIET, Reason.SHOT_TYPE),
        # What can be made of it, and what the teacher said.
        *(Reason.CANNOT_CONSTRUCT, Reason.NOTHING_TO_ASK, Reason.BAD_TASK, Reason.BAD_REPLY),
        *(Reason.TEACHER_CANNOT_ANSWER, Reason.CHECK_FAILED, Reason.NO_ACCEPTED_ROLLOUT),
        *(Reason.LICENSE, Reason.NOT_CHOSEN, Reason.IN_VALIDATION),
    }
)
"""Reasons that speak of the subject: however many there are, the run goes on."""


class Rejection(Record):
    """One subject left out at one stage."""

    stage: Stage
    reason: Reason
    subject: str
    """Id of what was rejected; the URI where there is no id yet."""
    parent: str = ""
    """Id of what the subject was made from, if any."""
    detail: str = ""

    @property
    def id(self) -> str:
        return content_id("x", self.stage, self.subject)


class Rejected(Exception):  # noqa: N818 - an end, not an error
    """Raised by a leg's pure function to turn its subject down with a reason."""

    def __init__(
        self, reason: Reason, detail: str = "", *, lasting: bool = True, passing: bool = False
    ) -> None:
        """`lasting`: the same input will meet the same end, so the end may be remembered.

        Time-outs and crashes are not lasting: the next run tries again. `passing`: it may go right
        in a moment, so the leg tries again in this run; what is passing is never lasting.
        """
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.lasting = lasting and not passing
        self.passing = passing
