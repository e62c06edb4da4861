"""Horizontal training gives the bits of training in one place, for any number of sites and any deal of the rows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import SiteError
from flare_core.testing import FakeFederation
from flare_fobs import dumps, loads
from flare_xgb.data import Columns, Table, from_pandas
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import cuts_of, train
from flare_xgb.horizontal import Horizontal, HorizontalExecutor
from flare_xgb.result import for_any_version

ROUNDS = 3


class Rows:
    """A loader of given tables."""

    def __init__(self, table, validation=None):
        self.table = table
        self.validation = validation

    def load_data(self):
        return self.table, self.validation


def rows(seed=0, count=300, classes=2, categories=0, missing=0.1, weighted=False):
    """Return a table whose columns have few and many distinct values, missing ones and categories."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 5)).astype(np.float32)
    features[:, 1] = random.integers(0, 6, count)
    features[:, 2] = np.float32(1.5)
    features[random.random(features.shape) < missing] = np.nan
    types = ["float"] * 5
    if categories:
        features[:, 4] = random.integers(0, categories, count)
        types[4] = "c"
    score = np.nan_to_num(features[:, 0]) + np.sin(np.nan_to_num(features[:, 1])) + random.normal(size=count)
    label = np.digitize(score, np.linspace(-1, 1, classes + 1)[1:-1]).astype(np.float32)
    weight = random.choice([0.5, 1.0, 2.25, 3.0], count).astype(np.float32) if weighted else None
    names = ["a", "b", "constant", "d", "e"]
    kinds = {4: tuple(range(categories))} if categories else None
    return Table.of(features, label, names=names, types=types, categories=kinds, weight=weight)


def dealt(table, sites, seed=0, validation=None, secure=None):
    """Return executors that have the rows of a table between them."""
    deal = np.random.default_rng(seed).integers(0, sites, len(table))
    other = np.random.default_rng(seed).integers(0, sites, 0 if validation is None else len(validation))
    return {
        f"site-{site + 1}": HorizontalExecutor(
            Rows(table.take(deal == site), None if validation is None else validation.take(other == site)), secure
        )
        for site in range(sites)
    }


def federation(executors, **faults):
    return FakeFederation(executors, travel=lambda data: loads(dumps(data)), **faults)


def trained(executors, params, rounds=ROUNDS, **arguments):
    """Return a federation that has trained, and its model's bytes."""
    fed = federation(executors)
    arguments.setdefault("min_clients", len(executors))
    fed.run(Horizontal(params, num_rounds=rounds, **arguments))
    return fed, fed.files["model.json"].encode()


OBJECTIVES = [
    {"objective": "reg:squarederror"},
    {"objective": "reg:absoluteerror"},
    {"objective": "reg:pseudohubererror"},
    {"objective": "binary:logistic", "scale_pos_weight": 2.5},
    {"objective": "binary:hinge"},
    {"objective": "count:poisson"},
    {"objective": "reg:tweedie"},
    {"objective": "reg:quantileerror", "quantile_alpha": [0.2, 0.75]},
    {"objective": "multi:softprob", "num_class": 2},
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("params", OBJECTIVES, ids=lambda params: params["objective"])
def test_any_number_of_sites_and_any_deal_give_the_bits_of_training_in_one_place(params, weighted):
    params = {"max_depth": 4, "max_bin": 16, "eval_metric": [], "disable_default_eval_metric": True, **params}
    table = rows(categories=5, weighted=weighted)
    wanted = for_any_version(train(params, table, ROUNDS)[0]).to_json()
    for sites, seed in ((1, 0), (2, 0), (2, 1), (7, 0)):
        assert trained(dealt(table, sites, seed), params)[1] == wanted, f"{sites} sites, deal {seed}"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(2, 200),
    sites=st.integers(2, 7),
    secure=st.sampled_from([None, "masked"]),
    params=st.fixed_dictionaries(
        {
            "objective": st.sampled_from(["reg:squarederror", "binary:logistic"]),
            "max_depth": st.integers(1, 6),
            "max_bin": st.sampled_from([2, 5, 64, 256]),
            "grow_policy": st.sampled_from(["depthwise", "lossguide"]),
            "max_leaves": st.sampled_from([0, 9]),
            "min_child_weight": st.sampled_from([0, 1, 5]),
            "lambda": st.sampled_from([0, 1, 10]),
            "alpha": st.sampled_from([0, 0.5]),
            "gamma": st.sampled_from([0, 0.3]),
            "colsample_bytree": st.sampled_from([0.5, 1]),
            "colsample_bynode": st.sampled_from([0.5, 1]),
            "num_parallel_tree": st.sampled_from([1, 2]),
            "monotone_constraints": st.sampled_from(["(0,0,0,0,0)", "(1,0,0,-1,0)"]),
        }
    ),
)
def test_drawn_parameters_give_the_bits_of_training_in_one_place(seed, count, sites, secure, params):
    table = rows(seed, count, categories=seed % 3 * 3)
    wanted = for_any_version(train(params, table, 2)[0]).to_json()
    assert trained(dealt(table, sites, seed, secure=secure), params, rounds=2, secure=secure)[1] == wanted


