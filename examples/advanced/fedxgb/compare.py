"""Train XGBoost on all households in one place, and on those of each region alone."""

import numpy as np
import xgboost
from data import REGIONS, load_all, rank_auc

PARAMS = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.2}

rows, is_test = load_all()
features, label = rows.drop(columns=["label", "region"]), rows["label"]
test = xgboost.DMatrix(features[is_test], enable_categorical=True)


def trained_on(chosen):
    """Return the AUC on the test rows after training on the chosen ones."""
    matrix = xgboost.DMatrix(features[chosen], label[chosen], enable_categorical=True)
    return rank_auc(label[is_test], xgboost.train(PARAMS, matrix, 20).predict(test))


for region in REGIONS:
    print(f"{region + ' alone:':<20} {trained_on(~is_test & (rows['region'] == region)):.4f}")
print(f"all in one place:    {trained_on(~is_test & np.ones(len(rows), bool)):.4f}")
