"""What happens, before any question: captions of each clip, then of events and of the whole video.

A clip is described from its frames, with captions in clip time. What the clips of a stretch of the
video say is summed up to an event, and the events to the story of the whole; no frames are needed
for that. All of it stands in the prompt that asks for questions. A description that can't be had
costs nothing but itself: the clip goes on without, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from schemas.case import Scene
from schemas.clip import Media
from schemas.description import Caption, Description
from schemas.rejection import Reason, Rejected
from transforms.annotate.asker import Replies
from transforms.annotate.replies import DescribeReply, SummaryReply, TimedCaption, read_reply
from transforms.annotate.teacher import Reply, Request
from transforms.outcome import Outcome
from transforms.video.cues import CUT_OFF, clean

MAX_TEXT_CHARS = 2_000
"""A longer text is cut: a caption was to have two sentences, a summary 120 words."""
SPAN_CHARS = 40
"""What the times of a caption take in a prompt."""
MAX_REASON_CHARS = 500


class Levels(StrEnum):
    """How far descriptions reach."""

    NONE = "none"
    CLIP = "clip"
    VIDEO = "video"


class DescribeSettings(BaseModel):
    """Section `describe` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels: Levels = Field(
        Levels.VIDEO,
        description="none: questions are proposed without a description; clip: time-stamped "
        "captions of each clip first; video: also a summary of each event and of the whole video",
    )
    event_s: float = Field(
        120.0,
        gt=0.0,
        description="about how many seconds an event lasts; a video is parted evenly",
    )
    max_chars: int = Field(
        16_000,
        ge=5_000,
        le=60_000,
        description="most characters of captions in one request: of a clip, those after them are "
        "left out; of an event or a video, parts are summed up first",
    )


@dataclass(frozen=True)
class ClipDescriber:
    """Asks for the captions of a clip. The leg's unit is the clip.

    A clip of a video that came with its own questions is passed on as it is, since nothing is to
    be proposed about it.
    """

    settings: DescribeSettings
    seed: int

    def requests(self, scene: Scene, replies: Replies) -> Sequence[Request]:
        return () if scene.video.source.questions else (Request(scene=scene, seed=self.seed),)

    def read(self, scene: Scene, replies: Replies) -> Outcome[Scene]:
        for request in self.requests(scene, replies):
            description = self._description(replies[request.id], scene.media)
            scene = scene.model_copy(update={"description": description})
        return Outcome((scene,))

    def _description(self, reply: Reply, media: Media) -> Description:
        try:
            said = read_reply(_text(reply), DescribeReply).captions
        except Rejected as rejected:
            return Description(error=_in_words(rejected))
        captions, left_out = placed(said, media, self.settings.max_chars)
        error = left_out[0] if left_out else ""
        if len(left_out) > 1:
            error = f"{len(left_out)} captions are left out, such as: {error}"
        return Description(captions=captions, error=error)


def _text(reply: Reply) -> str:
    """The text of a reply. Raises Rejected(teacher_failed) if it is an error."""
    if reply.error:
        raise Rejected(Reason.TEACHER_FAILED, reply.error, lasting=False)
    return reply.text


def _short(text: str) -> str:
    """A text as one clean line that is not too long."""
    line = clean(text)
    return line if len(line) <= MAX_TEXT_CHARS else line[:MAX_TEXT_CHARS].rstrip() + CUT_OFF


def _in_words(rejected: Rejected) -> str:
    return clean(str(rejected))[:MAX_REASON_CHARS]


