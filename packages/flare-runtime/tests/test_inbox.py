"""The inbox: nothing is lost, and nobody sleeps while there is enough to do."""

import random
import threading

from flare_runtime.run.inbox import Inbox


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    return thread, found


def send_all(inbox, who):
    for number in range(500):
        inbox.put((who, number), can_wait=True)


def test_items_that_can_wait_wake_only_together():
    inbox = Inbox(patience_s=1000.0)
    inbox.put("first")  # from now on, the patience counts
    assert inbox.take() == "first"
    thread, found = in_thread(lambda: inbox.take(3))
    inbox.put("a", can_wait=True)
    inbox.put("b", can_wait=True)
    thread.join(0.2)
    assert not found
    inbox.put("c", can_wait=True)
    thread.join(20)
    assert [*found, inbox.take_now(), inbox.take_now(), inbox.take_now()] == ["a", "b", "c", None]


def test_an_item_that_cannot_wait_wakes_at_once():
    inbox = Inbox(patience_s=1000.0)
    inbox.put("first")
    assert inbox.take() == "first"
    thread, found = in_thread(lambda: inbox.take(100))
    inbox.put("a", can_wait=True)
    inbox.put("urgent")
    thread.join(20)
    assert found == ["a"]
    assert inbox.take(100) == "urgent"


def test_slow_items_wake_one_by_one():
    inbox = Inbox(patience_s=0.0)
    thread, found = in_thread(lambda: inbox.take(100))
    inbox.put("a", can_wait=True)
    thread.join(20)
    assert found == ["a"]


def test_whatever_the_threads_do_every_item_comes_out_once():
    for seed in range(20):
        inbox = Inbox()
        senders = [threading.Thread(target=send_all, args=(inbox, who)) for who in range(4)]
        choose = random.Random(seed)
        for sender in senders:
            sender.start()
        taken = [inbox.take(min(2000 - count, choose.randint(1, 16))) for count in range(2000)]
        assert sorted(taken) == [(who, n) for who in range(4) for n in range(500)]
        for who in range(4):
            assert [n for sender, n in taken if sender == who] == list(range(500))
