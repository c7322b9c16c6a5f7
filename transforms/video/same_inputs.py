"""Inputs with the same bytes: one of them is kept, and nobody holds all of them.

There may be any number: what shows that a video was taken down is the same file a million times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from schemas.rejection import Reason, Rejection, Stage
from schemas.source import GivenQuestion
from schemas.video import Video
from transforms.outcome import Outcome, is_fatal
from transforms.video.exclude import NOTHING_EXCLUDED, Exclusion, Match


@dataclass(frozen=True)
class Same:
    """What has to be known of inputs with the same bytes to say what becomes of each."""

    kept: Video
    """The one whose name sorts first, with everybody's questions."""
    excluded: Match | None
    """The first that must not come in, if there is one: then none of them does."""


@dataclass(frozen=True)
class OneOfSame:
    """One of the inputs with the same bytes."""

    video: Video
    same: Same | Exception
    """Or what broke when they were gone through."""
    is_kept: bool


def same_of(videos: Iterable[Video], exclusion: Exclusion = NOTHING_EXCLUDED) -> Same:
    """What has to be known of inputs with the same bytes; they are gone through once."""
    first: tuple[tuple[str, str], Video] | None = None
    asked: dict[GivenQuestion, tuple[tuple[str, str], int, int]] = {}
    excluded: Match | None = None
    for number, video in enumerate(videos):
        place = _place(video)
        if first is None or place < first[0]:
            first = place, video
        for at, question in enumerate(video.source.questions):
            asked[question] = min(asked.get(question, (place, number, at)), (place, number, at))
        match = exclusion.match(video)
        excluded = match if excluded is None else min(excluded, match or excluded)
    assert first is not None
    kept = first[1]
    questions = tuple(sorted(asked, key=asked.__getitem__))
    source = kept.source.model_copy(update={"questions": questions})
    return Same(kept.model_copy(update={"source": source}), excluded)


def with_same(
    element: tuple[str, Iterable[Video]], exclusion: Exclusion = NOTHING_EXCLUDED
) -> Iterator[OneOfSame]:
    """Each of the inputs with the same bytes, with what has to be known of all of them.

    They are gone through twice and not held: what a runner has grouped it may read bit by bit. What
    breaks meanwhile is handed on, and costs them where each of them is looked at.
    """
    _, videos = element
    same: Same | Exception
    try:
        same = same_of(videos, exclusion)
    except Exception as error:
        if is_fatal(error):
            raise
        same = error
    to_come = True
    for video in videos:
        is_kept = to_come and isinstance(same, Same) and _place(video) == _place(same.kept)
        to_come = to_come and not is_kept
        yield OneOfSame(video, same, is_kept)


@dataclass(frozen=True)
class KeepOne:
    """Of inputs with the same bytes one, or none if one of them is excluded. Looks at each alone;
    its unit is the input."""

    exclusion: Exclusion = NOTHING_EXCLUDED

    def __call__(self, one: OneOfSame) -> Outcome[Video]:
        if isinstance(one.same, Exception):
            raise one.same
        if one.same.excluded is not None:
            return Outcome([], [self.exclusion.rejection(one.video, one.same.excluded)])
        if one.is_kept:
            return Outcome([one.same.kept])
        return Outcome([], [_twin(one.video, one.same.kept)])


def one_of_same_subject(one: OneOfSame) -> list[tuple[str, str]]:
    """What one of the inputs with the same bytes stands for."""
    return [(one.video.source.uri, "")]


def keep_one(videos: Sequence[Video]) -> tuple[Video, list[Rejection]]:
    """Of a few files with the same bytes, the one whose name sorts first, with everybody's
    questions."""
    kept = same_of(videos).kept
    return kept, [_twin(video, kept) for video in sorted(videos, key=_place)[1:]]


def _place(video: Video) -> tuple[str, str]:
    return video.source.uri, video.source.path


def _twin(video: Video, kept: Video) -> Rejection:
    return Rejection(
        stage=Stage.INGEST,
        reason=Reason.DUPLICATE,
        subject=video.source.uri,
        parent=kept.id,
        detail=f"same bytes as {kept.source.uri}",
    )
