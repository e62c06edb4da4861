"""Replies: those that are held are sent together, in order, and none stays behind."""

from __future__ import annotations

import queue
import threading
from contextlib import closing

import numpy as np
import pytest

from flare_core import FLModel
from flare_runtime.site.replies import AT_ONCE, Replies, copied
from flare_transport import Cell, TransportError


class Ends:
    """Both ends of a link: replies are held at one, and arrive at the other."""

    def __init__(self, name, **patience):
        self.server, self.worker = Cell("server"), Cell("worker")
        self.worker.connect(self.server.listen(f"inproc://{name}"))
        self.arrived, self.refused = queue.SimpleQueue(), []
        self.server.handle("result", lambda message: self.arrived.put(message.payload), inline=True)
        self.replies = Replies(self.send, lambda site, error: self.refused.append((site, str(error))), **patience)

    def close(self):
        self.replies.close()
        self.worker.close()
        self.server.close()

    def send(self, reply):
        self.worker.send("server", "result", reply)

    def hold(self, numbers):
        for number in numbers:
            self.replies.hold(f"site-{number}", [number])

    def take(self, count):
        return [self.arrived.get(timeout=20)[0] for _ in range(count)]


@pytest.fixture
def ends(tmp_path):
    with closing(Ends(tmp_path.name)) as ends:
        yield ends


@pytest.fixture
def patient(tmp_path):
    """Both ends, where replies are held for longer than a test takes."""
    with closing(Ends(tmp_path.name, patience_s=1000.0)) as ends:
        yield ends


def test_replies_are_sent_when_there_are_enough_of_them(patient):
    patient.hold(range(AT_ONCE - 1))
    assert patient.arrived.empty()  # an inproc link delivers what is sent in order, so nothing was before the next
    patient.send(["later"])
    assert patient.take(1) == ["later"]
    patient.hold([AT_ONCE - 1])
    assert patient.take(AT_ONCE) == list(range(AT_ONCE))


def test_the_last_ones_are_sent_at_once(patient):
    patient.hold([1, 2])
    patient.replies.flush()
    assert patient.take(2) == [1, 2]
    patient.replies.flush()
    assert patient.arrived.empty()


def test_few_are_sent_when_they_have_waited_long_enough(ends):
    for first in (0, 10, 20):  # the second and third time, after there were none
        ends.hold([first, first + 1])
        assert ends.take(2) == [first, first + 1]


def test_closing_sends_what_is_held_and_ends_the_thread(patient):
    patient.hold([1, 2])
    assert "flare-replies" in {thread.name for thread in threading.enumerate()}
    closes = threading.Thread(target=patient.replies.close, daemon=True)
    closes.start()
    closes.join(20)
    assert patient.take(2) == [1, 2]
    assert "flare-replies" not in {thread.name for thread in threading.enumerate()}


def test_one_that_cannot_be_serialized_does_not_keep_the_others(patient):
    patient.hold([1])
    patient.replies.hold("site-2", [FLModel(metrics={"loss": "\ud800"})])
    patient.hold([3])
    patient.replies.flush()
    assert patient.take(2) == [1, 3]
    [(site, error)] = patient.refused
    assert site == "site-2"
    assert "loss" in error


def test_whoever_sends_the_last_ones_learns_that_the_link_has_ended(patient):
    patient.hold([1])
    patient.worker.close()
    with pytest.raises(TransportError):
        patient.replies.flush()


def test_a_copy_does_not_change_with_the_model():
    model = FLModel(params={"w": np.zeros(3)}, metrics={"loss": 0.5}, meta={"NUM_STEPS_CURRENT_ROUND": 7})
    copy = copied(model)
    model.params["w"][:] = 1.0
    model.params["b"] = np.zeros(1)
    model.metrics["loss"] = 1.0
    model.meta.clear()
    assert {name: value.tolist() for name, value in copy.params.items()} == {"w": [0.0, 0.0, 0.0]}
    assert copy.metrics == {"loss": 0.5}
    assert copy.meta == {"NUM_STEPS_CURRENT_ROUND": 7}


def test_numbers_alone_are_copied():
    copy = copied(FLModel(metrics={"loss": np.float32(0.5)}))
    assert copy.params is None
    assert copy.metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {"w": np.zeros(100_000)}},
        {"params": {"encoder": {"w": np.zeros(3)}}},
        {"params": {"w": np.zeros(3)}, "metrics": {"confusion": [[1, 0], [0, 1]]}},
        {"params": {"w": np.zeros(3)}, "meta": {"seen": {"a": 1}}},
        {"metrics": {"loss": 0.5}, "optimizer_params": {"momentum": np.zeros(3)}},
    ],
    ids=["large", "nested", "a list among the metrics", "a dict in meta", "an optimizer's arrays without a model"],
)
def test_what_is_large_or_could_still_change_is_not_copied(fields):
    assert copied(FLModel(**fields)) is None
