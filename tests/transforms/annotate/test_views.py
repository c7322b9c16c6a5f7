"""A view shows exactly what it says: proven on frames that tell their own number."""

from __future__ import annotations

from fractions import Fraction

import pytest
from chat_server import SCENES
from hypothesis import given
from hypothesis import strategies as st

from schemas.case import Scene
from schemas.task import Origin, Task, TaskKind
from schemas.transcript import TimedText
from schemas.view import WHOLE, Condition, View
from transforms.annotate.conversation import compose
from transforms.annotate.frame_times import even_frames
from transforms.annotate.prompts import load_templates
from transforms.annotate.seeing import Frames, Looker
from transforms.annotate.teacher import Request, TeacherSettings
from transforms.annotate.views import HIDDEN, LEAST_EVIDENCE, frames_of_view
from transforms.annotate.vllm_prompt import _media_id
from transforms.memo import MemoStore

FPS = 8
TOTAL = 48
CODE = 5
SETTINGS = TeacherSettings(fps=2.0, frame_height_px=112)


@pytest.fixture(scope="module")
def scene(store: MemoStore) -> Scene:
    """Six seconds whose frames tell their number."""
    made: Scene = SCENES.make_scene(store, CODE, num_frames=TOTAL, fps=Fraction(FPS))
    return made


def numbers(frames: Frames | None) -> list[int]:
    """What the pixels say which frames they are; black ones are `HIDDEN`."""
    if frames is None:
        return []
    found = []
    for pixels in frames.pixels:
        code, number = SCENES.read_board(pixels)
        found.append(number if pixels.any() else HIDDEN)
        assert not pixels.any() or code == CODE
    return found


def seen(store: MemoStore, scene: Scene, view: View) -> tuple[list[int], list[float]]:
    frames = Looker(store, SETTINGS, 2).look(scene, None, view)
    return numbers(frames), list(frames.times_s) if frames else []


ALL = [4 * place for place in range(12)]
"""Two frames a second of eight."""


def test_without_a_view_all_chosen_frames_are_shown(store: MemoStore, scene: Scene) -> None:
    shown, times_s = seen(store, scene, WHOLE)
    assert shown == ALL and times_s == [number / FPS for number in ALL]


def test_blind_shows_nothing_and_the_prompt_says_so(store: MemoStore, scene: Scene) -> None:
    view = View(condition=Condition.BLIND)
    assert seen(store, scene, view) == ([], [])
    task = Task(
        clip_id=scene.clip.id, kind=TaskKind.FREE_TEXT, question="What moves?", origin=Origin.GIVEN
    )
    spoken = scene.model_copy(
        update={"lines": (TimedText(start_s=1.0, end_s=2.0, text="a red hat", source="speech"),)}
    )
    request = Request(scene=spoken, task=task, view=view)
    said = compose(request, load_templates(), SETTINGS, Looker(store, SETTINGS, 2).look)
    [turn] = said.turns
    assert said.videos == () and "No frame of it is shown" in str(turn.parts[-1])
    assert "red hat" not in str(turn.parts), "what is said in the clip is evidence, too"
    full = compose(
        request.model_copy(update={"view": WHOLE}), load_templates(), SETTINGS,
        Looker(store, SETTINGS, 2).look,
    )  # fmt: skip
    assert "red hat" in str(full.turns[0].parts) and len(full.videos) == 1


def test_evidence_shows_only_the_cited_spans(store: MemoStore, scene: Scene) -> None:
    view = View(condition=Condition.EVIDENCE, spans_s=((1.0, 2.6), (4.0, 4.5)))
    shown, times_s = seen(store, scene, view)
    assert shown == [8, 12, 16, 20, 32, 36] and times_s == [number / FPS for number in shown]


def test_of_a_short_span_more_frames_are_shown_than_were_chosen(
    store: MemoStore, scene: Scene
) -> None:
    shown, _ = seen(store, scene, View(condition=Condition.EVIDENCE, spans_s=((2.1, 2.9),)))
    assert len(shown) >= LEAST_EVIDENCE and all(2.1 <= number / FPS <= 2.9 for number in shown)
    between, _ = seen(store, scene, View(condition=Condition.EVIDENCE, spans_s=((2.13, 2.2),)))
    assert between == [17], "the frame that is on screen in a span between two frames"


def test_masked_hides_the_cited_spans_and_what_is_next_to_them(
    store: MemoStore, scene: Scene
) -> None:
    shown, _ = seen(store, scene, View(condition=Condition.MASKED, spans_s=((1.1, 2.4),)))
    assert shown == [one for one in ALL if not 0.85 <= one / FPS <= 2.65]
    nothing = View(condition=Condition.MASKED, spans_s=((0.0, 6.0),))
    assert seen(store, scene, nothing) == ([], [])


