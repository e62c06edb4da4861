"""Compare time and AUC with XGBoost on the same rows in one place: python speed.py ROWS."""

import contextlib
import io
import os
import sys
import time

import numpy as np
import xgboost
from collisions import Collisions, make
from data import rank_auc

from flare_runtime import SimEnv
from flare_xgb import XGBHorizontalRecipe

SITES = 2
rows = int(sys.argv[1]) // SITES
threads = len(os.sched_getaffinity(0))
params = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.3, "nthread": threads}
test = make(20_000, seed=1_000)


def federated(rows):
    recipe = XGBHorizontalRecipe(
        name="fedxgb-speed",
        min_clients=SITES,
        num_rounds=50,
        early_stopping_rounds=None,
        xgb_params=params,
        data_loader=Collisions(rows),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        run = recipe.execute(SimEnv(num_clients=SITES))
    return xgboost.Booster(model_file=run.get_result() / "server" / "model.json")


def central(rows):
    parts = [make(rows, seed=site) for site in range(SITES)]
    features, label = (np.concatenate([getattr(each, name) for each in parts]) for name in ("features", "label"))
    return xgboost.train(params, xgboost.DMatrix(features, label), 50)


federated(1_000)  # the first run ever compiles the kernels
for name, train in (("federated", federated), ("in one place", central)):
    began = time.perf_counter()
    model = train(rows)
    taken = time.perf_counter() - began
    score = rank_auc(test.label, model.inplace_predict(test.features, validate_features=False))
    print(f"{name:<14}{taken:6.1f} s   AUC {score:.4f}", flush=True)
