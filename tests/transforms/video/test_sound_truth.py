"""Sound stays with the picture: beeps at known times of the source, found again in each clip."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from clock_video import (
    BEEP_S,
    Clock,
    Work,
    beep_onsets,
    run_ffmpeg,
    work_through,
    write_beeps,
    write_clock,
)

from transforms.memo import MemoStore

TOLERANCE_S = 0.010
BEEPS_S = (0.0, 0.25, 0.8, 1.13, 1.55, 1.85)


@dataclass(frozen=True)
class Mix:
    """A clock video with sound: how the two are put into one file."""

    name: str
    sound_codec: str
    sound_late_s: float = 0.0
    """The sound begins so much after the picture."""
    sound_length_s: float = 2.0
    picture: str = "picture.mp4"
    picture_codec: str = "libx264"
    more: tuple[str, ...] = ()


MIXES = [
    Mix("aac.mp4", "aac"),
    Mix("aac.ts", "aac"),
    Mix("mp2.mpg", "mp2", picture="picture.mpg", picture_codec="mpeg2video"),
    Mix("pcm.avi", "pcm_s16le", picture="picture.avi", picture_codec="mpeg4"),
    Mix("opus.webm", "libopus", picture="picture.webm", picture_codec="libvpx"),
    Mix("pcm.mov", "pcm_s16le"),
    Mix("late_sound.mkv", "flac", sound_late_s=0.4),
    Mix("late_sound.mp4", "aac", sound_late_s=0.4),
    Mix("early_sound.mkv", "flac", sound_late_s=-0.28),
    Mix("short_sound.mp4", "aac", sound_length_s=0.9),
    Mix("long_sound.mp4", "aac", sound_length_s=3.0),
    Mix("offset.ts", "aac", more=("-output_ts_offset", "4000")),
]


@pytest.fixture(scope="module", params=MIXES, ids=lambda mix: mix.name)
def mixed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mix, Work]:
    mix: Mix = request.param
    folder = tmp_path_factory.mktemp("sound")
    options = {"bf": "2"} if mix.picture_codec == "libx264" else {}
    picture = write_clock(folder, Clock(mix.picture, codec=mix.picture_codec, options=options))
    wav = write_beeps(folder / "beeps.wav", BEEPS_S, mix.sound_length_s)
    path = folder / mix.name
    run_ffmpeg(
        *("-i", str(picture), "-itsoffset", str(mix.sound_late_s), "-i", str(wav)),
        *("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", mix.sound_codec),
        *(*mix.more, str(path)),
    )
    return mix, work_through(path, MemoStore(str(folder / "store")))


def test_beeps_are_heard_when_the_source_beeps(mixed: tuple[Mix, Work]) -> None:
    mix, work = mixed
    picture_s = work.decoded.first_pts_s
    heard_in_all = 0
    for clip in work.clips:
        onsets, length_s = beep_onsets(work.mp4(clip))
        media = work.media[clip.id]
        assert media.has_audio
        assert length_s == pytest.approx(media.duration_s, abs=TOLERANCE_S)
        # Source time of the beeps, counted from the first picture.
        beeps = [beep + mix.sound_late_s for beep in BEEPS_S if beep < mix.sound_length_s]
        start_s, end_s = clip.start_s - picture_s, clip.end_s - picture_s
        expected = [beep - start_s for beep in beeps if start_s <= beep < end_s - 0.02]
        # A beep that runs across the edge is heard from the clip's start on.
        across = [beep for beep in beeps if beep < start_s - 0.001 < beep + BEEP_S - 0.02]
        if across:
            assert onsets[0] == pytest.approx(0.0, abs=TOLERANCE_S)
        onsets = onsets[bool(across) :]
        assert len(onsets) == len(expected), (onsets, expected)
        for onset, beep in zip(onsets, expected, strict=True):
            assert onset == pytest.approx(beep, abs=TOLERANCE_S)
        heard_in_all += len(onsets)
    assert heard_in_all >= 2


def test_a_video_without_sound_gives_clips_without_sound(plain: Work) -> None:
    assert plain.video.probe.audio is None
    assert not any(media.has_audio for media in plain.media.values())