def test_drawn_rows_are_those_of_one_table_in_which_the_sites_rows_follow_each_other():
    table, params = rows(), {"objective": "binary:logistic", "subsample": 0.6, "seed": 3}
    parts = {"b": slice(0, 90), "c": slice(90, 200), "a": slice(200, 300)}
    executors = {site: HorizontalExecutor(Rows(table.take(part))) for site, part in parts.items()}
    wanted = for_any_version(train(params, table, ROUNDS)[0]).to_json()
    assert trained(executors, params)[1] == wanted
    shuffled = {site: executors[site] for site in "abc"}
    assert trained(shuffled, params, client_ranks={"b": 0, "c": 1, "a": 2})[1] == wanted
    assert trained(shuffled, params)[1] != wanted


def test_bins_of_the_sites_are_those_of_all_rows():
    table = rows(count=3000, weighted=True)
    for max_bin in (2, 3, 16, 256):
        params = {"max_bin": max_bin}
        fed = federation(dealt(table, 3))
        workflow = Horizontal(params, min_clients=3, num_rounds=1)
        fed.run(workflow)
        assert workflow._agreed.cuts == cuts_of(table, max_bin)


def test_edges_lie_at_exact_ranks_whatever_the_deal():
    """Against the definition: each of max_bin parts of a column without ties has the same number of rows."""
    column = np.random.default_rng(0).normal(size=(1 << 12, 1)).astype(np.float32)
    table = Table.of(column, column[:, 0])
    fed = federation(dealt(table, 4))
    workflow = Horizontal({"max_bin": 64}, min_clients=4, num_rounds=1)
    fed.run(workflow)
    cuts: Cuts = workflow._agreed.cuts
    sizes = np.diff(np.concatenate(([0], np.searchsorted(np.sort(column[:, 0]), cuts.edges(0)))))
    assert set(sizes.tolist()) <= {63, 64, 65}
    assert len(sizes) == 64


@pytest.mark.parametrize("secure", [None, "masked"])
def test_metrics_are_recorded_and_early_stopping_ends_as_in_one_place(secure):
    params = {"objective": "binary:logistic", "eval_metric": ["error", "logloss"], "eta": 1.0}
    table, validation = rows(0), rows(1, count=100)
    model, history = train(params, table, 50, evals={"train": table, "validation": validation}, early_stopping_rounds=3)
    fed, found = trained(
        dealt(table, 3, validation=validation, secure=secure), params, 50, early_stopping_rounds=3, secure=secure
    )
    assert found == model.to_json()
    assert fed.completed == model.num_rounds < 50
    for name in ("train", "validation"):
        for metric in ("error", "logloss"):
            recorded = [each.value for each in fed.metrics if each.key == f"{name}-{metric}" and each.site is None]
            assert recorded == history[name][metric]
    best = Model.from_bytes(fed.saved["best"].params["model"].tobytes())
    assert best.num_rounds == int(model.attributes["best_iteration"]) + 1


@pytest.mark.parametrize("rows", [1, 273, 100_000])
def test_the_scale_of_gradients_depends_on_the_power_of_two_of_their_bound_alone(rows):
    """Else one place, which knows the bound, would have another scale than the server, which knows its exponent."""
    for low, high in ((7.5, 8.0), (4.0001, 8.0), (0.3, 0.5), (1e-9, 2.0**-29)):
        assert FixedPoint.fit(low, 1.0, rows) == FixedPoint.fit(high, 1.0, rows)
    assert FixedPoint.fit(8.0, 1.0, rows) != FixedPoint.fit(8.0001, 1.0, rows)


