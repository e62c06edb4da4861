"""How long something is offered."""

from __future__ import annotations

import pytest

from flare_tensor_downloader.transaction import Transaction


@pytest.fixture
def forgotten():
    return []


def test_without_named_receivers_the_first_that_is_done_ends_it(forgotten):
    offer = Transaction(forgotten.append, None)
    offer.lost("site-1")
    assert not offer.wait_released(0)
    offer.done("site-1")
    assert offer.wait_released(0)
    assert forgotten == [offer.ref_id]


def test_it_lasts_until_each_receiver_was_done_as_often_as_it_will_be(forgotten):
    offer = Transaction(forgotten.append, {"a": 2, "b": 1})
    for receiver in ("a", "b", "b"):
        offer.done(receiver)
        assert forgotten == []
    offer.done("a")
    assert forgotten == [offer.ref_id]
    assert offer.wait_released()


def test_who_is_lost_is_not_waited_for(forgotten):
    offer = Transaction(forgotten.append, {"a": 3, "b": 1})
    offer.lost("c")
    offer.lost("a")
    assert forgotten == []
    offer.lost("b")
    assert forgotten == [offer.ref_id]


def test_who_was_lost_is_not_waited_for_when_the_others_are_done(forgotten):
    offer = Transaction(forgotten.append, {"a": 3, "b": 1})
    offer.lost("a")
    offer.done("b")
    assert forgotten == [offer.ref_id]


def test_nobody_to_wait_for_is_over_when_anybody_is_lost(forgotten):
    offer = Transaction(forgotten.append, {})
    offer.lost("a")
    assert forgotten == [offer.ref_id]


def test_a_callback_comes_once_at_the_end(forgotten):
    calls = []
    offer = Transaction(forgotten.append, {"a": 1})
    offer.when_released(lambda: calls.append("first"))
    assert calls == []
    offer.done("a")
    offer.close()
    assert calls == ["first"]
    offer.when_released(lambda: calls.append("at once"))
    assert calls == ["first", "at once"]


def test_references_cannot_be_guessed(forgotten):
    references = {Transaction(forgotten.append, None).ref_id for _ in range(100)}
    assert len(references) == 100
    assert {len(reference) for reference in references} == {16}
