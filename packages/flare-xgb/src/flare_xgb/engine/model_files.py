"""XGBoost's files of a model, as dicts of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_core import ModelError
from flare_xgb.engine.tree import Tree

if TYPE_CHECKING:
    from flare_xgb.engine.model import Model

_NOT_SET = str(2**32 - 1)  # stands in XGBoost's files for a parameter without a value
_VERSION = [3, 2, 0]  # of XGBoost, whose form of files this is
_ARRAYS = {
    "left": ("left_children", "i4"),
    "right": ("right_children", "i4"),
    "parent": ("parents", "i4"),
    "feature": ("split_indices", "i4"),
    "threshold": ("split_conditions", "f4"),
    "default_left": ("default_left", "u1"),
    "base_weight": ("base_weights", "f4"),
    "loss_change": ("loss_changes", "f4"),
    "hessian": ("sum_hessian", "f4"),
}
# Before 2.1 XGBoost does not open a file of this objective without its relatives' parameters.
_ALSO_READ: Mapping[str, Mapping[str, Any]] = {
    "reg:squaredlogerror": {"reg_loss_param": {"scale_pos_weight": "1"}},
}


def to_plain(model: Model) -> dict[str, Any]:
    """Return a model as XGBoost's files have it: dicts, lists, text and arrays."""
    scores = [str(one) for one in model.base_score]
    return {
        "version": _VERSION,
        "learner": {
            "attributes": dict(model.attributes),
            "feature_names": list(model.names),
            "feature_types": list(model.types),
            "objective": {**_ALSO_READ.get(str(model.loss["name"]), {}), **model.loss},
            "learner_model_param": {
                # One number opens in every version; XGBoost 3.1 and later also know several.
                "base_score": scores[0] if len(set(scores)) == 1 else f"[{','.join(scores)}]",
                "boost_from_average": "1",
                "num_class": str(model.num_class),
                "num_feature": str(model.features),
                "num_target": "1" if model.num_class else str(model.num_outputs),
            },
            "gradient_booster": {
                "name": "gbtree",
                "model": {
                    "cats": {
                        "enc": [],
                        "feature_segments": np.empty(0, np.int32),
                        "sorted_idx": np.empty(0, np.int32),
                    },
                    "gbtree_model_param": {
                        "num_parallel_tree": str(model.num_parallel_tree),
                        "num_trees": str(len(model.trees)),
                    },
                    "iteration_indptr": [int(one) for one in model.rounds],
                    "tree_info": [int(one) for one in model.outputs],
                    "trees": [_tree_plain(tree, at, model.features) for at, tree in enumerate(model.trees)],
                },
            },
        },
    }


def from_plain(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the model that a file of XGBoost's holds.

    Raises:
        ModelError: it has a booster or trees that this package leaves out.
        KeyError, TypeError, ValueError, IndexError: it is no such file.
    """
    learner = plain["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise ModelError(f"the model's booster is {booster['name']!r}; only 'gbtree' is supported")
    loss = dict(learner["objective"])
    for name in _ALSO_READ.get(str(loss["name"]), {}):
        loss.pop(name, None)
    param, forest = learner["learner_model_param"], booster["model"]
    if forest.get("cats", {}).get("enc"):
        raise ModelError("the model encodes categories itself; train it with categories as integers")
    scores = np.array([float(one) for one in param["base_score"].strip("[]").split(",")], np.float32)
    classes, targets = int(param["num_class"]), int(param.get("num_target", 1))
    outputs = max(classes, targets, 1)
    features = int(param["num_feature"])
    trees = [_tree_from_plain(one).check(features) for one in forest["trees"]]
    info = [int(one) for one in forest["tree_info"]]
    parallel = int(forest["gbtree_model_param"]["num_parallel_tree"])
    rounds = forest.get("iteration_indptr")
    if rounds is None:
        rounds = range(0, len(trees) + 1, outputs * parallel)
    rounds = [int(one) for one in rounds]
    fits = len(info) == len(trees) and all(0 <= one < outputs for one in info)
    if not fits or rounds[0] != 0 or rounds[-1] != len(trees) or sorted(rounds) != rounds:
        raise ModelError(f"the model's {len(trees)} trees do not fit its outputs and rounds")
    if len(scores) not in (1, outputs):
        raise ModelError(f"the model has {len(scores)} base scores for {outputs} outputs")
    return dict(
        loss=loss,
        base_score=np.tile(scores, outputs) if len(scores) == 1 else scores,
        features=features,
        num_class=classes,
        num_parallel_tree=parallel,
        trees=trees,
        outputs=info,
        rounds=rounds,
        names=[str(one) for one in learner.get("feature_names", [])],
        types=[str(one) for one in learner.get("feature_types", [])],
        attributes={str(name): str(text) for name, text in learner["attributes"].items()},
    )


def parameters_of(loss: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an objective's entry in XGBoost's files, by their names."""
    found: dict[str, Any] = {}
    for value in loss.values():
        if isinstance(value, Mapping):
            found.update(value)
    return {name: _number_of(value) for name, value in found.items() if value != _NOT_SET}


def _number_of(value: Any) -> Any:
    """Return the number or numbers that a text stands for; other text as it is."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return tuple(float(one) for one in value.strip("[]").split(",") if one)
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


def _tree_plain(tree: Tree, at: int, features: int) -> dict[str, Any]:
    nodes = sorted(tree.categories)
    sizes = np.array([len(tree.categories[node]) for node in nodes], np.int64)
    kinds = np.zeros(tree.nodes, np.uint8)
    kinds[nodes] = 1
    return {
        "id": at,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(features),
            "num_nodes": str(tree.nodes),
            "size_leaf_vector": "1",
        },
        **{name: getattr(tree, mine).astype(code) for mine, (name, code) in _ARRAYS.items()},
        "split_type": kinds,
        "categories": np.concatenate([np.empty(0, np.int32), *(tree.categories[node] for node in nodes)]),
        "categories_nodes": np.array(nodes, np.int32),
        "categories_segments": np.cumsum(sizes) - sizes,
        "categories_sizes": sizes,
    }


def _tree_from_plain(plain: Mapping[str, Any]) -> Tree:
    if int(plain["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise ModelError("a tree has several outputs; train with multi_strategy='one_output_per_tree'")
    arrays = {mine: np.asarray(plain[name]).astype(code) for mine, (name, code) in _ARRAYS.items()}
    arrays["default_left"] = arrays["default_left"].astype(bool)
    categories = np.asarray(plain.get("categories", []), np.int32)
    parts = zip(
        plain.get("categories_nodes", []),
        plain.get("categories_segments", []),
        plain.get("categories_sizes", []),
        strict=True,
    )
    return Tree(
        **arrays, categories={int(node): categories[int(start) : int(start) + int(size)] for node, start, size in parts}
    )
