"""Parameters by XGBoost's names."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import xgboost

from flare_core import RecipeError, UnknownArgumentError
from flare_xgb.params import ObjectiveParams, Params, TreeParams, parse


def test_defaults_are_xgboosts() -> None:
    data = xgboost.DMatrix(np.zeros((4, 1)), np.zeros(4))
    booster = xgboost.train({"tree_method": "hist"}, data, 1)
    config = json.loads(booster.save_config())["learner"]["gradient_booster"]["tree_train_param"]
    for field in dataclasses.fields(TreeParams):
        ours = getattr(TreeParams(), field.name)
        if isinstance(ours, tuple):
            assert config[field.name] in ("()", "")
        elif isinstance(ours, str):
            assert config[field.name] == ours
        else:
            assert np.float32(config[field.name]) == np.float32(ours)


def test_aliases_and_texts_are_understood() -> None:
    params = parse(
        {"eta": "0.1", "lambda": 2, "alpha": 1, "gamma": 3, "n_jobs": 2, "random_state": 5, "max_depth": "4"}
    )
    assert params.tree == TreeParams(learning_rate=0.1, reg_lambda=2, reg_alpha=1, min_split_loss=3, max_depth=4)
    assert (params.nthread, params.seed) == (2, 5)


def test_nothing_given_is_the_defaults() -> None:
    assert parse({}) == Params(tree=TreeParams(), loss=ObjectiveParams())


def test_two_names_of_one_parameter_must_agree() -> None:
    assert parse({"eta": 0.5, "learning_rate": 0.5}).tree.learning_rate == 0.5
    with pytest.raises(RecipeError, match="learning_rate"):
        parse({"eta": 0.5, "learning_rate": 0.4})


def test_constraints_can_be_given_by_name() -> None:
    params = parse(
        {"monotone_constraints": {"b": -1}, "interaction_constraints": [["a", "b"], [2]]}, features=["a", "b", "c"]
    )
    assert params.tree.monotone_constraints == (0, -1, 0)
    assert params.tree.interaction_constraints == ((0, 1), (2,))
    assert parse({"monotone_constraints": "(1,0,-1)"}).tree.monotone_constraints == (1, 0, -1)
    assert parse({"interaction_constraints": "[[0, 1], [2]]"}).tree.interaction_constraints == ((0, 1), (2,))


def test_poissons_largest_step_is_xgboosts() -> None:
    assert parse({"objective": "count:poisson"}).tree.max_delta_step == 0.7
    assert parse({"objective": "count:poisson", "max_delta_step": 0}).loss.max_delta_step == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("booster", "dart"),
        ("booster", "gblinear"),
        ("tree_method", "exact"),
        ("tree_method", "approx"),
        ("tree_method", "gpu_hist"),
        ("device", "cuda"),
        ("process_type", "update"),
        ("sampling_method", "gradient_based"),
        ("multi_strategy", "multi_output_tree"),
        ("updater", "grow_colmaker"),
        ("lambdarank_unbiased", True),
        ("rate_drop", 0.1),
        ("feature_weights", [1.0]),
    ],
)
def test_whatever_is_left_out_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(RecipeError, match=name):
        parse({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_depth", -1),
        ("max_depth", 2.5),
        ("max_depth", True),
        ("max_bin", 1),
        ("subsample", 0),
        ("subsample", 1.5),
        ("colsample_bytree", -1),
        ("eta", float("nan")),
        ("eta", "fast"),
        ("lambda", float("inf")),
        ("grow_policy", "breadth"),
        ("monotone_constraints", "(1,2)"),
        ("monotone_constraints", {"a": 1}),
        ("interaction_constraints", "[[0,"),
        ("interaction_constraints", [0, 1]),
        ("num_class", -2),
        ("base_score", "half"),
        ("seed_per_iteration", "maybe"),
        ("eval_metric", 3),
        ("eval_metric", [3]),
    ],
)
def test_a_value_out_of_range_is_an_error_that_names_it(name: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"^{name} "):
        parse({name: value})


def test_harmless_values_of_what_is_left_out_are_accepted() -> None:
    given = {"booster": "gbtree", "tree_method": "hist", "device": "cpu", "verbosity": 0, "validate_parameters": True}
    assert parse(given) == Params()


def test_an_unknown_name_is_an_error_with_a_proposal() -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean max_depth"):
        parse({"max_dept": 3})


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("n_estimators", "num_rounds to the recipe"), ("missing", "to the loader"), ("use_label_encoder", "leave it out")],
)
def test_what_xgboost_takes_elsewhere_is_an_error_that_says_where_it_belongs(name: str, remedy: str) -> None:
    with pytest.raises(UnknownArgumentError, match=f"{name} is not one of xgb_params: .*{remedy}"):
        parse({name: 1})


def test_the_smallest_power_of_tweedie_is_accepted_as_by_xgboost() -> None:
    assert parse({"objective": "reg:tweedie", "tweedie_variance_power": 1}).loss.tweedie_variance_power == 1


def test_none_stands_for_the_default_as_in_xgboosts_estimators() -> None:
    assert parse({"max_depth": None, "n_jobs": -1, "n_estimators": None}) == Params(nthread=-1)


def test_constraints_of_features_that_are_not_there_are_errors() -> None:
    with pytest.raises(RecipeError, match="monotone_constraints"):
        parse({"monotone_constraints": "(1,1,1)"}, features=2)
    with pytest.raises(RecipeError, match="feature 5"):
        parse({"interaction_constraints": [[0, 5]]}, features=2)
    with pytest.raises(RecipeError, match="no feature"):
        parse({"interaction_constraints": [["z"]]}, features=["a"])
