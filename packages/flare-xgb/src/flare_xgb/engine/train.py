"""Training on one table: one loop over the parts, which a federation runs elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.grower import TreeGrower
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.rows import RowPartition
from flare_xgb.engine.sampling import ColumnSampler
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree
from flare_xgb.params import TreeParams

__all__ = ["grow_tree"]


def grow_tree(
    params: TreeParams,
    cuts: Cuts,
    binned: BinnedMatrix,
    gradients: npt.NDArray[np.float32],
    hessians: npt.NDArray[np.float32],
    scale: FixedPoint,
    columns: ColumnSampler | None = None,
    threads: Threads | None = None,
) -> tuple[Tree, RowPartition]:
    """Grow one tree; return it and the rows of its leaves.

    Args:
        params: how the tree grows.
        cuts: the bins.
        binned: the rows by these bins.
        gradients: float32 [rows]; 0 where a row is not used.
        hessians: float32 [rows]; 0 where a row is not used.
        scale: the integers for them.
        columns: draws columns.
        threads: shares the work.
    """
    threads = threads or Threads()
    pairs = scale.encode(gradients, hessians)
    partition = RowPartition(binned.rows, threads)
    grower = TreeGrower(params, cuts, pairs.sum(axis=0), scale, columns, threads)
    while not grower.done:
        wanted = grower.wanted()
        found = histograms(binned, pairs, [partition.rows_of(node) for node in wanted], threads)
        partition.apply(grower.grow(dict(zip(wanted, found, strict=True))), binned)
    return grower.tree(), partition
