"""A regression tree in arrays, as XGBoost's files hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import ModelError

NO_NODE = -1
ROOTLESS = 2**31 - 1  # XGBoost's parent of the root
NO_THRESHOLD = np.float32(1e-45)  # what XGBoost writes as the threshold of a categorical split


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree; every array has one entry for each node, node 0 is the root.

    Args:
        left: int32, the left child; -1 at a leaf.
        right: int32, the right child; -1 at a leaf.
        parent: int32; 2147483647 at the root.
        feature: int32, the feature of the node's split; 0 at a leaf.
        threshold: float32; a smaller value goes left. At a leaf, its value.
        default_left: bool, missing values go left.
        base_weight: float32, the weight without learning rate; at a leaf below the root its value.
        loss_change: float32, how much the node's split improves the objective; 0 at a leaf.
        hessian: float32, the sum of the Hessians of the node's rows.
        categories: for each node with a categorical split, int32, the categories that go right.
    """

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    parent: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    default_left: npt.NDArray[np.bool_]
    base_weight: npt.NDArray[np.float32]
    loss_change: npt.NDArray[np.float32]
    hessian: npt.NDArray[np.float32]
    categories: Mapping[int, npt.NDArray[np.int32]] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.left)

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        """bool [nodes]."""
        return np.equal(self.left, NO_NODE)

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """float32 [nodes], the value of each leaf, 0 elsewhere."""
        return np.where(self.is_leaf, self.threshold, np.float32(0))

    def check(self, features: int) -> Tree:
        """Return the tree if it is one; kernels take that for granted.

        Args:
            features: number of features.
        Raises:
            ModelError: arrays differ in length, nodes do not form a tree, or a feature does not exist.
        """
        inner = self.left >= 0
        children = np.concatenate([self.left[inner], self.right[inner]])
        lengths = {len(value) for name, value in vars(self).items() if name != "categories"}
        sound = (
            self.nodes > 0
            and lengths == {self.nodes}
            and bool((self.left >= NO_NODE).all() and np.array_equal(inner, self.right >= 0))
            and bool((children > 0).all() and (children < self.nodes).all())
            and len(np.unique(children)) == len(children)  # with one parent each there is no circle below the root
            and bool((self.feature[inner] >= 0).all() and (self.feature[inner] < features).all())
            and all(0 <= node < self.nodes and bool((right >= 0).all()) for node, right in self.categories.items())
        )
        if not sound:
            raise ModelError(
                f"a tree of {self.nodes} nodes is damaged: its arrays do not form a tree of {features} features"
            )
        return self

    def with_leaves(self, values: Mapping[int, float]) -> Tree:
        """Return the tree with other values of some leaves.

        Raises:
            ModelError: one of the nodes is no leaf.
        """
        threshold = self.threshold.copy()
        for node, value in values.items():
            if not 0 <= node < self.nodes or not self.is_leaf[node]:
                raise ModelError(f"node {node} is no leaf of the tree")
            threshold[node] = value
        return replace(self, threshold=threshold)

    def to_plain(self) -> dict[str, Any]:
        """Return a dict of arrays, and of arrays by the number of the node as text."""
        return {**vars(self), "categories": {str(node): right for node, right in self.categories.items()}}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Tree:
        """Return the tree of such a dict."""
        categories = {int(node): np.asarray(right, np.int32) for node, right in plain["categories"].items()}
        return cls(**{**plain, "categories": categories})
