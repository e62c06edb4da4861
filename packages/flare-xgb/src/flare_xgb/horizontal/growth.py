"""The growth of one tree from the sums of the sites, which can be continued at each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.grower import TreeGrower
from flare_xgb.engine.sampling import ColumnSampler
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree
from flare_xgb.horizontal.setup import answer, find_quantiles
from flare_xgb.horizontal.sums import Actions, SiteSums
from flare_xgb.params import TreeParams


class Growth:
    """A tree that grows.

    Attributes:
        tree: as the argument.
        columns_before: the state of ``columns`` before this tree.

    Args:
        number: how many trees the model had before.
        tree: the arguments of the action ``tree``: ``output``, ``scale``, and ``rows`` if rows are drawn.
        params: how the tree grows.
        cuts: the bins.
        columns: draws columns.
        threads: share the search among nodes.
    """

    def __init__(
        self,
        number: int,
        tree: Mapping[str, Any],
        params: TreeParams,
        cuts: Cuts,
        columns: ColumnSampler,
        threads: Threads,
    ) -> None:
        self.number = number
        self.tree = dict(tree)
        self._make = partial(TreeGrower, params, cuts, columns=columns, threads=threads)
        self._restore = partial(TreeGrower.restore, params, cuts, columns=columns, threads=threads)
        self.columns_before = columns.state()
        self._grower: TreeGrower | None = None
        self._steps: list[list[dict[str, Any]]] = []  # the splits of each
        self._is_applied = 0  # how many of the steps the sites have applied

    @property
    def actions(self) -> Actions:
        """The actions that bring a site which has the trees before to this point."""
        begun = [("tree", {"number": self.number, **self.tree})]
        return begun + [self._apply(step) for step in range(len(self._steps))]

    def _apply(self, step: int) -> tuple[str, dict[str, Any]]:
        return "split", {"number": self.number, "step": step, "splits": self._steps[step]}

    def _unapplied(self) -> list[tuple[str, dict[str, Any]]]:
        return [self._apply(step) for step in range(self._is_applied, len(self._steps))]

    def run(self, sums: SiteSums, checkpoint: Callable[[], None]) -> Tree:
        """Grow the tree to its end.

        Args:
            sums: the sites.
            checkpoint: called after each step.
        Raises:
            Lost: a site did not answer; make another growth.
        """
        if self._grower is None:
            found = sums.total([*self.actions, self._histograms([0])])
            self._grower = self._make(root_sum=found["root"], scale=FixedPoint(*self.tree["scale"]))
            self._grow(found["histograms"], [0])
            checkpoint()
        grower = self._grower
        while not grower.done:
            wanted = grower.wanted()
            found = sums.total([*self._unapplied(), self._histograms(wanted)])
            self._is_applied = len(self._steps)
            self._grow(found["histograms"], wanted)
            checkpoint()
        return grower.tree()

    def _histograms(self, nodes: list[int]) -> tuple[str, dict[str, Any]]:
        return "histograms", {"number": self.number, "step": len(self._steps), "nodes": nodes}

    def _grow(self, histograms: Any, nodes: list[int]) -> None:
        assert self._grower is not None
        splits = self._grower.grow(dict(zip(nodes, histograms, strict=True)))
        self._steps.append([split.to_plain() for split in splits])

    def leaf_quantiles(self, sums: SiteSums, tree: Tree, alpha: float, unit: float | None) -> NDArray[np.float32]:
        """Return a quantile of the residuals of each leaf's rows, float32 [nodes]; NaN where there are none.

        Raises:
            Lost: a site did not answer.
        """
        leaves = np.flatnonzero(tree.is_leaf).tolist()
        arguments = {"number": self.number, "step": len(self._steps), "leaves": leaves, "unit": unit}
        sums.total(self._unapplied())
        self._is_applied = len(self._steps)
        ask = partial(answer, sums, action="residuals", arguments=arguments)
        quantiles = np.full(tree.nodes, np.nan, np.float32)
        quantiles[leaves] = find_quantiles(ask, len(leaves), alpha, unit)
        return quantiles

    def finish(self, tree: Tree) -> Actions:
        """Return the actions with which the sites finish the tree."""
        return [*self._unapplied(), ("leaves", {"number": self.number, "tree": tree.to_plain()})]

    def state(self) -> dict[str, Any]:
        """Return plain data for :meth:`restored`."""
        assert self._grower is not None
        parts = {"number": self.number, "tree": self.tree, "steps": self._steps, "columns": self.columns_before}
        return parts | {"grower": self._grower.state()}

    @classmethod
    def restored(
        cls, state: Mapping[str, Any], params: TreeParams, cuts: Cuts, columns: ColumnSampler, threads: Threads
    ) -> Self:
        """Return the growth of such data; ``columns`` is set back to that moment too."""
        made = cls(state["number"], state["tree"], params, cuts, columns, threads)
        made.columns_before, made._steps = state["columns"], state["steps"]
        made._grower = made._restore(state=state["grower"])
        made._is_applied = len(made._steps)
        return made
