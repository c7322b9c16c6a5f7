"""Make an altered clip from a cut one: frames in another order or at another speed, changes laid
over them. Encoded as the cutter encodes, in a process of its own.

There is no sound: backwards, shuffled or at another speed it would give away at once what is to be
seen in the pictures.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from fractions import Fraction

import av
import cv2

from schemas.case import Scene
from schemas.clip import Media
from schemas.rejection import Reason, Rejected
from transforms.memo import Entry, MemoStore
from transforms.video.alter_request import Alteration, AlterRequest, passes
from transforms.video.cut import (
    ClipOutput,
    CutSettings,
    clip_size_px,
    encoder_options,
    end_of,
    is_full_range,
    muxer_options,
)
from transforms.video.cut_request import ClipRequest, CutRequest, reports
from transforms.video.decode import DECODER_THREADS, SCALE_EXACT
from transforms.video.media_process import (
    ALLOWED_PROTOCOLS,
    MediaProcess,
    opened,
    time_limit_s,
)

VERSION = "1"
CHILD = (sys.executable, "-I", "-m", "transforms.video.alter_child")
HELD_BYTES = 512 << 20
"""Decoded frames that wait in memory."""


def alter(scene: Scene, alteration: Alteration, store: MemoStore, settings: CutSettings) -> Media:
    """The altered clip; looked up if the store holds it. Raises Rejected if it can't be made."""
    entry = store.entry(
        "alter",
        VERSION,
        scene.clip.id,
        scene.media.sha256,
        alteration.to_dict(),
        settings.model_dump(mode="json", exclude={"mode"}),
        # What decodes, draws and encodes: another build of it may write other bytes.
        [av.__version__, sorted(av.library_versions.items()), cv2.__version__],
    )
    stored = entry.get()
    if stored is None:
        return _made(scene, alteration, store, settings, entry)
    return Media.model_validate(stored)


def altered_size_px(scene: Scene, settings: CutSettings) -> tuple[int, int]:
    """Width and height of altered clips: those of a clip that is encoded, even if it was copied."""
    return clip_size_px(scene.video.probe, settings.max_height_px)


def _made(
    scene: Scene, alteration: Alteration, store: MemoStore, settings: CutSettings, entry: Entry
) -> Media:
    media, probe = scene.media, scene.video.probe
    rate = Fraction(media.fps_num, media.fps_den)
    shown = alteration.shown()
    if not shown or min(shown) < 0 or max(shown) >= media.num_frames:
        raise ValueError(f"frames of {media.num_frames} are to be shown that there are not")
    output = ClipOutput(altered_size_px(scene, settings), rate)
    held_frames = max(1, HELD_BYTES * 2 // (3 * output.size_px[0] * output.size_px[1]))
    with ExitStack() as stack:
        folder = stack.enter_context(store.scratch())
        source, descriptor = stack.enter_context(opened(str(store.path(media.ref))))
        clip = ClipRequest(f"{folder}/altered.mp4", 0, [1] * len(shown), 0, 0)
        cut = CutRequest(
            source=source,
            protocols=ALLOWED_PROTOCOLS,
            # Our own file, and nothing else in its place.
            demuxers="mov",
            decoder_threads=DECODER_THREADS,
            scale_flags=f"bicubic+{SCALE_EXACT}",
            video_index=0,
            audio_index=-1,
            start_time_s=0.0,
            times_us=[],
            size=output.size_px,
            rate=(rate.numerator, rate.denominator),
            copy_delay_us=None,
            full_range=media.copied and is_full_range(probe),
            encoder=encoder_options(probe, rate, settings),
            muxer=muxer_options(rate),
            clips=[clip],
        )
        decoding_s = time_limit_s(media.size_bytes, media.duration_s)
        seconds = decoding_s * len(passes(shown, held_frames)) + 30 * len(shown) / float(rate)
        child = stack.enter_context(
            MediaProcess(CHILD, timeout_s=seconds, stdin=True, pass_fds=[descriptor])
        )
        child.send(AlterRequest(cut, alteration, held_frames).to_json().encode())
        found = list(reports(child.stdout))
        code = child.wait()
        child.raise_if_killed()
        if code != 0 or len(found) != 1:
            raise Rejected(Reason.DECODER_CRASHED, child.complaint, lasting=False)
        end = end_of(clip, scene.clip, found[0], output, entry)
    if isinstance(end, Rejected):
        raise end
    return end
