"""Grow trees over the households of four regions, equal to those of training in one place."""

from data import REGIONS, Households, auc, load_all

from flare_runtime import SimEnv
from flare_xgb import Columns, XGBHorizontalRecipe
from flare_xgb.data import from_pandas
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import train

PARAMS = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.2, "eval_metric": "auc"}

recipe = XGBHorizontalRecipe(
    name="fedxgb",
    min_clients=len(REGIONS),
    num_rounds=20,
    early_stopping_rounds=None,
    xgb_params=PARAMS,
    data_loader=Households(),
)
run = recipe.execute(SimEnv(num_clients=len(REGIONS)))
path = run.get_result() / "server" / "model.json"
print(f"AUC on 5,470 households: {auc(path):.4f}")

rows, is_test = load_all()
pooled = from_pandas(rows[~is_test].drop(columns="region"), Columns(label="label"))
central, _ = train(PARAMS, pooled, 20)
together = zip(Model.load(path).trees, central.trees, strict=True)
different = sum(mine.threshold.tobytes() != theirs.threshold.tobytes() for mine, theirs in together)
print(f"trees that differ from those of training in one place: {different}")