def placed(
    said: Sequence[TimedCaption], media: Media, max_chars: int
) -> tuple[tuple[Caption, ...], list[str]]:
    """Captions in order of time and within the clip, and why others were left out.

    A model that is shown a clip of 9.6 s may say that something lasts until 10: an end that is no
    more than rounded up to a whole second is cut to the clip, and so is half a frame.
    """
    latest_s = max(media.duration_s + media.half_frame_s, math.ceil(media.duration_s))
    found: set[tuple[float, float, str]] = set()
    left_out: list[str] = []
    for one in said:
        span = (round(one.start_s, 3), min(round(one.end_s, 3), media.duration_s))
        text = _short(one.text)
        if one.end_s > latest_s or not span[0] < span[1]:
            left_out.append(
                f"a caption of {one.start_s:.2f} to {one.end_s:.2f} s is no span within the "
                f"clip's {media.duration_s:.2f} s"
            )
        elif not text:
            left_out.append(f"the caption of {one.start_s:.2f} to {one.end_s:.2f} s is empty")
        else:
            found.add((*span, text))
    captions = [Caption(start_s=s, end_s=e, text=text) for s, e, text in sorted(found)]
    fitting = _fitting(captions, max_chars)
    left_out += [
        f"the caption of {one.start_s:.2f} to {one.end_s:.2f} s is beyond {max_chars} characters"
        for one in captions[fitting:]
    ]
    return tuple(captions[:fitting]), left_out


def _size(caption: Caption) -> int:
    return len(caption.text) + SPAN_CHARS


def _fitting(captions: Sequence[Caption], max_chars: int) -> int:
    """How many of the first captions fit."""
    chars = 0
    for number, caption in enumerate(captions):
        chars += _size(caption)
        if chars > max_chars:
            return number
    return len(captions)


@dataclass(frozen=True)
class VideoNarrator:
    """Asks for summaries of the events of a video and of the whole.

    The subject are the scenes of one video. Its clips have entered the stage one by one already,
    so none is counted again.
    """

    settings: DescribeSettings
    seed: int

    def requests(self, scenes: Sequence[Scene], replies: Replies) -> Sequence[Request]:
        told = self._narrated(scenes, replies)
        return [*told.requests, *told.story.requests]

    def read(self, scenes: Sequence[Scene], replies: Replies) -> Outcome[Scene]:
        told = self._narrated(scenes, replies)
        described = []
        for event, summary in zip(told.events, told.summaries, strict=True):
            for scene in event:
                # What is around a clip that is alone in its event is the clip itself.
                around = summary.text if len(event) > 1 else ""
                faults = (scene.description.error, *_named("event", summary))
                error = "; ".join(filter(None, (*faults, *_named("story", told.story))))
                update = {
                    "event": around,
                    "story": told.story.text,
                    "error": error[:MAX_REASON_CHARS],
                }
                description = scene.description.model_copy(update=update)
                described.append(scene.model_copy(update={"description": description}))
        return Outcome(described, entered=0)

    def _narrated(self, scenes: Sequence[Scene], replies: Replies) -> _Narrated:
        events = parted(scenes, self.settings.event_s)
        if sum(bool(scene.description.captions) for scene in scenes) < 2:
            # One clip says nothing of what is around it.
            return _Narrated(events, tuple(_NOTHING for _ in events), _NOTHING)
        summaries = tuple(self._summed(source_captions(event), replies) for event in events)
        story = _NOTHING
        told = [one for one in summaries if one.caption is not None]
        if len(told) > 1 and not any(one.is_open for one in summaries):
            story = self._summed([one.caption for one in told if one.caption], replies)
        return _Narrated(events, summaries, story)

    def _summed(self, captions: Sequence[Caption], replies: Replies) -> _Summary:
        """One caption of several, as far as the replies go; in several turns if they are many."""
        if len(captions) < 2:
            return _Summary(caption=captions[0] if captions else None)
        parts = _split(captions, self.settings.max_chars)
        if len(parts) > 1:
            return self._joined([self._summed(part, replies) for part in parts], replies)
        request = Request(captions=tuple(captions), seed=self.seed)
        reply = replies.get(request.id)
        if reply is None:
            return _Summary(requests=(request,), is_open=True)
        try:
            text = _short(read_reply(_text(reply), SummaryReply).summary)
            if not text:
                raise Rejected(Reason.BAD_REPLY, "the summary is empty")
        except Rejected as rejected:
            return _Summary(requests=(request,), faults=(_in_words(rejected),))
        return _Summary((request,), _over(captions, text))

    def _joined(self, parts: Sequence[_Summary], replies: Replies) -> _Summary:
        """The summary of summaries; parts that failed are left out of it."""
        requests = tuple(request for part in parts for request in part.requests)
        faults = tuple(fault for part in parts for fault in part.faults)
        if any(part.is_open for part in parts):
            return _Summary(requests, faults=faults, is_open=True)
        whole = self._summed([part.caption for part in parts if part.caption], replies)
        return _Summary(
            (*requests, *whole.requests), whole.caption, (*faults, *whole.faults), whole.is_open
        )


