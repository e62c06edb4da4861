"""Aggregators that a minority of wrong contributions cannot carry away: median, trimmed mean, Krum.

They compare the contributions of all sites with each other, one tensor at a time: the server holds no more than that
tensor of every site, and what is fetched ahead. The sites count alike, whatever their number of steps.

A result has the shape of the contributions. Of floating-point numbers and whole models it has the dtype of the first
contribution that held the key, integers rounded to the nearest; the differences of integers stay real.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from flare_core.aggregation import Aggregator, Array, kind_of
from flare_core.errors import DtypeMismatchError, EmptyRoundError, ModelError, RecipeError, ShapeMismatchError
from flare_core.model import FLModel, Key, Params, ParamsType, flatten, key_text, rounded, unflatten, working_dtype
from flare_core.task import Reply

__all__ = ["CoordinateMedian", "Krum", "TrimmedMean"]


class _AllAtOnce(Aggregator):
    """Keeps the replies of a round readable, and combines them tensor by tensor at its end.

    A site may leave keys out; a key is combined over the sites that sent it. Values are combined in at least float32;
    integers are rounded to the nearest.
    """

    takes_sparse: ClassVar[bool] = False

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._params: dict[str, Params] = {}
        self._type: ParamsType | None = None
        self._round: int | None = None
        self._dtypes: dict[Key, np.dtype[Any]] = {}  # that of the first site in the round that sent the key
        self._counted: list[str] | None = None  # the sites whose values are combined; all if None

    def add(self, reply: Reply) -> None:
        """Take one contribution; its tensors are read at the end of the round.

        Raises:
            ModelError: it holds no params, or differences where others sent whole models.
        """
        model = reply.model
        if model.params is None:
            raise ModelError(f"{reply.site}: the reply to '{reply.task}' holds no params; send FLModel(params=...)")
        if self._params and model.params_type is not self._type:
            raise ModelError(f"{reply.site} sent params_type {model.params_type} where others sent {self._type}")
        if hasattr(model.params, "keep"):
            model.params.keep()
        self._type, self._round = model.params_type, reply.round
        self._params[reply.site] = model.params

    def result(self) -> FLModel:
        if not self._params:
            raise EmptyRoundError("no site contributed to this round; the global model stays as it was")
        combined = {}
        for key, stack, dtype in self._stacks(self._counted):
            value = self._combine(stack, key)
            is_counter = dtype.kind in "iub" and self._type is not ParamsType.DIFF
            combined[key] = rounded(value, dtype) if is_counter else value.astype(_result_dtype(dtype), copy=False)
        return FLModel(params_type=self._type, params=unflatten(combined), current_round=self._round)

    @abstractmethod
    def _combine(self, stack: Array, key: Key) -> Array:
        """Combine the values of one tensor: one row a site, in float32 or float64; they may be changed."""

    def _keys(self) -> list[Key]:
        return list(dict.fromkeys(key for params in self._params.values() for key in keys_of(params)))

    def _stacks(self, sites: Iterable[str] | None = None) -> Iterator[tuple[Key, Array, np.dtype[Any]]]:
        """Yield every key, the values that the ``sites`` sent, one row each, and the dtype of the round's first."""
        readers = {site: _Reader(self._params[site]) for site in (self._params if sites is None else sites)}
        for key in self._keys():
            found = {
                site: np.asarray(value) for site, reader in readers.items() if (value := reader.take(key)) is not None
            }
            if found:  # else only those that do not count have sent it
                yield key, *self._stack(key, found)

    def _stack(self, key: Key, found: Mapping[str, Array]) -> tuple[Array, np.dtype[Any]]:
        first_site, first = next(iter(found.items()))
        for site, value in found.items():
            if value.shape != first.shape:
                raise ShapeMismatchError(
                    f"'{key_text(key)}': {site} sent shape {value.shape}, {first_site} sent {first.shape};"
                    " the sites run different versions of the model"
                )
            if kind_of(value.dtype) != kind_of(first.dtype):
                raise DtypeMismatchError(f"'{key_text(key)}': {site} sent {value.dtype}, {first_site} {first.dtype}")
        dtype = self._dtypes.setdefault(key, first.dtype)
        wide = np.dtype(np.float64) if dtype.kind in "iub" else working_dtype(dtype)
        return np.stack([value.astype(wide, copy=False) for value in found.values()]), dtype


class CoordinateMedian(_AllAtOnce):
    """The median of every number over the sites; NaN counts as the largest number.

    Source: Yin et al. 2018, arXiv:1803.01498, option I.
    """

    def _combine(self, stack: Array, key: Key) -> Array:
        return np.asarray(np.median(_ordered(stack), axis=0, overwrite_input=True))


