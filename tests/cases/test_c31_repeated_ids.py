"""Ids that a site has several times, and sets of very different sizes, give exactly the intersection of sets."""

from __future__ import annotations

import pytest

from flare_psi import PSIRecipe
from flare_runtime import SimEnv


def intersection(folder, ids):
    """Return the common ids of a run, which must be the same at all sites and in the same order."""
    settings = {}
    for site, own in ids.items():
        (folder / f"{site}.txt").write_text("".join(f"{each}\n" for each in own))
        settings[site] = {"ids": str(folder / f"{site}.txt")}
    recipe = PSIRecipe(min_clients=len(ids), per_site_config=settings, output_path="psi/intersection.txt")
    run = recipe.execute(SimEnv(num_clients=len(ids), workspace_root=folder / "runs"))
    found = [(run.get_result() / "sites" / site / "psi" / "intersection.txt").read_text().splitlines() for site in ids]
    assert all(each == found[0] for each in found)
    return found[0]


def test_repeated_ids_count_once(tmp_path):
    assert intersection(tmp_path, {"site-1": ["a", "b", "b", "c"], "site-2": ["b", "b", "b", "d"]}) == ["b"]


@pytest.mark.parametrize("sizes", [(1000, 10), (10, 1000)])
def test_a_large_and_a_small_set_in_both_directions(tmp_path, sizes):
    common = ["x", "y", "z"]
    ids = {f"site-{at + 1}": common + [f"{at}-{number}" for number in range(size - 3)] for at, size in enumerate(sizes)}
    assert sorted(intersection(tmp_path, ids)) == common


def test_three_sites(tmp_path):
    ids = {"site-1": ["a", "b", "b", "c"], "site-2": ["b", "b", "b", "d", "c"], "site-3": ["c", "c", "b", "e", "a"]}
    assert sorted(intersection(tmp_path, ids)) == ["b", "c"]


@pytest.mark.parametrize(("alone", "expected"), [("b", ["b"]), ("z", [])])
def test_a_site_with_a_single_id(tmp_path, alone, expected):
    assert intersection(tmp_path, {"site-1": [alone], "site-2": ["b", "b", "c"]}) == expected
