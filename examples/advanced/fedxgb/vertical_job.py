"""Grow trees from the columns of three owners, of which one knows the labels, and which keep their values."""

from data import load_all, rank_auc
from owners import OWNERS, Own

from flare_runtime import SimEnv
from flare_xgb import Columns, XGBVerticalRecipe
from flare_xgb.data import from_pandas
from flare_xgb.engine.train import train
from flare_xgb.vertical import ModelPart

PARAMS = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.2, "eval_metric": "auc"}

recipe = XGBVerticalRecipe(
    name="fedxgb-vertical",
    min_clients=len(OWNERS),
    num_rounds=20,
    label_owner="site-1",
    secure="masked",
    early_stopping_rounds=None,
    xgb_params=PARAMS,
    data_loader=Own(),
)
folder = recipe.execute(SimEnv(num_clients=len(OWNERS))).get_result() / "sites"
parts = {site: ModelPart.load(folder / site / "model.json") for site in OWNERS}

rows, is_test = load_all()
# Each owner says of its own columns which rows go right at its splits; the first one follows the trees.
sides = {site: parts[site].sides(from_pandas(rows.loc[is_test, names])) for site, names in OWNERS.items()}
predicted = parts["site-1"].predict(sides, int(is_test.sum()))
print(f"AUC on {is_test.sum():,} households: {rank_auc(rows['label'][is_test], predicted):.4f}")

joined = from_pandas(rows[[*(name for names in OWNERS.values() for name in names), "label"]], Columns(label="label"))
central, _ = train(PARAMS, joined.take(~is_test), 20)
differing = int((central.predict(joined.features[is_test]) != predicted).sum())
print("predictions that differ from those of training on the joined table:", differing)
