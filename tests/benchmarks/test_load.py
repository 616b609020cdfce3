import socket
import threading

import numpy as np
import pytest

from benchmarks.load import NO_ANSWER, TIMED_OUT, Closed, Open, generate, own_process
from tests.benchmarks.fake_server import REQUEST, fake, stalling

PATIENCE_SECONDS = 60.0


def test_a_stall_shows_in_every_request_that_was_meant_to_be_sent_during_it() -> None:
    stall = 0.5
    with fake(stalling(stall)) as server:
        outcome = generate(Open(rate=60, seconds=0.6), server.url, [REQUEST], PATIENCE_SECONDS)
    order = np.argsort(outcome.meant)
    since_the_first = outcome.meant[order] - outcome.meant[order][0]
    waited = since_the_first < stall
    assert waited.sum() > 10
    assert (outcome.latency[order][waited] >= stall - since_the_first[waited] - 0.001).all()
    assert len(outcome.meant) == len(Open(rate=60, seconds=0.6).schedule()) == server.seen


def test_arrivals_do_not_wait_for_answers() -> None:
    schedule = Open(rate=60, seconds=0.4).schedule()
    all_there = threading.Barrier(len(schedule))

    def answer(_: int) -> int:
        all_there.wait(PATIENCE_SECONDS)  # nobody is answered before everybody has asked
        return 200

    with fake(answer) as server:
        outcome = generate(Open(rate=60, seconds=0.4), server.url, [REQUEST], PATIENCE_SECONDS)
    assert outcome.status.tolist() == [200] * len(schedule)


def test_a_schedule_is_random_arrivals_of_the_rate_asked_for_and_repeats_with_its_seed() -> None:
    schedule = Open(rate=200, seconds=50, seed=3).schedule()
    gaps = np.diff(schedule)
    assert (gaps >= 0).all()
    assert 0 <= schedule[0] < schedule[-1] < 50
    assert len(schedule) == pytest.approx(10_000, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1), "exponential gaps vary as much as they last"
    assert (Open(rate=200, seconds=50, seed=3).schedule() == schedule).all()
    assert (Open(rate=200, seconds=50, seed=4).schedule()[:10] != schedule[:10]).all()


def test_a_closed_loop_has_as_many_requests_under_way_as_clients_and_sends_as_many_as_asked() -> None:
    three_there = threading.Barrier(3)

    def answer(_: int) -> int:
        three_there.wait(PATIENCE_SECONDS)
        return 200

    with fake(answer) as server:
        outcome = generate(Closed(3, requests=12), server.url, [REQUEST], PATIENCE_SECONDS)
    assert (server.seen, server.most_at_once) == (12, 3)
    assert outcome.status.tolist() == [200] * 12
    assert outcome.seconds > 0


def test_what_is_sent_while_warming_does_not_count() -> None:
    with fake(lambda _: 200) as server:
        outcome = generate(Closed(1, seconds=0.5, warm_seconds=1.0), server.url, [REQUEST])
    assert len(outcome.meant) < server.seen
    assert (outcome.meant + outcome.latency >= outcome.began).all()
    assert (outcome.meant + outcome.latency <= outcome.ended + 0.001).all()


def test_requests_take_turns() -> None:
    films = [REQUEST, type(REQUEST)("/predict", {}, b"another film")]
    with fake(lambda _: 200) as server:
        generate(Closed(1, requests=4), server.url, films)
    assert server.bodies == [b"a film", b"another film"] * 2


def test_every_answer_is_kept_with_its_status() -> None:
    with fake(lambda place: (200, 429, 503, 0)[place % 4]) as server:
        outcome = generate(Open(rate=40, seconds=0.5), server.url, [REQUEST], PATIENCE_SECONDS)
    assert set(outcome.status.tolist()) == {200, 429, 503, NO_ANSWER}


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = generate(Closed(1, requests=2), f"http://127.0.0.1:{port}", [REQUEST])
    assert outcome.status.tolist() == [NO_ANSWER] * 2


def test_an_answer_that_does_not_come_in_time_is_told_apart() -> None:
    over = threading.Event()

    def answer(_: int) -> int:
        over.wait(PATIENCE_SECONDS)
        return 0

    with fake(answer) as server:
        outcome = generate(Closed(2, requests=2), server.url, [REQUEST], 0.2)
        over.set()
    assert outcome.status.tolist() == [TIMED_OUT] * 2
    assert (outcome.latency > 0.19).all()  # the timer may be a little early


def test_the_generator_works_in_a_process_of_its_own_and_tells_its_processor_time() -> None:
    with fake(lambda _: 200) as server, own_process() as generate_there:
        outcome = generate_there(Closed(2, requests=20), server.url, [REQUEST], PATIENCE_SECONDS)
    assert outcome.status.tolist() == [200] * 20
    assert outcome.processor_seconds > 0
