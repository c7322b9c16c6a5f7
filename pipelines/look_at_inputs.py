"""Inputs and weights before the work starts: whether there is a video comes before its features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.rejection import Rejected, Rejection
from schemas.source import Source
from transforms.features.embed import FeatureSettings, WeightsError, check_weights
from transforms.video.fetching import local_path
from transforms.video.inputs import VIDEO_SUFFIXES, BadInputError
from transforms.video.probe import probe

MOST_LOOKED_AT = 4
"""Of more files one will be a video; who has so many is told of the weights at once."""


def check_inputs(
    sources: Sequence[Source], refused: Sequence[Rejection], settings: FeatureSettings
) -> None:
    """See to it that there is something to work on and the weights for it.

    Raises BadInputError if no input holds a video, as far as that can be told at once, WeightsError
    if there may be some.
    """
    if not sources and not refused:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        raise BadInputError(
            f"the inputs hold no video; in a folder, files that end in {suffixes} are looked for"
        )
    try:
        check_weights(settings)
    except WeightsError:
        if sources and len(sources) <= MOST_LOOKED_AT:
            _refuse_if_none_is_video(sources)
        raise


def _refuse_if_none_is_video(sources: Sequence[Source]) -> None:
    whys = [_why_no_video(one) for one in sources]
    if all(whys):
        told = "; ".join(f"{one.path}: {why}" for one, why in zip(sources, whys, strict=True))
        raise BadInputError(f"{told}; name videos, folders, globs or manifests")


def _why_no_video(source: Source) -> str:
    """Why a file is no video that can be taken; "" if it is one, as far as it says itself."""
    try:
        path = Path(local_path(source))
        if not path.is_file():
            return "no such file" if not path.exists() else "not a regular file"
        probe(str(path), path.stat().st_size)
    except Rejected as rejected:
        return f"{rejected.reason} {rejected.detail}".strip()
    except OSError as error:
        return error.strerror or str(error)
    return ""
