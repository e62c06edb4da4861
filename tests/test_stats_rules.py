"""Rules of a site's owner in a whole run: the same in the simulator and in a federation of processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RULES = "min_count = 30\nforbidden_features = ['name']\n[features.bmi]\nforbidden_statistics = ['mean']\n"
NOISY = """
    [features.age]
    bounds = [0, 120]
    [differential_privacy]
    mechanism = "laplace"
    epsilon = 0.5
    total_epsilon = 3.5
"""

JOB = """
    import sys
    from pathlib import Path

    from flare_deploy import PocEnv
    from flare_runtime import SimEnv
    from flare_stats import FedStatsRecipe

    sites = ["site-1", "site-2"]
    recipe = FedStatsRecipe(
        name="people",
        sites=sites,
        statistic_configs={
            "count": {}, "mean": {}, "min": {}, "histogram": {"*": {"bins": 5}}, "quantile": {"*": [0.5]},
            "categories": {},
        },
        per_site_config={site: {"data": {"train": str(Path(f"{site}.csv").resolve())}} for site in sites},
    )
    environment = {"sim": SimEnv, "poc": PocEnv}[sys.argv[1]]
    print(recipe.execute(environment(num_clients=2, workspace_root="runs")).get_result())
"""


def run(project, environment: str) -> tuple[dict, dict]:
    done = project.python("job.py", environment, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    server = Path(done.stdout.splitlines()[-1]) / "server"
    statistics, about = (json.loads((server / f"{name}.json").read_text()) for name in ("statistics", "about"))
    return statistics, {"refused": about["refused"], "rows": about["rows"]}


@pytest.fixture
def people(project, tmp_path):
    """Return a function that sets the rules of the first of two sites; the second has the usual ones."""
    project.write("job.py", JOB)
    for number in (1, 2):
        random = np.random.default_rng(number)
        names = [f"P{row}" for row in range(200)]
        table = pd.DataFrame({"name": names, "age": random.integers(20, 80, 200), "bmi": random.normal(25, 4, 200)})
        table.to_csv(tmp_path / f"site-{number}.csv", index=False)

    def with_rules(text: str) -> None:
        for site, rules in (("site-1", text), ("site-2", "")):
            (tmp_path / "runs" / "local" / site).mkdir(parents=True)
            (tmp_path / "runs" / "local" / site / "privacy.toml").write_text(rules)

    return with_rules


@pytest.mark.deployed
def test_rules_of_an_owner_hold_in_both_environments_with_the_same_noise(project, people):
    people(RULES)
    simulated, deployed = run(project, "sim"), run(project, "poc")
    assert simulated == deployed
    statistics, about = simulated
    assert set(statistics["bmi"]["mean"]) == {"site-2", "Global"}
    assert set(statistics["name"]["count"]) == {"site-2", "Global"}
    assert ["site-1", "train", "bmi", "mean", "features.bmi.forbidden_statistics"] in about["refused"]
    low = pd.read_csv(project.folder / "site-1.csv")["age"].min()
    assert statistics["age"]["min"]["site-1"]["train"] < low - 0.1 * 50


@pytest.mark.at_length
@pytest.mark.deployed
def test_a_budget_is_one_for_runs_in_both_environments(project, people):
    pytest.importorskip("opendp")
    people(NOISY)
    first, _ = run(project, "poc")  # three counts, two histograms; the sum and the cells of age
    assert "site-1" in first["age"]["mean"]
    second, about = run(project, "sim")
    assert "site-1" not in second["age"]["mean"]
    assert "site-2" in second["age"]["mean"]
    (rule,) = [row[4] for row in about["refused"] if row[:4] == ["site-1", "train", "age", "mean"]]
    assert rule == "total_epsilon: the question needs 2.5, and 0 of 3.5 are left"
