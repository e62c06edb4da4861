"""Statistics of the households of four regions, whose rows stay where they are."""

import json
import tempfile

from data import REGIONS, load_all, write_files

from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe

with tempfile.TemporaryDirectory() as folder:
    recipe = FedStatsRecipe(
        name="hello-tabular-stats",
        sites=REGIONS,
        stats_output_path="statistics/households.json",
        statistic_configs={
            "count": {},
            "missing": {},
            "mean": {},
            "stddev": {},
            "histogram": {  # without a range, it is found, with noise
                "hours": {"bins": 10, "range": [0, 100]},
                "experience": {"bins": 15, "range": [0, 60]},
                "small_children": {"bins": 6, "range": [0, 6]},
                "husband_income": {"bins": 20, "range": [0, 100]},
            },
            "quantile": {"*": [0.25, 0.5, 0.75]},
            "categories": {},
            "correlation": {},
        },
        per_site_config={region: {"data": paths} for region, paths in write_files(folder).items()},
    )
    run = recipe.execute(SimEnv(clients=REGIONS))

results = run.get_result() / "server" / "statistics"
statistics = json.loads((results / "households.json").read_text())
print("\nhours a week that wives work, by region:")
for region, values in statistics["hours"]["mean"].items():
    print(f"  {region:<13} {values['train']:6.2f}")
rows = load_all()
of_all = rows[rows["part"] == "train"]["hours"].mean()
print(f"difference from the mean in one place: {abs(statistics['hours']['mean']['Global']['train'] - of_all):.1e}")
print("report:", (results / "report.html").relative_to(run.get_result()))
