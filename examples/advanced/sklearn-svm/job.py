"""Train one support vector machine on the patients of three hospitals."""

import numpy as np
from data import SITES, load_part
from sklearn.svm import SVC

from flare_recipes_sklearn import SVMFedAvgRecipe, svm_of
from flare_runtime import SimEnv

recipe = SVMFedAvgRecipe(name="sklearn-svm", min_clients=SITES, num_rounds=4, kernel="rbf", train_script="client.py")
run = recipe.execute(SimEnv(num_clients=SITES))

test_rows, test_labels = load_part("test")
model = svm_of(run.load_model(), kernel="rbf")
pooled = SVC(kernel="rbf", gamma="auto", tol=1e-5).fit(*load_part("training"))
print(f"support vectors: {len(model.support_)}, all patients in one place: {len(pooled.support_)}")
print(f"accuracy on 113 patients, federated: {model.score(test_rows, test_labels):.3f}")
print(f"accuracy on 113 patients, all in one place: {pooled.score(test_rows, test_labels):.3f}")
difference = np.abs(model.decision_function(test_rows) - pooled.decision_function(test_rows)).max()
print(f"largest difference of the decisions: {difference:.6f}")
