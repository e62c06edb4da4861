"""A trained model: its trees, and XGBoost's files of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import ModelError
from flare_xgb.engine.model_files import from_plain, parameters_of, to_plain
from flare_xgb.engine.predict import Forest
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree
from flare_xgb.engine.ubjson import dump_json, dump_ubj, load_json, load_ubj
from flare_xgb.objectives import Objective, objective

IMPORTANCES = ("weight", "gain", "cover", "total_gain", "total_cover")


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

    def with_one_base_score(self) -> Model:
        """Return an equal model with the same base score for all outputs, as XGBoost before 3.1 needs it.

        Some of these versions read a file with several base scores without an error, and predict nonsense. Here the
        first tree of each output takes the base score into its leaves. Margins stay the same to the last bit. The first
        round is then needed for every prediction; take ``slice`` before.

        Raises:
            ModelError: there are several base scores and no tree, or the objective's margin of 0 is not a score of 0.
        """
        zero = np.zeros_like(self.base_score)
        if len(set(self.base_score.tolist())) == 1:
            return self
        if not self.trees or np.any(self.objective.to_margin(zero)):
            raise ModelError("the base scores of the outputs cannot be moved into trees")
        margins, trees = self.base_margins(1)[0], list(self.trees)
        for output, margin in enumerate(margins):
            first = list(self.outputs).index(output)
            leaves = np.flatnonzero(trees[first].is_leaf)
            values = margin + trees[first].threshold[leaves]
            trees[first] = trees[first].with_leaves(dict(zip(leaves.tolist(), values.tolist(), strict=True)))
        return replace(self, base_score=zero, trees=trees)

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
        return dump_json(to_plain(self))

    def to_ubj(self) -> bytes:
        """Return the bytes of XGBoost's UBJ file."""
        return dump_ubj(to_plain(self))

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
            FlareError: this package has no such objective.
        """
        data = bytes(data)
        is_text = data[:1] == b"{" and data[1:].lstrip()[:1] in (b'"', b"}")
        try:
            found = cls(**from_plain(load_json(data) if is_text else load_ubj(data)))
            found.base_margins(0)  # there is such an objective, and its parameters are numbers
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"this is no model of XGBoost: {type(error).__name__} {error}") from error
        return found
