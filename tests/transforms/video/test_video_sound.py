"""Loudness: the standard's own test signals, ffmpeg's own sums, and the time line of pictures."""

from __future__ import annotations

import re
import subprocess
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from clock_video import (
    AUDIO_HZ,
    SAMPLE_FPS,
    Clock,
    analysed,
    run_ffmpeg,
    work_through,
    write_clock,
)

from schemas.clip import Clip
from schemas.rejection import Reason, Rejected
from schemas.source import Source, location
from schemas.video import Decoded, Video
from transforms.memo import MemoStore
from transforms.video.analyse import Analyser, InputSettings
from transforms.video.ingest import ingest
from transforms.video.media_process import ffmpeg_exe
from transforms.video.segment import Segmenter
from transforms.video.shots import ShotSettings
from transforms.video.sound import (
    LoudnessTable,
    integrated_lufs,
    measure_loudness,
    read_blocks,
    read_loudness,
    sound_share,
)

Tone = tuple[float, float]
"""Level in dB of full scale (peak), length in seconds."""


def write_tones(path: Path, tones: Sequence[Tone], channels: int = 2) -> Path:
    """A wav of a 1 kHz sine at these levels, one after the other, the same in all channels."""
    parts = []
    for level_db, length_s in tones:
        time_s = np.arange(round(length_s * AUDIO_HZ)) / AUDIO_HZ
        parts.append(10 ** (level_db / 20) * np.sin(2 * np.pi * 1_000 * time_s))
    sound = np.repeat(np.concatenate(parts)[:, None], channels, axis=1)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, AUDIO_HZ, 0, "NONE", ""))
        file.writeframes((sound * 32_767).round().astype("<i2").tobytes())
    return path


def with_sound(
    folder: Path, name: str, wav: Path, length_s: float, *more: str, late_s: float = 0.0
) -> Path:
    """A clock video with this sound."""
    ticks = tuple(range(0, round(length_s * 25), 5))
    picture = write_clock(folder, Clock(f"picture-{Path(name).stem}.mp4", ticks))
    path = folder / name
    run_ffmpeg(
        *("-i", str(picture), "-itsoffset", str(late_s), "-i", str(wav), "-map", "0:v"),
        *("-map", "1:a", "-c:v", "copy", *(more or ("-c:a", "flac")), str(path)),
    )
    return path


def measured(path: Path, store: MemoStore) -> tuple[Video, Decoded, LoudnessTable]:
    video, decoded = analysed(path, store)
    ref = measure_loudness(video, decoded, store)
    assert ref
    return video, decoded, read_loudness(store.path(ref))


def whole(path: Path, store: MemoStore) -> Clip:
    """The file as one clip, through the legs."""
    video = ingest(Source(uri=path.name, location=location(path)), store)
    leg = Analyser(InputSettings(min_duration_s=0.0), "fixed", SAMPLE_FPS, store)
    [footage] = leg(video).outputs
    shots = ShotSettings(detector="fixed", max_clip_s=10_000.0, min_clip_s=0.01)
    [planned] = Segmenter(shots, store)(footage).outputs
    return planned.clip


@pytest.mark.parametrize(
    ("tones", "expected"),
    [
        ([(-23.0, 20.0)], -23.0),
        ([(-33.0, 20.0)], -33.0),
        ([(-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0)], -23.0),
        ([(-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)], -23.0),
        ([(-26.0, 20.0), (-20.0, 20.1), (-26.0, 20.0)], -23.0),
    ],
    ids=["1", "2", "3: relative gate", "4: both gates", "5: mean of power"],
)
def test_signals_of_ebu_tech_3341(
    tmp_path: Path, store: MemoStore, tones: list[Tone], expected: float
) -> None:
    """Minimum requirements test signals 1 to 5, within 0.1 LU."""
    length_s = sum(length_s for _, length_s in tones)
    wav = write_tones(tmp_path / "tones.wav", tones)
    found = whole(with_sound(tmp_path, "tones.mkv", wav, length_s), store).measures
    assert found.loudness_lufs == pytest.approx(expected, abs=0.1)
    quiet_s = sum(length_s for level, length_s in tones if level < -70)
    assert found.sound_share == pytest.approx(1 - quiet_s / length_s, abs=0.02)