def test_the_result_opens_in_xgboost_with_equal_predictions():
    xgboost = pytest.importorskip("xgboost")
    table = rows(categories=4)
    fed, found = trained(dealt(table, 2), {"objective": "binary:logistic"})
    booster = xgboost.Booster(model_file=bytearray(found))
    matrix = xgboost.DMatrix(
        table.features, feature_names=list(table.names), feature_types=list(table.types), enable_categorical=True
    )
    model = Model.from_bytes(fed.saved["global"].params["model"].tobytes())
    np.testing.assert_array_equal(booster.predict(matrix), model.predict(table.features))
    (importance,) = (each for each in fed.tables if each.title == "Importance of features")
    gains = booster.get_score(importance_type="gain")
    assert {row[0]: row[1] for row in importance.rows} == {name: f"{gain:.4g}" for name, gain in gains.items()}
    (plot,) = (each for each in fed.tables if each.title == "Gain of the trees")
    assert len(plot.rows) == len(booster.get_dump())  # a tree a round
    total = sum(booster.get_score(importance_type="total_gain").values())
    assert sum(float(row[1]) for row in plot.rows) == pytest.approx(total, rel=1e-3)
    assert max(len(row[2].strip()) for row in plot.rows) == 24


@pytest.mark.parametrize("objective", ["rank:pairwise", "rank:ndcg"])
def test_rankings_whose_groups_are_dealt_whole_are_trained_as_in_one_place(objective):
    random = np.random.default_rng(0)
    qid = np.sort(random.integers(0, 30, 300))
    features = random.normal(size=(300, 4)).astype(np.float32)
    label = np.digitize(features[:, 0] + random.normal(size=300), [-1, 0, 1])
    weight = random.choice([0.5, 1, 3], len(np.unique(qid)))
    params = {"objective": objective, "max_depth": 3, "lambdarank_num_pair_per_sample": 8}
    executors = {}
    for number, groups in enumerate(np.array_split(np.unique(qid), 3)):
        part = np.isin(qid, groups)
        columns = {"qid": qid[part], "weight": weight[np.isin(np.unique(qid), groups)]}
        executors[f"site-{number}"] = HorizontalExecutor(Rows(Table.of(features[part], label[part], **columns)))
    whole = Table.of(features, label, qid=qid, weight=weight)
    assert trained(executors, params)[1] == train(params, whole, ROUNDS)[0].to_json()


@pytest.mark.parametrize("params", [{"objective": "survival:aft"}, {"objective": "survival:cox"}])
def test_survival_is_trained(params):
    """Accelerated failure times as in one place; Cox's order of the rows is that of each site."""
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 3)).astype(np.float32)
    time = np.exp(features[:, 0] + random.normal(size=200))
    upper = np.where(random.random(200) < 0.3, np.inf, time)
    if params["objective"] == "survival:aft":
        table = Table.of(features, None, label_lower_bound=time, label_upper_bound=upper)
    else:
        table = Table.of(features, np.where(np.isinf(upper), -time, time))
    found = trained(dealt(table, 2), params)[1]
    wanted = train(params, table, ROUNDS)[0]
    if params["objective"] == "survival:aft":
        assert found == wanted.to_json()
    else:
        assert trained(dealt(table, 1), params)[1] == wanted.to_json() != found


def test_margins_and_base_scores_that_are_given_are_used():
    table = rows()
    margins = np.random.default_rng(1).normal(size=len(table)).astype(np.float32)
    with_margins = table.with_columns(base_margin=margins)
    params = {"objective": "binary:logistic"}
    assert trained(dealt(with_margins, 3), params)[1] == train(params, with_margins, ROUNDS)[0].to_json()
    params |= {"base_score": 0.3}
    assert trained(dealt(table, 3), params)[1] == for_any_version(train(params, table, ROUNDS)[0]).to_json()


def test_bins_of_many_values_cost_no_accuracy_against_xgboosts_own_sketch():
    xgboost = pytest.importorskip("xgboost")
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    features = random.normal(size=(30_000, 6)).astype(np.float32)
    label = (features[:, 0] * features[:, 1] + features[:, 2] > random.normal(size=30_000)).astype(np.float32)
    table, held_out = Table.of(features[:20_000], label[:20_000]), features[20_000:]
    params = {"objective": "binary:logistic", "max_bin": 64, "tree_method": "hist"}
    _, found = trained(dealt(table, 3), params, rounds=20)
    theirs = xgboost.train(params, xgboost.DMatrix(table.features, table.label), 20)
    areas = [
        roc_auc_score(label[20_000:], predicted)
        for predicted in (Model.from_bytes(found).predict(held_out), theirs.predict(xgboost.DMatrix(held_out)))
    ]
    assert areas[1] > 0.8
    assert abs(areas[0] - areas[1]) < 0.001


