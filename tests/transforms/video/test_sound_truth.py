"""Sound stays with the picture: beeps at known times of the source, found again in each clip."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from clock_video import (
    BEEP_S,
    Clock,
    Work,
    analysed,
    beep_onsets,
    run_ffmpeg,
    work_through,
    write_beeps,
    write_clock,
)

from schemas.clip import Clip, Measures, Media
from transforms.memo import MemoStore
from transforms.video.cut import CutSettings, cut
from transforms.video.cut_request import CutRequest
from transforms.video.cut_source import Sound, open_source
from transforms.video.measures import read_rows

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
    Mix("late_44100.mkv", "flac", sound_late_s=0.4, more=("-ar", "44100")),
    Mix("later_44100.mkv", "flac", sound_late_s=1.2, more=("-ar", "44100")),
    Mix("later_22050.mp4", "aac", sound_late_s=1.2, more=("-ar", "22050")),
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


def beeping(folder: Path, ticks_ms: tuple[int, ...], beeps_s: tuple[float, ...]) -> Work:
    """A clock of varying rate with beeps, analysed; its clips are not cut yet."""
    clock = Clock("picture.mkv", ticks_ms, Fraction(1, 1_000), Fraction(10))
    picture = write_clock(folder, clock)
    wav = write_beeps(folder / "beeps.wav", beeps_s, (ticks_ms[-1] - ticks_ms[0]) / 1_000 + 0.1)
    path = folder / "both.mkv"
    run_ffmpeg("-i", str(picture), "-i", str(wav), "-c:v", "copy", "-c:a", "flac", str(path))
    store = MemoStore(str(folder / "store"))
    video, decoded = analysed(path, store)
    return Work(path, store, video, decoded, [], {})


def clip_of(work: Work, start: int, end: int, measures: Measures) -> Clip:
    rows = read_rows(work.store.path(work.decoded.frames_ref), 0, work.decoded.num_frames)
    edges = np.append(rows["time_s"], work.decoded.first_pts_s + work.decoded.duration_s)
    return Clip(
        video_id=work.video.id,
        start_s=float(edges[start]),
        end_s=float(edges[end]),
        start_frame=start,
        end_frame=end,
        shot_starts_s=(float(edges[start]),),
        measures=measures,
    )


def test_a_clip_takes_no_sound_from_the_next(tmp_path: Path, plain: Work) -> None:
    """A clip that ends between two ticks is shown a little longer; its neighbour's sound stays."""
    # The cut is at 2.06 s: the first clip's 21 ticks of a tenth of a second end at 2.1 s.
    ticks = (*range(0, 2_001, 100), *range(2_060, 5_061, 100))
    work = beeping(tmp_path, ticks, (0.5, 3.0, 4.2))
    clips = [
        clip_of(work, 0, 21, plain.clips[0].measures),
        clip_of(work, 21, len(ticks), plain.clips[0].measures),
    ]
    together = cut(work.video, work.decoded, clips, work.store, CutSettings())
    second = together[clips[1].id]
    assert isinstance(second, Media)
    onsets, _ = beep_onsets(work.store.path(second.ref))
    assert onsets == pytest.approx([3.0 - 2.06, 4.2 - 2.06], abs=TOLERANCE_S)
    for clip in clips:
        alone = MemoStore(str(tmp_path / clip.id))
        shutil.copytree(Path(work.store.root, "decode"), Path(alone.root, "decode"))
        assert cut(work.video, work.decoded, [clip], alone, CutSettings()) == {
            clip.id: together[clip.id]
        }


def sound_request(path: Path) -> CutRequest:
    """What the reader of the sound needs to know of a Matroska file."""
    return CutRequest(
        source=str(path),
        protocols="file",
        demuxers="matroska",
        decoder_threads=1,
        scale_flags="bicubic",
        video_index=0,
        audio_index=1,
        start_time_s=0.0,
        times_us=[],
        size=(0, 0),
        rate=(25, 1),
        copy_delay_us=None,
        full_range=False,
        encoder={},
        muxer={},
        clips=[],
    )


def test_a_gap_in_the_sound_is_silent_and_costs_no_memory(tmp_path: Path) -> None:
    """Two beeps, the second said to be half an hour later than the pictures end."""
    picture = write_clock(tmp_path, Clock("picture.mp4"))
    wav = write_beeps(tmp_path / "beeps.wav", (0.1, 0.5, 1.7), 2.0)
    path = tmp_path / "both.mkv"
    late = "asetpts='if(lt(T,1),PTS,PTS+1800/TB)'"
    run_ffmpeg(
        *("-i", str(picture), "-i", str(wav), "-c:v", "copy", "-af", late),
        *("-c:a", "pcm_s16le", str(path)),
    )
    request = sound_request(path)
    with open_source(request) as container:
        sound = Sound(container, request)
        memory = psutil.Process().memory_info
        before = memory().rss
        heard = [frame for start in (0, 48_000) for frame in sound.take(start, 48_000)]
        # Half an hour of silence would be 345 MB.
        assert memory().rss - before < 64 << 20
        late_frames = list(sound.take(1_800 * 48_000 + 72_000, 24_000))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in heard])[::2]
    assert len(samples) == 96_000
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 4_000) / 48_000
    assert loud[0] == pytest.approx(0.1, abs=TOLERANCE_S)
    assert loud[-1] < 0.6, "after the gap began it is silent"
    after = np.concatenate([frame.to_ndarray()[0] for frame in late_frames])[::2]
    onset = np.flatnonzero(np.abs(after.astype(int)) > 4_000)[0] / 48_000
    assert onset == pytest.approx(0.2, abs=TOLERANCE_S)


def test_sound_does_not_go_back(tmp_path: Path, plain: Work) -> None:
    work = beeping(tmp_path, tuple(range(0, 1_001, 100)), (0.5,))
    request = sound_request(work.path)
    with open_source(request) as container:
        sound = Sound(container, request)
        assert sum(frame.samples for frame in sound.take(0, 4_800)) == 4_800
        with pytest.raises(ValueError, match="is gone"):
            list(sound.take(4_799, 1))