class TrimmedMean(_AllAtOnce):
    """The mean of every number over the sites, without the highest and the lowest; NaN counts as the largest number.

    Args:
        fraction: of the sites that are left out at each end, rounded down; below one half.
    Raises:
        RecipeError: ``fraction`` is not from 0 and below 0.5.

    Source: Yin et al. 2018, arXiv:1803.01498, option II.
    """

    def __init__(self, fraction: float = 0.2) -> None:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 0.5:
            raise RecipeError(f"fraction of the trimmed mean is {fraction!r}; give a number from 0 and below 0.5")
        self.fraction = float(fraction)
        super().__init__()

    def _combine(self, stack: Array, key: Key) -> Array:
        left_out = int(self.fraction * len(stack))
        stack = _ordered(stack)
        stack.sort(axis=0)
        return np.asarray(stack[left_out : len(stack) - left_out].mean(axis=0))


class Krum(_AllAtOnce):
    """The contribution that is closest to its neighbours, or the mean of the ``keep`` best (Multi-Krum).

    With n sites and ``attackers`` of them wrong, a contribution's score is the sum of its squared distances to the
    n - attackers - 2 nearest others. All sites must send the same keys. One that holds NaN is never chosen.

    Args:
        attackers: how many sites may be wrong; a round needs at least 2 * attackers + 3 sites.
        keep: how many contributions are averaged.
    Raises:
        RecipeError: ``attackers`` is no integer from 0, or ``keep`` none from 1.

    Source: Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent".
    """

    def __init__(self, attackers: int = 1, keep: int = 1) -> None:
        if isinstance(attackers, bool) or not isinstance(attackers, int) or attackers < 0:
            raise RecipeError(f"attackers of Krum is {attackers!r}; give an integer from 0")
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise RecipeError(f"keep of Krum is {keep!r}; give an integer from 1")
        self.attackers = attackers
        self.keep = keep
        self.least_sites = max(2 * attackers + 3, keep + attackers)
        super().__init__()

    def result(self) -> FLModel:
        if self._params:
            self._counted = self._choose()  # the others' values need not be fetched a second time
        return super().result()

    def _combine(self, stack: Array, key: Key) -> Array:
        return np.asarray(stack.mean(axis=0))

    def _choose(self) -> list[str]:
        """The sites with the lowest scores, in their order."""
        sites = list(self._params)
        count = len(sites)
        if count < 2 * self.attackers + 3:
            raise EmptyRoundError(
                f"Krum with {self.attackers} attackers needs {2 * self.attackers + 3} sites in a round,"
                f" {count} answered ({', '.join(sites)}); lower attackers, or raise min_clients"
            )
        if self.keep > count - self.attackers:
            raise EmptyRoundError(
                f"Krum keeps {self.keep} of {count} sites of which {self.attackers} may be wrong; lower keep"
            )
        distances = np.zeros((count, count))
        for key, stack, _ in self._stacks():
            if len(stack) != count:
                raise ModelError(f"not all sites sent '{key_text(key)}'; Krum compares whole models")
            flat = stack.reshape(count, -1).astype(np.float64, copy=False)
            with np.errstate(invalid="ignore", over="ignore"):
                for row in range(count):
                    for other in range(row):
                        difference = flat[other] - flat[row]
                        # Squared in place, and once for both directions: what takes the time is to move the numbers.
                        distances[row, other] += np.multiply(difference, difference, out=difference).sum()
        distances += distances.T
        distances[~np.isfinite(distances)] = np.inf
        np.fill_diagonal(distances, np.inf)
        scores = np.sort(distances, axis=1)[:, : count - self.attackers - 2].sum(axis=1)
        return [sites[row] for row in sorted(np.argsort(scores, kind="stable")[: self.keep].tolist())]


class _Reader:
    """Reads the tensors of one site by key: ahead, as long as they are asked for in the order in which they were sent.

    Args:
        params: what the site has sent.
    """

    def __init__(self, params: Params) -> None:
        self._params = params
        self._ahead: Iterator[tuple[Key, Any]] = iter(())
        self._order: deque[Key] = deque()  # of what comes next
        if hasattr(params, "fetched"):
            self._ahead = params.fetched()
            self._order.extend(keys_of(params))

    def take(self, key: Key) -> Any:
        """The array under a key; None if there is none."""
        if not self._order or self._order[0] != key:
            return at(self._params, key)
        self._order.popleft()
        return next(self._ahead)[1]


def keys_of(params: Params) -> list[Key]:
    """The keys of params, without fetching what is lazy."""
    if hasattr(params, "leaves"):
        return [key for key, _ in params.leaves()]
    return [key for key, _ in flatten(params)]


def at(params: Params, key: Key) -> Any:
    """The array under a key; None if there is none."""
    value: Any = params
    for name in (key,) if isinstance(key, str) else key:
        if name not in value:
            return None
        value = value[name]
    return value


def _ordered(stack: Array) -> Array:
    wrong = np.isnan(stack)
    if wrong.any():
        stack[wrong] = np.inf
    return stack


def _result_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64) if dtype.kind in "iub" else dtype
