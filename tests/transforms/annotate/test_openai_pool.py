"""Several servers, real ones on the loopback: who gets how much, and what becomes of one's end."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate

import pytest
from asking_servers import KEY, ask, settings_of, solving, teacher_of
from chat_server import Answer, Ask, ChatServer, completion, listing, solved

from transforms.annotate.asking import TeacherUnavailable
from transforms.annotate.openai_pool import wait_s
from transforms.annotate.openai_server import TryAgain
from transforms.annotate.openai_teacher import OpenAITeacher
from transforms.annotate.teacher import Reply, TeacherSettings
from transforms.memo import MemoStore

Serve = Callable[..., ChatServer]


def numbered(count: int, name: str = "n") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def slowly(said: Ask) -> Answer:
    time.sleep(0.05)
    return solved(said.question)


def assert_all_well(replies: dict[str, Reply]) -> None:
    assert [question for question, reply in replies.items() if question not in reply.text] == []


def test_the_next_request_goes_where_least_is_to_do(clip_store: MemoStore, serve: Serve) -> None:
    def lame(said: Ask) -> Answer:
        time.sleep(0.4)
        return solved(said.question)

    quick, slow = serve(slowly), serve(lame)
    teacher = teacher_of(clip_store, slow, quick, in_flight=2)
    assert_all_well(ask(teacher, solving(clip_store, *numbered(40))))
    assert len(quick.asks) > 2 * len(slow.asks) >= 4
    assert (quick.most_at_once, slow.most_at_once) == (2, 2)


def test_a_busy_server_is_asked_only_when_the_others_are_too(
    clip_store: MemoStore, serve: Serve
) -> None:
    busy, free = serve(lambda said: hold(said)), serve(lambda said: solved(said.question))
    done = threading.Event()

    def hold(said: Ask) -> Answer:
        done.wait(10)
        return solved(said.question)

    teacher = teacher_of(clip_store, busy, free)
    held = threading.Thread(target=ask, args=(teacher, solving(clip_store, "held")))
    held.start()
    while not busy.asks:
        time.sleep(0.01)
    for question in numbered(6):
        assert_all_well(ask(teacher, solving(clip_store, question)))
    done.set()
    held.join()
    assert (len(busy.asks), len(free.asks)) == (1, 6)


def test_idle_servers_take_turns(clip_store: MemoStore, serve: Serve) -> None:
    servers = [serve(lambda said: solved(said.question)) for _ in range(3)]
    teacher = teacher_of(clip_store, *servers)
    for question in numbered(9):
        assert_all_well(ask(teacher, solving(clip_store, question)))
    assert [len(server.asks) for server in servers] == [3, 3, 3]


def test_the_cap_holds_for_all_threads_together(clip_store: MemoStore, serve: Serve) -> None:
    servers = [serve(slowly), serve(slowly)]
    teacher = teacher_of(clip_store, *servers, in_flight=3)
    found: dict[str, Reply] = {}

    def work(name: str) -> None:
        found.update(ask(teacher, solving(clip_store, *numbered(12, name))))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 48
    assert_all_well(found)
    assert [server.most_at_once for server in servers] == [3, 3]


def test_requests_per_minute_are_spaced_on_each_server(clip_store: MemoStore, serve: Serve) -> None:
    came: dict[str, list[float]] = {"a": [], "b": []}

    def timed(name: str) -> Callable[[Ask], Answer]:
        def answer(said: Ask) -> Answer:
            came[name].append(time.monotonic())
            return solved(said.question)

        return answer

    servers = [serve(timed("a")), serve(timed("b"))]
    teacher = teacher_of(clip_store, *servers, requests_per_minute=300)
    began = time.monotonic()
    assert_all_well(ask(teacher, solving(clip_store, *numbered(12))))
    assert len(came["a"]) + len(came["b"]) == 12 and min(map(len, came.values())) >= 4
    for times in came.values():
        # A start every 0.2 s; a request may arrive later than it was started, never sooner.
        assert all(one >= began + n * 0.2 - 0.01 for n, one in enumerate(times))


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_stops_all_requests_to_that_server(
    form: str, clip_store: MemoStore, serve: Serve
) -> None:
    def answer(said: Ask) -> Answer:
        with lock:
            came.append(time.monotonic())
            if len(came) > 1:
                return solved(said.question)
            until.append(time.monotonic() + (0.8 if form == "seconds" else 1.0))
            asked = "0.8" if form == "seconds" else formatdate(int(time.time()) + 2, usegmt=True)
            return Answer(b"", 429, {"Retry-After": asked})

    came: list[float] = []
    until: list[float] = []
    lock = threading.Lock()
    teacher = teacher_of(clip_store, serve(answer), in_flight=1)
    assert_all_well(ask(teacher, solving(clip_store, *numbered(6))))
    assert len(came) == 7
    assert min(came[1:]) >= until[0] - 0.01


def test_who_is_told_to_wait_goes_to_another_server_at_once(
    clip_store: MemoStore, serve: Serve
) -> None:
    busy = serve(lambda said: Answer(b"", 429, {"Retry-After": "15"}))
    free = serve(lambda said: solved(said.question))
    teacher = teacher_of(clip_store, busy, free, in_flight=1)
    started = time.monotonic()
    assert_all_well(ask(teacher, solving(clip_store, *numbered(10))))
    assert time.monotonic() - started < 5
    assert len(busy.asks) == 1


def test_trouble_with_one_request_is_tried_elsewhere(clip_store: MemoStore, serve: Serve) -> None:
    ill = serve(lambda said: Answer(b"out of memory", 500))
    well = serve(lambda said: solved(said.question))
    teacher = teacher_of(clip_store, ill, well, retries=1, in_flight=12)
    assert_all_well(ask(teacher, solving(clip_store, *numbered(12))))
    assert ill.asks, "it was asked as well"


def test_who_was_turned_away_goes_to_a_busy_server_before_the_same_again(
    clip_store: MemoStore, serve: Serve
) -> None:
    def hold(said: Ask) -> Answer:
        if said.question == "held":
            done.wait(10)
        return solved(said.question)

    done = threading.Event()
    busy, ill = serve(hold), serve(lambda said: Answer(b"", 429, {"Retry-After": "0"}))
    teacher = teacher_of(clip_store, busy, ill, retries=1)
    held = threading.Thread(target=ask, args=(teacher, solving(clip_store, "held")))
    held.start()
    while not busy.asks:
        time.sleep(0.01)
    assert_all_well(ask(teacher, solving(clip_store, "turned away")))
    done.set()
    held.join()
    assert len(ill.asks) == 1


def test_a_server_that_went_away_is_used_again_when_it_is_back(
    clip_store: MemoStore, serve: Serve
) -> None:
    comes, stays = serve(slowly), serve(slowly)
    teacher = teacher_of(
        clip_store, comes, stays, in_flight=2, first_wait_s=0.1, longest_wait_s=0.1
    )
    assert_all_well(ask(teacher, solving(clip_store, *numbered(8, "a"))))
    comes.stop()
    before = len(comes.asks)
    assert before
    assert_all_well(ask(teacher, solving(clip_store, *numbered(8, "b"))))
    assert len(comes.asks) == before
    listed = comes.listed
    # It comes back with another model: it is checked first, and no request goes there.
    comes.models = listing("another")
    comes.start()
    time.sleep(0.2)
    assert_all_well(ask(teacher, solving(clip_store, *numbered(8, "c"))))
    assert comes.listed > listed and len(comes.asks) == before
    comes.models = listing("another", "seer")
    time.sleep(0.2)
    # One after the other, so that the server that stayed alone could do it all.
    for question in numbered(4, "d"):
        assert_all_well(ask(teacher, solving(clip_store, question)))
    assert len(comes.asks) > before


def test_a_short_absence_of_the_only_server_costs_nothing(
    clip_store: MemoStore, serve: Serve
) -> None:
    server = serve(slowly)
    teacher = teacher_of(
        clip_store, server, in_flight=4, retries=4, first_wait_s=0.2, longest_wait_s=5.0
    )
    server.stop()
    threading.Timer(0.7, server.start).start()
    assert_all_well(ask(teacher, solving(clip_store, *numbered(12))))


def test_when_all_servers_are_gone_requests_fail_soon_and_say_why(
    clip_store: MemoStore, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [serve(slowly), serve(slowly)]
    teacher = teacher_of(clip_store, *servers, in_flight=2, retries=2)
    for server in servers:
        server.stop()
    started = time.monotonic()
    replies = ask(teacher, solving(clip_store, *numbered(100)))
    assert time.monotonic() - started < 5
    assert all("no connection: ConnectError" in reply.error for reply in replies.values())
    given_up = [one.error for one in replies.values() if one.error.startswith("no server can be")]
    assert len(given_up) > 80
    assert all(server.url in words for server in servers for words in given_up)
    # Nobody has to restart anything but the servers.
    for server in servers:
        server.start()
    time.sleep(0.1)
    assert_all_well(ask(teacher, solving(clip_store, *numbered(10))))


def test_open_wants_one_server_that_works_and_names_the_others(
    clip_store: MemoStore, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    works = serve(slowly)
    other = serve(slowly, models=listing("blind"))
    gone = serve(slowly)
    gone.stop()
    teacher = teacher_of(clip_store, works, other, gone, retries=1)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 2
    assert other.url in warned[0] and "it has: blind" in warned[0]
    assert gone.url in warned[1] and "no connection" in warned[1]
    assert KEY not in caplog.text
    assert_all_well(ask(teacher, solving(clip_store, *numbered(6))))
    assert not other.asks
    with pytest.raises(TeacherUnavailable) as caught:
        teacher_of(clip_store, other, gone, retries=1)
    said = str(caught.value)
    assert f"{other.url}/ does not have the model 'seer'" in said
    assert f"{gone.url}/ can't be used: no connection" in said
    # The same address twice is one server.
    teacher_of(clip_store, works, works)
    assert works.listed == 2


def test_a_closed_teacher_lets_nobody_wait(clip_store: MemoStore, serve: Serve) -> None:
    server = serve(lambda said: Answer(b"", 429, {"Retry-After": "15"}))
    teacher = OpenAITeacher(settings_of(server, in_flight=1), clip_store)
    teacher.open()
    threading.Timer(0.3, teacher.close).start()
    started = time.monotonic()
    replies = ask(teacher, solving(clip_store, *numbered(4)))
    assert time.monotonic() - started < 5
    assert all(reply.error for reply in replies.values())


def test_waits_grow_to_a_limit_and_are_not_alike() -> None:
    settings = TeacherSettings()
    waits = [
        [wait_s(TimeoutError(), failures, settings) for _ in range(20)] for failures in range(12)
    ]
    for failures, several in enumerate(waits[1:], 1):
        backed_off_s = min(0.5 * 2 ** (failures - 1), 30.0)
        assert all(backed_off_s <= one <= 1.5 * backed_off_s for one in several)
        assert len(set(several)) > 10
    assert wait_s(TryAgain("later", 7.0), 1, settings) == 7.0
    assert wait_s(TryAgain("tomorrow", 86_400.0), 1, settings) == 300.0
    assert wait_s(TryAgain("now", 0.0), 5, settings) == 0.0


def test_counts(clip_store: MemoStore, serve: Serve) -> None:
    """Each question is asked once, by whichever server."""
    servers = [serve(lambda said: completion(said.question)) for _ in range(4)]
    teacher = teacher_of(clip_store, *servers, in_flight=2)
    questions = numbered(50)
    replies = ask(teacher, solving(clip_store, *questions))
    assert {name: reply.text for name, reply in replies.items()} == {one: one for one in questions}
    asked = Counter(said.question for server in servers for said in server.asks)
    assert asked == Counter(questions)


def test_a_server_that_fails_for_a_minute_costs_nothing(
    clip_store: MemoStore, serve: Serve
) -> None:
    """The waits of the defaults, a hundredth as long."""
    usual = TeacherSettings()
    waits_s = [min(2**n * usual.first_wait_s, usual.longest_wait_s) for n in range(usual.retries)]
    assert sum(waits_s) > 60.0
    well_at_s = 0.0

    def recovering(said: Ask) -> Answer:
        return completion(said.question) if time.monotonic() > well_at_s else Answer(b"boom", 500)

    server = serve(lambda said: completion(said.question))
    teacher = teacher_of(
        clip_store,
        server,
        in_flight=8,
        retries=usual.retries,
        first_wait_s=usual.first_wait_s / 100,
        longest_wait_s=usual.longest_wait_s / 100,
    )
    well_at_s = time.monotonic() + 0.6
    server.answer = recovering
    assert_all_well(ask(teacher, solving(clip_store, *numbered(12))))
    assert len(server.asks) > 24, "it did fail"
