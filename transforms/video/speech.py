"""Speech in clips: the sound of each clip's mp4, written down with times by a Whisper model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import numpy as np

from schemas.case import Scene
from schemas.rejection import Reason, Rejected
from schemas.transcript import TimedText
from transforms.memo import MemoStore
from transforms.needs import Needs
from transforms.outcome import Outcome
from transforms.video.cues import clean, in_order, timed_text
from transforms.video.media_process import (
    ALLOWED_PROTOCOLS,
    MediaProcess,
    ffmpeg_exe,
    ffmpeg_version,
    opened,
    time_limit_s,
)
from transforms.video.whisper import RATE_HZ, Sound, SpeechSettings, identity, load_whisper

VERSION = "1"
CLIP_DEMUXER = "mov,mp4,m4a,3gp,3g2,mj2"


def spoken_lines(scene: Scene, store: MemoStore, settings: SpeechSettings) -> tuple[TimedText, ...]:
    """What is said in a clip, in clip time; listened to once. Silent clips are not listened to.

    Raises Rejected(speech_failed), or StopRunError if the model can't be loaded.
    """
    media = scene.media
    # What a model hears in silence was never said.
    if not media.has_audio or scene.clip.measures.sound_share == 0.0:
        return ()
    entry = store.entry("speech", VERSION, media.sha256, identity(settings), ffmpeg_version())
    rows = entry.get()
    if rows is None:
        whisper = load_whisper(settings)
        try:
            said = whisper.listen(clip_sound(store.path(media.ref), media.duration_s))
        except Rejected as rejected:
            detail = f"{rejected.reason}: {rejected.detail}"
            raise Rejected(
                Reason.SPEECH_FAILED, detail, lasting=False, passing=rejected.passing
            ) from rejected
        except (RuntimeError, ValueError) as error:
            detail = f"{type(error).__name__}: {error}"
            raise Rejected(Reason.SPEECH_FAILED, detail, lasting=False) from error
        rows = [[one.start_s, one.end_s, one.text] for one in said]
        rows = entry.put(rows)
    found = [
        timed_text(start_s, end_s, clean(text), "speech", media.duration_s)
        for start_s, end_s, text in rows
    ]
    return tuple(in_order(line for line in found if line is not None))


def clip_sound(path: Path, duration_s: float) -> Sound:
    """The sound of a clip's mp4, mono at 16 kHz in -1..1: sample n is clip time n / 16000.

    Raises Rejected if it can't be decoded.
    """
    samples = round(duration_s * RATE_HZ)
    with opened(str(path)) as (source, descriptor):
        timeout_s = time_limit_s(path.stat().st_size, duration_s)
        command = sound_command(source, duration_s)
        with MediaProcess(command, timeout_s=timeout_s, pass_fds=[descriptor]) as process:
            data = process.stdout.readall()  # type: ignore[attr-defined]
            code = process.wait()
            process.raise_if_killed()
            if code != 0:
                raise Rejected(Reason.DECODER_CRASHED, process.complaint, lasting=False)
    sound = np.zeros(samples, np.float32)
    heard = np.frombuffer(data, "<i2")[:samples]
    sound[: len(heard)] = heard / 32_768.0
    return sound


def sound_command(path: str, duration_s: float) -> list[str]:
    """The ffmpeg command that writes a clip's sound to stdout as 16-bit samples."""
    source = ffmpeg.input(path, protocol_whitelist=ALLOWED_PROTOCOLS, format_whitelist=CLIP_DEMUXER)
    sound = (
        source["a:0"]
        .filter("aresample", RATE_HZ, first_pts=0, **{"async": 1})
        .filter("aformat", "s16", RATE_HZ, "mono")
    )
    output = ffmpeg.output(
        sound, "pipe:1", format="s16le", acodec="pcm_s16le", t=f"{duration_s:.6f}"
    ).global_args("-nostdin", "-hide_banner", "-loglevel", "error", "-nostats")
    return list(output.compile(cmd=ffmpeg_exe()))


@dataclass(frozen=True)
class Transcriber:
    """Adds what is said to the lines of one clip. The leg's unit is the clip."""

    settings: SpeechSettings
    store: MemoStore

    @property
    def needs(self) -> Needs:
        return Needs(gpu=self.settings.device != "cpu")

    def __call__(self, scene: Scene) -> Outcome[Scene]:
        lines = in_order([*scene.lines, *spoken_lines(scene, self.store, self.settings)])
        return Outcome([scene.model_copy(update={"lines": tuple(lines)})])
