"""Properties of FedBuff: exact totals in any tree, tickets that count once, restored machines, rules of selection."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core import FLModel, Reply
from flare_core.aggregation import WeightedMean
from flare_edge.errors import EdgeError
from flare_edge.fedbuff import (
    DeviceManagerConfig,
    FedBuff,
    FedBuffSettings,
    ModelManagerConfig,
    RecordedFedBuff,
    add_sum,
    combined,
    mean_update,
    replay,
)
from flare_edge.fixed_point import Scale
from flare_edge.messages import Batch, Order, VersionSum
from flare_fobs import dumps, loads

SCALE = Scale.for_norm(4.0)
LEAVES = [f"gw-{number}" for number in range(4)]


def merged(batches):
    """Return one batch of several, as an inner node of the tree makes it."""
    leaves: dict[str, int] = {}
    sums: dict[int, VersionSum] = {}
    done: list[int] = []
    failed: dict[int, str] = {}
    for batch in batches:
        leaves.update({leaf: max(number, leaves.get(leaf, 0)) for leaf, number in batch.leaves.items()})
        for version, each in batch.sums.items():
            sums[version] = add_sum(sums.get(version), each)
        done += batch.done
        failed.update(batch.failed)
    return Batch(leaves, sums, done, failed)


def update_of(order: Order) -> tuple[dict[str, np.ndarray], int]:
    """Return an update and a weight that are functions of the ticket."""
    random = np.random.default_rng(order.ticket)
    return {"w": random.uniform(-1, 1, 5).astype(np.float32)}, int(random.integers(1, 50))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_tree_and_any_batches_give_the_same_bits(data):
    def run(batches_of) -> list[tuple[int, int, list[int], list[float]]]:
        models = ModelManagerConfig(None, 3, 5.0, 12, None, staleness_weight=True)
        fedbuff = FedBuff(FedBuffSettings(models, DeviceManagerConfig(24, 12)), seed=3)
        for leaf in LEAVES:
            fedbuff.join(leaf, [f"{leaf}/{number}" for number in range(10)])
        params = {"w": np.zeros(5, np.float32)}
        numbers = dict.fromkeys(LEAVES, 0)
        decisions = fedbuff.decide()
        open_orders = list(decisions.orders)
        versions = []
        while not decisions.is_over:
            answered, open_orders = open_orders[:12], open_orders[12:]
            for batch in batches_of(answered, numbers):
                fedbuff.merge(batch)
            decisions = fedbuff.decide()
            open_orders += decisions.orders
            new = decisions.version
            params = combined(new, SCALE, params)
            totals = {version: each.total["w"].tolist() for version, each in new.sums.items()}
            versions.append((new.version, new.count, totals, params["w"].tolist()))
        return versions

    def leaf_batch(leaf, orders, numbers):
        numbers[leaf] += 1
        sums: dict[int, VersionSum] = {}
        for order in orders:
            update, weight = update_of(order)
            sums[order.version] = add_sum(
                sums.get(order.version),
                VersionSum(SCALE.encode(update, weight), weight, 1, {"loss": (0.5 * weight, weight)}),
            )
        return Batch({leaf: numbers[leaf]}, sums, [order.ticket for order in orders])

    def one_by_one(orders, numbers):
        return [leaf_batch(order.gateway, [order], numbers) for order in orders]

    def drawn(orders, numbers):
        """Shuffle, cut each leaf's results into batches, and merge some of different leaves on their way."""
        shuffled = data.draw(st.permutations(orders))
        batches = []
        for leaf in LEAVES:
            rest = [order for order in shuffled if order.gateway == leaf]
            while rest:
                size = data.draw(st.integers(1, len(rest)))
                batches.append(leaf_batch(leaf, rest[:size], numbers))
                rest = rest[size:]
        inner = []
        while batches:
            size = data.draw(st.integers(1, len(batches)))
            inner.append(merged(batches[:size]))
            batches = batches[size:]
        return inner

    assert run(drawn) == run(one_by_one)


