"""Bagging and cyclic boosting, compared with XGBoost trained on the rows of each site."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import xgboost

from flare_core import Executor, FlareError
from flare_core.task import Task
from flare_core.testing import ExecutorConformance, FakeFederation, WorkflowConformance
from flare_fobs import dumps, loads
from flare_xgb import objectives
from flare_xgb.bagging.executor import TreeExecutor
from flare_xgb.bagging.workflow import TreeBoosting
from flare_xgb.data import ROW_COLUMNS, DataLoader, Table
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import train as train_central
from flare_xgb.result import for_any_version

LOGISTIC = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.3, "nthread": 1}
SOFTPROB = {"objective": "multi:softprob", "num_class": 4, "max_depth": 3, "eta": 0.5, "nthread": 1}


class Given(DataLoader):
    def __init__(self, train, validation=None):
        self.train = train
        self.validation = validation

    def load_data(self):
        return self.train, self.validation


def rows_of(count, seed=0, classes=2):
    """Return rows whose features have few values, so that all bins are XGBoost's own."""
    generator = np.random.default_rng(seed)
    features = generator.integers(0, 40, (count, 5)).astype(np.float32)
    features[generator.random(features.shape) < 0.1] = np.nan
    score = np.nan_to_num(features[:, 0]) + 0.5 * np.nan_to_num(features[:, 1]) + generator.normal(0, 8, count)
    label = np.clip(np.digitize(score, np.quantile(score, np.arange(1, classes) / classes)), 0, classes - 1)
    return features, label.astype(np.float32)


def tables(sites, count=600, classes=2, **columns):
    features, label = rows_of(count, classes=classes)
    return [
        Table.of(features[at::sites], label[at::sites], **{name: each[at::sites] for name, each in columns.items()})
        for at in range(sites)
    ]


def federation(parts, params, **arguments):
    executors = {
        f"site-{at}": TreeExecutor(Given(*part) if isinstance(part, tuple) else Given(part), params)
        for at, part in enumerate(parts, 1)
    }
    return FakeFederation(executors, travel=lambda data: loads(dumps(data)), **arguments)


def train(parts, params, rounds=3, **arguments):
    fed = federation(parts, params)
    fed.run(TreeBoosting(min_clients=len(parts), num_rounds=rounds, xgb_params=params, **arguments))
    return fed, Model.from_bytes(fed.files["model.json"].encode())


def margins_by_xgboost(fed, features):
    booster = xgboost.Booster()
    booster.load_model(bytearray(fed.files["model.json"].encode()))
    return booster.predict(xgboost.DMatrix(features), output_margin=True).reshape(len(features), -1)


REGRESSION = {"num_parallel_tree": 3, "nthread": 1}
GAMMA = {"objective": "reg:gamma", "max_depth": 2, "nthread": 1, "eval_metric": "rmse"}