@dataclass(frozen=True)
class _Summary:
    """What is known of a summary so far."""

    requests: tuple[Request, ...] = ()
    """All that were made for it, answered or not."""
    caption: Caption | None = None
    faults: tuple[str, ...] = ()
    is_open: bool = False
    """Whether replies are still needed."""

    @property
    def text(self) -> str:
        """What was summed up, or "" if nothing was asked or said."""
        return self.caption.text if self.caption is not None and self.requests else ""


_NOTHING = _Summary()


@dataclass(frozen=True)
class _Narrated:
    """The events of a video with their summaries, and the summary of all."""

    events: tuple[tuple[Scene, ...], ...]
    summaries: tuple[_Summary, ...]
    story: _Summary

    @property
    def requests(self) -> list[Request]:
        return [request for one in self.summaries for request in one.requests]


def _named(what: str, summary: _Summary) -> tuple[str, ...]:
    return tuple(f"{what}: {fault}" for fault in summary.faults)


def parted(scenes: Sequence[Scene], event_s: float) -> tuple[tuple[Scene, ...], ...]:
    """The scenes of a video in order of time, by events of about `event_s` seconds.

    The video is parted evenly, and a clip belongs to the event in which its middle lies. So where
    an event begins does not hang on which clips there are: one more or less changes its own event.
    """
    if not scenes:
        return ()
    decoded = scenes[0].decoded
    count = max(1, round(decoded.duration_s / event_s))
    events: dict[int, list[Scene]] = {}
    for scene in sorted(scenes, key=lambda one: (one.clip.start_s, one.clip.id)):
        middle_s = (scene.clip.start_s + scene.clip.end_s) / 2 - decoded.first_pts_s
        place = int(middle_s / decoded.duration_s * count) if decoded.duration_s > 0 else 0
        events.setdefault(min(max(place, 0), count - 1), []).append(scene)
    return tuple(tuple(event) for event in events.values())


@dataclass(frozen=True)
class Faults:
    """How many clips lack something, and what is said of one of them."""

    clips: int
    example: str

    def note(self, what: str) -> str:
        """What to tell of it; `what` they lack."""
        lack = "1 clip lacks" if self.clips == 1 else f"{self.clips} clips lack"
        return f"{lack} {what}, such as {self.example}"


LACKING = "a description, or a part of it"


def faults_of(scene: Scene) -> list[tuple[str, Faults]]:
    """Nothing, or what a clip lacks of its description."""
    error = scene.description.error
    return [(LACKING, Faults(1, f"{scene.clip.id}: {error}"))] if error else []


def faults_together(several: Iterable[Faults]) -> Faults:
    """The sum; its example does not hang on their order."""
    listed = list(several)
    return Faults(sum(one.clips for one in listed), min(one.example for one in listed))


def source_captions(scenes: Sequence[Scene]) -> list[Caption]:
    """The captions of several scenes, in source time."""
    return [
        Caption(
            start_s=round(scene.clip.start_s + caption.start_s, 3),
            end_s=round(scene.clip.start_s + caption.end_s, 3),
            text=caption.text,
        )
        for scene in scenes
        for caption in scene.description.captions
    ]


def _over(captions: Sequence[Caption], text: str) -> Caption:
    """A caption over the time of several."""
    end_s = max(caption.end_s for caption in captions)
    return Caption(start_s=captions[0].start_s, end_s=end_s, text=text)


def _split(captions: Sequence[Caption], max_chars: int) -> list[Sequence[Caption]]:
    """Runs of captions that fit into a request; each of two at least, but for the last."""
    parts = []
    rest = captions
    while rest:
        fitting = _fitting(rest, max_chars)
        parts.append(rest[:fitting])
        rest = rest[fitting:]
    return parts
