"""The labels of constructed tasks, shown frame by frame in the decoded mp4."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from clock_video import decoded_clock
from constructed_clips import (
    EXACT,
    Pixels,
    clock_scene,
    gold_frames,
    made,
    planes,
    real_scene,
)

import transforms.annotate.construct_time as construct_time
from schemas.case import Scene
from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.construct_pictures import COLORS
from transforms.memo import MemoStore
from transforms.video.alter_planes import EFFECTS, yuv_of


@pytest.fixture(scope="module")
def carphone(store: MemoStore) -> Scene:
    return real_scene("carphone_pristine", store, EXACT)


@pytest.fixture(scope="module")
def bikes(store: MemoStore) -> Scene:
    return real_scene("bikes", store, EXACT)


@pytest.fixture(scope="module")
def bunny(store: MemoStore) -> Scene:
    return real_scene("bigbuckbunny", store, EXACT)


@pytest.fixture(scope="module")
def clock(store: MemoStore, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return clock_scene(tmp_path_factory.mktemp("clock"), store)


@pytest.fixture
def no_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are true whether or not anybody could see it: clocks do not move as things do."""
    monkeypatch.setattr(construct_time, "seams_tell", lambda differences: True)
    monkeypatch.setattr(construct_time, "speed_shows", lambda look, start, end, ratio: True)
    monkeypatch.setattr(construct_time, "LEAST_SPEED", 0.0)


def distance(one: tuple[Pixels, ...], other: tuple[Pixels, ...]) -> float:
    """Mean absolute difference over all planes."""
    pairs = zip(one, other, strict=True)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs]))


def test_the_frames_of_the_anomaly_are_those_of_the_gold_span(
    carphone: Scene, bikes: Scene, bunny: Scene, store: MemoStore
) -> None:
    seen = set()
    for scene, seed in [(carphone, 0), (bikes, 2), *((bunny, seed) for seed in (0, 2, 4, 5))]:
        case, spec = made(scene, store, "anomaly", seed, EXACT)
        assert case.task.kind is TaskKind.TEMPORAL_GROUNDING
        start, end = gold_frames(case)
        before = planes(store.path(scene.media.ref))
        after = planes(store.path(case.scene.media.ref))
        assert len(before) == len(after)
        assert 0.14 < (end - start) / len(after) < 0.36
        for number, (plain, shown) in enumerate(zip(before, after, strict=True)):
            changed = EFFECTS[spec["effect"]](plain)
            is_altered = distance(shown, changed) < distance(shown, plain)
            assert is_altered == (start <= number < end), (spec, number)
            assert min(distance(shown, changed), distance(shown, plain)) < 2.5
        seen.add(spec["effect"])
    assert seen == set(EFFECTS)


def full(picture: tuple[Pixels, ...]) -> Pixels:
    """(h, w, 3) Y, U, V of a picture, all at the size of Y."""
    size = picture[0].shape[::-1]
    return np.stack([cv2.resize(one, size, None, 0, 0, cv2.INTER_NEAREST) for one in picture], -1)


