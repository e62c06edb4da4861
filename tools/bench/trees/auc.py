"""Print the area under the ROC curve of a model on the held-out rows."""

import sys

import xgboost
from files import read
from sklearn.metrics import roc_auc_score

features, label = read(sys.argv[1], "held-out")
print("auc", roc_auc_score(label, xgboost.Booster(model_file=sys.argv[2]).inplace_predict(features)))
