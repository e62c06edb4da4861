"""Examples that a device trains on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flare_edge.errors import EdgeError

MAX_ROWS = 1 << 21  # of a shuffle that a browser computes exactly


@dataclass(frozen=True)
class Examples:
    """Rows of inputs and what a model should answer.

    Args:
        inputs: float32 ``(rows, inputs)``.
        targets: int64 ``(rows,)``, classes from 0; or float32 ``(rows, outputs)``, values.

    Raises:
        EdgeError: no rows, more than 2^21, another shape or dtype, or a value that is not finite.
    """

    inputs: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        rows = len(self.inputs)
        if not 0 < rows <= MAX_ROWS:
            raise EdgeError(f"a device trains on 1 to {MAX_ROWS} examples, not on {rows}")
        if self.inputs.dtype != np.float32 or self.inputs.ndim != 2:
            raise EdgeError(f"inputs must be float32 (rows, inputs), not {self.inputs.dtype} {self.inputs.shape}")
        classes = self.targets.dtype == np.int64 and self.targets.shape == (rows,)
        values = self.targets.dtype == np.float32 and self.targets.ndim == 2 and len(self.targets) == rows
        if not classes and not values:
            raise EdgeError(
                f"targets must be int64 ({rows},) or float32 ({rows}, outputs), "
                f"not {self.targets.dtype} {self.targets.shape}"
            )
        for name, array in (("inputs", self.inputs), ("targets", self.targets)):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                raise EdgeError(f"{name} hold {array[tuple(bad[0])]} in row {bad[0][0] + 1}; remove such rows")

    def __len__(self) -> int:
        return len(self.inputs)


def from_arrays(inputs: np.ndarray, targets: np.ndarray) -> Examples:
    """Return examples from arrays of other dtypes: integer targets are classes, others values.

    Args:
        inputs: ``(rows, …)``; each row is flattened.
        targets: ``(rows,)`` or ``(rows, outputs)``.

    Raises:
        EdgeError: see :class:`Examples`.
    """
    flat = np.asarray(inputs, dtype=np.float32).reshape(len(inputs), -1)
    wanted = np.asarray(targets)
    if wanted.dtype.kind in "iub" and wanted.ndim == 1:
        return Examples(flat, wanted.astype(np.int64))
    return Examples(flat, wanted.astype(np.float32).reshape(len(wanted), -1))
