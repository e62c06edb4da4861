"""Compare the scans of the sites before a network is trained on them, without moving one."""

import json

from data import make

from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe

folders = make()
recipe = FedStatsRecipe(
    name="scans",
    statistic_configs={
        "count": {},
        "mean": {},
        "stddev": {},
        "histogram": {
            "pixels": {"bins": 16},
            "brightness": {"bins": 4, "range": [0, 256]},
            "contrast": {"bins": 4, "range": [0, 80]},
        },
    },
    per_site_config={site: {"data": {"scans": str(folder / "images")}} for site, folder in folders.items()},
)
run = recipe.execute(SimEnv(clients=list(folders)))

statistics = json.loads((run.get_result() / "server" / "statistics.json").read_text())
for site in folders:
    brightness, contrast = (statistics[name]["mean"][site]["scans"] for name in ("brightness", "contrast"))
    print(f"{site:<10} brightness {brightness:.0f}, contrast {contrast:.0f}")
print(f"scans at all sites: {statistics['pixels']['count']['Global']['scans']}")