@pytest.mark.parametrize("mode", ["bagging", "cyclic"])
@pytest.mark.parametrize(("params", "classes"), [(LOGISTIC, 2), (SOFTPROB, 4), (REGRESSION, 50), (GAMMA, 50)])
def test_one_site_alone_grows_the_trees_of_xgboost(params, classes, mode):
    features, label = rows_of(500, classes=classes)
    label += params is GAMMA

    fed, model = train([Table.of(features, label)], params, mode=mode)

    central = xgboost.train(params, xgboost.DMatrix(features, label), 3)
    expected = central.predict(xgboost.DMatrix(features), output_margin=True).reshape(500, -1)
    np.testing.assert_allclose(model.predict_margins(features), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(margins_by_xgboost(fed, features), expected, rtol=0, atol=1e-5)


def table_for(objective):
    """Return rows whose labels an objective is defined for, with weights, margins, categories and missing values."""
    features, label = rows_of(300, classes=20)
    generator = np.random.default_rng(1)
    features[:, 4] %= 6
    columns = {"weight": generator.integers(1, 4, 300), "label": (label + 1) / 4}
    match objective.partition(":")[0]:
        case "binary":
            columns["label"] = label > 9
        case "multi" | "count":
            columns["label"] = label % 4
        case "survival":
            columns |= {"label_lower_bound": label + 1, "label_upper_bound": np.where(label > 15, np.inf, label + 2)}
            columns["label"] = np.where(label > 15, -1, 1) * (label + 1)
        case "rank":
            columns |= {"label": label > 12, "qid": np.arange(300) // 20, "weight": generator.integers(1, 4, 15)}
    if objective == "reg:logistic":
        columns["label"] = label / 20
    if not objective.startswith(("multi", "reg:quantile")):
        columns["base_margin"] = generator.integers(0, 2, 300) / 4
    kinds = ["float", "float", "int", "float", "c"]
    return Table.of(features, columns.pop("label"), types=kinds, **columns)


PARAMETERS = {
    "multi:softmax": {"num_class": 4},
    "multi:softprob": {"num_class": 4},
    "reg:quantileerror": {"quantile_alpha": [0.2, 0.7]},
    "survival:aft": {"aft_loss_distribution": "logistic"},
}


@pytest.mark.parametrize("name", objectives.NAMES)
def test_one_site_alone_grows_the_trees_of_central_training_for_every_objective(name):
    table = table_for(name)
    params = {"objective": name, "max_depth": 3, "nthread": 1} | PARAMETERS.get(name, {})

    _, model = train([table], params)

    central = for_any_version(train_central(params, table, 3)[0])
    np.testing.assert_equal([each.to_plain() for each in model.trees], [each.to_plain() for each in central.trees])


@pytest.mark.parametrize("lr_mode", ["uniform", "scaled"])
def test_a_round_of_bagging_adds_the_sites_trees_by_their_shares(lr_mode):
    features, label = rows_of(600)
    parts = [Table.of(features[low:high], label[low:high]) for low, high in ((0, 100), (100, 400), (400, 600))]
    shares = [1 / 3] * 3 if lr_mode == "uniform" else [1 / 6, 3 / 6, 2 / 6]

    _, model = train(parts, LOGISTIC, rounds=3, lr_mode=lr_mode)

    expected = np.full(600, np.log(label.mean() / (1 - label.mean())), np.float32)
    for _ in range(3):
        added = np.zeros(600)
        for (low, high), part, share in zip(((0, 100), (100, 400), (400, 600)), parts, shares, strict=True):
            own = xgboost.DMatrix(part.features, part.label, base_margin=expected[low:high])
            booster = xgboost.train(LOGISTIC, own, 1)
            everywhere = xgboost.DMatrix(features, base_margin=np.zeros(600))
            added += share * booster.predict(everywhere, output_margin=True)
        expected = (expected + added).astype(np.float32)
    np.testing.assert_allclose(model.predict_margins(features)[:, 0], expected, rtol=0, atol=1e-5)


def test_a_round_of_cyclic_boosting_continues_at_each_site():
    parts = tables(3)
    features, label = rows_of(600)

    _, model = train(parts, LOGISTIC, rounds=2, mode="cyclic")

    booster, params = None, LOGISTIC | {"base_score": float(label.mean())}
    for _ in range(2):
        for part in parts:
            booster = xgboost.train(params, xgboost.DMatrix(part.features, part.label), 1, xgb_model=booster)
    assert model.num_rounds == 6
    expected = booster.predict(xgboost.DMatrix(features), output_margin=True)
    np.testing.assert_allclose(model.predict_margins(features)[:, 0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["reg:absoluteerror", "reg:quantileerror", "reg:gamma", "rank:ndcg", "survival:aft"])
def test_the_base_score_is_that_of_the_rows_of_all_sites(name):
    table = table_for(name)
    starts = table.group_starts if table.qid is not None else np.array([0, 100, 220, 300])
    ends = [0, int(starts[len(starts) // 3]), int(starts[len(starts) // 2]), len(table)]
    parts = []
    for low, high in itertools.pairwise(ends):
        columns = {each: getattr(table, each) for each in ROW_COLUMNS if getattr(table, each) is not None}
        columns = {each: value[low:high] if len(value) == len(table) else value for each, value in columns.items()}
        if table.qid is not None:
            columns["weight"] = table.weight[np.unique(table.qid[low:high])]
        parts.append(Table.of(table.features[low:high], types=table.types, **columns))
    params = {"objective": name, "max_depth": 2, "nthread": 1} | PARAMETERS.get(name, {})

    fed, _ = train(parts, params, rounds=1)

    central, _ = train_central(params, table, 1)
    sent = [task.data["common"]["base"] for _, task in fed.tasks if (task.data or {}).get("common")]
    assert len(sent) == len(parts)
    np.testing.assert_array_equal(sent, central.base_margins(len(parts)))


def test_several_classes_and_parallel_trees_lose_no_tree():
    params = SOFTPROB | {"num_parallel_tree": 2, "subsample": 0.7, "colsample_bynode": 0.8}
    features, _ = rows_of(600, classes=4)

    fed, model = train(tables(3, classes=4), params, rounds=2)

    plain = json.loads(fed.files["model.json"])["learner"]["gradient_booster"]["model"]
    assert [tree["id"] for tree in plain["trees"]] == list(range(48))
    assert np.bincount(plain["tree_info"]).tolist() == [12] * 4
    assert plain["iteration_indptr"] == [0, 24, 48]
    booster = xgboost.Booster()
    booster.load_model(bytearray(fed.files["model.json"].encode()))
    assert booster.predict(xgboost.DMatrix(features)).shape == (600, 4)
    assert booster.num_boosted_rounds() == 2
    first = booster[:1].predict(xgboost.DMatrix(features), output_margin=True)
    np.testing.assert_allclose(model.slice(0, 1).predict_margins(features), first, rtol=0, atol=1e-5)
    contributions = booster.predict(xgboost.DMatrix(features), pred_contribs=True).sum(axis=-1)
    np.testing.assert_allclose(model.predict_margins(features), contributions, rtol=0, atol=1e-4)


def test_parallel_trees_and_sites_draw_different_rows():
    params = {"objective": "reg:squarederror", "num_parallel_tree": 2, "subsample": 0.5, "nthread": 1}
    table = tables(1)[0]

    _, model = train([table, table], params, rounds=2)

    assert len({tree.threshold.tobytes() for tree in model.trees}) == 8


def test_metrics_of_all_sites_are_those_of_the_pooled_rows():
    params = LOGISTIC | {"eval_metric": ["error", "logloss"]}
    parts = tables(4)

    fed, _ = train([(parts[0], parts[3]), (parts[1], None), parts[2]], params)

    booster = xgboost.Booster(params)
    booster.load_model(bytearray(fed.files["model.json"].encode()))
    pooled = np.concatenate([each.features for each in parts[:3]]), np.concatenate([each.label for each in parts[:3]])
    measured = booster.eval_set(
        [(xgboost.DMatrix(*pooled), "train"), (xgboost.DMatrix(parts[3].features, parts[3].label), "validation")]
    )
    expected = {name: float(value) for name, _, value in (each.partition(":") for each in measured.split()[1:])}
    found = {each.key: each.value for each in fed.metrics if each.site is None and each.round == 2}
    assert found == pytest.approx(expected, abs=2e-6)
    assert {each.site for each in fed.metrics} == {None, "site-1", "site-2", "site-3"}
    assert {each.key for each in fed.metrics if each.site == "site-2"} == {"train-error", "train-logloss"}
    assert [each.title for each in fed.tables] == ["Importance of features", "Gain of the trees"]


def test_it_stops_when_the_last_metric_no_longer_improves():
    parts = tables(2, count=80)
    validation = tables(1, count=300)[0]
    params = LOGISTIC | {"eval_metric": ["auc", "logloss"], "max_depth": 8, "eta": 1.0, "min_child_weight": 0}

    fed, model = train([(parts[0], validation), parts[1]], params, rounds=50, early_stopping_rounds=3)

    losses = [each.value for each in fed.metrics if each.key == "validation-logloss" and each.site is None]
    best = int(np.argmin(losses))
    assert len(losses) == best + 4 < 50
    assert model.attributes["best_iteration"] == str(best)
    assert float(model.attributes["best_score"]) == losses[best]


def test_sites_without_rows_or_with_one_class_take_part():
    features, label = rows_of(300)
    parts = [
        Table.of(features[:0], label[:0]),
        Table.of(features[label == 1], label[label == 1]),
        Table.of(features[label == 0], label[label == 0]),
    ]

    fed, model = train(parts, LOGISTIC | {"eval_metric": "auc"})

    assert len(model.trees) == 6
    assert not [each for each in fed.metrics if not np.isfinite(each.value)]
    assert np.isfinite(model.predict_margins(features)).all()


def test_columns_that_are_constant_or_missing_at_a_site_take_part():
    features, label = rows_of(400)
    constant, missing = features[:200].copy(), features[200:].copy()
    constant[:, 1] = 7
    missing[:, 0] = np.nan
    parts = [Table.of(constant, label[:200]), Table.of(missing, label[200:])]

    fed, model = train(parts, LOGISTIC)

    assert len(model.trees) == 6
    np.testing.assert_allclose(margins_by_xgboost(fed, features), model.predict_margins(features), rtol=0, atol=1e-5)


def test_shares_that_are_given_count_in_place_of_the_rows():
    parts = tables(2)

    _, alone = train(parts[:1], LOGISTIC | {"base_score": 0.5}, rounds=1)
    _, model = train(
        parts, LOGISTIC | {"base_score": 0.5}, rounds=1, lr_mode="scaled", lr_scales={"site-1": 1.0, "site-2": 0.0}
    )

    features, _ = rows_of(600)
    np.testing.assert_array_equal(model.predict_margins(features), alone.predict_margins(features))
    with pytest.raises(FlareError, match=r"site-1, site-2 add up to 0\.0"):
        train(parts, LOGISTIC, lr_mode="scaled", lr_scales={"site-1": 0.0, "site-2": 0.0})


def test_too_few_margins_are_named_with_their_site():
    features, label = rows_of(60, classes=4)

    with pytest.raises(FlareError, match=r"site-1: base_margin has shape \(60,\), but multi:softprob has 4 outputs"):
        train([Table.of(features, label, base_margin=np.zeros(60))], SOFTPROB)


class Restarts(Executor):
    """A site whose process is started again before some tasks."""

    def __init__(self, make, before):
        self.make = make
        self.before = before
        self.tasks = 0
        self.executor = make()

    def execute(self, task, context):
        if self.tasks in self.before:
            self.executor = self.make()
        self.tasks += 1
        return self.executor.execute(task, context)


@pytest.mark.parametrize("mode", ["bagging", "cyclic"])
def test_a_site_that_was_started_again_is_given_what_it_lacks(mode):
    parts = tables(2)
    _, undisturbed = train(parts, LOGISTIC, mode=mode)
    first = TreeExecutor(Given(parts[0]), LOGISTIC)
    second = Restarts(lambda: TreeExecutor(Given(parts[1]), LOGISTIC), before=(1, 3, 4))
    fed = FakeFederation({"site-1": first, "site-2": second})

    fed.run(TreeBoosting(min_clients=2, num_rounds=3, xgb_params=LOGISTIC, mode=mode))

    assert fed.files["model.json"] == undisturbed.to_json().decode()


def test_columns_that_differ_end_the_run_before_a_tree_is_grown():
    features, label = rows_of(100)
    parts = [Table.of(features, label, names=list(names)) for names in ("abcde", "abdce")]
    fed = federation(parts, LOGISTIC)

    with pytest.raises(FlareError, match="site-2: column 3 is 'd', but at site-1 it is 'c'"):
        fed.run(TreeBoosting(min_clients=2, num_rounds=3, xgb_params=LOGISTIC))

    assert {task.name for _, task in fed.tasks} == {"describe"}


def test_categories_have_the_same_codes_at_all_sites():
    generator = np.random.default_rng(0)
    towns = generator.choice(list("abcdef"), 400)
    label = np.isin(towns, ["b", "e"]) ^ (generator.random(400) < 0.1)
    parts = []
    for at, own in enumerate((["a", "b", "c"], ["c", "d", "e", "f"])):
        rows = np.isin(towns, own)
        names = sorted(set(towns[rows]), reverse=at == 1)
        codes = np.array([[names.index(town)] for town in towns[rows]], np.float32)
        parts.append(Table.of(codes, label[rows], names=["town"], types=["c"], categories={0: names}))

    _, model = train(parts, LOGISTIC | {"base_score": 0.5}, rounds=10)

    means = model.predict(np.arange(6, dtype=np.float32)[:, None])
    assert (means[[1, 4]] > 0.5).all()
    assert (means[[0, 2, 3, 5]] < 0.5).all()


class TestBagging(WorkflowConformance):
    can_spare = 1

    def make(self):
        return TreeBoosting(min_clients=2, num_rounds=3, xgb_params=LOGISTIC)

    def federation(self, **faults):
        return federation(tables(3, count=120), LOGISTIC, **faults)


class TestCyclic(WorkflowConformance):
    can_spare = 1

    def make(self):
        return TreeBoosting(min_clients=2, num_rounds=2, xgb_params=LOGISTIC, mode="cyclic", order="random")

    def federation(self, **faults):
        return federation(tables(3, count=120), LOGISTIC, **faults)


class TestTreeExecutor(ExecutorConformance):
    def make(self):
        return TreeExecutor(Given(tables(1, count=60)[0]), LOGISTIC)

    def tasks(self):
        fed = federation(tables(1, count=60), LOGISTIC)
        fed.run(TreeBoosting(min_clients=1, num_rounds=1, xgb_params=LOGISTIC))
        return [Task(task.name, task.data) for _, task in fed.tasks]
