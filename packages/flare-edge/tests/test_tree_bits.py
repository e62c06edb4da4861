"""Trees give the bits of a flat one, whatever their shape, and whatever gets lost on the way."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager

import numpy as np
import pytest
from tree_devices import Counted, Marked, rounds
from tree_harness import Network, TreeRun

from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.fedbuff.record import replay

SLOW = bool(os.environ.get("FLARE_SLOW_TESTS"))
MODEL = {"w": np.linspace(-1, 1, 8, dtype=np.float32), "b": np.zeros((2, 3), np.float64)}


def gateways(count: int) -> list[str]:
    return [f"gw-{number:03}" for number in range(count)]


def three_levels(count: int, width: int) -> dict[str, list[str]]:
    """Return inner nodes of ``width`` gateways each."""
    names = gateways(count)
    return {f"inner-{at // width:02}": names[at : at + width] for at in range(0, count, width)}


def rounds_of(devices: int, versions: int, **models) -> FedBuffSettings:
    return FedBuffSettings(
        ModelManagerConfig(max_model_version=versions, num_updates_for_model=devices, **models),
        DeviceManagerConfig(device_selection_size=devices, min_hole_to_fill=devices),
    )


@contextmanager
def running(folder, count, inner, per_gateway, settings, network=None, processor=None, model=MODEL):
    folder.mkdir()
    run = TreeRun(folder, gateways(count), inner, per_gateway, settings, model, processor or Counted(), network)
    try:
        yield run
    finally:
        run.close()
    assert not run.errors, run.errors[:3]


def bits(params) -> dict[str, bytes]:
    return {name: np.asarray(value).tobytes() for name, value in params.items()}


@pytest.mark.timeout(600)
def test_a_three_level_tree_gives_the_bits_of_a_flat_one_and_of_the_formula(tmp_path):
    count, width, each = (100, 10, 100) if SLOW else (12, 4, 10)
    settings = rounds_of(count * each, 3)
    found = []
    for name, inner in (("flat", {}), ("tree", three_levels(count, width))):
        with running(tmp_path / name, count, inner, each, settings) as run:
            found.append(bits(run.finish()))
            assert [made.version.count for made in run.saved] == [count * each] * 3
    assert found[0] == found[1] == bits(rounds(MODEL, range(count * each), 3))


def test_a_deep_tree_with_gateways_at_every_level_gives_the_bits_of_the_formula(tmp_path):
    inner = {"top": ["gw-000", "middle"], "middle": ["gw-001", "bottom"], "bottom": ["gw-002", "gw-003"]}
    with running(tmp_path / "deep", 5, inner, 4, rounds_of(20, 3)) as run:
        assert bits(run.finish()) == bits(rounds(MODEL, range(20), 3))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20 if SLOW else 1))
def test_lost_requests_and_replies_change_nothing(tmp_path, seed):
    network = Network(loss=0.05, seed=seed)
    with running(tmp_path / "run", 6, three_levels(6, 2), 3, rounds_of(18, 4), network) as run:
        assert bits(run.finish()) == bits(rounds(MODEL, range(18), 4))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20 if SLOW else 2))
def test_restarts_do_not_change_the_bits_of_synchronous_rounds(tmp_path, seed):
    """Devices work on after a restart of their gateway or of the server: each counts once in each round."""
    draw = random.Random(seed)
    with running(tmp_path / "run", 6, three_levels(6, 2), 3, rounds_of(18, 8)) as run:
        while len(run.saved) < 8:
            # The orders for version 0 are in no state on disk, so a new server would give them again.
            victims = [*run.topology.sites, *(["server"] * bool(run.saved))]
            for victim in draw.sample(victims, k=draw.randint(1, 3)):
                run.restart(victim)
            made = run.next_version()
            if run.saved and draw.random() < 0.3:
                run.restart("server")
            else:
                run.keep(made)
        assert bits(run.saved[-1].params) == bits(rounds(MODEL, range(18), 8))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(30 if SLOW else 2))
def test_restarts_of_any_node_lose_no_accepted_update_and_count_none_twice(tmp_path, seed):
    """Nodes end at random, the server even between a version and the moment when it is kept."""
    draw = random.Random(seed)
    network = Network(loss=0.02, seed=seed)
    versions, size = 15, 4096
    settings = FedBuffSettings(
        ModelManagerConfig(
            max_num_active_model_versions=None,
            max_model_history=None,
            max_model_version=versions,
            num_updates_for_model=8,
            update_timeout=0.05,
        ),
        DeviceManagerConfig(device_selection_size=12),
    )
    processor = Marked(size)
    with running(
        tmp_path / "run", 6, three_levels(6, 2), 3, settings, network, processor, {"w": np.zeros(size, np.float32)}
    ) as run:
        while len(run.saved) < versions:
            for victim in draw.sample(["server", *run.topology.sites], k=draw.randint(0, 2)):
                run.restart(victim)
            made = run.next_version()
            if draw.random() < 0.2:
                run.restart("server")  # what was made is lost, and made again
            elif len(run.saved) < versions - 1:
                run.keep(made)
            else:
                run.saved.append(made)  # no more orders go out
        kept = [total_of(made.version.sums.values(), size) for made in run.saved]

        def counted(waiting) -> np.ndarray:
            return sum(kept) + total_of(waiting, size)

        run.stop_devices()
        accepted = sorted(processor.places[ticket] for ticket in run.accepted)
        waiting = run.wait_merged(lambda waiting: counted(waiting)[accepted].all())
        assert counted(waiting).max() == 1  # none twice
        assert np.flatnonzero(counted(waiting)).tolist() == accepted  # and none is lost
        with (tmp_path / "run" / "inputs.jsonl").open() as lines:
            assert replay(lines) >= versions


def total_of(sums, size: int) -> np.ndarray:
    scale = ModelManagerConfig().scale
    return sum((scale.decode(each.total, 1.0)["w"] for each in sums if each.count), np.zeros(size))
