"""Classify ten digits at three sites, one of which has only zeros."""

from data import CLASSES, FEATURES, SITES, load_digits_of
from sklearn.linear_model import SGDClassifier

from flare_recipes_sklearn import FedAvgRecipe, set_params
from flare_runtime import SimEnv

recipe = FedAvgRecipe(
    name="sklearn-linear",
    min_clients=SITES,
    num_rounds=40,
    initial_model=SGDClassifier(loss="log_loss"),
    classes=CLASSES,
    num_features=FEATURES,
    train_script="client.py",
)
run = recipe.execute(SimEnv(num_clients=SITES))

model = set_params(SGDClassifier(), run.load_model(), classes=CLASSES)
print(f"accuracy on 359 digits, federated: {model.score(*load_digits_of('test')):.3f}")

pooled = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05, random_state=0)
for _ in range(40):
    pooled.partial_fit(*load_digits_of("training"), classes=CLASSES)
print(f"accuracy on 359 digits, all in one place: {pooled.score(*load_digits_of('test')):.3f}")
