"""Logs name what they speak of: our own messages and those of libraries, while it is worked on."""

from __future__ import annotations

import logging
import threading

import apache_beam as beam
import pytest

from runners.launch import prepare
from schemas.rejection import Stage
from transforms.legs import Leg
from transforms.naming import named
from transforms.outcome import Outcome
from transforms.progress import NOWHERE


def test_what_is_logged_inside_is_named(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("some.library")
    with named(Stage.CUT, [("c1", "v2")]):
        library.warning("%d frames are late", 3)
        library.warning("100% done")
    library.warning("later")
    assert caplog.messages == [
        "cut of c1 (of v2): 3 frames are late",
        "cut of c1 (of v2): 100% done",
        "later",
    ]


def test_a_hostile_name_is_no_placeholder(caplog: pytest.LogCaptureFixture) -> None:
    with named(Stage.INGEST, [("100%s %(x)d.mp4", "")]):
        logging.warning("%s is odd", "it")
    assert caplog.messages == ["ingest of 100%s %(x)d.mp4: it is odd"]


def test_many_subjects_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with named(Stage.VERIFY, [(f"r{number}", "") for number in range(5)]):
        logging.warning("slow")
    assert caplog.messages == ["verify of r0, r1 and 3 more: slow"]


def test_threads_do_not_name_each_other(caplog: pytest.LogCaptureFixture) -> None:
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(10)
        logging.warning("elsewhere")
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with named(Stage.CUT, [("c1", "")]):
        inside.set()
        assert done.wait(10)
    thread.join()
    assert caplog.messages == ["elsewhere"]


def _warn(element: str) -> Outcome[str]:
    if element == "bad":
        raise ZeroDivisionError
    logging.getLogger("codec").warning("odd header")
    return Outcome([element])


def test_a_leg_names_its_element_also_when_it_breaks(caplog: pytest.LogCaptureFixture) -> None:
    runner, options = prepare(["--direct_num_workers=1"])
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        made = pipeline | beam.Create(["good", "bad"])
        _ = made | Leg(Stage.DECODE, _warn, lambda one: [(one, "a.mp4")], NOWHERE)
    messages = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert "decode of good (of a.mp4): odd header" in messages
    assert "decode of bad (of a.mp4): failed" in messages
