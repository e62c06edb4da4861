"""Draws of rows and columns with XGBoost's generators: the same seed draws the same ones as XGBoost."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flare_xgb.params import TreeParams

_BASE, _MODULUS = 16807, 1 << 63  # the linear congruential generator of rows


class _Mersenne:
    """std::mt19937."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.MT19937()
        self._generator._legacy_seeding(seed & 0xFFFFFFFF)

    def __call__(self) -> int:
        return int(self._generator.random_raw())

    def state(self) -> dict[str, Any]:
        inner = self._generator.state["state"]
        return {"key": np.asarray(inner["key"], np.uint32), "pos": int(inner["pos"])}

    def restore(self, state: dict[str, Any]) -> None:
        whole = self._generator.state
        whole["state"] = {"key": np.asarray(state["key"], np.uint32), "pos": int(state["pos"])}
        self._generator.state = whole

    def below(self, limit: int) -> int:
        """Return an integer in [0, limit)."""
        share = 0xFFFFFFFF // limit
        while True:
            number = self()
            if number < limit * share:
                return number // share

    def shuffle(self, items: list[int]) -> None:
        """Shuffle as std::shuffle does: two places with one draw."""
        at = 1
        if len(items) % 2 == 0:
            other = self.below(2)
            items[at], items[other] = items[other], items[at]
            at += 1
        while at < len(items):
            first, second = divmod(self.below((at + 1) * (at + 2)), at + 2)
            items[at], items[first] = items[first], items[at]
            items[at + 1], items[second] = items[second], items[at + 1]
            at += 2


class Draws:
    """The seeds of a training, drawn from one generator as XGBoost draws them.

    Args:
        seed: the parameter ``seed``.
    """

    def __init__(self, seed: int) -> None:
        self._generator = _Mersenne(seed)

    def next(self) -> int:
        """Return the next 32 bits: first the seed of the columns, then one for the rows of each tree."""
        return self._generator()

    def state(self) -> dict[str, Any]:
        """Return plain data for ``restore``."""
        return self._generator.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self._generator.restore(state)


class ColumnSampler:
    """The columns that each tree, level and node may use.

    One object serves a whole training; ``TreeGrower`` asks it.

    Args:
        params: the shares.
        features: number of columns.
        seed: 32 bits, from ``Draws``.
    """

    def __init__(self, params: TreeParams, features: int, seed: int) -> None:
        self._tree, self._level, self._node = (
            np.float32(params.colsample_bytree),
            np.float32(params.colsample_bylevel),
            np.float32(params.colsample_bynode),
        )
        self._all = np.arange(features)
        self._generator = _Mersenne(seed)
        self._of_tree = self._all
        self._of_level: dict[int, npt.NDArray[np.int64]] = {}
        self._trees = 0

    def start_tree(self) -> None:
        """Draw the columns of a new tree."""
        if self._trees == 0:
            self._draw(self._all, self._tree)  # XGBoost draws twice before its first tree
        self._trees += 1
        self._of_level = {}
        self._of_tree = self._draw(self._all, self._tree)

    def of_node(self, depth: int) -> npt.NDArray[np.int64]:
        """Return the columns of the next node, int64, ascending; call it once for each node, in XGBoost's order."""
        if self._level == 1 and self._node == 1:
            return self._of_tree
        if depth not in self._of_level:
            self._of_level[depth] = self._draw(self._of_tree, self._level)
        return self._draw(self._of_level[depth], self._node)

    def _draw(self, columns: npt.NDArray[np.int64], share: np.float32) -> npt.NDArray[np.int64]:
        if share == 1:
            return columns
        shuffled = [int(one) for one in columns]
        self._generator.shuffle(shuffled)
        kept = max(1, int(share * np.float32(len(columns))))
        return np.array(sorted(shuffled[:kept]), np.int64)

    def state(self) -> dict[str, Any]:
        """Return plain data for ``restore``."""
        return {
            "generator": self._generator.state(),
            "trees": self._trees,
            "of_tree": self._of_tree,
            "of_level": {str(depth): columns for depth, columns in self._of_level.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self._generator.restore(state["generator"])
        self._trees = int(state["trees"])
        self._of_tree = np.asarray(state["of_tree"], np.int64)
        self._of_level = {int(depth): np.asarray(columns, np.int64) for depth, columns in state["of_level"].items()}


def sample_rows(seed: int, rows: int, share: float, first: int = 0) -> npt.NDArray[np.bool_]:
    """Return which rows a tree uses, bool [rows].

    Row i of all rows has the generator's i-th number, whoever holds it: a site with the rows from ``first`` on draws
    what XGBoost draws for these rows of the pooled table.

    Args:
        seed: 32 bits of the tree, from ``Draws``.
        rows: number of rows.
        share: the parameter ``subsample``.
        first: number of rows before them in the pooled table.
    """
    start = seed * pow(_BASE, first + 1, _MODULUS) % _MODULUS
    powers = np.ones(max(rows, 1), np.uint64)
    filled, factor = 1, _BASE
    while filled < rows:  # powers of the base, doubling how many are known
        take = min(filled, rows - filled)
        powers[filled : filled + take] = powers[:take] * np.uint64(factor)
        filled, factor = filled + take, factor * factor % _MODULUS
    numbers = (powers[:rows] * np.uint64(start)) & np.uint64(_MODULUS - 1)
    return (numbers - np.uint64(1)).astype(np.float64) / float(_MODULUS) < np.float64(np.float32(share))
