"""ModelPart: what one site keeps of a model that is divided among the owners of the columns, and prediction with it.

Each site says of its own columns which rows go right at each of its splits; the label owner follows the trees:

    sides = part.sides(table)                                # at each site
    predictions = part.predict({"site-1": sides, …}, rows)   # at the label owner

The file is JSON. ``splits`` are the site's own, tree after tree. At the label owner, ``model`` holds the trees in
XGBoost's form, without the thresholds and categories of any site, and ``layout`` says whose each feature is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flare_core import ModelError
from flare_xgb._jit import kernel
from flare_xgb.data import Category, DataError, Table
from flare_xgb.engine.model import Model
from flare_xgb.engine.rows import Split
from flare_xgb.engine.tree import Tree
from flare_xgb.vertical.columns import goes_right, recoded
from flare_xgb.vertical.layout import Layout

Sides = NDArray[np.uint8]
"""Which rows go right at each split of a site, as packed bits, (splits, bytes)."""

_FORMAT = "flare-xgb vertical 1"


def splits_of(trees: Sequence[Tree], layout: Layout, site: str) -> tuple[list[int], list[Split]]:
    """Return the splits of the features of one site, tree after tree and node after node, with the number of the tree.

    Args:
        trees: with the number of the last bin that goes left in place of each threshold.
        layout: whose each feature is.
        site: the site.
    """
    numbers: list[int] = []
    splits: list[Split] = []
    own = layout.span(site)
    for number, tree in enumerate(trees):
        for node in np.flatnonzero(~tree.is_leaf & (tree.feature >= own.start) & (tree.feature < own.stop)).tolist():
            categories = tree.categories.get(node)
            numbers.append(number)
            splits.append(
                Split(
                    node,
                    int(tree.left[node]),
                    int(tree.right[node]),
                    int(tree.feature[node]),
                    0 if categories is not None else int(tree.threshold[node]),
                    bool(tree.default_left[node]),
                    None if categories is None else tuple(categories.tolist()),
                )
            )
    return numbers, splits


class Routes:
    """Follows rows through trees by the sides that the sites say they go to.

    Args:
        trees: the trees.
        outputs: of each tree, the output that it adds to.
        layout: whose each feature is.
    """

    def __init__(self, trees: Sequence[Tree], outputs: Sequence[int], layout: Layout) -> None:
        self._trees, self._outputs = trees, outputs
        ends = np.cumsum(layout.widths)
        owners = [np.searchsorted(ends, tree.feature, side="right") for tree in trees]
        self._counts = dict.fromkeys(layout.sites, 0)
        self._places = [np.zeros(tree.nodes, np.int64) for tree in trees]
        first = 0
        for number, site in enumerate(layout.sites):
            for tree, owner, places in zip(trees, owners, self._places, strict=True):
                own = np.flatnonzero(~tree.is_leaf & (owner == number))
                places[own] = first + np.arange(len(own))
                first += len(own)
                self._counts[site] += len(own)

    def add_margins(self, sides: Mapping[str, Sides], margins: NDArray[np.float32]) -> None:
        """Add all trees to margins, in float32, tree after tree.

        Args:
            sides: of each site.
            margins: float32 [rows, outputs], changed.
        Raises:
            ModelError: a site's sides are missing, or of another number of splits or rows.
        """
        size = (len(margins) + 7) // 8
        for site, count in self._counts.items():
            if site not in sides and count:
                raise ModelError(f"the sides of {site} are missing; give those of all sites that have splits")
            if site in sides and sides[site].shape != (count, size):
                raise ModelError(
                    f"the sides of {site} have shape {sides[site].shape} where ({count}, {size}) is needed; they are of"
                    " other rows or of another model"
                )
        packed = np.concatenate(
            [np.zeros((0, size), np.uint8), *(sides[site] for site in self._counts if site in sides)]
        )
        for tree, places, output in zip(self._trees, self._places, self._outputs, strict=True):
            _follow(packed, tree.left, tree.right, places, tree.threshold, margins, output)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelPart:
    """One site's part of a divided model.

    Args:
        site: its name.
        names: of its features; may be empty.
        types: of its features.
        categories: of each feature of type ``c``, by its place.
        trees: int32 [splits], the number of the tree of each of its splits.
        nodes: int32 [splits], the node.
        features: int32 [splits], the place of the feature among those of the site.
        thresholds: float32 [splits]; smaller values go left.
        default_left: bool [splits], missing values go left.
        right: by split, the categories that go right.
        model: at the label owner, the trees; thresholds are 0.
        layout: at the label owner, whose each feature is.
    """

    site: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    categories: Mapping[int, tuple[Category, ...]]
    trees: NDArray[np.int32]
    nodes: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    default_left: NDArray[np.bool_]
    right: Mapping[int, tuple[int, ...]]
    model: Model | None = None
    layout: Layout | None = None

    @classmethod
    def of_splits(
        cls,
        site: str,
        table: Table,
        splits: Sequence[Split],
        trees: Sequence[int],
        thresholds: NDArray[np.float32],
        *,
        first: int,
    ) -> Self:
        """Make the part of a site from its splits.

        Args:
            site: its name.
            table: with its columns.
            splits: its splits.
            trees: the number of the tree of each.
            thresholds: of each; 0 where the feature is categorical.
            first: the place of the site's first feature among those of all.
        """
        return cls(
            site=site,
            names=table.names,
            types=table.types,
            categories=dict(table.categories),
            trees=np.array(trees, np.int32),
            nodes=np.array([each.node for each in splits], np.int32),
            features=np.array([each.feature - first for each in splits], np.int32),
            thresholds=np.asarray(thresholds, np.float32),
            default_left=np.array([each.default_left for each in splits], bool),
            right={at: each.categories for at, each in enumerate(splits) if each.categories is not None},
        )

    def with_model(self, model: Model, layout: Layout) -> ModelPart:
        """Return the part of the label owner, which has the trees as well; it keeps no split's threshold in them."""
        trees = [
            replace(tree, threshold=np.where(tree.is_leaf, tree.threshold, np.float32(0)), categories={})
            for tree in model.trees
        ]
        return replace(self, model=replace(model, trees=trees), layout=layout)

    def sides(self, table: Table) -> Sides:
        """Return which rows go right at each split of this site, as packed bits, (splits, bytes).

        Args:
            table: the site's columns of the rows to predict; all sites need the same rows in the same order.
        Raises:
            DataError: the columns are not those that the model was trained with.
        """
        if table.names != self.names or table.num_features != len(self.types):
            raise DataError(f"{self.site}: the model has the features {self.names or len(self.types)}; give the same")
        features = recoded(table, self.categories)
        packed = [
            np.packbits(
                goes_right(
                    features[:, self.features[at]],
                    self.thresholds[at],
                    bool(self.default_left[at]),
                    self.right.get(at),
                )
            )
            for at in range(len(self.trees))
        ]
        return np.array(packed, np.uint8).reshape(len(packed), (len(table) + 7) // 8)

    def predict(
        self, sides: Mapping[str, Sides], rows: int, base_margin: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return predictions, such as probabilities; at the label owner only.

        Args:
            sides: what :meth:`sides` returned at each site, this one included.
            rows: the number of rows.
            base_margin: (rows,) or (rows, outputs), what prediction begins with in place of the base score.
        Raises:
            ModelError: this is not the label owner's part, or sides are missing or do not fit.
        """
        if self.model is None or self.layout is None:
            raise ModelError(
                f"this is the part of {self.site}, which has no trees; predict with that of the label owner"
            )
        margins = self.model.base_margins(rows, base_margin)
        Routes(self.model.trees, self.model.outputs, self.layout).add_margins(sides, margins)
        return self.model.objective.transform(margins)

    def save(self, path: str | Path) -> None:
        """Write the part to a file."""
        names = ("trees", "nodes", "features", "thresholds", "default_left")
        plain: dict[str, Any] = {
            "format": _FORMAT,
            "site": self.site,
            "names": self.names,
            "types": self.types,
            "categories": [[at, list(each)] for at, each in self.categories.items()],
            "splits": {name: getattr(self, name).tolist() for name in names},
            "right": [[at, list(each)] for at, each in self.right.items()],
        }
        if self.model is not None and self.layout is not None:
            plain |= {"layout": self.layout.to_dict(), "model": json.loads(self.model.to_json())}
        Path(path).write_text(json.dumps(plain))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a part from a file.

        Raises:
            ModelError: the file is none.
        """
        try:
            plain = json.loads(Path(path).read_text())
            if plain.get("format") != _FORMAT:
                raise ModelError(f"{path}: its format is {plain.get('format')!r}, not {_FORMAT!r}")
            kinds = {"trees": "i4", "nodes": "i4", "features": "i4", "thresholds": "f4", "default_left": "?"}
            has_model = "model" in plain
            return cls(
                site=plain["site"],
                names=tuple(plain["names"]),
                types=tuple(plain["types"]),
                categories={at: tuple(each) for at, each in plain["categories"]},
                right={at: tuple(each) for at, each in plain["right"]},
                model=Model.from_bytes(json.dumps(plain["model"]).encode()) if has_model else None,
                layout=Layout.from_dict(plain["layout"]) if has_model else None,
                **{name: np.array(plain["splits"][name], kind) for name, kind in kinds.items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{path}: this is no part of a model: {type(error).__name__} {error}") from error


@kernel
def _follow(
    packed: Sides,
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    places: NDArray[np.int64],
    values: NDArray[np.float32],
    margins: NDArray[np.float32],
    output: int,
) -> None:
    for row in range(len(margins)):
        node = 0
        byte, shift = row >> 3, 7 - (row & 7)
        while left[node] >= 0:
            node = right[node] if (packed[places[node], byte] >> shift) & 1 else left[node]
        margins[row, output] += values[node]