def test_black_frames_keep_their_times(store: MemoStore, scene: Scene) -> None:
    view = View(condition=Condition.MASKED, spans_s=((1.1, 2.4),), black=True)
    shown, times_s = seen(store, scene, view)
    assert times_s == [number / FPS for number in ALL]
    assert [one for one in shown if one != HIDDEN] == [0, 4, 24, 28, 32, 36, 40, 44]
    blind = View(condition=Condition.BLIND, black=True)
    assert set(seen(store, scene, blind)[0]) == {HIDDEN}


def test_a_prefix_ends_where_it_says(store: MemoStore, scene: Scene) -> None:
    shown, _ = seen(store, scene, View(condition=Condition.PREFIX, until_s=1.5))
    assert shown == [0, 4, 8, 12]


def test_shuffled_tells_the_times_in_order_and_shows_the_pictures_in_another(
    store: MemoStore, scene: Scene
) -> None:
    view = View(condition=Condition.SHUFFLED)
    shown, times_s = seen(store, scene, view)
    assert sorted(shown) == ALL and shown != ALL and times_s == [one / FPS for one in ALL]
    assert seen(store, scene, view)[0] == shown
    assert seen(store, scene, view.model_copy(update={"order": 1}))[0] != shown


def test_of_a_part_of_the_picture_only_that_is_shown(store: MemoStore, scene: Scene) -> None:
    """The quarter of the board at the upper left holds four of its sixteen fields."""
    view = View(condition=Condition.PREFIX, until_s=0.0, box=(0.0, 0.0, 0.5, 0.5))
    part = Looker(store, SETTINGS, 2).look(scene, None, view)
    whole = Looker(store, SETTINGS, 2).look(scene, None, view.model_copy(update={"box": ()}))
    assert part is not None and whole is not None
    _, height, width, _ = part.pixels.shape
    _, whole_height, whole_width, _ = whole.pixels.shape
    for row in range(2):
        for column in range(2):
            of_part = part.pixels[0, int((row + 0.5) * height / 2), int((column + 0.5) * width / 2)]
            y, x = (row + 0.5) * whole_height / 4, (column + 0.5) * whole_width / 4
            assert abs(int(of_part[0]) - int(whole.pixels[0, int(y), int(x)][0])) < 40


def test_frames_of_other_views_are_other_pictures_to_the_engine(
    store: MemoStore, scene: Scene
) -> None:
    """Same clip, same times, other pixels: its cache must not mix them up."""
    looker = Looker(store, SETTINGS, 4)
    views = [WHOLE, View(condition=Condition.SHUFFLED), View(condition=Condition.BLIND, black=True)]
    frames = [looker.look(scene, None, view) for view in views]
    ids = {_media_id("video", "m", one, one.times_s) for one in frames if one is not None}
    assert len(ids) == len(views)


def test_each_view_is_a_request_of_its_own(scene: Scene) -> None:
    task = Task(
        clip_id=scene.clip.id, kind=TaskKind.FREE_TEXT, question="What moves?", origin=Origin.GIVEN
    )
    views = [
        WHOLE, View(condition=Condition.BLIND), View(condition=Condition.BLIND, black=True),
        View(condition=Condition.EVIDENCE, spans_s=((0.0, 1.0),)),
        View(condition=Condition.EVIDENCE, spans_s=((0.0, 1.5),)),
        View(condition=Condition.MASKED, spans_s=((0.0, 1.0),)),
        View(condition=Condition.PREFIX, until_s=1.0),
        View(condition=Condition.PREFIX, until_s=1.0, box=(0.0, 0.0, 0.5, 0.5)),
    ]  # fmt: skip
    assert len({Request(scene=scene, task=task, view=view).id for view in views}) == len(views)


SPANS = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0, 10)).map(lambda pair: (min(pair), max(pair))),
    max_size=4,
).map(tuple)
VIEWS = st.builds(
    View,
    condition=st.sampled_from(Condition),
    spans_s=SPANS,
    until_s=st.floats(-1, 11),
    order=st.integers(0, 3),
    black=st.booleans(),
)


@given(VIEWS, st.integers(1, 300), st.integers(1, 40), st.sampled_from([8.0, 25.0, 29.97]))
def test_a_view_never_shows_what_it_hides(view: View, total: int, number: int, fps: float) -> None:
    chosen = even_frames(total, number)
    shown = frames_of_view(view, chosen, fps, total)
    assert len(shown.numbers) == len(shown.pictures)
    assert list(shown.numbers) == sorted(set(shown.numbers))
    assert all(0 <= one < total for one in shown.numbers)
    if view.condition is Condition.SHUFFLED:
        assert sorted(shown.pictures) == list(chosen)
        return
    for told, picture in zip(shown.numbers, shown.pictures, strict=True):
        assert picture in (told, HIDDEN)
    visible = [one for one in shown.pictures if one != HIDDEN]
    if view.condition is not Condition.EVIDENCE:
        assert all(view.shows(one / fps) for one in visible)
    elif view.spans_s and not view.black:
        outside = [one for one in visible if not view.shows(one / fps)]
        assert len(outside) <= 1, "at most the frame on screen in a span between two frames"
    if view.black:
        assert shown.numbers == chosen
