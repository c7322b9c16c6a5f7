"""Bad input: what the media legs remember of it, and decoders that hang or die.

The kinds of bad input themselves are in tests/torture.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from clock_video import (
    LIMITS,
    Clock,
    Work,
    analysed,
    run_ffmpeg,
    taken_for,
    work_through,
    write_beeps,
    write_clock,
)

from schemas.clip import Media
from schemas.rejection import Reason, Rejected, Stage
from schemas.source import Source, location
from transforms.memo import MemoStore
from transforms.naming import named
from transforms.outcome import StopRunError
from transforms.retry import is_passing
from transforms.video.analyse import InputSettings, analyse
from transforms.video.cut import CutSettings, cut
from transforms.video.decode import DecodePass
from transforms.video.ingest import Ingester, ingest
from transforms.video.media_process import MediaProcess, ffmpeg_exe, opened, time_limit_s
from transforms.video.same_inputs import keep_one

UseFfmpeg = Callable[[str], None]
ONE_SECOND = InputSettings(min_duration_s=1.0)


def end_of(path: Path, store: MemoStore, limits: InputSettings = ONE_SECOND) -> Rejected:
    """How ingest and decode turn a file down."""
    with pytest.raises(Rejected) as caught:
        analysed(path, store, limits)
    return caught.value


def file(folder: Path, content: bytes | str, name: str = "bad.mp4") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_shortest_length_is_long_enough(tmp_path: Path, store: MemoStore) -> None:
    few = write_clock(tmp_path, Clock("few.mp4", tuple(range(24))))
    assert end_of(few, store).reason is Reason.TOO_SHORT
    _, decoded = analysed(write_clock(tmp_path, Clock("enough.mp4", tuple(range(25)))), store)
    assert decoded.duration_s == 1.0


@pytest.mark.parametrize("last_ms", [40, 5_000])
def test_a_last_picture_that_stands_is_not_missing(
    tmp_path: Path, store: MemoStore, last_ms: int
) -> None:
    # As a screen recording ends: nothing changes any more, so no frame comes any more.
    raw = write_clock(tmp_path, Clock("raw.mp4", tuple(range(26))))
    path = tmp_path / "recording.mp4"
    stretch = f"setts=pts=PTS:dts=DTS:duration='if(eq(N,25),{last_ms}/1000/TB,DURATION)'"
    run_ffmpeg("-i", str(raw), "-c", "copy", "-bsf:v", stretch, str(path))
    work = work_through(path, store)
    expected_s = 1.0 + last_ms / 1_000
    assert work.decoded.duration_s == pytest.approx(expected_s, abs=0.002)
    shown_s = sum(media.duration_s for media in work.media.values())
    assert shown_s == pytest.approx(expected_s, abs=0.002)


PLAYLISTS = {
    "hls-file": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n",
    "hls-http": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {other}\n",
    "concat-http": "ffconcat version 1.0\nfile {url}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4">'
    "<Representation id='1' bandwidth='1'><BaseURL>{url}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


class Listener:
    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/other.mp4"

    def somebody_came(self) -> bool:
        try:
            self.socket.accept()[0].close()
        except TimeoutError:
            return False
        finally:
            self.socket.close()
        return True


@pytest.fixture
def listener() -> Listener:
    """A local server that counts who comes."""
    return Listener()


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_that_get_past_the_probe_reach_nothing(
    tmp_path: Path, plain: Work, listener: Listener, kind: str
) -> None:
    (tmp_path / "other.mp4").write_bytes(plain.path.read_bytes())
    path = file(tmp_path, PLAYLISTS[kind].format(other="other.mp4", url=listener.url), "list.ts")
    decoding = DecodePass(
        str(path), plain.video.probe, sample_fps=2.0, timeout_s=20, on_sample=lambda *_: None
    )
    assert list(decoding.batches()) == []
    video = taken_for(plain.video, path)
    ends = cut(video, plain.decoded, plain.clips, MemoStore(plain.store.root), CutSettings(crf=29))
    assert all(isinstance(end, Rejected) for end in ends.values())
    assert not listener.somebody_came()


def test_a_file_without_rights(tmp_path: Path, store: MemoStore, plain: Work) -> None:
    path = file(tmp_path, plain.path.read_bytes())
    path.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        rejected = end_of(path, store)
    finally:
        os.seteuid(before)
    assert rejected.reason is Reason.UNREADABLE
    assert str(tmp_path) not in rejected.detail


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("step", ["ingest", "decode"])
def test_a_machine_that_opens_no_more_files_costs_no_video(
    store: MemoStore, plain: Work, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(plain.path))

    with monkeypatch.context() as short, pytest.raises(StopRunError, match="then run") as caught:
        if step == "ingest":
            short.setattr(Path, "open", refuse)
            ingest(plain.video.source, store)
        else:
            short.setattr(os, "open", refuse)
            with opened(str(plain.path)):
                pass
    assert is_passing(caught.value) == (number == errno.ENOMEM), "memory is waited for"


def test_a_disk_that_fails_over_one_file_costs_that_video(
    store: MemoStore, plain: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(plain.path))

    with monkeypatch.context() as broken, pytest.raises(Rejected) as caught:
        broken.setattr(Path, "open", refuse)
        ingest(plain.video.source, store)
    assert caught.value.reason is Reason.UNREADABLE


def test_a_file_that_vanishes_is_not_remembered_as_bad(
    tmp_path: Path, store: MemoStore, plain: Work
) -> None:
    path = file(tmp_path, plain.path.read_bytes(), "here.mp4")
    video = ingest(Source(uri="here.mp4", location=location(path)), store)
    path.rename(tmp_path / "away")
    with pytest.raises(Rejected) as caught:
        analyse(video, store, LIMITS, score_family="fixed", sample_fps=2.0)
    assert caught.value.reason is Reason.NOT_FOUND
    (tmp_path / "away").rename(path)
    found = analyse(video, store, LIMITS, score_family="fixed", sample_fps=2.0)
    assert found.num_frames == 50
    path.rename(tmp_path / "away")
    ends = cut(video, found, plain.clips, store, CutSettings())
    assert all(isinstance(end, Rejected) for end in ends.values())
    (tmp_path / "away").rename(path)
    ends = cut(video, found, plain.clips, store, CutSettings())
    assert all(isinstance(end, Media) for end in ends.values())


def test_bad_ends_are_remembered_by_content(
    tmp_path: Path, store: MemoStore, sound_only: Path
) -> None:
    first = end_of(sound_only, store)
    other = file(tmp_path, sound_only.read_bytes(), "other.mp4")
    assert end_of(other, store).detail == first.detail
    entries = list(Path(store.root, "probe").glob("*/*/result.json"))
    assert len(entries) == 1


def test_a_length_limit_can_be_raised_later(
    tmp_path: Path, store: MemoStore, count_processes: Callable[[], int]
) -> None:
    # A stream that does not say how long it is.
    path = tmp_path / "endless.mkv"
    clock = write_clock(tmp_path, Clock("clock.mp4", tuple(range(150))))
    with path.open("wb") as sink:
        sink.write(run_ffmpeg("-i", str(clock), "-c", "copy", "-f", "matroska", "pipe:1"))
    before = count_processes()
    short = InputSettings(min_duration_s=0.5, max_duration_s=1.0)
    for _ in range(2):
        assert end_of(path, store, short).reason is Reason.TOO_LONG
    assert count_processes() - before == 2, "one probe, one pass"
    _, decoded = analysed(path, store, InputSettings())
    assert (decoded.num_frames, decoded.duration_s) == (150, 6.0)


def test_the_claimed_length_can_be_too_long(store: MemoStore, plain: Work) -> None:
    rejected = end_of(plain.path, store, InputSettings(min_duration_s=0, max_duration_s=1.5))
    assert rejected.reason is Reason.TOO_LONG


def test_same_bytes_are_kept_once_with_everybodys_questions(
    tmp_path: Path, store: MemoStore, plain: Work
) -> None:
    videos = []
    for name in ("b.mp4", "a.mp4", "c.mp4"):
        path = file(tmp_path, plain.path.read_bytes(), name)
        source = Source(uri=name, location=location(path), questions=({"question": name},))
        videos += Ingester(store)(source).outputs
    kept, rejections = keep_one(videos)
    assert kept.source.uri == "a.mp4"
    assert {one.question for one in kept.source.questions} == {"a.mp4", "b.mp4", "c.mp4"}
    assert [one.subject for one in rejections] == ["b.mp4", "c.mp4"]
    assert {(one.reason, one.parent) for one in rejections} == {(Reason.DUPLICATE, kept.id)}


# A decoder that hangs or dies.


def children() -> list[psutil.Process]:
    """Processes below this one that are not dead."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize(
    "script",
    [
        "exec sleep 60",
        "sleep 60",
        # Frames came, then no more: what came is no success.
        '"$REAL" "$@" & sleep 60',
    ],
)
def test_a_decoder_that_hangs(plain: Work, use_ffmpeg: UseFfmpeg, script: str) -> None:
    before, threads = {child.pid for child in children()}, threading.active_count()
    use_ffmpeg(script)
    start = time.monotonic()
    decoding = DecodePass(
        str(plain.path),
        plain.video.probe,
        sample_fps=2.0,
        timeout_s=0.5,
        on_sample=lambda *_: None,
    )
    with pytest.raises(Rejected) as caught:
        list(decoding.batches())
    assert time.monotonic() - start < 5
    assert caught.value.reason is Reason.DECODE_TIMEOUT
    assert not caught.value.lasting
    assert {child.pid for child in children()} == before
    assert threading.active_count() <= threads


