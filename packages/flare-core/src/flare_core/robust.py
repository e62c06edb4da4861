"""Robust aggregators, which a minority of wrong contributions cannot control: median, trimmed mean, Krum.

They compare the contributions of all sites one tensor at a time: the server holds that tensor of every site, and
prefetched data. Every site counts the same, whatever its number of steps, and so do the metrics that it reports.

The number of n sites that may be wrong while every value of the result stays within the range of the others:

=========================  ====================================================================
CoordinateMedian           fewer than n / 2
TrimmedMean(fraction)      fraction * n, rounded down: with 0.2, none of 3 or 4, 1 of 5, 2 of 10
Krum(attackers)            ``attackers``, if n is at least 2 * attackers + 3
=========================  ====================================================================

Krum bounds the distance of the chosen contribution, not each value: in a model of a million values, one can be wrong by
about a thousand times the usual spread while the whole is as close to the others as they are to each other. None of the
aggregators detects wrong values within the range of the others. With three or more sites, a key counts only if more
than half of the sites sent it, so that a few cannot decide on it alone; otherwise the global model keeps its own value.

The result has the most frequent dtype of the contributions; integers of whole models are rounded to nearest, and
differences of integers stay real.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from flare_core.aggregation import Aggregator
from flare_core.errors import (
    DtypeMismatchError,
    EmptyRoundError,
    FlareError,
    ModelError,
    RecipeError,
    ShapeMismatchError,
)
from flare_core.model import FLModel, Key, Params, ParamsType, flatten, key_text, rounded, unflatten, working_dtype
from flare_core.recipe import check_count
from flare_core.task import Reply
from flare_core.tensor_blocks import Array, LazyParams, keys_of, kind_of

logger = logging.getLogger(__name__)


class _AllAtOnce(Aggregator):
    """An aggregator that combines all contributions at the end of the round, tensor by tensor.

    A site may leave keys out; a key is combined over the sites that sent it, in at least float32.
    """

    takes_sparse: ClassVar[bool] = False
    is_robust: ClassVar[bool] = True
    keeps_replies: ClassVar[bool] = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._params: dict[str, Params] = {}
        self._type: ParamsType | None = None
        self._round: int | None = None
        self._dtypes: dict[Key, np.dtype[Any]] = {}  # the most frequent dtype of each key in the round
        self._counted: list[str] | None = None  # the sites whose values are combined; None for all

    def add(self, reply: Reply) -> None:
        """Add one contribution; its tensors are read at the end of the round."""
        model = reply.model
        if model.params is None:
            raise ModelError(f"{reply.site}: the reply to '{reply.task}' holds no params; send FLModel(params=...)")
        if self._params and model.params_type is not self._type:
            others = ", ".join(self._params)
            raise ModelError(f"{reply.site} sent params_type {model.params_type}, but {others} sent {self._type}")
        self._type, self._round = model.params_type, reply.round
        self._params[reply.site] = model.params

    def result(self) -> FLModel:
        if not self._params:
            raise EmptyRoundError("no site contributed to this round; the global model is unchanged")
        combined = {}
        for key, stack, dtype in self._stacks(self._counted):
            with np.errstate(over="ignore", invalid="ignore"):  # non-finite values may be trimmed
                value = self._combine(stack, key)
            if dtype.kind in "iub":
                is_diff = self._type is ParamsType.DIFF
                combined[key] = value.astype(np.float64, copy=False) if is_diff else rounded(value, dtype)
            else:
                combined[key] = value.astype(dtype, copy=False)
        return FLModel(params_type=self._type, params=unflatten(combined), current_round=self._round)

    @abstractmethod
    def _combine(self, stack: Array, key: Key) -> Array:
        """Combine the values of one tensor: one row per site, in float32 or float64, which may be changed in place."""

    def _senders(self) -> dict[Key, list[str]]:
        """Return the sites that sent each key."""
        found: dict[Key, list[str]] = {}
        for site, params in self._params.items():
            for key in keys_of(params):
                found.setdefault(key, []).append(site)
        return found

    def _stacks(self, sites: Iterable[str] | None = None) -> Iterator[tuple[Key, Array, np.dtype[Any]]]:
        """Yield each key that counts, the values from ``sites`` with one row each, and the most frequent dtype."""
        readers = {site: _Reader(site, self._params[site]) for site in (self._params if sites is None else sites)}
        for key, senders in self._senders().items():
            found = {site: value for site, reader in readers.items() if (value := reader.take(key)) is not None}
            if len(self._params) > 2 and 2 * len(senders) <= len(self._params):
                text = "key ignored because only a minority of the sites sent it key=%r sites=%s of=%s"
                logger.warning(text, key_text(key), ",".join(senders), len(self._params))
            elif found:  # Krum may have chosen none of the senders
                yield key, *self._stack(key, found)

    def _stack(self, key: Key, found: Mapping[str, Array]) -> tuple[Array, np.dtype[Any]]:
        first_site, first = _usual(found, lambda value: value.shape)
        for site, value in found.items():
            if value.shape != first.shape:
                raise ShapeMismatchError(
                    f"'{key_text(key)}': {site} sent shape {value.shape}, {first_site} sent {first.shape};"
                    " the sites run different versions of the model"
                )
        first_site, first = _usual(found, lambda value: kind_of(value.dtype))
        for site, value in found.items():
            if kind_of(value.dtype) != kind_of(first.dtype):
                raise DtypeMismatchError(f"'{key_text(key)}': {site} sent {value.dtype}, {first_site} {first.dtype}")
        dtype = self._dtypes.setdefault(key, _usual(found, lambda value: value.dtype)[1].dtype)
        wide = np.dtype(np.float64) if dtype.kind in "iub" else working_dtype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # non-finite values may be trimmed
            return np.stack([value.astype(wide, copy=False) for value in found.values()]), dtype


class CoordinateMedian(_AllAtOnce):
    """The median of each value over the sites; NaN counts as the largest number.

    Source: Yin et al. 2018, arXiv:1803.01498, option I.
    """

    def _combine(self, stack: Array, key: Key) -> Array:
        stack[np.isnan(stack)] = np.inf
        return np.asarray(np.median(stack, axis=0, overwrite_input=True))


class TrimmedMean(_AllAtOnce):
    """The mean of each value over the sites, without the highest and the lowest; NaN counts as the largest number.

    Args:
        fraction: share of the sites to trim at each end, rounded down; at least 0 and below 0.5. With fewer than
            1 / fraction sites no site is trimmed, so the result is the plain mean, and a warning is logged.
    Raises:
        RecipeError: ``fraction`` is out of range.

    Source: Yin et al. 2018, arXiv:1803.01498, option II.
    """

    def __init__(self, fraction: float = 0.2) -> None:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 0.5:
            raise RecipeError(f"fraction of the trimmed mean is {fraction!r}; give a number from 0 to below 0.5")
        self.fraction = float(fraction)
        super().__init__()

    def result(self) -> FLModel:
        if self.fraction and self._params and not self._trimmed():
            text = "the trimmed mean trims no site; use more sites or a larger fraction fraction=%s sites=%s"
            logger.warning(text, self.fraction, len(self._params))
        return super().result()

    def _trimmed(self) -> int:
        """Return the number of sites to trim at each end."""
        return int(self.fraction * len(self._params) + 1e-9)  # 0.29 * 100 is slightly below 29

    def _combine(self, stack: Array, key: Key) -> Array:
        trimmed = min(self._trimmed(), (len(stack) - 1) // 2)  # the sites may have sent different keys
        stack[np.isnan(stack)] = np.inf
        stack.sort(axis=0)
        return np.asarray(stack[trimmed : len(stack) - trimmed].mean(axis=0))


class Krum(_AllAtOnce):
    """The contribution that is closest to its neighbours, or the mean of the ``keep`` best (Multi-Krum).

    With n sites of which ``attackers`` are wrong, a contribution's score is the sum of its squared distances to the
    n - attackers - 2 nearest others. All sites must send the same keys. A contribution with NaN is never chosen. A
    wrong contribution can be chosen if it is as close to its neighbours as the others are to theirs.

    Args:
        attackers: how many sites may be wrong; a round needs at least 2 * attackers + 3 sites.
        keep: how many contributions are averaged.
    Raises:
        RecipeError: ``attackers`` is not an integer of at least 0, or ``keep`` not one of at least 1.

    Source: Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent".
    """

    def __init__(self, attackers: int = 1, keep: int = 1) -> None:
        self.attackers = check_count(attackers, "attackers of Krum", minimum=0)
        self.keep = check_count(keep, "keep of Krum")
        self.least_sites = max(2 * self.attackers + 3, self.keep + self.attackers)
        super().__init__()

    def result(self) -> FLModel:
        if self._params:
            self._counted = self._choose()  # so that only the chosen contributions are fetched a second time
        return super().result()

    def _combine(self, stack: Array, key: Key) -> Array:
        return np.asarray(stack.mean(axis=0))

    def _choose(self) -> list[str]:
        """Return the sites with the lowest scores, in the order of their replies."""
        sites = list(self._params)
        count = len(sites)
        if count < 2 * self.attackers + 3:
            raise EmptyRoundError(
                f"Krum with {self.attackers} attackers needs {2 * self.attackers + 3} sites in a round, but"
                f" {count} replied ({', '.join(sites)}); lower attackers, or raise min_clients"
            )
        if self.keep > count - self.attackers:
            raise EmptyRoundError(
                f"Krum keeps {self.keep} of {count} sites of which {self.attackers} may be wrong; lower keep"
            )
        for key, senders in self._senders().items():
            if len(senders) != count:
                without = [site for site in sites if site not in senders]
                who = f"only {', '.join(senders)} did" if 2 * len(senders) < count else f"{', '.join(without)} did not"
                raise ModelError(f"not all sites sent '{key_text(key)}': {who}; Krum compares whole models")
        distances = np.zeros((count, count))
        for _, stack, _ in self._stacks():
            flat = stack.reshape(count, -1).astype(np.float64, copy=False)
            with np.errstate(invalid="ignore", over="ignore"):
                for row in range(count):
                    for other in range(row):
                        difference = flat[other] - flat[row]
                        # Squared in place, and only once for each pair: memory bandwidth is the bottleneck.
                        distances[row, other] += np.multiply(difference, difference, out=difference).sum()
        distances += distances.T
        distances[~np.isfinite(distances)] = np.inf
        np.fill_diagonal(distances, np.inf)
        scores = np.sort(distances, axis=1)[:, : count - self.attackers - 2].sum(axis=1)
        return [sites[row] for row in sorted(np.argsort(scores, kind="stable")[: self.keep].tolist())]


class _Reader:
    """A reader of one site's tensors by key, which prefetches while they are read in the order they were sent."""

    def __init__(self, site: str, params: Params) -> None:
        self._site = site
        self._params = params
        self._ahead = params.arrays() if isinstance(params, LazyParams) else flatten(params)
        self._order = deque(keys_of(params))  # keys not yet taken from _ahead

    def take(self, key: Key) -> Array | None:
        """Return the array of a key, or None."""
        try:
            value = self._next(key)
            array = None if value is None else np.asarray(value)
        except FlareError as error:
            if self._site not in str(error):  # the error names a connection, which several sites may share
                error.args = (f"{self._site}: {error}", *error.args[1:])
            raise
        except (TypeError, ValueError) as error:
            raise ModelError(f"{self._site}: '{key_text(key)}' is not an array ({error})") from error
        if array is not None and not _are_numbers(array.dtype):
            raise DtypeMismatchError(f"'{key_text(key)}': {self._site} sent {array.dtype}, which is not numeric")
        return array

    def _next(self, key: Key) -> Any:
        if not self._order or self._order[0] != key:
            return at(self._params, key)
        self._order.popleft()
        return next(self._ahead)[1]


def at(params: Params, key: Key) -> Any:
    """Return the array of a key, or None."""
    value: Any = params
    for name in (key,) if isinstance(key, str) else key:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _usual(found: Mapping[str, Array], of: Callable[[Array], Any]) -> tuple[str, Array]:
    """Return the first site, and its array, for which ``of`` has its most frequent value."""
    [(most, _)] = Counter(of(value) for value in found.values()).most_common(1)
    return next((site, value) for site, value in found.items() if of(value) == most)


def _are_numbers(dtype: np.dtype[Any]) -> bool:
    """Return True if a dtype is numeric; bfloat16 and float8 are of numpy's kind "V"."""
    return dtype.kind in "iubfc" or np.can_cast(dtype, np.float32)