def own_sum(*arguments: str) -> float:
    """The integrated loudness that ffmpeg's filter gives for a whole input."""
    command = [ffmpeg_exe(), "-nostdin", "-hide_banner", *arguments]
    command += ["-vn", "-af", "aformat=channel_layouts=stereo,ebur128", "-f", "null", "-"]
    done = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    return float(re.findall(r"I: +(-?[\d.]+) LUFS", done.stderr)[-1])


def test_spans_of_a_real_video_are_as_loud_as_ffmpeg_says(
    many_shots: Path, store: MemoStore
) -> None:
    video, decoded, table = measured(many_shots, store)
    assert video.probe.audio is not None
    end_s = decoded.first_pts_s + decoded.duration_s
    assert integrated_lufs(table.between(0, end_s)) == pytest.approx(
        own_sum("-i", str(many_shots)), abs=0.1
    )
    for start_s, length_s in ((0.0, 5.0), (31.7, 12.0), (100.0, 2.0), (203.5, 8.0)):
        span = ("-ss", str(start_s), "-t", str(length_s), "-i", str(many_shots))
        blocks = table.between(start_s, start_s + length_s)
        assert len(blocks) in (round(length_s * 10) - 3, round(length_s * 10) - 4)
        # Blocks lie on a grid of their own, so the two do not see quite the same.
        assert integrated_lufs(blocks) == pytest.approx(own_sum(*span), abs=0.3)


def test_a_clip_is_as_loud_as_its_mp4(tmp_path: Path, store: MemoStore) -> None:
    """Also where the source has one channel, or six: a clip has two."""
    for channels in (1, 2, 6):
        wav = write_tones(tmp_path / f"{channels}.wav", [(-20.0, 2.0)], channels)
        path = with_sound(tmp_path, f"{channels}.mkv", wav, 2.0)
        work = work_through(path, store)
        _, _, table = measured(path, store)
        for clip in work.clips:
            found = integrated_lufs(table.between(clip.start_s, clip.end_s))
            assert found == pytest.approx(own_sum("-i", str(work.mp4(clip))), abs=0.4)


BURST = [(-90.0, 1.0), (-20.0, 0.5), (-90.0, 1.5)]
"""Sound from 1.0 to 1.5 s."""


@pytest.mark.parametrize(
    ("name", "late_s", "more"),
    [
        ("plain.mkv", 0.0, ()),
        ("late.mkv", 0.75, ()),
        ("early.mkv", -0.5, ()),
        ("aac.mp4", 0.0, ("-c:a", "aac", "-b:a", "256k")),
        ("slow.mkv", 0.0, ("-c:a", "flac", "-ar", "22050")),
        ("offset.ts", 0.0, ("-c:a", "aac", "-output_ts_offset", "4000")),
        ("late_offset.ts", 0.6, ("-c:a", "aac", "-output_ts_offset", "4000")),
    ],
)
def test_sound_is_heard_when_the_picture_shows_it(
    tmp_path: Path, store: MemoStore, name: str, late_s: float, more: tuple[str, ...]
) -> None:
    wav = write_tones(tmp_path / "burst.wav", BURST)
    path = with_sound(tmp_path, name, wav, 4.0, *more, late_s=late_s)
    _, decoded, table = measured(path, store)
    begin_s = decoded.first_pts_s + 1.0 + late_s
    # A block that ends 10 ms into the burst, or begins 10 ms before its end, is not silent.
    heard = table.ends_s[table.lufs > -60]
    expected = (table.ends_s > begin_s + 0.01) & (table.ends_s - 0.4 < begin_s + 0.5 - 0.01)
    # Other codecs than FLAC blur edges; MPEG-TS begins with the sound, a little off the picture.
    off_s = 1e-6 if name.endswith("mkv") and not more else 0.101
    assert heard[0] == pytest.approx(table.ends_s[expected][0], abs=off_s)
    assert heard[-1] == pytest.approx(table.ends_s[expected][-1], abs=off_s)
    assert 0.69 <= heard[-1] - heard[0] <= 0.81
    loudest_s = float(table.ends_s[np.argmax(table.lufs)])
    assert begin_s + 0.39 <= loudest_s <= begin_s + 0.51
    assert np.allclose(np.diff(table.ends_s), 0.1)


