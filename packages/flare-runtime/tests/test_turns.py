"""Scripts of one process take turns: one runs at a time, in the order in which they became ready."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from flare_runtime.scripts.turns import Seat, Turns

WAIT_S = 20


class Player:
    """A thread with a seat that consumes numbers."""

    def __init__(self, turns: Turns, name: str, log: list[str]) -> None:
        self.turns = turns
        self.seat = Seat(name, lambda: log.append(f"switch to {name}"))
        self.log = log
        self.inbox: deque[int] = deque()
        self.thread = threading.Thread(target=self._play, daemon=True)

    def put(self, number: int) -> None:
        self.inbox.append(number)
        self.turns.wake(self.seat)

    def _play(self) -> None:
        self.turns.begin(self.seat)
        while True:
            self.turns.wait(self.seat, lambda: bool(self.inbox))
            number = self.inbox.popleft()
            if number < 0:
                break
            self.log.append(f"{self.seat.name}: {number}")
        self.turns.leave(self.seat)


def start(*players: Player) -> None:
    for player in players:
        player.turns.join(player.seat)
    for player in players:
        player.thread.start()


def end(*players: Player) -> None:
    for player in players:
        player.put(-1)
    for player in players:
        player.thread.join(WAIT_S)
        assert not player.thread.is_alive()


def test_each_seat_gets_its_own_input():
    log: list[str] = []
    turns = Turns()
    players = [Player(turns, name, log) for name in "abc"]
    start(*players)
    for number in range(50):
        for player in players:
            player.put(number)
    end(*players)
    for player in players:
        taken = [line for line in log if line.startswith(f"{player.seat.name}:")]
        assert taken == [f"{player.seat.name}: {number}" for number in range(50)]


def test_only_one_seat_runs_at_a_time():
    turns = Turns()
    running: set[str] = set()
    overlaps: list[set[str]] = []

    def work(seat: Seat, count: int) -> None:
        turns.begin(seat)
        for _ in range(count):
            running.add(seat.name)
            if len(running) > 1:
                overlaps.append(set(running))
            running.discard(seat.name)
            turns.wait(seat, lambda: False, timeout_s=0)
        turns.leave(seat)

    seats = [Seat(str(number), lambda: None) for number in range(8)]
    for seat in seats:
        turns.join(seat)
    threads = [threading.Thread(target=work, args=(seat, 200), daemon=True) for seat in seats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert not overlaps


def test_the_state_is_switched_only_when_another_had_the_turn():
    log: list[str] = []
    turns = Turns()
    one = Player(turns, "one", log)
    start(one)
    for number in range(3):
        one.put(number)
    end(one)
    assert log == ["switch to one", "one: 0", "one: 1", "one: 2"]


def test_the_next_seat_is_announced():
    announced: list[str] = []
    turns = Turns(lambda seat: announced.append(seat.name))
    log: list[str] = []
    players = [Player(turns, name, log) for name in "ab"]
    start(*players)
    end(*players)
    assert announced[0] == "a"
    assert set(announced) == {"a", "b"}


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_wait_that_times_out_says_so(timeout):
    turns = Turns()
    seat = Seat("only", lambda: None)
    turns.join(seat)
    turns.begin(seat)
    assert turns.wait(seat, lambda: False, timeout) is False
    assert turns.wait(seat, lambda: True, timeout) is True
    turns.leave(seat)


def test_a_wait_that_times_out_while_another_runs_waits_for_its_turn():
    turns = Turns()
    first, second = Seat("first", lambda: None), Seat("second", lambda: None)
    turns.join(first)
    turns.join(second)
    order: list[str] = []

    def run_first() -> None:
        turns.begin(first)
        order.append("first waits")
        turns.wait(first, lambda: False, 0.01)
        order.append("first again")
        turns.leave(first)

    def run_second() -> None:
        turns.begin(second)
        order.append("second runs")
        held.wait(WAIT_S)  # longer than the first one's limit
        order.append("second done")
        turns.leave(second)

    held = threading.Event()
    threads = [threading.Thread(target=run, daemon=True) for run in (run_first, run_second)]
    for thread in threads:
        thread.start()
    threads[0].join(0.1)
    held.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert order == ["first waits", "second runs", "second done", "first again"]


def test_a_seat_woken_for_something_else_keeps_waiting():
    """A task may arrive while a reply is still being fetched: the script continues only after that."""
    turns = Turns()
    seat = Seat("a", lambda: None)
    fetched, task, done = threading.Event(), threading.Event(), threading.Event()
    looked = threading.Semaphore(0)

    def is_fetched() -> bool:
        looked.release()
        return fetched.is_set()

    def play() -> None:
        turns.begin(seat)
        assert turns.wait(seat, is_fetched)
        done.set()
        assert turns.wait(seat, task.is_set)
        turns.leave(seat)

    turns.join(seat)
    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    assert looked.acquire(timeout=WAIT_S)
    task.set()
    turns.wake(seat)
    assert looked.acquire(timeout=WAIT_S)  # it has looked again, and found that it must wait on
    assert not done.is_set()
    fetched.set()
    turns.wake(seat)
    thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("timeout_s", [0, 0.01])
def test_a_wait_lets_others_run_before_it_ends(timeout_s):
    turns = Turns()
    first, second = Seat("a", lambda: None), Seat("b", lambda: None)
    order: list[str] = []

    def impatient() -> None:
        turns.begin(first)
        assert not turns.wait(first, lambda: False, timeout_s)
        order.append("a")
        turns.leave(first)

    def other() -> None:
        turns.begin(second)
        order.append("b")
        turns.leave(second)

    threads = [threading.Thread(target=each, daemon=True) for each in (impatient, other)]
    turns.join(first)
    turns.join(second)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert order == ["b", "a"]
