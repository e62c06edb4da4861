"""The bin of each value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core import ModelError
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.threads import Threads


@dataclass(frozen=True, eq=False)
class BinnedMatrix:
    """The bin of each value within its feature, in the narrowest unsigned integers.

    Args:
        codes: uint8, uint16 or uint32 [rows, features], C order. The number of bins of the feature means missing.
        sizes: int64 [features], the number of bins of each feature.
        any_missing: a value may be missing.
    """

    codes: npt.NDArray[np.unsignedinteger]
    sizes: npt.NDArray[np.int64]
    any_missing: bool = True

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.codes)

    @classmethod
    def of(cls, cuts: Cuts, data: npt.NDArray[np.float32], threads: Threads | None = None) -> BinnedMatrix:
        """Look up the bins of a table.

        Args:
            cuts: the edges.
            data: float32 [rows, features], NaN missing.
            threads: shares the features.
        Raises:
            ModelError: the table has another number of features, an infinite value or an unknown category.
        """
        if data.ndim != 2 or data.shape[1] != cuts.features:
            raise ModelError(f"the cuts are of {cuts.features} features, the table's shape is {data.shape}")
        sizes = np.diff(cuts.pointers)
        missing = np.isnan(data).any(axis=0)
        largest = int((sizes - 1 + missing).max(initial=0))
        codes = np.empty(data.shape, np.min_scalar_type(largest))

        def look_up(feature: int) -> None:
            column = np.ascontiguousarray(data[:, feature], np.float32)
            if bool(np.isinf(column).any()):
                raise ModelError(f"feature {feature} has an infinite value; replace it by a number or NaN")
            bins = cuts.search(feature, column)
            bins[bins < 0] = sizes[feature]
            codes[:, feature] = bins

        (threads or Threads(1)).map(look_up, range(cuts.features))
        return cls(codes, sizes, bool(missing.any()))