@dataclass
class Fleet:
    """What is outside of a FedBuff: its devices and their gateway, which do as hypothesis says."""

    fedbuff: FedBuff
    number: int = 0
    orders: list[Order] = field(default_factory=list)  # all that were ever given
    sent: list[Batch] = field(default_factory=list)
    counted: dict[int, int] = field(default_factory=dict)  # how often a ticket's update was used

    def act(self, action: tuple[str, int]) -> object:
        kind, at = action
        order = self.orders[at % len(self.orders)] if self.orders else None
        if kind == "join":
            self.fedbuff.join("gw", [f"gw/{at % 8}"])
        elif kind == "leave":
            self.fedbuff.leave("gw", [f"gw/{at % 8}"])
        elif kind == "again" and self.sent:
            assert not self.fedbuff.merge(self.sent[at % len(self.sent)])
        elif kind == "expire" and order is not None:
            self.fedbuff.expire([order.ticket])
        elif kind in {"done", "failed"} and order is not None:  # perhaps for the second time, or long withdrawn
            self.number += 1
            total = np.zeros(64, np.int64)
            total[order.ticket % 64] = 1
            sums = {order.version: VersionSum({"w": total}, 1, 1)} if kind == "done" else {}
            done, failed = ([order.ticket], {}) if kind == "done" else ([], {order.ticket: "no reason"})
            batch = Batch({"gw": self.number}, sums, done, failed)
            self.sent.append(batch)
            assert self.fedbuff.merge(batch)
        decisions = self.fedbuff.decide()
        self.orders += decisions.orders
        if decisions.version is not None:
            for each in decisions.version.sums.values():
                for ticket in np.flatnonzero(each.total["w"]):
                    self.counted[int(ticket)] = self.counted.get(int(ticket), 0) + int(each.total["w"][ticket])
        return decisions.as_data()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "leave", "done", "done", "done", "failed", "expire", "again"]),
        st.integers(0, 63),
    ),
    max_size=40,
)
SETTINGS = st.builds(
    lambda updates, more, hole, history, active, reuse: FedBuffSettings(
        ModelManagerConfig(active, 1000, 5.0, updates, history),
        DeviceManagerConfig(updates + more, min(hole, updates + more), reuse),
    ),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
)


@given(SETTINGS, ACTIONS)
@settings(max_examples=200, deadline=None)
def test_no_order_counts_twice_and_the_rules_of_selection_hold(configuration, actions):
    fleet = Fleet(FedBuff(configuration, 1))
    fleet.fedbuff.join("gw", [f"gw/{number}" for number in range(6)])
    for action in [("join", 0), *actions]:
        before = fleet.fedbuff.working
        decisions = fleet.act(action)
        assert fleet.fedbuff.working <= configuration.devices.device_selection_size
        assert not decisions["orders"] or len(decisions["orders"]) >= configuration.devices.min_hole_to_fill
        assert fleet.fedbuff.working <= before + len(decisions["orders"])
        chosen = [order["device"] for order in decisions["orders"]]
        assert len(set(chosen)) == len(chosen)
        assert all(order["version"] == fleet.fedbuff.version for order in decisions["orders"])
    assert max(fleet.counted.values(), default=0) <= 1
    if not configuration.devices.device_reuse:
        assert len({order.device for order in fleet.orders}) == len(fleet.orders)


@given(SETTINGS, ACTIONS, ACTIONS)
@settings(max_examples=100, deadline=None)
def test_a_restored_machine_goes_on_identically(configuration, before, after):
    fleet = Fleet(FedBuff(configuration, 5))
    for action in [*(("join", number) for number in range(6)), *before]:
        fleet.act(action)
    state = loads(dumps(fleet.fedbuff.state()))  # as it is kept on a disk
    again = Fleet(FedBuff.restored(configuration, 5, state), fleet.number, list(fleet.orders), list(fleet.sent))
    assert [fleet.act(action) for action in after] == [again.act(action) for action in after]
    assert fleet.fedbuff.state().keys() == again.fedbuff.state().keys()


@given(SETTINGS, ACTIONS)
@settings(max_examples=50, deadline=None)
def test_a_record_is_replayed_to_the_same_decisions(configuration, actions):
    record = io.StringIO()
    fedbuff = RecordedFedBuff(configuration, 5)
    fedbuff.begin_record(record, clock=lambda: 1.5)
    fleet = Fleet(fedbuff)
    for action in [*(("join", number) for number in range(6)), *actions]:
        fleet.act(action)
    lines = record.getvalue().splitlines()
    assert replay(lines) == 6 + len(actions)


def test_a_decision_that_differs_from_the_record_is_named():
    record = io.StringIO()
    fedbuff = RecordedFedBuff(FedBuffSettings(ModelManagerConfig(num_updates_for_model=1), DeviceManagerConfig(1)), 5)
    fedbuff.begin_record(record)
    fedbuff.join("gw", ["gw/a", "gw/b"])
    fedbuff.decide()
    other = record.getvalue().replace('"ticket":1', '"ticket":2')
    with pytest.raises(EdgeError, match="line 3 of the record: orders were decided to be"):
        replay(other.splitlines())
    with pytest.raises(EdgeError, match="line 1 of the record is 'join'; a record begins with 'begin'"):
        replay(record.getvalue().splitlines()[1:])
    with pytest.raises(EdgeError, match="line 1 of the record is no JSON object with 'call' and 't'"):
        replay(["nonsense"])


