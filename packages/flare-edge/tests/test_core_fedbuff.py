"""FedBuff: closed forms, devices that count once, holes, versions that are kept, and ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flare_edge.errors import EdgeError
from flare_edge.fedbuff import (
    DeviceManagerConfig,
    EvaluatorConfig,
    FedBuff,
    FedBuffSettings,
    ModelManagerConfig,
    SimulationConfig,
    combined,
)
from flare_edge.fixed_point import Scale
from flare_edge.messages import Batch, Order, VersionSum

SCALE = Scale.for_norm(16.0)


def machine(devices=20, *, updates=1, size=1, hole=1, reuse=True, evaluation=None, seed=7, **models):
    """Return a FedBuff with devices that have joined one gateway."""
    settings = FedBuffSettings(
        ModelManagerConfig(**{"max_model_version": 100, "num_updates_for_model": updates, **models}),
        DeviceManagerConfig(device_selection_size=size, min_hole_to_fill=hole, device_reuse=reuse),
        evaluation,
    )
    fedbuff = FedBuff(settings, seed)
    fedbuff.join("gw", [f"gw/{number}" for number in range(devices)])
    return fedbuff


def batch(number, orders, value=1.0, *, weight=1, failed=None, leaf="gw", metrics=None):
    """Return a batch with the same update from each of some orders."""
    sums = {}
    for order in orders:
        total = {} if order.kind == "evaluate" else SCALE.encode({"w": np.float32([value])}, weight)
        earlier = sums.get(order.version, VersionSum({"w": np.zeros(1, np.int64)}, 0, 0, {}))
        if total:
            total = {"w": earlier.total["w"] + total["w"]}
            sums[order.version] = VersionSum(total, earlier.weight + weight, earlier.count + 1, metrics or {})
        else:
            sums[order.version] = VersionSum(earlier.total, earlier.weight, earlier.count, metrics or {})
    return Batch({leaf: number}, sums, [order.ticket for order in orders], failed or {})


def test_a_version_weighs_devices_not_versions():
    fedbuff = machine(updates=11, size=11, max_model_history=None, max_num_active_model_versions=None)
    fedbuff.version = 3
    slow, *others = fedbuff.decide().orders
    fedbuff.expire([order.ticket for order in others])
    fedbuff.version = 4
    fast = fedbuff.decide().orders
    assert len(fast) == 10
    assert fedbuff.merge(batch(1, [slow], 10.0))
    assert fedbuff.merge(batch(2, fast, 1.0))
    new = fedbuff.decide().version
    assert (new.version, new.count, new.ages) == (5, 11, {1: 1, 0: 10})
    assert combined(new, SCALE, {"w": np.zeros(1)}, 1.0)["w"].tolist() == [20 / 11]


def test_an_orders_result_counts_once():
    fedbuff = machine(updates=5, size=5)
    orders = fedbuff.decide().orders
    fedbuff.merge(batch(1, orders[:1]))
    fedbuff.merge(batch(2, orders[:1]))  # again, in another batch
    assert not fedbuff.merge(batch(2, orders[1:2]))  # a batch that is known
    assert fedbuff.waiting == 1
    assert [(each.count, each.reason) for each in fedbuff.decide().dropped] == [(1, "unexpected")]


def test_an_orders_result_is_not_taken_from_another_gateway():
    fedbuff = machine(updates=5, size=5)
    orders = fedbuff.decide().orders
    fedbuff.merge(batch(1, orders[:1], leaf="other"))
    assert fedbuff.waiting == 0
    assert [each.reason for each in fedbuff.decide().dropped] == ["unexpected"]
    fedbuff.merge(batch(1, orders[:1]))
    assert fedbuff.waiting == 1


def test_updates_of_versions_that_are_not_kept_are_dropped(caplog):
    caplog.set_level("INFO", "flare_edge")
    fedbuff = machine(size=2, max_model_history=2, max_num_active_model_versions=None)
    slow, fast = fedbuff.decide().orders
    for number in (1, 2):
        fedbuff.merge(batch(number, [fast]))
        fast = fedbuff.decide().orders[0]
    fedbuff.merge(batch(3, [slow]))
    decisions = fedbuff.decide()
    assert [(each.version, each.count, each.reason) for each in decisions.dropped] == [(0, 1, "late")]
    assert "dropped 1 updates of version 0: late" in caplog.text
    assert decisions.version is None


def test_orders_of_old_versions_are_withdrawn_but_count_while_kept():
    fedbuff = machine(size=2, max_num_active_model_versions=1, max_model_history=None)
    slow, fast = fedbuff.decide().orders
    fedbuff.merge(batch(1, [fast]))
    decisions = fedbuff.decide()
    assert decisions.withdrawn == [slow.ticket]
    assert len(decisions.orders) == 2
    fedbuff.merge(batch(2, [slow]))
    assert fedbuff.decide().version.ages == {1: 1}


def test_stale_updates_are_discounted():
    fedbuff = machine(updates=2, size=3, staleness_weight=True)
    slow, *fast = fedbuff.decide().orders
    fedbuff.merge(batch(1, fast))
    (*_, third) = fedbuff.decide().orders
    fedbuff.merge(batch(2, [slow], 4.0, weight=3))
    fedbuff.merge(batch(3, [third], 1.0, weight=2))
    new = fedbuff.decide().version
    factor = 2**-0.5
    assert new.factors == {0: factor, 1: 1.0}
    value = combined(new, SCALE, {"w": np.zeros(1)}, 0.5)["w"][0]
    assert value == pytest.approx(0.5 * (factor * 12 + 2) / 5, rel=1e-15)


def test_free_places_are_filled_when_enough_can_be():
    fedbuff = machine(updates=4, size=4, hole=2)
    orders = fedbuff.decide().orders
    assert len(orders) == 4
    fedbuff.merge(batch(1, orders[:1]))
    assert not fedbuff.decide().orders
    fedbuff.merge(batch(2, orders[1:2]))
    assert len(fedbuff.decide().orders) == 2


def test_a_device_works_once_in_a_run_if_it_may_not_be_reused():
    fedbuff = machine(6, size=2, reuse=False, max_model_history=None)
    worked = []
    number = 0
    while orders := fedbuff.decide().orders:
        worked += [order.device for order in orders]
        number += 1
        fedbuff.merge(batch(number, orders))
    assert len(set(worked)) == len(worked) == 6
    assert "no device works" in fedbuff.stalled()


def test_failing_devices_rest_after_three_failures():
    fedbuff = machine(1)
    for number in (1, 2, 3):
        (order,) = fedbuff.decide().orders
        fedbuff.merge(batch(number, [], failed={order.ticket: "battery"}))
    assert not fedbuff.decide().orders
    assert "1 are there, of which 0 can be chosen" in fedbuff.stalled()
    fedbuff.leave("gw", ["gw/0"])
    fedbuff.join("gw", ["gw/0"])
    assert len(fedbuff.decide().orders) == 1
    assert fedbuff.stalled() is None


def test_devices_that_leave_give_their_place_to_others():
    fedbuff = machine(3)
    (order,) = fedbuff.decide().orders
    fedbuff.leave("gw", [order.device])
    decisions = fedbuff.decide()
    assert decisions.withdrawn == [order.ticket]
    assert decisions.orders[0].device != order.device
    fedbuff.leave("gw")
    assert not fedbuff.decide().orders
    assert fedbuff.joined == 0


def test_a_run_ends_with_its_last_version():
    fedbuff = machine(size=2, max_model_version=2)
    first = fedbuff.decide().orders
    fedbuff.merge(batch(1, first[:1]))
    second = fedbuff.decide()
    assert not second.is_over
    fedbuff.merge(batch(2, second.orders[:1]))
    last = fedbuff.decide()
    assert last.is_over
    assert not last.orders
    assert last.withdrawn == [first[1].ticket]
    assert fedbuff.decide().is_over


def test_devices_evaluate_versions():
    fedbuff = machine(size=1, max_model_version=2, evaluation=EvaluatorConfig(eval_frequency=2, num_devices=2))
    (order,) = fedbuff.decide().orders
    fedbuff.merge(batch(1, [order], metrics={"accuracy": (0.5, 1)}))
    decisions = fedbuff.decide()
    assert decisions.version.metrics == {"accuracy": 0.5}
    assert [each.kind for each in decisions.orders] == ["train"]
    fedbuff.merge(batch(2, decisions.orders))
    decisions = fedbuff.decide()
    assert [each.kind for each in decisions.orders] == ["evaluate", "evaluate"]
    assert not decisions.is_over
    one, other = decisions.orders
    fedbuff.merge(batch(3, [one], metrics={"accuracy": (0.25, 1)}))
    assert not fedbuff.decide().is_over
    fedbuff.merge(batch(4, [other], metrics={"accuracy": (2.25, 3)}))
    decisions = fedbuff.decide()
    assert decisions.evaluations == {2: {"accuracy": 0.625}}
    assert decisions.is_over


def test_a_batch_that_is_half_known_is_refused():
    fedbuff = machine(size=2, updates=2)
    fedbuff.merge(Batch({"a": 1}, {}, []))
    with pytest.raises(EdgeError, match="a's batch 1, which was merged before"):
        fedbuff.merge(Batch({"a": 1, "b": 1}, {}, []))
    assert fedbuff.received == {"a": 1}


def test_after_a_restart_open_orders_go_on():
    fedbuff = machine(size=3, updates=3)
    known = fedbuff.decide().orders
    state = fedbuff.state()
    fedbuff.merge(batch(1, known[:1]))
    later = fedbuff.decide().orders  # not in the state

    restored = FedBuff.restored(fedbuff.settings, 7, state)
    restored.begin_life()
    assert restored.adopt("gw", [known[1]], answered=[known[0], *later]) == [known[2]]  # is to be given again
    restored.merge(batch(1, known[:1]))  # sent again
    restored.merge(batch(2, later))
    assert restored.waiting == 2
    decisions = restored.decide()
    assert not decisions.withdrawn
    assert len(decisions.orders) == 1
    assert decisions.orders[0].ticket not in {order.ticket for order in [*known, *later]}
    restored.merge(batch(3, known[1:2]))
    assert restored.decide().version.count == 3


def test_open_orders_that_a_restarted_server_does_not_know_go_on():
    fedbuff = machine(size=2, updates=2)
    state = fedbuff.state()
    lost = fedbuff.decide().orders
    restored = FedBuff.restored(fedbuff.settings, 7, state)
    restored.begin_life()
    assert restored.adopt("gw", [*lost, Order(99, "gw", "gw/0", 1)]) == []
    decisions = restored.decide()
    assert not decisions.orders
    assert decisions.withdrawn == [99]  # of a version that this server has not made
    restored.merge(batch(1, lost))
    assert restored.decide().version.count == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 3, "size": 2}, "num_updates_for_model is 3, but only 2 devices"),
        ({"hole": 2}, "min_hole_to_fill is 2, but there are only 1 places"),
        ({"max_model_version": 0}, "ModelManagerConfig.max_model_version is 0; give an integer of at least 1"),
        ({"max_model_history": 0}, "ModelManagerConfig.max_model_history is 0; .*or None"),
        ({"global_lr": float("nan")}, "ModelManagerConfig.global_lr is nan; give a number above 0"),
        ({"update_timeout": -1}, "ModelManagerConfig.update_timeout is -1"),
        ({"max_update_norm": 0}, "max_update_norm is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(EdgeError, match=message):
        machine(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: EvaluatorConfig(torchvision_dataset={"name": "CIFAR10"}),
            "torchvision_dataset is .*; give a dict with name and path",
        ),
        (
            lambda: EvaluatorConfig(custom_dataset={"data": [], "labels": []}, function="own.function"),
            "has custom_dataset and function; give one",
        ),
        (lambda: EvaluatorConfig(num_devices=-1), "EvaluatorConfig.num_devices is -1; give an integer of at least 0"),
        (lambda: SimulationConfig(None, job_timeout=0), "SimulationConfig.job_timeout is 0; give a number above 0"),
        (lambda: SimulationConfig(None, num_workers=True), "SimulationConfig.num_workers is True"),
        (lambda: DeviceManagerConfig(device_selection_size=1 << 20), "give at most 524,288"),
    ],
)
def test_configurations_name_what_is_wrong(make, message):
    with pytest.raises(EdgeError, match=message):
        make()


def test_settings_are_restored_from_their_data():
    settings = FedBuffSettings(
        ModelManagerConfig(max_model_history=None, staleness_weight=True), evaluation=EvaluatorConfig(num_devices=3)
    )
    assert FedBuffSettings.from_data(json.loads(json.dumps(settings.as_data()))) == settings


def test_rounds_can_wait_for_the_first_of_more_devices():
    settings = FedBuffSettings.synchronous(3, 5, spare=1)
    assert settings.remarks() == []
    fedbuff = FedBuff(settings, 1)
    fedbuff.join("gw", [f"gw/{number}" for number in range(6)])
    *first, slow = fedbuff.decide().orders
    assert len(first) == 3
    fedbuff.merge(batch(1, first[:2]))
    assert not fedbuff.decide().orders  # free places wait for the next round
    fedbuff.merge(batch(2, first[2:]))
    decisions = fedbuff.decide()
    assert decisions.withdrawn == [slow.ticket]
    assert len(decisions.orders) == 4
    fedbuff.merge(batch(3, [slow]))
    assert [each.reason for each in fedbuff.decide().dropped] == ["late"]


def test_arrays_that_do_not_match_earlier_ones_are_refused_and_nothing_is_added():
    fedbuff = machine(updates=3, size=3)
    first, second, third = fedbuff.decide().orders
    fedbuff.merge(batch(1, [first]))
    wrong = {0: VersionSum({"w": np.zeros(2, np.int64)}, 1, 1)}
    with pytest.raises(EdgeError, match="'w' has shape"):
        fedbuff.merge(Batch({"gw": 2}, wrong, [second.ticket]))
    with pytest.raises(EdgeError, match="1 updates of version 0 have the weight 5000 in all"):
        fedbuff.merge(Batch({"gw": 2}, {0: VersionSum({"w": np.zeros(1, np.int64)}, 5000, 1)}, [second.ticket]))
    assert fedbuff.received == {"gw": 1}
    fedbuff.merge(batch(2, [second, third]))
    assert fedbuff.decide().version.count == 3
