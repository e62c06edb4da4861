"""Unchanged tensors are not sent to the server, and from the second round on not to the sites either."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import JobFailed, TensorFilter
from flare_core.components import Component
from flare_core.job import FilterEntry
from flare_tensor_downloader import Downloader
from flare_transport import Cell

MIB = 1 << 20


class Halve(TensorFilter):
    """A filter of the server that changes the model before it is sent."""

    def process_tensor(self, key, array, context):
        return array / 2


ADAPTER = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        assert float(model.params["backbone"]["w"].sum()) == {total}, "the backbone is not what it was"
        {before}
        params = model.params
        params["adapter"] = params["adapter"] + 1
        flare.send(flare.FLModel(params=params))
        {after}
"""


def frozen_model():
    backbone = np.random.default_rng(0).integers(-100, 100, 5 * MIB // 8).astype(np.float64)
    return {"backbone": {"w": backbone}, "adapter": np.zeros(MIB // 32, np.float64)}


def run_adapter(project, *, rounds=4, sites=3, workers=2, before="", after="", **executor):
    model = frozen_model()
    script = ADAPTER.format(total=float(model["backbone"]["w"].sum()), before=before, after=after)
    run = project.env(sites, num_threads=workers, share_processes=workers < sites).deploy(
        project.job(script, rounds=rounds, sites=sites, model=model, **executor)
    )
    return (
        model,
        run.load_model(),
        [(each["sent"] / MIB, each["received"] / MIB) for each in run.summary()["bytes"]["rounds"]],
    )


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_a_frozen_backbone_travels_once(project, external):
    model, found, traffic = run_adapter(project, launch_external_process=external)
    assert found["backbone"]["w"].tobytes() == model["backbone"]["w"].tobytes()
    assert found["adapter"].tolist() == [4.0] * found["adapter"].size
    first, later = traffic[0], traffic[1:]
    assert first[0] > 3 * 5
    assert first[1] < 3 * 0.3
    for sent, received in later:
        assert sent < 3 * 0.3
        assert received < 3 * 0.3


@pytest.mark.parametrize("workers", [1, 3])
def test_a_site_that_changes_it_afterwards_is_sent_it_again(project, workers):
    """The script may change arrays that it has sent, even those that the site would use again."""
    model, found, traffic = run_adapter(project, workers=workers, after="params['backbone']['w'][:] = 7.0")
    assert found["backbone"]["w"].tobytes() == model["backbone"]["w"].tobytes()
    assert found["adapter"].tolist() == [4.0] * found["adapter"].size
    assert all(sent > 3 * 5 for sent, _ in traffic)


def test_arrays_that_the_script_keeps_are_never_reused(project):
    """An array of an earlier round does not change when the next model is changed in place."""
    keep = "kept = [*globals().get('kept', []), model.params['backbone']['w']]"
    change = (
        "assert all(each is not kept[-1] or n == len(kept) - 1 for n, each in enumerate(kept)), 'the same array twice'"
    )
    _, found, _ = run_adapter(project, before=f"{keep}; {change}")
    assert found["adapter"].tolist() == [4.0] * found["adapter"].size


def test_a_site_that_trains_all_tensors_is_averaged_with_the_others(project):
    """Sites that return a tensor unchanged count as if they had sent it."""
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            if flare.get_site_name() == "site-2":
                model.params["w"] += 3.0
            flare.send(model)
    """
    start = np.arange(200_000, dtype=np.float64)
    run = project.env(3, num_threads=3).deploy(project.job(script, rounds=2, sites=3, model={"w": start}))
    np.testing.assert_allclose(run.load_model()["w"], start + 2.0, rtol=1e-15)


def test_the_average_of_equal_tensors_is_exactly_equal(project):
    """Otherwise, with weights whose sum is rounded, the average of equal tensors would drift."""
    script = """
        import flare_core.client as flare

        flare.init()
        number = int(flare.get_site_name().removeprefix("site-"))
        while flare.is_running():
            model = flare.receive()
            flare.send(flare.FLModel(params=model.params, meta={"NUM_STEPS_CURRENT_ROUND": 7 * number + 3}))
    """
    start = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    env = project.env(3, num_threads=2, share_processes=True)
    run = env.deploy(project.job(script, rounds=3, sites=3, model={"w": start}))
    assert run.load_model()["w"].tobytes() == start.tobytes()


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_skipping_unchanged_tensors_can_be_switched_off(project, monkeypatch, external):
    monkeypatch.setenv("FLARE_SKIP_UNCHANGED", "0")
    _, found, traffic = run_adapter(project, launch_external_process=external)
    assert found["adapter"].tolist() == [4.0] * found["adapter"].size
    assert all(sent > 3 * 5 and received > 3 * 5 for sent, received in traffic)


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_a_model_that_is_too_large_for_a_site_is_received_into_a_file(project, monkeypatch, external):
    monkeypatch.setenv("FLARE_SPILL_BYTES", "1M")
    before = "assert (__import__('pathlib').Path() / 'received.safetensors').stat().st_size > 5_000_000"
    model, found, _ = run_adapter(project, before=before, launch_external_process=external)
    assert found["backbone"]["w"].tobytes() == model["backbone"]["w"].tobytes()
    assert found["adapter"].tolist() == [4.0] * found["adapter"].size


def test_tensors_below_a_configurable_size_are_sent_inside_messages(project, monkeypatch):
    monkeypatch.setenv("FLARE_INLINE_BYTES", "1K")
    _, found, _ = run_adapter(project)
    assert found["adapter"].tolist() == [4.0] * found["adapter"].size


def test_tensors_changed_by_a_server_filter_can_come_back_unchanged(project):
    """Unchanged means equal to what the server has sent, which is the output of its filter."""
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            flare.send(flare.FLModel(params=flare.receive().params))
    """
    job = project.job(script, rounds=2, sites=2, model={"w": np.full(100_000, 3.0)})
    job.server.task_data_filters = [FilterEntry(("train",), (Component.of(Halve(), what="a filter"),))]
    run = project.env(2).deploy(job)
    run.get_result()
    assert set(run.load_model()["w"]) == {0.75}


def test_a_site_may_fetch_the_model_before_the_server_continues(project, monkeypatch):
    """The tensors that count as unchanged do not depend on which of two threads is faster."""
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            flare.send(flare.FLModel(params=flare.receive().params))
    """
    offers = []
    offer, send = Downloader.offer, Cell.send

    def noted_offer(*args, **options):
        offers.append(offer(*args, **options))
        return offers[-1]

    def slow_send(cell, to, topic, *args, **options):
        send(cell, to, topic, *args, **options)
        if topic == "task":
            assert offers[-1].wait_released(30)

    monkeypatch.setattr(Downloader, "offer", noted_offer)
    monkeypatch.setattr(Cell, "send", slow_send)
    run = project.env(1).deploy(project.job(script, rounds=2, sites=1, model={"w": np.full(100_000, 3.0)}))
    run.get_result()
    assert set(run.load_model()["w"]) == {3.0}


@pytest.mark.parametrize("size", [100, 100_000], ids=["inline", "unchanged"])
def test_a_value_that_is_not_finite_is_found_whether_it_travels_or_not(project, size):
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            flare.send(flare.FLModel(params=flare.receive().params))
    """
    bad = np.ones(size)
    bad[7] = np.nan
    run = project.env(2).deploy(project.job(script, rounds=1, sites=2, model={"w": bad}))
    with pytest.raises(JobFailed, match="site-1: 'w'"):
        run.get_result()