@given(
    st.lists(st.sampled_from([f"gw-{at}/{number}" for at in range(3) for number in range(5)]), unique=True),
    st.randoms(),
)
def test_the_choice_does_not_depend_on_the_order_in_which_devices_joined(devices, order):
    def chosen(names):
        fedbuff = FedBuff(FedBuffSettings(ModelManagerConfig(num_updates_for_model=1), DeviceManagerConfig(3)), 11)
        for name in names:
            fedbuff.join(name.partition("/")[0], [name])
        return [each.device for each in fedbuff.decide().orders]

    shuffled = list(devices)
    order.shuffle(shuffled)
    assert chosen(devices) == chosen(shuffled)
    assert len(chosen(devices)) == min(len(devices), 3)


def test_every_device_is_chosen_about_equally_often():
    fedbuff = FedBuff(FedBuffSettings(ModelManagerConfig(None, 10**6, 5.0, 1, None), DeviceManagerConfig(1)), 11)
    fedbuff.join("gw", [f"gw/{number}" for number in range(20)])
    counts: dict[str, int] = {}
    for number in range(1, 4001):
        (order,) = fedbuff.decide().orders
        counts[order.device] = counts.get(order.device, 0) + 1
        fedbuff.merge(Batch({"gw": number}, {order.version: VersionSum({}, 1, 1)}, [order.ticket]))
    assert len(counts) == 20
    assert max(abs(count - 200) for count in counts.values()) < 5 * 200**0.5


def test_synchronous_rounds_are_federated_averaging():
    """Float32 holds these values and their means exactly, so the bits are those of FedAvg in flare_core."""
    random = np.random.default_rng(0)
    fedbuff = FedBuff(FedBuffSettings.synchronous(8, 5), 2)
    fedbuff.join("gw", [f"gw/{number}" for number in range(20)])
    params = expected = {"w": random.integers(-64, 64, (3, 4)).astype(np.float32)}
    decisions = fedbuff.decide()
    while not decisions.is_over:
        mean = WeightedMean()
        assert len({order.device for order in decisions.orders}) == 8
        for order, weight in zip(decisions.orders, [1, 2, 3, 4, 5, 6, 7, 36], strict=True):  # 64 in all
            update = random.integers(-64, 64, (3, 4)).astype(np.float32) / 64
            sums = {order.version: VersionSum(SCALE.encode({"w": update}, weight), weight, 1)}
            fedbuff.merge(Batch({"gw": order.ticket}, sums, [order.ticket]))
            meta = {"NUM_STEPS_CURRENT_ROUND": weight}
            mean.add(Reply(order.device, "train", FLModel(params_type="DIFF", params={"w": update}, meta=meta)))
        decisions = fedbuff.decide()
        assert decisions.version.ages == {0: 8}
        params = combined(decisions.version, SCALE, params)
        expected = mean.update(FLModel(params=expected)).params
        assert params["w"].dtype == expected["w"].dtype == np.float32
        assert params["w"].tobytes() == expected["w"].tobytes()
    assert fedbuff.version == 5


@given(st.lists(st.tuples(st.floats(-4, 4, width=32), st.integers(1, 1024)), min_size=1, max_size=30))
def test_a_version_is_the_exact_mean_rounded_once(updates):
    count = len(updates)
    fedbuff = FedBuff(FedBuffSettings.synchronous(count, 1), 2)
    fedbuff.join("gw", [f"gw/{number}" for number in range(count)])
    numerator = Fraction(0)
    for order, (value, weight) in zip(fedbuff.decide().orders, updates, strict=True):
        encoded = SCALE.encode({"w": np.float32([value])}, weight)
        numerator += weight * Fraction(round(Fraction(value) * 2**SCALE.bits), 2**SCALE.bits)
        fedbuff.merge(Batch({"gw": order.ticket}, {0: VersionSum(encoded, weight, 1)}, [order.ticket]))
    new = fedbuff.decide().version
    exact = numerator / sum(weight for _, weight in updates)
    assert mean_update(new, SCALE)["w"][0] == pytest.approx(float(exact), rel=2**-52, abs=0)
    assert combined(new, SCALE, {"w": np.float32([0.0])})["w"][0] == np.float32(mean_update(new, SCALE)["w"][0])
