"""Train trees in a federation and keep the model, which opens in XGBoost.

Usage: flare_job.py KIND ENVIRONMENT FOLDER COUNT THREADS ROUNDS
"""

import shutil
import sys
from pathlib import Path

from files import SITES
from rows import Columns, Rows
from settings import PARAMS

from flare_deploy import PocEnv
from flare_runtime import SimEnv
from flare_xgb import XGBHorizontalRecipe, XGBVerticalRecipe

kind, environment, folder = sys.argv[1:4]
count, threads, rounds = map(int, sys.argv[4:7])
split, _, secure = kind.partition("-")
common = {
    "min_clients": SITES,
    "num_rounds": rounds,
    "early_stopping_rounds": None,
    "xgb_params": {**PARAMS, "nthread": threads},
}
if split == "horizontal":
    recipe = XGBHorizontalRecipe(secure=secure == "masked", data_loader=Rows(folder, count), **common)
else:
    recipe = XGBVerticalRecipe(
        label_owner="site-1",
        secure="masked" if secure else "plain",
        joined_model=True,
        data_loader=Columns(folder, count),
        **common,
    )
made = {"sim": SimEnv, "poc": PocEnv}[environment](num_clients=SITES, workspace_root=folder)
run = recipe.execute(made)
shutil.copy(run.get_result() / "server" / "model.json", Path(folder, f"{kind}-{environment}.json"))
print("run", run.summary()["seconds"])
