"""Flower apps in simulations: the same result as Flower's own, and what the run shows of it."""

from __future__ import annotations

import json

import pytest
from flower_probe import PROBE, left_after, probe, sha_in
from plain_flower import run_plain

from flare_flower import FlowerRecipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_rounds_metrics_and_sizes_are_in_the_record(simulate):
    run = simulate(probe(rounds=2, size=1000))
    folder = run.get_result()
    summary = json.loads((folder / "summary.json").read_text())
    rows = run.metrics()
    keys = {(row["round"], row["site"], row["key"]) for row in rows}
    assert summary["rounds"] == 2
    assert {(0, "site-1", "mean"), (1, "site-2", "mean"), (0, None, "mean"), (1, None, "score")} <= keys
    (size,) = [row["value"] for row in rows if row["key"] == "array_bytes" and row["round"] == 0]
    assert 2 * (4000 + 48) <= size < 2 * (4000 + 48) + 2000  # two arrays of two sites, and NumPy's headers


def test_the_clientapp_uses_flares_client_api(simulate):
    recipe = FlowerRecipe(
        name="probe",
        flower_content=PROBE,
        min_clients=2,
        run_config={"behavior": "flare", "partition": -1, "rounds": 1},
        per_site_config={"site-1": {"config": {"rows": 5}}, "site-2": {"config": {"rows": 7}}},
    )
    run = simulate(recipe)
    folder = run.get_result()
    assert {(row["site"], row["value"]) for row in run.metrics() if row["key"] == "inside"} == {
        ("site-1", 5.0),
        ("site-2", 7.0),
    }
    assert "site name: site-2" in (folder / "sites" / "site-2" / "log.txt").read_text()


@pytest.mark.at_length
def test_an_app_in_a_folder_with_a_space_and_a_helper_package_gives_flowers_own_arrays(simulate, tmp_path):
    folder = simulate(probe()).get_result()
    plain = run_plain(PROBE, tmp_path / "plain")
    assert (folder / "server" / "hash.txt").read_text() == sha_in(plain.log)
    assert left_after(tmp_path) == []
