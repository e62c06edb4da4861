"""Compare the images of three offices before a model is trained with them, without moving an image."""

import json

from data import make

from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe

folders = make()
recipe = FedStatsRecipe(
    name="image-stats",
    statistic_configs={
        "count": {},
        "mean": {},
        "stddev": {},
        "histogram": {
            "pixels": {"bins": 16},
            "brightness": {"bins": 16, "range": [40, 120]},
            "contrast": {"bins": 16, "range": [20, 120]},
        },
        "categories": {},
        "balance": {"class": {}},
    },
    per_site_config={office: {"data": {"scans": str(folder)}} for office, folder in folders.items()},
)
run = recipe.execute(SimEnv(clients=list(folders)))

statistics = json.loads((run.get_result() / "server" / "statistics.json").read_text())
for office in [*folders, "Global"]:
    brightness, contrast = (statistics[name]["mean"][office]["scans"] for name in ("brightness", "contrast"))
    sevens = statistics["class"]["balance"][office]["scans"]["7"]
    print(f"{office:<8} brightness {brightness:.0f}, contrast {contrast:.0f}, share of sevens: {sevens:.3f}")
print(f"images: {statistics['pixels']['count']['Global']['scans']}")
