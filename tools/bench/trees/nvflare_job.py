"""The same work by NVFlare's recipe, in its simulator.

Usage: nvflare_job.py FOLDER DATA COUNT THREADS ROUNDS
"""

import sys

from files import SITES
from nvflare_rows import Rows
from settings import PARAMS

from nvflare.app_opt.xgboost.recipes import XGBHorizontalRecipe
from nvflare.recipe import SimEnv

folder, data = sys.argv[1:3]
count, threads, rounds = map(int, sys.argv[3:6])
sites = [f"site-{number + 1}" for number in range(SITES)]
recipe = XGBHorizontalRecipe(
    name="trees",
    min_clients=SITES,
    num_rounds=rounds,
    early_stopping_rounds=rounds,
    xgb_params={**PARAMS, "tree_method": "hist", "nthread": threads},
    per_site_config={site: {"data_loader": Rows(data, count, threads)} for site in sites},
)
run = recipe.execute(SimEnv(clients=sites, workspace_root=folder))
print("status", run.get_status(), run.get_result())
