"""The scheduler: which jobs can start, with which GPUs, and why others cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_core import JobError
from flare_deploy.server.scheduler import Capacity, Needs, grant, natural_order

SITES = ("site-1", "site-2", "site-3")


def connected(*names, **has):
    return {name: Capacity(**has) for name in names}


def test_a_job_starts_when_enough_sites_are_there():
    assert grant(Needs(2), SITES, connected("site-1", "site-3")) == {"site-1": (), "site-3": ()}
    refused = grant(Needs(2), SITES, connected("site-3"))
    assert refused == "2 sites are needed, 1 are ready (site-1 is not connected; site-2 is not connected)"


def test_named_and_mandatory_sites():
    there = connected("site-1", "site-2")
    assert set(grant(Needs(1, sites=("site-2",)), SITES, there)) == {"site-2"}
    assert "site-3 must be among them" in grant(Needs(1, mandatory=("site-3",)), SITES, there)
    assert "site-9 does not take part in this study" in grant(Needs(2, sites=("site-9",)), SITES, there)


def test_gpus_are_granted_once_until_they_are_released():
    there = connected("site-1", num_of_gpus=3, mem_per_gpu_in_GiB=16.0)
    needs = Needs(1, resources={"@ALL": {"num_of_gpus": 2, "mem_per_gpu_in_GiB": 8}})
    first = grant(needs, SITES[:1], there)
    assert first == {"site-1": (0, 1)}
    there["site-1"].reserve("a", first["site-1"], needs.at("site-1"))
    assert "2 GPUs are needed, 1 of 3 are free" in grant(needs, SITES[:1], there)
    there["site-1"].release("a")
    assert grant(needs, SITES[:1], there) == {"site-1": (0, 1)}


def test_the_needs_at_a_site_override_those_at_all_sites():
    needs = Needs.of({"resource_spec": {"@ALL": {"num_of_cpus": 1}, "site-1": {"num_of_cpus": 8}}})
    there = connected("site-1", "site-2", num_of_cpus=4.0)
    assert set(grant(needs, SITES, there)) == {"site-2"}


@pytest.mark.parametrize("spec", [{"site-1": {"gpus": 1}}, {"site-1": {"num_of_gpus": -1}}, {"site-1": 3}, ["x"]])
def test_a_spec_that_cannot_be_read_is_refused(spec):
    with pytest.raises(JobError, match="resource_spec"):
        Needs.of({"resource_spec": spec})


def test_needs_are_stored_unchanged():
    meta = {"min_clients": 2, "mandatory_clients": ["site-1"], "deploy_map": {"app": ["server", "site-2", "site-10"]}}
    needs = Needs.of({**meta, "resource_spec": {"site-2": {"num_of_gpus": 1}}})
    assert needs.sites == ("site-2", "site-10")
    assert Needs.from_json(needs.to_json()) == needs


@given(st.lists(st.integers(0, 400), unique=True))
def test_sites_are_sorted_by_the_numbers_in_their_names(numbers):
    names = natural_order(f"site-{number}" for number in numbers)
    assert list(names) == [f"site-{number}" for number in sorted(numbers)]


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=30))
def test_no_gpu_is_ever_reserved_twice(wishes):
    """Jobs start and end at random."""
    site = Capacity(num_of_gpus=4)
    reserved: list[str] = []
    for number, (count, ends) in enumerate(wishes):
        if ends and reserved:
            site.release(reserved.pop(0))
        gpus = site.fit({"num_of_gpus": count})
        if not isinstance(gpus, str):
            site.reserve(f"job-{number}", gpus, {"num_of_gpus": count})
            reserved.append(f"job-{number}")
        taken = [gpu for each in site.gpus_of.values() for gpu in each]
        assert len(taken) == len(set(taken)) <= 4
