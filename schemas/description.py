"""What a teacher says that happens in a clip and in the video that it comes from."""

from __future__ import annotations

from schemas.base import Record


class Caption(Record):
    """What happens in a span of time: clip time in a clip's captions, source time elsewhere."""

    start_s: float
    end_s: float
    text: str


class Description(Record):
    """What is known of a clip in words, before any question is asked about it."""

    captions: tuple[Caption, ...] = ()
    """The clip's own, in clip time."""
    event: str = ""
    """What happens in the stretch of the video that the clip is part of."""
    story: str = ""
    """What happens in the whole video."""
    error: str = ""
    """Why captions, event or story are missing, or some captions, if they were asked for."""