@pytest.mark.parametrize("script", ["kill -SEGV $$", '"$REAL" "$@"; kill -ABRT $$'])
def test_a_decoder_that_dies_by_a_signal_is_tried_again(
    store: MemoStore, plain: Work, use_ffmpeg: UseFfmpeg, script: str
) -> None:
    use_ffmpeg(script)
    rejected = end_of(plain.path, store)
    assert rejected.reason is Reason.DECODER_CRASHED
    assert rejected.detail.startswith("SIG")
    assert not rejected.lasting
    use_ffmpeg('exec "$REAL" "$@"')
    _, decoded = analysed(plain.path, store)
    assert decoded.num_frames == 50


def test_a_crash_of_the_decoder_costs_only_its_video(
    store: MemoStore, plain: Work, use_ffmpeg: UseFfmpeg
) -> None:
    use_ffmpeg('case "$*" in *bgr24*) kill -SEGV $$;; *) exec "$REAL" "$@";; esac')
    assert end_of(plain.path, store).reason is Reason.DECODER_CRASHED


def test_a_crash_in_cutting_costs_only_its_video(plain: Work, use_cutter: UseFfmpeg) -> None:
    use_cutter("os.kill(os.getpid(), signal.SIGSEGV)")
    ends = cut(plain.video, plain.decoded, plain.clips, MemoStore(plain.store.root), CutSettings())
    assert all(isinstance(end, Media) for end in ends.values()), "the store knows them"
    ends = cut(plain.video, plain.decoded, plain.clips, plain.store, CutSettings(crf=30))
    assert {end.reason for end in ends.values()} == {Reason.DECODER_CRASHED}


