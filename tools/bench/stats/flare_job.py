"""Federated statistics of all sites, in the simulator.

Usage: flare_job.py FOLDER SITES ROWS
"""

import shutil
import sys
from pathlib import Path

from files import BINS, QUANTILES, path_of

from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe

folder, sites, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
recipe = FedStatsRecipe(
    name="statistics",
    statistic_configs={
        **{name: {} for name in ("count", "missing", "sum", "mean", "stddev", "min", "max", "categories", "distinct")},
        "histogram": {"*": {"bins": BINS}},
        "quantile": {"*": list(QUANTILES)},
    },
    min_noise_level=0,
    max_noise_level=0,
    per_site_config={
        f"site-{site}": {"data": {"train": str(path_of(folder, site, rows))}} for site in range(1, sites + 1)
    },
)
run = recipe.execute(SimEnv(num_clients=sites, workspace_root=folder))
shutil.copy(run.get_result() / "server" / "statistics.json", Path(folder, "statistics.json"))
print("run", run.summary()["seconds"])
