"""XGBoost alone on COUNT / SHARE rows, with the metric of each round that every system computes.

Usage: plain.py FOLDER COUNT THREADS ROUNDS SHARE
"""

import sys
import time
from pathlib import Path

import xgboost
from files import read
from settings import PARAMS

folder = sys.argv[1]
count, threads, rounds, share = map(int, sys.argv[2:6])
began = time.monotonic()
table = xgboost.DMatrix(*read(folder, count, slice(count // share)), nthread=threads)
params = {**PARAMS, "tree_method": "hist", "nthread": threads}
model = xgboost.train(params, table, rounds, evals=[(table, "train")], verbose_eval=False)
model.save_model(Path(folder, "plain.json"))
print("loop", time.monotonic() - began)