def test_a_full_disk_is_no_fault_of_the_video(plain: Work, use_cutter: UseFfmpeg) -> None:
    use_cutter(
        "def full(*_): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "child.ClipWriter.finish = full"
    )
    with pytest.raises(StopRunError, match="its disk is full"):
        cut(plain.video, plain.decoded, plain.clips, plain.store, CutSettings(crf=31))


def test_sound_that_fails_to_decode_does_not_cost_the_pictures(
    tmp_path: Path, store: MemoStore, plain: Work
) -> None:
    wav = write_beeps(tmp_path / "beeps.wav", [0.5], 2.0)
    path = tmp_path / "sound.mkv"
    run_ffmpeg(
        *("-i", str(plain.path), "-i", str(wav), "-map", "0:v", "-map", "1:a"),
        *("-c:v", "copy", "-c:a", "flac", "-bsf:a", "noise=amount=1", str(path)),
    )
    work = work_through(path, store)
    assert sum(media.num_frames for media in work.media.values()) == 50


# The process itself.


def test_memory_is_limited() -> None:
    command = ["sh", "-c", "sleep 0.2; ulimit -v"]
    with MediaProcess(command, timeout_s=5) as process:
        limit = process.stdout.read(100)
        assert process.wait() == 0
    assert int(limit) == (8 << 30) // 1024


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines: list[int] = []
    command = ["sh", "-c", "head -c 3000000 /dev/zero >&2"]
    with MediaProcess(command, timeout_s=20, stderr_line=lambda t: lines.append(len(t))) as process:
        assert process.wait() == 0
    assert sum(lines) == 3_000_000
    assert max(lines) <= 1 << 16


def test_leaving_the_block_ends_the_process_and_what_it_started() -> None:
    before = {child.pid for child in children()}
    with pytest.raises(KeyError), MediaProcess(["sh", "-c", "sleep 60; :"], timeout_s=60):
        time.sleep(0.1)
        assert len(children()) >= len(before) + 2
        raise KeyError
    assert {child.pid for child in children()} == before


def test_a_process_that_was_killed_says_by_what() -> None:
    with MediaProcess(["sh", "-c", "echo why >&2; kill -TERM $$"], timeout_s=5) as process:
        assert process.wait() == -signal.SIGTERM
        with pytest.raises(Rejected, match="SIGTERM: why"):
            process.raise_if_killed()


def test_what_ffmpeg_complains_of_is_in_the_log_under_the_name_of_the_video(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = file(tmp_path, b"no video at all")
    command = [ffmpeg_exe(), "-hide_banner", "-i", str(broken), "-f", "null", "-"]
    with caplog.at_level(logging.DEBUG), named(Stage.DECODE, [("v1", "bad.mp4")]):
        with MediaProcess(command, timeout_s=20) as process:
            assert process.wait() != 0
        [said] = [one for one in caplog.messages if "wrote" in one]
        assert said.startswith("decode of v1 (of bad.mp4): ffmpeg")
        assert "Invalid data" in said
        assert str(tmp_path) not in said
        caplog.clear()
        with MediaProcess(["sh", "-c", "true"], timeout_s=20) as process:
            process.wait()
        assert caplog.messages == []
        many = "i=0; while [ $i -lt 500 ]; do printf '%02000d\\n' $i >&2; i=$((i+1)); done"
        with MediaProcess(["sh", "-c", many], timeout_s=20) as process:
            process.wait()
    [said] = caplog.messages
    assert "sh wrote 500 lines" in said
    assert len(said) < 7_000


def test_time_limits_grow_with_what_is_there() -> None:
    assert time_limit_s(0, 0) == 60
    assert time_limit_s(10_000_000, 100) == 60 + 400 + 40
    # A header that claims a year earns no more time than its bytes make believable.
    assert time_limit_s(1_000, 31_536_000) < 65
    assert time_limit_s(1_000, -1) == time_limit_s(1_000, 0)
