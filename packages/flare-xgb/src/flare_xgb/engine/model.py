"""A trained model: its trees, and XGBoost's files of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import ModelError
from flare_xgb.engine.predict import Forest
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree
from flare_xgb.engine.ubjson import dump_json, dump_ubj, load_json, load_ubj
from flare_xgb.objectives import Objective, objective

IMPORTANCES = ("weight", "gain", "cover", "total_gain", "total_cover")

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """Trees of all rounds and all that prediction needs besides.

    Args:
        loss: the objective, as in XGBoost's files: its name and parameters.
        base_score: float32 [outputs], the prediction before the first tree.
        features: number of features.
        num_class: number of classes; 0 if there are none.
        num_parallel_tree: trees that each round adds for each output.
        trees: round by round; within one output by output.
        outputs: of each tree, the output that it adds to.
        rounds: number of trees after each round, beginning with 0: ``trees[rounds[i]:rounds[i + 1]]`` are round i's.
        names: of the features; may be empty.
        types: of the features, as XGBoost names them; may be empty.
        attributes: text by name, such as ``best_iteration``.
    """

    loss: Mapping[str, Any]
    base_score: npt.NDArray[np.float32]
    features: int
    num_class: int = 0
    num_parallel_tree: int = 1
    trees: Sequence[Tree] = ()
    outputs: Sequence[int] = ()
    rounds: Sequence[int] = (0,)
    names: Sequence[str] = ()
    types: Sequence[str] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_rounds(self) -> int:
        """Number of boosting rounds."""
        return len(self.rounds) - 1

    @property
    def num_outputs(self) -> int:
        """Number of margins of a row."""
        return len(self.base_score)

    @property
    def objective(self) -> Objective:
        """The objective."""
        return objective(str(self.loss["name"]), parameters_of(self.loss))

    def with_round(self, trees: Sequence[Tree], outputs: Sequence[int]) -> Model:
        """Return the model with one more round.

        Args:
            trees: the round's trees.
            outputs: of each, the output that it adds to.
        """
        return replace(
            self,
            trees=[*self.trees, *trees],
            outputs=[*self.outputs, *outputs],
            rounds=[*self.rounds, len(self.trees) + len(trees)],
        )

    def joined(self, other: Model) -> Model:
        """Return the model with the rounds of another after its own.

        Raises:
            ModelError: they differ in objective, base score, features or trees of a round.
        """
        for name in ("loss", "features", "num_class", "num_parallel_tree"):
            if getattr(self, name) != getattr(other, name):
                raise ModelError(f"models with different {name} cannot be joined")
        if not np.array_equal(self.base_score, other.base_score):
            raise ModelError(f"models with base scores {self.base_score} and {other.base_score} cannot be joined")
        return replace(
            self,
            trees=[*self.trees, *other.trees],
            outputs=[*self.outputs, *other.outputs],
            rounds=[*self.rounds, *(len(self.trees) + at for at in other.rounds[1:])],
        )

    def slice(self, begin: int, end: int) -> Model:
        """Return the model of some rounds only.

        Raises:
            ModelError: there are no such rounds.
        """
        if not 0 <= begin <= end <= self.num_rounds:
            raise ModelError(f"rounds {begin} to {end} are not within the {self.num_rounds} of the model")
        part = slice(self.rounds[begin], self.rounds[end])
        return replace(
            self,
            trees=self.trees[part],
            outputs=self.outputs[part],
            rounds=[at - self.rounds[begin] for at in self.rounds[begin : end + 1]],
        )

    def base_margins(self, rows: int, base_margin: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Return the margins before the first tree, float32 [rows, outputs].

        Args:
            rows: number of rows.
            base_margin: float32 [rows] or [rows, outputs], in place of the base score.
        Raises:
            ModelError: ``base_margin`` has another shape.
        """
        if base_margin is None:
            margin = np.asarray(self.objective.to_margin(self.base_score), np.float32)
            return np.tile(margin, (rows, 1))
        if base_margin.size != rows * self.num_outputs:
            raise ModelError(
                f"base_margin has shape {base_margin.shape} for {rows} rows and {self.num_outputs} outputs"
            )
        return np.array(base_margin, np.float32).reshape(rows, self.num_outputs)

    def predict_margins(
        self,
        data: npt.NDArray[np.float32],
        base_margin: npt.NDArray[np.float32] | None = None,
        threads: Threads | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return the margins of rows, float32 [rows, outputs].

        Args:
            data: float32 [rows, features], NaN missing.
            base_margin: as for ``base_margins``.
            threads: shares the rows.
        Raises:
            ModelError: the rows have another number of features.
        """
        if data.ndim != 2 or data.shape[1] != self.features:
            raise ModelError(f"the model has {self.features} features, the table's shape is {data.shape}")
        margins = self.base_margins(len(data), base_margin)
        Forest(self.trees, self.outputs).add_margins(np.ascontiguousarray(data, np.float32), margins, threads)
        return margins

    def predict(
        self,
        data: npt.NDArray[np.float32],
        base_margin: npt.NDArray[np.float32] | None = None,
        threads: Threads | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return predictions, such as probabilities, of rows: as ``predict_margins``, then transformed."""
        return self.objective.transform(self.predict_margins(data, base_margin, threads))

    def predict_leaves(self, data: npt.NDArray[np.float32], threads: Threads | None = None) -> npt.NDArray[np.int32]:
        """Return the leaf of each row in each tree, int32 [rows, trees]."""
        return Forest(self.trees, self.outputs).leaves(np.ascontiguousarray(data, np.float32), threads)

    def importance(self, kind: str = "weight") -> dict[str, float]:
        """Return the importance of each feature that a tree uses, by its name, as XGBoost's ``get_score``.

        Args:
            kind: ``weight``, the number of splits; ``total_gain`` and ``total_cover``, the sums of their loss changes
                and Hessians; ``gain`` and ``cover``, the means of these.
        Raises:
            ModelError: there is no such kind.
        """
        if kind not in IMPORTANCES:
            raise ModelError(f"there is no importance {kind!r}; choose one of {', '.join(IMPORTANCES)}")
        weight, total = np.zeros(self.features), np.zeros(self.features, np.float32)
        for tree in self.trees:
            for node in np.flatnonzero(~tree.is_leaf):
                at = tree.feature[node]
                weight[at] += 1
                total[at] += tree.loss_change[node] if kind.endswith("gain") else tree.hessian[node]
        values = weight if kind == "weight" else total if kind.startswith("total") else total / np.maximum(weight, 1)
        names = self.names or [f"f{at}" for at in range(self.features)]
        return {name: float(value) for name, value, used in zip(names, values, weight, strict=True) if used}

    def to_json(self) -> bytes:
        """Return the bytes of XGBoost's JSON file."""
        return dump_json(self._plain())

    def to_ubj(self) -> bytes:
        """Return the bytes of XGBoost's UBJ file."""
        return dump_ubj(self._plain())

    def save(self, path: str | Path) -> None:
        """Write XGBoost's file: JSON if the name ends with .json, otherwise UBJ."""
        path = Path(path)
        path.write_bytes(self.to_json() if path.suffix == ".json" else self.to_ubj())

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read XGBoost's JSON or UBJ file.

        Raises:
            ModelError: the file is none, or holds a booster that this package leaves out.
        """
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """Read the bytes of XGBoost's JSON or UBJ file.

        Raises:
            ModelError: they are none, or hold a booster that this package leaves out.
        """
        data = bytes(data)
        is_text = data[:1] == b"{" and data[1:].lstrip()[:1] in (b'"', b"}")
        try:
            return cls._from_plain(load_json(data) if is_text else load_ubj(data))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"this is no model of XGBoost: {type(error).__name__} {error}") from error

    def _plain(self) -> dict[str, Any]:
        scores = [str(one) for one in self.base_score]
        return {
            "version": _VERSION,
            "learner": {
                "attributes": dict(self.attributes),
                "feature_names": list(self.names),
                "feature_types": list(self.types),
                "objective": dict(self.loss),
                "learner_model_param": {
                    # One number opens in every version; XGBoost 3.1 and later also know several.
                    "base_score": scores[0] if len(set(scores)) == 1 else f"[{','.join(scores)}]",
                    "boost_from_average": "1",
                    "num_class": str(self.num_class),
                    "num_feature": str(self.features),
                    "num_target": "1" if self.num_class else str(self.num_outputs),
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
                            "num_parallel_tree": str(self.num_parallel_tree),
                            "num_trees": str(len(self.trees)),
                        },
                        "iteration_indptr": [int(one) for one in self.rounds],
                        "tree_info": [int(one) for one in self.outputs],
                        "trees": [_tree_plain(tree, at, self.features) for at, tree in enumerate(self.trees)],
                    },
                },
            },
        }

    @classmethod
    def _from_plain(cls, plain: Mapping[str, Any]) -> Model:
        learner = plain["learner"]
        booster = learner["gradient_booster"]
        if booster["name"] != "gbtree":
            raise ModelError(f"the model's booster is {booster['name']!r}; only 'gbtree' is supported")
        param, forest = learner["learner_model_param"], booster["model"]
        if forest.get("cats", {}).get("enc"):
            raise ModelError("the model encodes categories itself; train it with categories as integers")
        scores = np.array([float(one) for one in param["base_score"].strip("[]").split(",")], np.float32)
        classes, targets = int(param["num_class"]), int(param.get("num_target", 1))
        outputs = max(classes, targets, 1)
        trees = [_tree_from_plain(one) for one in forest["trees"]]
        info = [int(one) for one in forest["tree_info"]]
        parallel = int(forest["gbtree_model_param"]["num_parallel_tree"])
        rounds = forest.get("iteration_indptr")
        if rounds is None:
            rounds = range(0, len(trees) + 1, outputs * parallel)
        return cls(
            loss=learner["objective"],
            base_score=np.tile(scores, outputs) if len(scores) == 1 else scores,
            features=int(param["num_feature"]),
            num_class=classes,
            num_parallel_tree=parallel,
            trees=trees,
            outputs=info,
            rounds=[int(one) for one in rounds],
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
