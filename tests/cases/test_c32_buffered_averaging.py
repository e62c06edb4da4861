"""Buffered asynchronous averaging weighs devices, not versions, and counts each of their results once."""

from __future__ import annotations

import numpy as np
import pytest

from flare_edge.device.safetensors import dumps
from flare_edge.fedbuff import DeviceManagerConfig, FedBuff, FedBuffSettings, ModelManagerConfig, combined
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.results import Refused, train_result
from flare_edge.gateway.settings import GatewaySettings

START = {"w": np.zeros(1, np.float64)}


class Federation:
    """A server with two gateways: one has a slow device, the other ten fast ones."""

    def __init__(self, folder, **models):
        self.settings = FedBuffSettings(
            ModelManagerConfig(
                **{
                    "max_num_active_model_versions": None,
                    "max_model_version": 100,
                    "num_updates_for_model": 10,
                    **models,
                }
            ),
            DeviceManagerConfig(device_selection_size=11),
        )
        self.scale = self.settings.models.scale
        self.server = FedBuff(self.settings, seed=0)
        self.params = START
        self.orders = {}  # by device
        self.dropped = []
        self.gateways = {
            name: Gateway(name, folder / name, GatewaySettings(), self.scale, {}, update_timeout_s=3600.0)
            for name in ("slow", "fast")
        }
        self.fast = [f"fast/{number}" for number in range(10)]
        self.server.join("slow", ["slow/0"])
        self.server.join("fast", self.fast)
        self.decide()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for gateway in self.gateways.values():
            gateway.close()

    def decide(self):
        decisions = self.server.decide()
        self.dropped += decisions.dropped
        if decisions.version is not None:
            self.params = combined(decisions.version, self.scale, self.params, self.settings.models.global_lr)
        for order in decisions.orders:
            self.orders[order.device] = order
            self.gateways[order.gateway].set_model(order.version, self.params)
            self.gateways[order.gateway].give([order])
        return decisions

    def report(self, device, value, ticket=None):
        gateway = self.gateways[device.partition("/")[0]]
        body = dumps({"w": np.array([value])}, {"num_examples": "1"})
        ticket = self.orders[device].ticket if ticket is None else ticket
        gateway.report(device, ticket, train_result(body, gateway.like, self.scale)).result(60)

    def batch(self, name):
        """Return a gateway's batch, which is complete: all its orders are answered."""
        while (batch := self.gateways[name].next_report().batch) is None:
            pass
        return batch

    def deliver(self, batch):
        assert self.server.merge(batch)
        return self.decide()

    def make_version(self, value=0.0):
        """Let all fast devices report the same, which makes a version."""
        for device in self.fast:
            self.report(device, value)
        return self.deliver(self.batch("fast")).version


def test_one_straggler_weighs_as_much_as_each_of_ten_others(tmp_path):
    with Federation(tmp_path, max_model_history=None) as federation:
        for _ in range(3):
            federation.make_version()
        federation.report("slow/0", 0.0)
        federation.deliver(federation.batch("slow"))
        assert federation.orders["slow/0"].version == 3
        assert federation.make_version().version == 4
        assert federation.params["w"].tolist() == [0.0]
        federation.report("slow/0", 10.0)
        federation.deliver(federation.batch("slow"))
        made = federation.make_version(1.0)
        assert {version: each.count for version, each in made.sums.items()} == {3: 1, 4: 10}
        assert federation.params["w"].tolist() == [20 / 11]


def test_stale_updates_follow_the_documented_formula(tmp_path):
    with Federation(tmp_path, max_model_history=None, staleness_weight=True, global_lr=0.5) as federation:
        federation.make_version()
        federation.make_version()
        federation.report("slow/0", 10.0)  # trained from version 0, used at version 2
        federation.deliver(federation.batch("slow"))
        made = federation.make_version(1.0)
        factor = 3**-0.5
        assert made.factors == {0: pytest.approx(factor), 2: 1.0}
        assert federation.params["w"][0] == pytest.approx(0.5 * (factor * 10 + 10) / 11, rel=1e-12)


def test_a_report_for_a_version_no_longer_kept_is_dropped_with_a_log_line(tmp_path, caplog):
    caplog.set_level("INFO", "flare_edge")
    with Federation(tmp_path, max_model_history=2) as federation:
        federation.report("slow/0", 10.0)
        under_way = federation.batch("slow")
        for _ in range(3):
            federation.make_version(1.0)
        federation.deliver(under_way)
        assert [(each.version, each.count, each.reason) for each in federation.dropped] == [(0, 1, "late")]
        assert "dropped 1 updates of version 0: late" in caplog.text
        assert federation.make_version(1.0).count == 10
        assert federation.params["w"].tolist() == [4.0]


def test_a_device_that_reports_twice_counts_once(tmp_path):
    with Federation(tmp_path) as federation:
        ticket = federation.orders["fast/0"].ticket
        federation.report("fast/0", 1.0)
        federation.report("fast/0", 1.0)  # the same again: it had not heard that it was accepted
        with pytest.raises(Refused, match="is done, with another result"):
            federation.report("fast/0", 7.0)
        for device in federation.fast[1:]:
            federation.report(device, 1.0)
        assert federation.deliver(federation.batch("fast")).version.count == 10
        with pytest.raises(Refused, match="is not known"):
            federation.report("fast/1", 1.0, ticket)
        assert federation.params["w"].tolist() == [1.0]
        assert federation.server.waiting == 0


def test_a_report_with_anothers_id_is_refused(tmp_path):
    with Federation(tmp_path) as federation:
        with pytest.raises(Refused, match="is another device's"):
            federation.report("fast/0", 9.0, federation.orders["fast/1"].ticket)
        with pytest.raises(Refused, match="is not known"):
            federation.report("slow/0", 9.0, federation.orders["fast/1"].ticket)
        assert federation.make_version(1.0).count == 10
        assert federation.params["w"].tolist() == [1.0]