def test_sites_with_no_rows_one_class_or_empty_columns_change_nothing():
    table = rows(count=200)
    order = np.argsort(table.label, kind="stable")
    split = int((table.label == 0).sum())
    parts = [table.take(order[:split]), table.take(order[split:]), table.take(slice(0, 0))]
    one, two = (parts[0].take(slice(0, split, 2)), parts[0].take(slice(1, split, 2)))
    emptied = replace(two, features=two.features.copy())
    emptied.features[:, 3] = np.nan
    pooled = Table.of(
        np.concatenate([one.features, emptied.features, parts[1].features]),
        np.concatenate([one.label, emptied.label, parts[1].label]),
        names=table.names,
    )
    executors = {f"site-{n}": HorizontalExecutor(Rows(part)) for n, part in enumerate([one, emptied, *parts[1:]])}
    params = {"objective": "binary:logistic"}
    assert trained(executors, params)[1] == train(params, pooled, ROUNDS)[0].to_json()


def test_categories_that_only_some_sites_have_are_united():
    features, label = np.array([[0.0], [1.0], [0.0], [1.0]] * 20), np.array([0, 1, 2, 0] * 20)
    executors = {
        "site-1": HorizontalExecutor(Rows(Table.of(features, label, types="c", categories={0: ("red", "blue")}))),
        "site-2": HorizontalExecutor(Rows(Table.of(features, label, types="c", categories={0: ("blue", "green")}))),
    }
    pooled = np.concatenate([2 - 2 * features, features])  # blue, green, red
    whole = Table.of(pooled, np.tile(label, 2), types="c", categories={0: ("blue", "green", "red")})
    fed, model = trained(executors, {})
    assert model == train({}, whole, ROUNDS)[0].to_json()
    assert json.loads(fed.files["categories.json"]) == {"f0": ["blue", "green", "red"]}


def test_a_data_frame_with_the_categories_of_the_run_is_predicted_as_by_xgboost_on_all_rows():
    pandas, xgboost = (pytest.importorskip(each) for each in ("pandas", "xgboost"))
    rows = [
        pandas.DataFrame({"town": towns * 30, "Größe": range(90), "label": [0, 1, 1] * 30})
        for towns in (["Ulm", "Köln", "Bonn"], ["Bonn", "Aachen", "Ulm"])
    ]
    whole = pandas.concat(rows)
    columns = Columns(label="label", categorical=["town"])
    executors = {f"site-{at}": HorizontalExecutor(Rows(from_pandas(each, columns))) for at, each in enumerate(rows)}
    fed, model = trained(executors, {})
    for name, categories in json.loads(fed.files["categories.json"]).items():
        whole[name] = pandas.Categorical(whole[name], categories=categories)
    data = xgboost.DMatrix(whole.drop(columns="label"), whole["label"], enable_categorical=True)
    central = xgboost.train({}, data, ROUNDS)
    booster = xgboost.Booster(model_file=bytearray(model))
    np.testing.assert_array_equal(booster.predict(data), central.predict(data))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda table: replace(table, names=("b", "a", "constant", "d", "e")), "site-2: column 1 is 'b'"),
        (lambda table: replace(table, label=None), "site-2: has no label"),
        (lambda table: replace(table, label=table.label + 0.5), r"site-2.*labels in \[0, 1\]"),
        (lambda table: replace(table, weight=np.ones(len(table), np.float32)), "site-1: has no weight"),
        (lambda table: Table.of(table.features[:, :4], table.label, names="abcd"), "site-2"),
    ],
)
def test_a_site_whose_rows_do_not_fit_is_named_before_training(other, message):
    table = rows()
    executors = {"site-1": HorizontalExecutor(Rows(table)), "site-2": HorizontalExecutor(Rows(other(table)))}
    fed = federation(executors)
    with pytest.raises(Exception, match=message):
        fed.run(Horizontal({"objective": "binary:logistic"}, min_clients=2, num_rounds=1))
    assert not fed.saved


def test_sites_without_any_rows_or_labels_are_an_error():
    nothing = Table.of(np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(Exception, match="there are no rows"):
        trained({"one": HorizontalExecutor(Rows(nothing))}, {})
    unlabelled = Table.of(np.zeros((2, 2)))
    with pytest.raises((SiteError, ValueError), match="label"):
        trained({"one": HorizontalExecutor(Rows(unlabelled))}, {})