def test_only_blocks_within_a_clip_are_its_own() -> None:
    ends_s = np.round(np.arange(1, 41) * 0.1, 6)
    table = LoudnessTable(ends_s, np.arange(40.0))
    assert table.between(0.0, 0.4).tolist() == [3.0]
    assert table.between(0.0, 0.39).tolist() == []
    assert table.between(1.0, 1.6).tolist() == [13.0, 14.0, 15.0]
    assert table.between(0.95, 1.45).tolist() == [13.0]


def test_silence_and_no_sound_are_the_same(
    tmp_path: Path, store: MemoStore, count_processes: Callable[[], int]
) -> None:
    assert (integrated_lufs(np.empty(0)), sound_share(np.empty(0))) == (-70.0, 0.0)
    silent = np.full(10, -70.0)
    assert (integrated_lufs(silent), sound_share(silent)) == (-70.0, 0.0)
    mute = write_clock(tmp_path, Clock("mute.mp4"))
    found = whole(mute, store)
    assert (found.measures.loudness_lufs, found.measures.sound_share) == (-70.0, 0.0)
    assert count_processes() == 2, "probe and decode: nothing is run for sound that is not there"
    wav = write_tones(tmp_path / "silence.wav", [(-200.0, 2.0)])
    found = whole(with_sound(tmp_path, "silence.mkv", wav, 2.0), store)
    assert (found.measures.loudness_lufs, found.measures.sound_share) == (-70.0, 0.0)


def test_the_table_covers_the_pictures_and_no_more(tmp_path: Path, store: MemoStore) -> None:
    for name, sound_s, picture_s in (("short.mkv", 0.5, 3.0), ("long.mkv", 9.0, 3.0)):
        wav = write_tones(tmp_path / "tone.wav", [(-20.0, sound_s)])
        path = with_sound(tmp_path, name, wav, picture_s)
        _, decoded, table = measured(path, store)
        end_s = decoded.first_pts_s + decoded.duration_s
        assert table.ends_s[-1] == pytest.approx(end_s, abs=0.11)
        assert (table.lufs > -70).mean() == pytest.approx(min(sound_s / picture_s, 1), abs=0.15)


def test_sound_is_measured_once(
    tmp_path: Path, store: MemoStore, count_processes: Callable[[], int]
) -> None:
    wav = write_tones(tmp_path / "tone.wav", [(-20.0, 2.0)])
    path = with_sound(tmp_path, "tone.mkv", wav, 2.0)
    first = whole(path, store)
    assert count_processes() == 3, "probe, decode and one for the sound"
    assert whole(path, store) == first
    assert count_processes() == 3


def test_sound_that_changes_its_form_on_the_way_is_heard_to_the_end(
    tmp_path: Path, store: MemoStore
) -> None:
    """Two pieces of MPEG-TS, joined as they are: from 48 kHz stereo to 32 kHz mono."""
    pieces = []
    for number, rate in enumerate(("48000", "32000")):
        wav = write_tones(tmp_path / "tone.wav", [(-20.0, 2.0)], 2 - number)
        more = ("-c:a", "aac", "-ar", rate, "-output_ts_offset", str(2 * number + 10))
        pieces.append(with_sound(tmp_path, f"{number}.ts", wav, 2.0, *more).read_bytes())
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(pieces))
    _, decoded, table = measured(path, store)
    assert decoded.duration_s == pytest.approx(4.0, abs=0.3)
    early, late = table.between(0.3, 1.6), table.between(2.7, 3.7)
    assert len(early) >= 9 and len(late) >= 6
    assert early.min() > -30
    assert late.min() > -30


def test_sound_far_behind_the_pictures_costs_nothing(tmp_path: Path, store: MemoStore) -> None:
    """Hours of silence before it are not made up."""
    wav = write_tones(tmp_path / "tone.wav", [(-20.0, 1.0)])
    path = with_sound(tmp_path, "far.mkv", wav, 2.0, late_s=10_000.0)
    _, decoded, table = measured(path, store)
    assert len(table.lufs) <= 10 * (decoded.first_pts_s + decoded.duration_s) + 1
    assert (table.lufs == -70).all()


