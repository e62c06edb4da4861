"""Totals over all 13 hospitals, also those with few patients, of which nobody sees a single hospital's part."""

import json
import tempfile

from data import HOSPITALS, write_files

from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe

with tempfile.TemporaryDirectory() as folder:
    recipe = FedStatsRecipe(
        name="hierarchical-stats-masked",
        sites=list(HOSPITALS),
        statistic_configs={
            "count": {},
            "mean": {},
            "stddev": {},
            "histogram": {"age": {"bins": 9, "range": [0, 45]}},
            "quantile": {"*": [0.5]},
            "categories": {"sex": {"values": ["female", "male"]}},
        },
        masked=True,
        per_site_config={site: {"data": {"patients": path}} for site, path in write_files(folder).items()},
    )
    run = recipe.execute(SimEnv(clients=list(HOSPITALS)))

statistics = json.loads((run.get_result() / "server" / "statistics.json").read_text())
age = {name: values["Global"]["patients"] for name, values in statistics["age"].items()}
print(f"\nmean age: {age['mean']:.1f}, of all patients: {age['count']}")