def laid_over(
    before: list[tuple[Pixels, ...]], after: list[tuple[Pixels, ...]], color: str
) -> Iterator[tuple[Pixels, list[int]]]:
    """(its picture, frames on which it is there) of each shape of a colour, by its pixels alone."""
    wanted = np.array(yuv_of(COLORS[color], is_bt709=False))
    masks = []
    for plain, shown in zip(map(full, before), map(full, after), strict=True):
        close = np.abs(shown.astype(int) - wanted).max(-1) < 30
        masks.append(close & (np.abs(shown.astype(int) - plain).max(-1) > 12))
    everywhere = np.any(masks, axis=0).astype(np.uint8)
    everywhere = cv2.morphologyEx(everywhere, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, facts, _ = cv2.connectedComponentsWithStats(everywhere)
    largest = facts[1:, cv2.CC_STAT_AREA].max(initial=0)
    for label in range(1, count):
        if facts[label, cv2.CC_STAT_AREA] > 0.2 * largest:
            place = labels == label
            shares = [mask[place].mean() for mask in masks]
            yield place, [number for number, share in enumerate(shares) if share > 0.5]


def kind_of(place: Pixels) -> str:
    """The kind of a shape from how much of the box around it it fills."""
    rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    filled = place.sum() / (height * width)
    if filled > 0.89:
        return "square"
    if filled > 0.68:
        return "circle"
    # A triangle fills half of its box, and its lowest row from side to side.
    return "triangle" if place[rows[-2]].sum() > 0.75 * width else "star"


@pytest.mark.parametrize(("name", "seed"), [("carphone", 1), ("bikes", 1), ("bikes", 3)])
def test_the_shapes_in_the_pictures_are_as_many_as_the_gold_answer(
    name: str, seed: int, request: pytest.FixtureRequest, store: MemoStore
) -> None:
    scene: Scene = request.getfixturevalue(name)
    case, spec = made(scene, store, "shapes", seed, EXACT)
    before = planes(store.path(scene.media.ref))
    after = planes(store.path(case.scene.media.ref))
    found = []
    for color in sorted({one["color"] for one in spec["laid_over"]}):
        for place, frames in laid_over(before, after, color):
            assert frames == list(range(frames[0], frames[-1] + 1)), "it came twice"
            found.append((color, kind_of(place), [frames[0], frames[-1] + 1]))
    meant = [(one["color"], one["shape"], one["frames"]) for one in spec["laid_over"]]
    assert sorted(found) == sorted(meant)
    asked = [one for one in found if one[:2] == (spec["color"], spec["shape"])]
    assert case.task.gold is not None
    assert case.task.gold.text == str(len(asked))
    assert f"{spec['color']} {spec['shape']}s" in case.task.question
    others = [one for one in found if one not in asked]
    assert {one[0] == spec["color"] for one in others} == {True, False}, "both sorts of others"
    fps = case.scene.media.fps_num / case.scene.media.fps_den
    assert all((end - start) / fps >= 0.5 for _, _, (start, end) in found)


@pytest.mark.usefixtures("no_guards")
def test_pieces_in_the_gold_order_give_back_the_original(clock: Scene, store: MemoStore) -> None:
    counts = set()
    for seed in range(6):
        case, spec = made(clock, store, "order", seed)
        shown = [number for _, number in decoded_clock(store.path(case.scene.media.ref))]
        length = spec["piece_frames"]
        assert len(shown) == spec["pieces"] * length
        pieces = {
            letter: shown[place * length : (place + 1) * length]
            for place, letter in enumerate(OPTION_LETTERS[: spec["pieces"]])
        }
        gold = case.task.gold
        assert gold is not None and case.task.kind is TaskKind.ORDERING
        assert gold.text != ",".join(pieces), "nothing was shuffled"
        in_order = [number for letter in gold.text.split(",") for number in pieces[letter]]
        assert in_order == list(range(len(shown)))
        assert [option[-1] for option in case.task.options] == list(pieces)
        counts.add(spec["pieces"])
    assert len(counts) > 1


def test_each_piece_carries_its_letter(carphone: Scene, store: MemoStore) -> None:
    case, spec = made(carphone, store, "order", 7, EXACT)
    after = planes(store.path(case.scene.media.ref))
    corners = [shown[0][:20, :20] for shown in after]
    length = spec["piece_frames"]
    for number, (one, two) in enumerate(pairwise(corners), 1):
        change = np.abs(one.astype(int) - two).mean()
        assert (change > 8) == (number % length == 0), (number, change)
    assert all(corner.max() > 200 and np.median(corner) < 40 for corner in corners)


@pytest.mark.usefixtures("no_guards")
def test_backward_is_backward_and_forward_is_as_it_was(clock: Scene, store: MemoStore) -> None:
    directions = set()
    for seed in range(10):
        case, spec = made(clock, store, "reversed", seed)
        shown = [number for _, number in decoded_clock(store.path(case.scene.media.ref))]
        gold = case.task.gold
        assert gold is not None and case.task.kind is TaskKind.MCQ
        right = case.task.options[gold.option_index]
        expected = range(199, -1, -1) if right == "backward" else range(200)
        assert shown == list(expected)
        assert spec["backward"] == (right == "backward")
        directions.add((right, gold.text))
    assert len(directions) > 2, "both directions, at different letters"


@pytest.mark.usefixtures("no_guards")
def test_the_stretch_steps_as_many_frames_as_it_is_faster(clock: Scene, store: MemoStore) -> None:
    ways = set()
    for seed in range(8):
        case, spec = made(clock, store, "speed", seed)
        shown = [number for _, number in decoded_clock(store.path(case.scene.media.ref))]
        start, end = gold_frames(case)
        factor, faster = spec["factor"], spec["faster"]
        assert case.scene.media.num_frames == len(shown)
        assert case.scene.media.duration_s == pytest.approx(len(shown) / 25)
        assert shown[:start] == list(range(start))
        assert shown[end:] == list(range(200 - len(shown) + end, 200))
        inside = [*shown[start:end], shown[end]]
        if faster:
            assert {two - one for one, two in pairwise(inside)} == {factor}
        else:
            runs = [shown[start:end].count(number) for number in sorted(set(inside[:-1]))]
            assert set(runs) == {factor}
            assert inside == sorted(inside) and inside[-1] == inside[-2] + 1
        assert ("faster" in case.task.question) == faster
        assert 0.14 < (end - start) / len(shown) < 0.36
        ways.add((factor, faster))
    assert {faster for _, faster in ways} == {True, False} and len(ways) > 2


def test_the_altered_clip_is_a_clip_like_any_other(bikes: Scene, store: MemoStore) -> None:
    from transforms.publish.check_media import media_facts

    case, _ = made(bikes, store, "anomaly", 0, EXACT)
    media = case.scene.media
    with Path(store.path(media.ref)).open("rb") as file:
        facts = media_facts(file)
        file.seek(0)
        head = file.read(1 << 16)
    assert head.index(b"moov") < head.index(b"mdat"), "the index comes first"
    assert (facts.width_px, facts.height_px) == (media.width_px, media.height_px)
    assert facts.num_frames == media.num_frames and facts.first_s == 0.0
    assert facts.duration_s == pytest.approx(media.duration_s, abs=1e-3)
    assert not facts.has_audio and not media.has_audio
    assert media.clip_id == bikes.clip.id
    assert media.sha256 != bikes.media.sha256