def broken_sound(folder: Path) -> Path:
    """A file whose sound is there, and is nothing that can be decoded."""
    wav = write_tones(folder / "tone.wav", [(-20.0, 2.0)])
    path = with_sound(folder, "whole.mkv", wav, 2.0, "-c:a", "vorbis", "-strict", "-2")
    content = bytearray(path.read_bytes())
    # Whoever can't read the codec's headers decodes nothing.
    at = content.index(b"\x05vorbis")
    content[at : at + 600] = b"\xff" * 600
    broken = folder / "broken.mkv"
    broken.write_bytes(bytes(content))
    return broken


def test_sound_that_cannot_be_decoded_loses_no_picture(tmp_path: Path, store: MemoStore) -> None:
    path = broken_sound(tmp_path)
    video, _ = analysed(path, store)
    assert video.probe.audio is not None
    found = whole(path, store)
    assert (found.measures.loudness_lufs, found.measures.sound_share) == (-70.0, 0.0)
    assert found.measures.brightness > 0.1


def test_sound_on_which_ffmpeg_fails_counts_as_none(
    tmp_path: Path, store: MemoStore, use_ffmpeg: Callable[[str], None]
) -> None:
    wav = write_tones(tmp_path / "tone.wav", [(-20.0, 2.0)])
    path = with_sound(tmp_path, "tone.mkv", wav, 2.0)
    use_ffmpeg('case "$*" in *ebur128*) "$REAL" "$@"; exit 1;; esac\nexec "$REAL" "$@"')
    assert whole(path, store).measures.loudness_lufs == -70.0


def test_a_crash_on_the_sound_does_not_look_like_silence(
    tmp_path: Path, store: MemoStore, use_ffmpeg: Callable[[str], None]
) -> None:
    wav = write_tones(tmp_path / "tone.wav", [(-20.0, 2.0)])
    path = with_sound(tmp_path, "tone.mkv", wav, 2.0)
    use_ffmpeg('case "$*" in *ebur128*) kill -9 $$;; esac\nexec "$REAL" "$@"')
    with pytest.raises(Rejected) as caught:
        whole(path, store)
    assert caught.value.reason is Reason.DECODER_CRASHED
    assert not caught.value.lasting
    use_ffmpeg('exec "$REAL" "$@"')
    assert whole(path, store).measures.loudness_lufs == pytest.approx(-20.0, abs=0.2)


def test_a_file_that_has_vanished_is_named_so(tmp_path: Path, store: MemoStore) -> None:
    wav = write_tones(tmp_path / "tone.wav", [(-20.0, 2.0)])
    path = with_sound(tmp_path, "tone.mkv", wav, 2.0)
    video, decoded = analysed(path, store)
    path.unlink()
    with pytest.raises(Rejected) as caught:
        measure_loudness(video, decoded, store)
    assert caught.value.reason is Reason.NOT_FOUND


def test_of_two_values_for_one_block_the_louder_counts() -> None:
    lines = [
        "frame:0    pts:0       pts_time:0\n",
        "lavfi.r128.M=-20.500\n",
        "frame:1    pts:4800    pts_time:0.1\n",
        "lavfi.r128.M=-120.691\n",
        "frame:0    pts:0       pts_time:0\n",
        "lavfi.r128.M=-120.691\n",
        "frame:1    pts:4800    pts_time:0.1\n",
        "lavfi.r128.M=-31.000\n",
        "something else\n",
    ]
    assert read_blocks(lines) == {0: -20.5, 1: -31.0}
    assert read_blocks(lines[1:2]) == {}


@pytest.mark.parametrize("said", ["nan", "-nan", "-inf", "-120.691"])
def test_what_is_below_silence_is_silence(said: str) -> None:
    assert read_blocks(["frame:0    pts:0       pts_time:0\n", f"lavfi.r128.M={said}\n"]) == {
        0: -70
    }
