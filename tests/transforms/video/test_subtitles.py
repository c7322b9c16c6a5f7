"""Subtitles are read from where they are, and stand at the time of the picture they belong to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from clock_video import AUDIO_HZ, Clock, decoded_clock, run_ffmpeg, write_beeps, write_clock
from listed_inputs import expand_inputs
from pydantic import ValidationError
from subtitled import (
    DEFAULT,
    footage_of,
    frame_cues,
    scenes_of,
    shown_times_s,
    srt,
    stamp,
    texts,
)

from transforms.memo import MemoStore
from transforms.video.subtitles import SubtitleSettings

FRAMES = (0, 3, 11, 16, 20, 30, 33, 44)
BFRAMES = {"bf": "3", "g": "12"}


@dataclass(frozen=True)
class Case:
    """How a video with subtitles is put together."""

    name: str
    clock: Clock
    embedded: str = ""
    """Codec of the subtitles in the file; otherwise they lie beside it."""
    sound_early_s: float = 0.0
    """The sound, if there is any, begins so much before the pictures."""
    more: tuple[str, ...] = ()


PLAIN = Clock("first.mp4", options=BFRAMES)
LATE = Clock("first.mkv", tuple(range(35, 85)), options=BFRAMES)
RATE = Fraction(30_000, 1_001)
NTSC = Clock("first.mp4", tuple(range(60)), 1 / RATE, RATE, options=BFRAMES)
VARYING = Clock("first.mkv", tuple(n + n // 7 for n in range(50)), options=BFRAMES)
OFFSET = ("-output_ts_offset", "7.3")

CASES = [
    Case("beside.mp4", PLAIN),
    Case("beside.mkv", PLAIN),
    Case("beside.ts", PLAIN),
    Case("beside_ntsc.mp4", NTSC),
    Case("beside_varying.mkv", VARYING),
    Case("beside_offset.mp4", PLAIN, more=OFFSET),
    Case("beside_offset.mkv", PLAIN, more=OFFSET),
    Case("beside_offset.ts", PLAIN, more=("-output_ts_offset", "4000")),
    Case("beside_wrapping.ts", PLAIN, more=("-output_ts_offset", "95442.5")),
    Case("beside_sound_first.mkv", PLAIN, sound_early_s=0.6),
    Case("beside_sound_first.mp4", PLAIN, sound_early_s=0.6, more=OFFSET),
    Case("beside_late.mp4", LATE, more=("-copyts",)),
    Case("inside.mp4", PLAIN, "mov_text"),
    Case("inside.mkv", PLAIN, "srt"),
    Case("inside_ass.mkv", PLAIN, "ass"),
    Case("inside_offset.mp4", PLAIN, "mov_text", more=OFFSET),
    Case("inside_offset.mkv", PLAIN, "srt", more=OFFSET),
    Case("inside_sound_first.mp4", PLAIN, "mov_text", sound_early_s=0.6, more=OFFSET),
    Case("inside_sound_first.mkv", PLAIN, "srt", sound_early_s=0.6, more=OFFSET),
    Case("inside.webm", Clock("first.webm", codec="libvpx"), "webvtt", more=OFFSET),
]


def build(folder: Path, case: Case) -> Path:
    """Write the video and its subtitles."""
    first = write_clock(folder, case.clock)
    sources = ["-i", str(first)]
    maps = ["-map", "0:v", "-c:v", "copy"]
    path = folder / case.name
    count = 1
    if case.sound_early_s:
        wav = write_beeps(folder / "beeps.wav", (0.5,), 2.0)
        sources += ["-itsoffset", f"-{case.sound_early_s}", "-i", str(wav)]
        maps += ["-map", "1:a", "-c:a", "aac", "-ar", str(AUDIO_HZ)]
        count += 1
    if case.embedded:
        beside = folder / "cues.srt"
        beside.write_text(srt(frame_cues(shown_times_s(first), FRAMES)), "utf-8")
        sources += ["-i", str(beside)]
        maps += ["-map", f"{count}:s", "-c:s", case.embedded]
    run_ffmpeg(*sources, *maps, *case.more, str(path))
    if not case.embedded:
        cues = frame_cues(shown_times_s(path), FRAMES)
        path.with_suffix(".srt").write_text(srt(cues), "utf-8")
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_picture_at_a_line_is_the_one_that_it_speaks_of(tmp_path: Path, case: Case) -> None:
    store = MemoStore(str(tmp_path / "store"))
    scenes = scenes_of(build(tmp_path, case), store)
    assert len(scenes) > 2
    begun = []
    for scene in scenes:
        shown = decoded_clock(store.path(scene.media.ref))
        for line in scene.lines:
            assert line.source == "subtitle"
            assert 0.0 <= line.start_s < line.end_s <= scene.media.duration_s
            # A cue that began in the clip before stands at 0.
            if line.start_s > 0 or scene is scenes[0]:
                # Half a tick: a time of a clip may be rounded to the tick.
                at_s = line.start_s + float(scene.media.half_frame_s)
                _, number = max(one for one in shown if one[0] <= at_s)
                begun.append(line.text)
                # ASS counts hundredths of a second.
                assert abs(number - int(line.text.split()[1])) <= (case.embedded == "ass")
    # Those that begin with a clip's first frame are not looked at.
    assert len(begun) >= len(FRAMES) - 2


def test_lines_are_cut_to_their_clip(tmp_path: Path, store: MemoStore) -> None:
    path = write_clock(tmp_path, PLAIN)
    path.with_suffix(".srt").write_text(srt([(0.5, 1.7, "long"), (1.25, 900.0, "to the end")]))
    scenes = scenes_of(path, store)
    spans = [
        [(line.text, line.start_s + scene.clip.start_s, line.end_s + scene.clip.start_s)
         for line in scene.lines]
        for scene in scenes
    ]  # fmt: skip
    edges = [(scene.clip.start_s, scene.clip.end_s) for scene in scenes]
    assert [len(one) for one in spans] == [1, 2, 2]
    assert spans[0][0] == ("long", 0.5, pytest.approx(edges[0][1], abs=1e-3))
    assert spans[1][0] == ("long", pytest.approx(edges[1][0]), pytest.approx(edges[1][1], abs=1e-3))
    # It begins a moment before the cut: nobody reads it in that clip.
    path.with_suffix(".srt").write_text(srt([(edges[1][1] - 0.05, 2.0, "the next")]))
    assert [len(scene.lines) for scene in scenes_of(path, store)] == [0, 0, 1]
    assert spans[2][1] == ("to the end", pytest.approx(edges[2][0]), pytest.approx(2.0, abs=1e-3))


def vtt(*cues: tuple[float, float, str]) -> str:
    return "WEBVTT\n\n" + "\n".join(
        f"{stamp(start_s, '.')} --> {stamp(end_s, '.')}\n{text}\n" for start_s, end_s, text in cues
    )


def ass(*texts: str) -> str:
    head = (
        "[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name\nStyle: Default\n[Events]\n"
    )
    form = "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    line = "Dialogue: 0,0:00:00.10,0:00:00.50,Default,,0,0,0,,"
    return head + form + "".join(f"{line}{text}\n" for text in texts)


@pytest.mark.parametrize(
    ("suffix", "text", "expected"),
    [
        (".srt", srt([(0.1, 0.5, "<i>Hello</i> {\\an8}<font color='red'>world</font> &amp; <b>you"
                       "</b>\n- yes, 1 < 2")]), ["Hello world & you - yes, 1 < 2"]),
        (".SRT", srt([(0.1, 0.5, "a"), (0.1, 0.5, "a")]), ["a"]),
        (".srt", srt([(0.1, 0.5, "  \u200b <i></i> "), (0.2, 0.6, "b")]), ["b"]),
        (".srt", srt([(0.1, 0.5, "one"), (0.2, 0.9, "two at once")]), ["one", "two at once"]),
        (".srt", srt([(0.1, 0.5, "e\u0301\x1b[31m\x07 \u202etxt\u202c\u2028x")]), ["é [31m txt x"]),
        (".srt", srt([(0.1, 0.5, "🎵 नमस्ते 你好")]), ["🎵 नमस्ते 你好"]),
        (".srt", "1\n-00:00:02,000 --> 00:00:00,500\nbefore\n", ["before"]),
        (".vtt", vtt((0.1, 0.5, "<v Ann>Hi <c.red>all</c> &lt;3")), ["Hi all <3"]),
        (".vtt", "WEBVTT\n\nSTYLE\n::cue {color: red}\n\nNOTE none --> of this\n\nintro\n"
                 "00:00.100 --> 00:00.500 align:start position:0%\nshort stamp\n\nsecond\n"
                 "00:00.500 --> 00:00.900\nand more\n", ["short stamp", "and more"]),
        (".ass", ass("{\\pos(1,2)}Hi, {\\k20}the{\\k30}re\\Nyou{a comment}",
                     "{\\p1}m 0 0 l 100 0 100 100{\\p0}"), ["Hi, there you"]),
        (".ssa", ass("as SSA"), ["as SSA"]),
    ],
    ids=str,
)  # fmt: skip
def test_markup_goes_and_text_stays(
    tmp_path: Path, store: MemoStore, suffix: str, text: str, expected: list[str]
) -> None:
    path = write_clock(tmp_path, PLAIN)
    path.with_suffix(suffix).write_text(text, "utf-8")
    assert texts(scenes_of(path, store)) == expected


def test_captions_that_roll_up_say_each_line_once(tmp_path: Path, store: MemoStore) -> None:
    """As speech recognition on the web makes them: times of words, the line before above."""
    path = write_clock(tmp_path, PLAIN)
    path.with_suffix(".vtt").write_text(
        "WEBVTT\nKind: captions\n\n"
        "00:00:00.000 --> 00:00:00.400 align:start position:0%\n \n"
        "so<00:00:00.100><c> this</c><00:00:00.200><c> is</c>\n\n"
        "00:00:00.400 --> 00:00:00.410 align:start position:0%\nso this is\n \n\n"
        "00:00:00.410 --> 00:00:00.900 align:start position:0%\nso this is\n"
        "the<00:00:00.500><c> second</c>\n\n"
        "00:00:00.900 --> 00:00:00.910 align:start position:0%\nthe second\n \n\n"
        "00:00:00.910 --> 00:00:01.500 align:start position:0%\nthe second\nline\n\n"
        "00:00:01.700 --> 00:00:01.900\nline\n"
    )
    [scene, *more] = scenes_of(path, store)
    assert [(line.text, line.start_s) for line in scene.lines] == [
        ("so this is", 0.0), ("the second", 0.41),
    ]  # fmt: skip
    # Said again after a pause, it is said again.
    assert [line.text for one in more for line in one.lines].count("line") >= 2
    assert texts([scene, *more]) == ["so this is", "the second", "line"]


@pytest.mark.parametrize(
    ("encoding", "note"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("utf-16-le", ""), ("utf-16-be", ""),
     ("utf-32", ""), ("cp1252", "movie.srt: not UTF-8, taken for cp1252")],
)  # fmt: skip
def test_encodings(tmp_path: Path, store: MemoStore, encoding: str, note: str) -> None:
    path = write_clock(tmp_path, Clock("movie.mp4"))
    text = srt([(0.1, 0.5, "Größe “zitiert” – schön")]).replace("\n", "\r\n")
    path.with_suffix(".srt").write_bytes(text.encode(encoding))
    assert texts(scenes_of(path, store)) == ["Größe “zitiert” – schön"]
    notes = footage_of(path, store, DEFAULT).subtitles.notes
    assert notes == ((note,) if note else ())


def test_an_edited_file_changes_the_lines_and_nothing_else_is_done_again(
    tmp_path: Path, store: MemoStore, count_processes: Callable[[], int]
) -> None:
    path = write_clock(tmp_path, PLAIN)
    beside = path.with_suffix(".srt")
    beside.write_text(srt([(0.1, 0.5, "before")]))
    first = scenes_of(path, store)
    before = count_processes()
    assert scenes_of(path, store) == first
    assert count_processes() == before, "all of it was stored"
    beside.write_text(srt([(0.1, 0.5, "after")]))
    second = scenes_of(path, store)
    assert texts(second) == ["after"]
    assert count_processes() == before + 1, "only the file was read"
    assert [scene.media for scene in second] == [scene.media for scene in first]
    beside.unlink()
    assert texts(scenes_of(path, store)) == []
    assert count_processes() == before + 1


def test_what_is_not_wanted_is_not_read(
    tmp_path: Path, store: MemoStore, count_processes: Callable[[], int]
) -> None:
    path = write_clock(tmp_path, PLAIN)
    path.with_suffix(".srt").write_text(srt([(0.1, 0.5, "x")]))
    plain = write_clock(tmp_path, Clock("plain.mp4"))
    scenes_of(plain, store)
    without = count_processes()
    assert texts(scenes_of(path, store, SubtitleSettings(enabled=False))) == []
    assert count_processes() == 2 * without, "a video without subtitles costs no process"


def test_too_much_text_is_cut_off_visibly(tmp_path: Path, store: MemoStore) -> None:
    path = write_clock(tmp_path, PLAIN)
    path.with_suffix(".srt").write_text(srt([(0.1, 0.3, "twelve chars"), (0.3, 0.5, "more text")]))
    [scene, *_] = scenes_of(path, store, SubtitleSettings(max_chars=16))
    assert [line.text for line in scene.lines] == ["twelve chars", "more…"]


LANGUAGES = [
    ((), "movie.srt"),
    (("de",), "movie.de.srt"),
    (("ger", "en"), "movie.de.srt"),
    (("fr", "en-GB"), "movie.eng.sdh.vtt"),
    (("fr",), "movie.srt"),
]


@pytest.mark.parametrize(("languages", "expected"), LANGUAGES, ids=str)
def test_the_file_in_the_language_that_is_wanted(
    tmp_path: Path, store: MemoStore, languages: tuple[str, ...], expected: str
) -> None:
    path = write_clock(tmp_path, Clock("movie.mp4"))
    for name in ("movie.srt", "movie.ass", "movie.de.srt", "movie.de.forced.srt", "movie.en.txt",
                 "movie2.srt", "movie.part.srt", "movie.de.part.srt"):  # fmt: skip
        (tmp_path / name).write_text(srt([(0.1, 0.5, name)]))
    (tmp_path / "movie.eng.sdh.vtt").write_text(vtt((0.1, 0.5, "movie.eng.sdh.vtt")))
    settings = SubtitleSettings(languages=languages)
    assert texts(scenes_of(path, store, settings)) == [expected]
    assert footage_of(path, store, settings).subtitles.origin == expected


def test_the_file_of_another_video_is_not_taken(tmp_path: Path, store: MemoStore) -> None:
    path = write_clock(tmp_path, Clock("movie.mp4"))
    write_clock(tmp_path, Clock("movie.en.mp4"))
    (tmp_path / "movie.en.srt").write_text(srt([(0.1, 0.5, "the other's")]))
    assert texts(scenes_of(path, store)) == []
    assert texts(scenes_of(tmp_path / "movie.en.mp4", store)) == ["the other's"]
    (tmp_path / "movie.en.mp4").unlink()
    assert texts(scenes_of(path, store)) == ["the other's"]


@pytest.fixture(scope="module")
def many_streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """German forced, German, English by default, and bitmaps."""
    folder = tmp_path_factory.mktemp("streams")
    first = write_clock(folder, Clock("first.mp4"))
    files = []
    for name in ("signs", "deutsch", "english"):
        files.append(folder / f"{name}.srt")
        files[-1].write_text(srt([(0.1, 0.5, name)]))
    path = folder / "movie.mkv"
    run_ffmpeg(
        *("-i", str(first), *(part for file in files for part in ("-i", str(file)))),
        *("-i", str(files[2])),
        *(
            "-map",
            "0:v",
            "-map",
            "1:s",
            "-map",
            "2:s",
            "-map",
            "3:s",
            "-c:v",
            "copy",
            "-c:s",
            "srt",
        ),
        *("-metadata:s:s:0", "language=ger", "-disposition:s:0", "forced"),
        *("-metadata:s:s:1", "language=ger", "-disposition:s:1", "0"),
        *("-metadata:s:s:2", "language=eng", "-disposition:s:2", "default"),
        str(path),
    )
    for file in files:
        file.unlink()
    return path


@pytest.mark.parametrize(
    ("languages", "expected"),
    [((), "english"), (("de",), "deutsch"), (("de", "en"), "deutsch"), (("en",), "english"),
     (("fr",), "")],
    ids=str,
)  # fmt: skip
def test_the_stream_in_the_language_that_is_wanted(
    many_streams: Path, store: MemoStore, languages: tuple[str, ...], expected: str
) -> None:
    settings = SubtitleSettings(languages=languages)
    assert texts(scenes_of(many_streams, store, settings)) == ([expected] if expected else [])
    notes = footage_of(many_streams, store, settings).subtitles.notes
    none = "none in subtitles.languages: stream 1 (ger), stream 2 (ger), stream 3 (eng)"
    assert notes == (() if expected else (none,))


def test_a_file_beside_goes_before_a_stream(
    tmp_path: Path, many_streams: Path, store: MemoStore
) -> None:
    path = tmp_path / "movie.mkv"
    path.write_bytes(many_streams.read_bytes())
    path.with_suffix(".srt").write_text(srt([(0.1, 0.5, "beside")]))
    assert texts(scenes_of(path, store)) == ["beside"]
    # Unless only the stream says that it is in the language.
    assert texts(scenes_of(path, store, SubtitleSettings(languages=("en",)))) == ["english"]


def write_sup(folder: Path) -> Path:
    """Subtitles of a Blu-ray (PGS): two empty pictures, at 0.1 and 0.5 s."""
    segments = b""
    for number, time_s in enumerate((0.1, 0.5)):
        composition = struct.pack(">HHBHBBBB", 320, 240, 0x10, number, 0x80, 0, 0, 0)
        for kind, body in ((0x16, composition), (0x80, b"")):
            times = struct.pack(">II", round(time_s * 90_000), 0)
            segments += b"PG" + times + struct.pack(">BH", kind, len(body)) + body
    path = folder / "cues.sup"
    path.write_bytes(segments)
    return path


def test_pictures_of_text_are_left_out_with_a_note(
    tmp_path: Path, store: MemoStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = write_clock(tmp_path, Clock("first.mp4", size=(320, 240)))
    bitmaps = tmp_path / "bitmaps.mkv"
    run_ffmpeg(
        "-i",
        str(first),
        "-i",
        str(write_sup(tmp_path)),
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        str(bitmaps),
    )
    assert texts(scenes_of(bitmaps, store)) == []
    [note] = footage_of(bitmaps, store, DEFAULT).subtitles.notes
    assert note == "left out, since they hold no text but pictures of it (pgssub): stream 1"
    assert f"{bitmaps.name}: subtitles: {note}" in caplog.text


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_manifest_names_the_file(tmp_path: Path, store: MemoStore, suffix: str) -> None:
    path = write_clock(tmp_path, Clock("movie.mp4"))
    path.with_suffix(".srt").write_text(srt([(0.1, 0.5, "beside")]))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.vtt").write_text(vtt((0.1, 0.5, "named")))
    manifest = tmp_path / f"all.{suffix}"
    manifest.write_text(
        "uri,subtitles\nmovie.mp4,texts/one.vtt\n"
        if suffix == "csv"
        else '{"uri": "movie.mp4"}\n{"uri": "movie.mp4", "subtitles": "texts/one.vtt"}\n'
    )
    [source], refused = expand_inputs([str(manifest)])
    assert not refused
    for languages in ((), ("fr",)):
        settings = SubtitleSettings(languages=languages)
        assert texts(scenes_of(source, store, settings)) == ["named"]
        assert footage_of(source, store, settings).subtitles.origin == "texts/one.vtt"


def test_what_is_no_language_is_refused() -> None:
    with pytest.raises(ValidationError, match="'english' is no language tag such as en"):
        SubtitleSettings(languages=("english",))
