"""Central training and model files against XGBoost's."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from engine_problems import FIXED, problem, trees_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xgboost_version import changed, skip_if_of_quantiles, unless_changed, without_changed

from flare_core import FlareError, ModelError
from flare_xgb.data import Table
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.model import IMPORTANCES, Model
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import Trainer, train

SLOW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LOSSES = (
    "reg:squarederror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "reg:quantileerror",
    "reg:logistic",
    "binary:logistic",
    "binary:logitraw",
    "binary:hinge",
    "multi:softprob",
    "multi:softmax",
    "count:poisson",
    "reg:gamma",
    "reg:tweedie",
    "survival:cox",
    "survival:aft",
    "rank:ndcg",
    "rank:pairwise",
    "rank:map",
)


def rows_for(loss: str, seed: int, rows: int = 300) -> tuple[Table, xgboost.DMatrix, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 4)).astype(np.float32)
    features[:, 1] = np.round(features[:, 1] * 3)
    features[:, 2] = rng.integers(0, 9, rows)
    features[rng.random(features.shape) < 0.1] = np.nan
    signal = np.nan_to_num(features[:, 0]) + 0.3 * np.nan_to_num(features[:, 2]) + rng.normal(size=rows)
    params: dict[str, Any] = without_changed({"objective": loss, "max_depth": 4, **FIXED})
    columns: dict[str, Any] = {}
    label: Any = signal
    if loss.startswith("multi"):
        label, params["num_class"] = np.clip(np.round(signal), 0, 2), 3
    elif "logi" in loss or loss in ("binary:hinge", "rank:map"):
        label = (signal > 1) * 1.0
    elif loss in ("reg:gamma", "reg:squaredlogerror"):
        label = np.exp(signal / 2)
    elif loss in ("count:poisson", "reg:tweedie"):
        label = rng.poisson(np.exp(signal / 2))
    elif loss == "survival:cox":
        label = np.exp(signal / 2) * np.where(rng.random(rows) < 0.3, -1, 1)
    elif loss == "reg:quantileerror":
        params["quantile_alpha"] = [0.2, 0.7]
    elif loss == "survival:aft":
        low = np.exp(signal / 2)
        label, columns = None, {"label_lower_bound": low, "label_upper_bound": low * rng.choice([1, 2, np.inf], rows)}
    elif loss.startswith("rank"):
        label = np.clip(np.round(signal), 0, 4)
    if loss.startswith("rank"):
        columns["qid"] = np.sort(rng.integers(0, 20, rows))
    if seed % 2:
        groups = len(np.unique(columns["qid"])) if "qid" in columns else rows
        columns["weight"] = rng.uniform(0.5, 2, groups).astype(np.float32)
    types = ["float", "float", "c", "float"]
    table = Table.of(features, label, types=types, categories={2: list(range(9))}, **columns)
    data = xgboost.DMatrix(features, label, feature_types=types, enable_categorical=True, **columns)
    return table, data, params


def cuts_of(data: xgboost.DMatrix, params: dict[str, Any]) -> Cuts:
    xgboost.train(params, data, 1)
    return Cuts.from_xgboost(*data.get_quantile_cut(), [one == "c" for one in data.feature_types])


def assert_close(ours: Model, theirs: xgboost.Booster, exact: bool) -> None:
    mine = json.loads(ours.to_json())["learner"]["gradient_booster"]["model"]["trees"]
    other = trees_of(theirs)
    assert len(mine) == len(other)
    for one, two in zip(mine, other, strict=True):
        for name in two:
            if isinstance(two[name], list):
                tolerance = 0 if exact or name not in ("split_conditions", "base_weights") else 1e-6
                if name in ("loss_changes", "sum_hessian") and (not exact or changed("gains")):
                    np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)
                else:
                    np.testing.assert_allclose(one[name], two[name], rtol=tolerance, atol=tolerance, err_msg=name)
            else:
                assert one[name] == two[name]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", [0, 1])
def test_trained_trees_are_xgboosts(loss: str, seed: int) -> None:
    skip_if_of_quantiles(loss)
    table, data, params = rows_for(loss, seed)
    cuts = cuts_of(data, params)
    theirs = xgboost.train(params, data, 4)
    ours, _ = train(params, table, 4, cuts=cuts)
    score = json.loads(bytes(theirs.save_raw("json")))["learner"]["learner_model_param"]["base_score"]
    # That of a ranking is what rounding leaves of a sum of zero.
    np.testing.assert_allclose(
        ours.base_score, np.array(json.loads(score), np.float32), rtol=0, atol=1e-6 if loss.startswith("rank") else 0
    )
    assert_close(ours, theirs, exact=False)
    np.testing.assert_allclose(ours.predict(table.features), theirs.predict(data), rtol=2e-6, atol=1e-6)


@unless_changed("gains")
@pytest.mark.parametrize(
    "loss",
    [
        "reg:squarederror",
        "reg:absoluteerror",
        "binary:logistic",
        "multi:softprob",
        "count:poisson",
        "reg:gamma",
        "reg:tweedie",
        "reg:quantileerror",
    ],
)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_trees_of_random_rows_and_parameters_are_xgboosts(loss: str, seed: int) -> None:
    drawn = problem(seed).with_loss(loss)
    data = drawn.matrix()
    theirs = xgboost.train(drawn.params, data, 3)
    cuts = drawn.cuts(data)
    ours, _ = train(drawn.params, drawn.table(cuts), 3, cuts=cuts)
    assert_close(ours, theirs, exact=loss == "reg:squarederror")


@pytest.mark.parametrize("loss", LOSSES)
def test_stock_xgboost_opens_our_files_with_equal_predictions_and_shap_values(loss: str, tmp_path: Path) -> None:
    table, data, params = rows_for(loss, 1)
    ours, _ = train({**params, "num_parallel_tree": 2, "subsample": 0.7}, table, 3)
    for name in ("model.json", "model.ubj"):
        ours.save(tmp_path / name)
        booster = xgboost.Booster(model_file=tmp_path / name)
        assert booster.num_boosted_rounds() == 3
        np.testing.assert_array_equal(
            booster.predict(data, output_margin=True).reshape(len(table), -1), ours.predict_margins(table.features)
        )
        np.testing.assert_allclose(booster.predict(data), ours.predict(table.features), rtol=1e-6)
        np.testing.assert_array_equal(booster.predict(data, pred_leaf=True), ours.predict_leaves(table.features))
        shap = booster.predict(data, pred_contribs=True).reshape(len(table), -1, 5)
        np.testing.assert_allclose(shap.sum(axis=2), ours.predict_margins(table.features), rtol=1e-4, atol=1e-4)
        # What it saves in turn is the same model.
        again = Model.from_bytes(bytes(booster.save_raw(name[-4:].strip("."))))
        assert (
            json.loads(again.to_json())["learner"]["gradient_booster"]
            == json.loads(ours.to_json())["learner"]["gradient_booster"]
        )
        assert Model.load(tmp_path / name).to_json() == ours.to_json()


@pytest.mark.parametrize("loss", ["multi:softprob", "reg:quantileerror"])
def test_a_model_with_one_base_score_predicts_the_same_bits(loss: str) -> None:
    table, data, params = rows_for(loss, 1)
    ours, _ = train({**params, "num_parallel_tree": 2}, table, 3)
    older = ours.with_one_base_score()
    assert older.base_score.tolist() == [0] * ours.num_outputs
    assert json.loads(older.to_json())["learner"]["learner_model_param"]["base_score"] == "0.0"
    np.testing.assert_array_equal(older.predict_margins(table.features), ours.predict_margins(table.features))
    booster = xgboost.Booster(model_file=bytearray(older.to_ubj()))
    np.testing.assert_array_equal(booster.predict(data, output_margin=True), ours.predict_margins(table.features))
    same = xgboost.Booster(model_file=bytearray(ours.to_ubj()))
    np.testing.assert_allclose(
        booster.predict(data, pred_contribs=True), same.predict(data, pred_contribs=True), rtol=1e-4, atol=1e-5
    )
    assert older.with_one_base_score() is older
    with pytest.raises(ModelError, match="cannot be moved"):
        ours.slice(0, 0).with_one_base_score()


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_a_file_of_xgboosts_opens_with_equal_predictions(form: str) -> None:
    for loss in LOSSES:
        table, data, params = rows_for(loss, 0)
        theirs = xgboost.train(params, data, 3)
        ours = Model.from_bytes(bytes(theirs.save_raw(form)))
        np.testing.assert_array_equal(
            ours.predict_margins(table.features), theirs.predict(data, output_margin=True).reshape(len(table), -1)
        )
        for kind in IMPORTANCES:
            expected = theirs.get_score(importance_type=kind)
            found = ours.importance(kind)
            assert found.keys() == expected.keys()
            np.testing.assert_allclose([found[one] for one in expected], list(expected.values()), rtol=1e-6)


@unless_changed("draws")
def test_training_goes_on_from_a_model_as_xgboosts_does() -> None:
    table, data, params = rows_for("binary:logistic", 1)
    params = {**params, "subsample": 0.8, "colsample_bytree": 0.5, "seed": 7}
    cuts = cuts_of(data, params)
    first = xgboost.train(params, data, 2)
    theirs = xgboost.train(params, data, 2, xgb_model=first.save_raw())
    ours, _ = train(params, table, 2, cuts=cuts)
    ours, _ = train(params, table, 2, cuts=cuts, model=ours)
    assert_close(ours, theirs, exact=False)
    assert ours.num_rounds == 4


@unless_changed("draws")
@pytest.mark.parametrize("seed_per_iteration", [False, True])
def test_forests_of_several_classes_draw_rows_and_columns_as_xgboosts_do(seed_per_iteration: bool) -> None:
    table, data, params = rows_for("multi:softprob", 0)
    params = {
        **params,
        "num_parallel_tree": 3,
        "subsample": 0.5,
        "colsample_bynode": 0.5,
        "seed": 3,
        "seed_per_iteration": seed_per_iteration,
    }
    cuts = cuts_of(data, params)
    theirs = xgboost.train(params, data, 3)
    ours, _ = train(params, table, 3, cuts=cuts)
    assert_close(ours, theirs, exact=False)


def test_early_stopping_ends_where_xgboosts_does_and_notes_the_best_round() -> None:
    table, data, params = rows_for("binary:logistic", 0)
    other, validation, _ = rows_for("binary:logistic", 10)
    params = {**params, "eta": 1, "eval_metric": ["error", "logloss"]}
    cuts = cuts_of(data, params)
    expected: dict[str, Any] = {}
    theirs = xgboost.train(
        params,
        data,
        60,
        evals=[(data, "train"), (validation, "valid")],
        early_stopping_rounds=4,
        evals_result=expected,
        verbose_eval=False,
    )
    ours, history = train(params, table, 60, cuts=cuts, evals={"train": table, "valid": other}, early_stopping_rounds=4)
    assert ours.num_rounds == theirs.num_boosted_rounds() < 60
    assert int(ours.attributes["best_iteration"]) == theirs.best_iteration
    for name, values in expected.items():
        for metric, series in values.items():
            np.testing.assert_allclose(history[name][metric], series, rtol=1e-5)


def test_a_loss_of_ones_own_trains_as_in_xgboost() -> None:
    table, data, params = rows_for("reg:squarederror", 0)
    cuts = cuts_of(data, params)

    def squares(margins: Any, target: Any) -> tuple[Any, Any]:
        label = target.get_label() if isinstance(target, xgboost.DMatrix) else target.label
        gradient = margins.reshape(-1) - label
        return gradient, np.ones_like(gradient)

    theirs = xgboost.train(params, data, 3, obj=squares)
    ours, _ = train(params, table, 3, cuts=cuts, gradients=squares)
    assert_close(ours, theirs, exact=True)


def test_base_margins_stand_in_for_the_base_score() -> None:
    table, data, params = rows_for("reg:squarederror", 0)
    margin = np.random.default_rng(1).normal(size=len(table)).astype(np.float32)
    data.set_base_margin(margin)
    table = table.with_columns(base_margin=margin)
    cuts = cuts_of(data, params)
    ours, _ = train(params, table, 3, cuts=cuts)
    theirs = xgboost.train(params, data, 3)
    assert_close(ours, theirs, exact=True)
    np.testing.assert_array_equal(ours.predict(table.features, margin), theirs.predict(data))


def test_slices_of_a_model_join_to_the_whole() -> None:
    table, _, params = rows_for("multi:softprob", 0)
    whole, _ = train(params, table, 4)
    parts = whole.slice(0, 1).joined(whole.slice(1, 4))
    assert parts.to_ubj() == whole.to_ubj()
    with pytest.raises(ModelError, match="rounds 2 to 5"):
        whole.slice(2, 5)
    with pytest.raises(ModelError, match="cannot be joined"):
        whole.joined(train({**params, "base_score": 0.1}, table, 1)[0])


def test_a_trainer_goes_on_from_another_model() -> None:
    table, _, params = rows_for("reg:squarederror", 0)
    whole, _ = train(params, table, 3)
    trainer = Trainer(params, table)
    trainer.continue_from(whole.slice(0, 2))
    trainer.round()
    assert trainer.model.to_json() == whole.to_json()


@given(st.integers(1, 4))
@SLOW
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    table, _, params = rows_for("binary:logistic", 1, rows=9000)
    ours, _ = train(params, table, 2, threads=Threads(threads))
    once, _ = train(params, table, 2, threads=Threads(1))
    assert ours.to_json() == once.to_json()


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 255))
@SLOW
def test_a_damaged_file_is_an_error_and_never_another_model(junk: bytes, at: int, byte: int) -> None:
    with pytest.raises(FlareError):
        Model.from_bytes(junk)
    table, _, params = rows_for("reg:squarederror", 0, rows=30)
    good = train(params, table, 1)[0].to_ubj()
    with pytest.raises(FlareError):
        Model.from_bytes(good[: at % len(good)])


def _damaged(change: str) -> dict[str, Any]:
    table, _, params = rows_for("reg:squarederror", 0, rows=100)
    plain = json.loads(train(params, table, 2)[0].to_json())
    model = plain["learner"]["gradient_booster"]["model"]
    tree = model["trees"][1]
    if change == "circle":
        tree["left_children"][1] = 0
    elif change == "two parents":
        tree["left_children"][1] = tree["left_children"][0]
    elif change == "beyond":
        tree["right_children"][0] = 10**6
    elif change == "feature":
        tree["split_indices"][0] = 4
    elif change == "length":
        tree["split_conditions"].pop()
    elif change == "half a leaf":
        tree["right_children"][0] = -1
    elif change == "output":
        model["tree_info"][0] = 1
    elif change == "rounds":
        model["iteration_indptr"] = [0, 3]
    elif change == "scores":
        plain["learner"]["learner_model_param"]["base_score"] = "[1,2]"
    elif change == "booster":
        plain["learner"]["gradient_booster"]["name"] = "dart"
    elif change == "vector leaves":
        tree["tree_param"]["size_leaf_vector"] = "2"
    return plain


@pytest.mark.parametrize(
    "change",
    [
        "circle",
        "two parents",
        "beyond",
        "feature",
        "length",
        "half a leaf",
        "output",
        "rounds",
        "scores",
        "booster",
        "vector leaves",
    ],
)
def test_a_model_that_is_not_whole_is_refused(change: str) -> None:
    with pytest.raises(ModelError):
        Model.from_bytes(json.dumps(_damaged(change)).encode())


@given(st.integers(0, 10**6), st.integers(0, 255))
@SLOW
def test_a_file_with_a_wrong_byte_opens_as_a_model_or_is_an_error(at: int, byte: int) -> None:
    table, _, params = rows_for("multi:softprob", 0, rows=60)
    damaged = bytearray(train(params, table, 1)[0].to_ubj())
    damaged[at % len(damaged)] = byte
    with contextlib.suppress(FlareError):  # any other error fails
        model = Model.from_bytes(bytes(damaged))
        assert model.predict_margins(table.features).shape == (60, 3)
