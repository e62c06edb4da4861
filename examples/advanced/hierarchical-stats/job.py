"""Statistics of the patients of 13 hospitals: of each hospital, of regions, of continents, and of all."""

import json
import tempfile

from data import HOSPITALS, TREE, write_files

from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe

with tempfile.TemporaryDirectory() as folder:
    recipe = FedStatsRecipe(
        name="hierarchical-stats",
        sites=list(HOSPITALS),
        statistic_configs={
            "count": {},
            "mean": {},
            "stddev": {},
            "histogram": {"age": {"bins": 9, "range": [0, 45]}, "weight": {"bins": 10, "range": [0, 110]}},
            "quantile": {"*": [0.5]},
            "categories": {},
        },
        min_count=5,
        max_bins_percent=100,
        hierarchy=TREE,
        per_site_config={site: {"data": {"patients": path}} for site, path in write_files(folder).items()},
    )
    run = recipe.execute(SimEnv(clients=list(HOSPITALS)))

server = run.get_result() / "server"
statistics = json.loads((server / "statistics.json").read_text())
about = json.loads((server / "about.json").read_text())


def line(name, place, depth):
    values = {key: statistics["age"][key].get(place, {}).get("patients") for key in ("count", "mean")}
    text = f"{values['count']:4} patients, mean age {values['mean']:4.1f}" if values["count"] else "   too few patients"
    print(f"{'  ' * depth + name:<18}{text}")


def show(tree, path="", depth=1):
    for name, below in tree.items() if isinstance(tree, dict) else ((site, None) for site in tree):
        place = f"{path}{name}" if below else name
        line(name, place, depth)
        if below:
            show(below, f"{place}/", depth + 1)


print()
line("all", "Global", 0)
show(TREE)
