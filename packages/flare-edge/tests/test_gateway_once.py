"""Whatever happens in whatever order: each accepted result is in one batch, and batches stay as they are."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from gateways import MODEL, SCALE, make, order, update
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from flare_edge.gateway.results import Refused, json_result, train_result

RESULTS = {
    "train": lambda ticket: train_result(update(ticket / 10, 1 + ticket % 5), MODEL, SCALE),
    "evaluate": lambda ticket: json_result(b'{"num_examples": 2, "metrics": {"loss": %d}}' % ticket),
    "failed": lambda ticket: json_result(b'{"error": "no"}'),
}


class Once(RuleBasedStateMachine):
    """A gateway with a parent that forgets nothing, and devices that report as they like."""

    orders = Bundle("orders")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.gateway = self.start()
        self.tickets = self.markers = 0
        self.accepted: dict[int, str] = {}  # kind of result, by ticket
        self.batches: dict[int, dict] = {}
        self.acknowledged = 0

    def start(self):
        return make(self.folder, update_timeout_s=0.0)

    @rule(
        target=orders, device=st.integers(0, 3), kind=st.sampled_from(["train", "evaluate"]), version=st.integers(0, 2)
    )
    def give(self, device, kind, version):
        self.tickets += 1
        given = order(self.tickets, f"device{device}", version, kind)
        self.gateway.give([given])
        return given

    @rule(given=orders, kind=st.sampled_from(["train", "evaluate", "failed"]), thief=st.booleans())
    def report(self, given, kind, thief):
        device = "gw-1/thief" if thief else given.device
        try:
            self.gateway.report(device, given.ticket, RESULTS[kind](given.ticket)).result(10)
        except Refused:
            return
        assert not thief
        assert self.accepted.setdefault(given.ticket, kind) == kind

    @rule(given=orders)
    def give_again(self, given):
        self.gateway.give([given])
        assert not (given in self.gateway.open_tickets() and given.ticket in self.accepted)

    @rule(given=orders)
    def withdraw(self, given):
        self.gateway.withdraw([given.ticket])

    @rule(device=st.integers(0, 3))
    def come(self, device):
        self.gateway.poll(f"gw-1/device{device}")

    @rule(device=st.integers(0, 3))
    def leave(self, device):
        self.gateway.leave(f"gw-1/device{device}")

    @rule(version=st.integers(0, 2))
    def drop_model(self, version):
        self.gateway.drop_model(version)

    @rule()
    def read_reports(self):
        self.markers += 1
        marker = f"gw-1/marker{self.markers}"
        self.gateway.poll(marker)  # so that there is news in any case
        while True:
            report = self.gateway.next_report()
            if report.batch is not None:
                assert report.number == len(self.batches) + 1
                self.batches[report.number] = plain(report.batch)
            if marker in report.joined:
                break

    @rule(back=st.integers(0, 3))
    def acknowledge(self, back):
        number = max(0, len(self.batches) - back)
        self.gateway.acknowledge(number)
        self.acknowledged = max(self.acknowledged, number)

    @rule()
    def restart(self):
        self.gateway.close()
        self.gateway = self.start()

    @invariant()
    def batches_stay_until_they_are_acknowledged(self):
        kept = {number: plain(batch) for number, batch in self.gateway.unacknowledged()}
        assert kept == {number: batch for number, batch in self.batches.items() if number > self.acknowledged}

    def teardown(self):
        self.restart()
        self.gateway.withdraw([given.ticket for given in self.gateway.open_tickets()])
        self.read_reports()
        self.gateway.close()
        shutil.rmtree(self.folder)
        reported = [ticket for batch in self.batches.values() for ticket in batch["done"]]
        failed = [int(ticket) for batch in self.batches.values() for ticket in batch["failed"]]
        assert len(reported) == len(set(reported))
        assert set(reported) == {ticket for ticket, kind in self.accepted.items() if kind != "failed"}
        assert {ticket for ticket, kind in self.accepted.items() if kind == "failed"} <= set(failed)
        assert not set(failed) & set(reported)
        for batch in self.batches.values():
            trained = [ticket for ticket in batch["done"] if self.accepted[ticket] == "train"]
            assert sum(each["count"] for each in batch["sums"].values()) == len(trained)
            assert sum(each["weight"] for each in batch["sums"].values()) == sum(1 + each % 5 for each in trained)


def plain(batch):
    data = batch.as_data()
    for each in data["sums"].values():
        each["total"] = {name: value.tolist() for name, value in each["total"].items()}
    return data


TestOnce = pytest.mark.timeout(300)(Once.TestCase)
Once.TestCase.settings = settings(max_examples=max(100, settings().max_examples), stateful_step_count=30)
