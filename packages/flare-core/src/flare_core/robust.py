"""Aggregators that a minority of wrong contributions cannot control: median, trimmed mean, Krum.

They compare the contributions of all sites with each other, one tensor at a time: the server holds no more than that
tensor of every site, and what is fetched ahead. The sites count alike, whatever their number of steps; so do the
metrics that they report.

How many of n sites may be wrong, so that every number of the result lies among those of the others:

=========================  ====================================================================
CoordinateMedian           fewer than n / 2
TrimmedMean(fraction)      fraction * n, rounded down: with 0.2, none of 3 or 4, 1 of 5, 2 of 10
Krum(attackers)            ``attackers``, if n is at least 2 * attackers + 3
=========================  ====================================================================

Krum bounds the distance of what it chooses, not each number: in a model of a million numbers, one of them can be wrong
by about a thousand times the usual spread, and the whole still be as close to the others as they are to each other.
Wrong contributions that stay among the others' pass everywhere. Of three sites or more, a key counts if more than half
have sent it, so that a few cannot decide on it alone; else the global model keeps its own.

A result has the shape of the contributions. Of floating-point numbers and whole models it has the dtype that most
contributions have, integers rounded to the nearest; the differences of integers stay real.
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
from flare_core.task import Reply
from flare_core.tensor_blocks import Array, kind_of

__all__ = ["CoordinateMedian", "Krum", "TrimmedMean"]

logger = logging.getLogger(__name__)


class _AllAtOnce(Aggregator):
    """Keeps the replies of a round readable, and combines them tensor by tensor at its end.

    A site may leave keys out; a key is combined over the sites that sent it, if they are not the minority. Values are
    combined in at least float32; integers are rounded to the nearest.
    """

    takes_sparse: ClassVar[bool] = False
    is_robust: ClassVar[bool] = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._params: dict[str, Params] = {}
        self._type: ParamsType | None = None
        self._round: int | None = None
        self._dtypes: dict[Key, np.dtype[Any]] = {}  # by key, the most frequent one of the round
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
            raise ModelError(
                f"{reply.site} sent params_type {model.params_type} where others sent {self._type}"
                f" ({', '.join(self._params)})"
            )
        if hasattr(model.params, "keep"):
            model.params.keep()
        self._type, self._round = model.params_type, reply.round
        self._params[reply.site] = model.params

    def result(self) -> FLModel:
        if not self._params:
            raise EmptyRoundError("no site contributed to this round; the global model stays as it was")
        combined = {}
        for key, stack, dtype in self._stacks(self._counted):
            with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite may be left out
                value = self._combine(stack, key)
            is_counter = dtype.kind in "iub" and self._type is not ParamsType.DIFF
            combined[key] = rounded(value, dtype) if is_counter else value.astype(_result_dtype(dtype), copy=False)
        return FLModel(params_type=self._type, params=unflatten(combined), current_round=self._round)

    @abstractmethod
    def _combine(self, stack: Array, key: Key) -> Array:
        """Combine the values of one tensor: one row a site, in float32 or float64; they may be changed."""

    def _senders(self) -> dict[Key, list[str]]:
        """Return the sites that sent each key."""
        found: dict[Key, list[str]] = {}
        for site, params in self._params.items():
            for key in keys_of(params):
                found.setdefault(key, []).append(site)
        return found

    def _stacks(self, sites: Iterable[str] | None = None) -> Iterator[tuple[Key, Array, np.dtype[Any]]]:
        """Yield every key that counts, the values that the ``sites`` sent, one row each, and the usual dtype."""
        readers = {site: _Reader(site, self._params[site]) for site in (self._params if sites is None else sites)}
        for key, senders in self._senders().items():
            found = {site: value for site, reader in readers.items() if (value := reader.take(key)) is not None}
            if len(self._params) > 2 and 2 * len(senders) <= len(self._params):
                logger.warning(
                    "key left out, only a minority of the sites sent it key=%r sites=%s of=%s",
                    key_text(key),
                    ",".join(senders),
                    len(self._params),
                )
            elif found:  # else only sites that do not count sent it
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
        with np.errstate(over="ignore", invalid="ignore"):  # values beyond its range may be left out
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
        fraction: of the sites of the round that are left out at each end, rounded down; below one half. Of fewer than
            1 / fraction sites nobody is left out, and the result is the plain mean; the log says so.
    Raises:
        RecipeError: ``fraction`` is not from 0 and below 0.5.

    Source: Yin et al. 2018, arXiv:1803.01498, option II.
    """

    def __init__(self, fraction: float = 0.2) -> None:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 0.5:
            raise RecipeError(f"fraction of the trimmed mean is {fraction!r}; give a number from 0 and below 0.5")
        self.fraction = float(fraction)
        super().__init__()

    def result(self) -> FLModel:
        if self.fraction and self._params and not self._left_out():
            logger.warning(
                "the trimmed mean leaves nobody out, so one site can control it fraction=%s sites=%s;"
                " use more sites or a larger fraction",
                self.fraction,
                len(self._params),
            )
        return super().result()

    def _left_out(self) -> int:
        """Return the number of sites that are left out at each end."""
        return int(self.fraction * len(self._params) + 1e-9)  # 0.29 * 100 is a little less than 29

    def _combine(self, stack: Array, key: Key) -> Array:
        left_out = min(self._left_out(), (len(stack) - 1) // 2)  # not all have sent every key
        stack = _ordered(stack)
        stack.sort(axis=0)
        return np.asarray(stack[left_out : len(stack) - left_out].mean(axis=0))


class Krum(_AllAtOnce):
    """The contribution that is closest to its neighbours, or the mean of the ``keep`` best (Multi-Krum).

    With n sites and ``attackers`` of them wrong, a contribution's score is the sum of its squared distances to the
    n - attackers - 2 nearest others. All sites must send the same keys. One that holds NaN is never chosen. A wrong
    contribution can be chosen if it is as close to its neighbours as the others are to theirs.

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
        site: whose they are.
        params: what it has sent.
    """

    def __init__(self, site: str, params: Params) -> None:
        self._site = site
        self._params = params
        self._ahead: Iterator[tuple[Key, Any]] = iter(())
        self._order: deque[Key] = deque()  # of what comes next
        if hasattr(params, "fetched"):
            self._ahead = params.fetched()
            self._order.extend(keys_of(params))

    def take(self, key: Key) -> Array | None:
        """The array under a key; None if there is none.

        Raises:
            FlareError: it cannot be fetched, or is no array of numbers; names the site.
        """
        try:
            value = self._next(key)
            array = None if value is None else np.asarray(value)
        except FlareError as error:
            if self._site not in str(error):  # it names a cell, which may serve several sites
                error.args = (f"{self._site}: {error}", *error.args[1:])
            raise
        except (TypeError, ValueError) as error:
            raise ModelError(f"{self._site}: '{key_text(key)}' is not an array ({error})") from error
        if array is not None and not _are_numbers(array.dtype):
            raise DtypeMismatchError(f"'{key_text(key)}': {self._site} sent {array.dtype}, which holds no numbers")
        return array

    def _next(self, key: Key) -> Any:
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
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _usual(found: Mapping[str, Array], of: Callable[[Array], Any]) -> tuple[str, Array]:
    """Return the first site whose array has the most frequent value of ``of``, and its array."""
    [(most, _)] = Counter(of(value) for value in found.values()).most_common(1)
    return next((site, value) for site, value in found.items() if of(value) == most)


def _are_numbers(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is one of numbers; bfloat16 and float8 are of numpy's kind "V"."""
    return dtype.kind in "iubfc" or np.can_cast(dtype, np.float32)


def _ordered(stack: Array) -> Array:
    wrong = np.isnan(stack)
    if wrong.any():
        stack[wrong] = np.inf
    return stack


def _result_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64) if dtype.kind in "iub" else dtype
