"""Makes the params of a version from the updates of devices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flare_core.model import rounded
from flare_core.optimizers import ServerOptimizer
from flare_edge.errors import EdgeError
from flare_edge.fedbuff.decisions import NewVersion
from flare_edge.fixed_point import Array, Scale, add


def mean_update(new: NewVersion, scale: Scale) -> dict[str, Array]:
    """Return the weighted mean of the updates, as float64 by name.

    It is ``sum_v s(v) * total(v) / sum_v weight(v)`` over the versions v that were trained, where s(v) is the factor of
    the version. An update weighs as much as its examples, whichever version it was trained from, and however many
    others were. A discounted one moves the model less, and does not give the others more weight, as in the paper and in
    :mod:`flare_core.staleness`. Without discount the numerator is a sum of integers, and exact.

    Args:
        new: the version.
        scale: the fixed-point numbers of its sums.
    """
    weight = float(sum(each.weight for each in new.sums.values()))
    if all(factor == 1.0 for factor in new.factors.values()):
        total: dict[str, Array] = {}
        for each in new.sums.values():
            add(total, each.total)
        return scale.decode(total, weight)
    update: dict[str, Array] = {}
    for version, each in sorted(new.sums.items()):
        for name, value in scale.decode(each.total, 1.0).items():
            part = new.factors[version] * value
            update[name] = update[name] + part if name in update else part
    return {name: np.asarray(value / weight) for name, value in update.items()}


def combined(
    new: NewVersion,
    scale: Scale,
    params: Mapping[str, Array],
    global_lr: float = 1.0,
    optimizer: ServerOptimizer | None = None,
) -> dict[str, Array]:
    """Return the params of a version: the earlier ones plus ``global_lr`` times the mean update.

    They are computed in float64 and rounded once, to the dtype of each parameter.

    Args:
        new: the version.
        scale: the fixed-point numbers of its sums.
        params: of the version before, by name; parameters that devices do not train stay as they are.
        global_lr: factor on the mean update.
        optimizer: takes the step instead, with the negative mean update as the gradient; keeps its state, such as
            momentum, from version to version.
    Raises:
        EdgeError: devices sent a parameter that the model does not have, or of another shape, or the result is not
            finite; names the parameter.
    """
    update = mean_update(new, scale)
    for name, value in update.items():
        if name not in params or np.shape(params[name]) != value.shape:
            shape = f"shape {np.shape(params[name])}" if name in params else "no such parameter"
            raise EdgeError(f"devices sent '{name}' with shape {value.shape}, but the model has {shape}")
    changed: dict[str, Array] = {}
    with np.errstate(over="ignore"):  # an infinite result is refused below
        if optimizer is not None:
            gradients = {name: -value for name, value in update.items()}
            changed.update(optimizer.step({name: params[name] for name in update}, gradients, scale=global_lr))  # type: ignore[arg-type]  # plain names are keys
        else:
            for name, value in update.items():
                dtype = np.asarray(params[name]).dtype
                exact = np.asarray(params[name]).astype(np.float64) + global_lr * value
                changed[name] = rounded(exact, dtype) if dtype.kind in "iub" else np.asarray(exact.astype(dtype))
    for name, value in changed.items():
        if not np.isfinite(value.astype(np.float64)).all():
            raise EdgeError(
                f"'{name}' of version {new.version} is not finite; lower global_lr or the devices' step size"
            )
    return {name: changed.get(name, np.asarray(value)) for name, value in params.items()}
