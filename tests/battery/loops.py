"""The algorithms as plain loops in float64, written from the papers; the battery compares every run with them.

Nothing here calls Flare. A loop is given the participants of each round, and the round of each one's model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sites import FLOATS, RATE, SITES, STEPS, TRAINED, Model, accuracy, initial, trained

Round = Sequence[tuple[int, int]]
"""The contributors of a round, in the order of the sites: a site's number, and the round whose model it was given."""

LARGE = 1024  # tensors with fewer values are not compressed


def through(codec: str | None, values: np.ndarray) -> np.ndarray:
    """Return values after a round trip through a codec."""
    name = (codec or "").removesuffix("+zstd").removesuffix("zstd")
    if not name or values.size < LARGE or values.dtype.kind != "f":
        return values
    if name in ("fp16", "bf16"):
        bits = 11 if name == "fp16" else 8
        mantissa, exponent = np.frexp(values)
        return np.ldexp(np.rint(mantissa * 2**bits) / 2**bits, exponent)
    if name in ("int8", "int4"):
        block, largest = (256, 127) if name == "int8" else (64, 7)
        padded = np.pad(values, (0, -values.size % block)).reshape(-1, block)
        scale = np.abs(padded).max(axis=1, keepdims=True) / largest
        return (np.rint(padded / np.where(scale > 0, scale, 1)) * scale).reshape(-1)[: values.size]
    count = round(float(name.removeprefix("topk:")) * values.size)
    kept = np.argsort(np.abs(values))[-count:]
    sent = np.zeros_like(values)
    sent[kept] = values[kept]
    return sent


@dataclass
class Loop:
    """Federated averaging; the other algorithms override a method or two.

    Attributes:
        rounds: the participants of each.
        is_diff: whether sites send differences.
        task, result: codecs of the tasks and the results.
        site_weights: by number.
        excluded: keys that are not averaged.
        combine: from contributions of one key, one row per site, and weights, to the aggregate.
        left_out: by site and key, the values that a codec left out of used replies; kept only for ``topk``.
    """

    rounds: Sequence[Round]
    is_diff: bool = False
    task: str | None = None
    result: str | None = None
    site_weights: Mapping[int, float] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    combine: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda rows, weights: np.tensordot(
        weights / weights.sum(), rows, 1
    )
    exponent: float = 0.5
    left_out: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)

    def run(self) -> list[Model]:
        """Return the model before the first round, and after each."""
        first = initial()
        self.dtypes = {key: value.dtype for key, value in first.items()}
        models = [{key: value.astype(np.float64) for key, value in first.items()}]
        for round_, taking_part in enumerate(self.rounds):
            models.append(self.next_model(models, round_, taking_part))
        return models

    def next_model(self, models: list[Model], round_: int, taking_part: Round) -> Model:
        return self.mean(models, round_, taking_part, [self.contribution(models, *each) for each in taking_part])

    def mean(self, models: list[Model], round_: int, taking_part: Round, sent: list[Model]) -> Model:
        now = models[-1]
        weights = np.array([site * self.site_weights.get(site, 1.0) for site, _ in taking_part])
        new = dict(now)
        for key in now:
            if key in self.excluded:
                continue
            rows = []
            for (_, given), model in zip(taking_part, sent, strict=True):
                change = model[key] if self.is_diff else model[key] - models[given][key]
                change = change * (1 + round_ - given) ** -self.exponent
                if self.dtypes[key].kind in "iub":
                    change = np.rint(change)  # a site's share of a counter is an integer
                rows.append(change if self.is_diff else now[key] + change)
            new[key] = self.combine(np.stack(rows), weights) + (now[key] if self.is_diff else 0)
        return self.as_kept(new)

    def as_kept(self, model: Model) -> Model:
        """Convert to stored values: counters are integers in the range of their dtype, flags 0 or 1."""
        flags = {key: (model[key] >= 0.5).astype(float) for key in model if self.dtypes[key].kind == "b"}
        whole = [key for key in model if self.dtypes[key].kind in "iu"]
        limits = {key: np.iinfo(self.dtypes[key]) for key in whole}
        return model | flags | {key: np.clip(np.rint(model[key]), limits[key].min, limits[key].max) for key in whole}

    def contribution(self, models: list[Model], site: int, given: int) -> Model:
        """Return the contribution of a site that received the model of a round."""
        x = {key: through(self.task, value) for key, value in models[given].items()}
        return self.sent(x, trained(x, site), site)

    def sent(self, x: Model, y: Model, site: int) -> Model:
        values = {key: y[key] - x[key] for key in y} if self.is_diff else dict(y)
        for key, value in values.items():
            if (self.result or "").startswith("topk") and value.size >= LARGE:
                wanted = value + self.left_out.get((site, key), 0)
                values[key] = through(self.result, wanted)
                self.left_out[site, key] = wanted - values[key]
            else:
                values[key] = through(self.result, value)
        return values

    def accuracies(self, models: list[Model]) -> list[float]:
        """The mean of the sites' accuracies in each round, of the models that they received; the median where the
        aggregator is robust."""
        means = []
        for taking_part in self.rounds:
            weights = [site * self.site_weights.get(site, 1.0) for site, _ in taking_part]
            values = [accuracy(models[given], site) for site, given in taking_part]
            mean = np.median(values) if self.is_robust else np.dot(weights, values) / sum(weights)
            means.append(float(mean))
        return means

    @property
    def is_robust(self) -> bool:
        return self.combine in (trimmed, median)


@dataclass
class FedOpt(Loop):
    """Reddi et al. 2021, algorithm 2, for trained parameters; ``factor`` scales the learning rate by round."""

    step: Callable[[dict[str, np.ndarray], np.ndarray, int], np.ndarray] = lambda kept, gradient, number: gradient
    factor: Callable[[int], float] = lambda round_: 1.0
    kept: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def next_model(self, models: list[Model], round_: int, taking_part: Round) -> Model:
        new = super().next_model(models, round_, taking_part)
        for key in set(FLOATS) - set(self.excluded):
            gradient = models[-1][key] - new[key]
            change = self.step(self.kept.setdefault(key, {}), gradient, round_ + 1)
            new[key] = models[-1][key] - self.factor(round_) * change
        return new


def momentum(kept: dict[str, np.ndarray], gradient: np.ndarray, number: int) -> np.ndarray:
    """Hsu et al. 2019, FedAvgM, with 0.6 and a learning rate of 1."""
    kept["m"] = 0.6 * kept.get("m", 0) + gradient
    return kept["m"]


def adam(kept: dict[str, np.ndarray], gradient: np.ndarray, number: int) -> np.ndarray:
    """Kingma and Ba 2015, with a learning rate of 0.1, and 0.9, 0.99 and an epsilon of 0.001."""
    kept["m"] = 0.9 * kept.get("m", 0) + 0.1 * gradient
    kept["v"] = 0.99 * kept.get("v", 0) + 0.01 * gradient**2
    return 0.1 * kept["m"] / (1 - 0.9**number) / (np.sqrt(kept["v"] / (1 - 0.99**number)) + 1e-3)


@dataclass
class Scaffold(Loop):
    """Karimireddy et al. 2020, algorithm 1, option II; a site's controls change when its reply is used."""

    own: dict[int, Model] = field(default_factory=dict)
    server: Model = field(default_factory=dict)

    def next_model(self, models: list[Model], round_: int, taking_part: Round) -> Model:
        zero = {key: np.zeros_like(models[0][key]) for key in TRAINED}
        c = self.server or zero
        sent, changes = [], []
        for site, given in taking_part:
            x = {key: through(self.task, value) for key, value in models[given].items()}
            c_given = {key: through(self.task, value) for key, value in c.items()}
            own = self.own.get(site, zero)
            y = trained(x, site, {key: c_given[key] - own[key] for key in TRAINED})
            change = {key: (x[key] - y[key]) / (STEPS * RATE) - c_given[key] for key in TRAINED}
            self.own[site] = {key: own[key] + change[key] for key in TRAINED}
            sent.append(self.sent(x, y, site))
            changes.append({key: self.fed_back(value, site, key) for key, value in change.items()})
        self.server = {key: c[key] + sum(each[key] for each in changes) / len(SITES) for key in TRAINED}
        return self.mean(models, round_, taking_part, sent)

    def fed_back(self, value: np.ndarray, site: int, key: str) -> np.ndarray:
        """Return a difference of controls as received: the codec's error is added to the next one."""
        wanted = value + self.left_out.get((site, f"control of {key}"), 0)
        arrived = through(self.result, wanted)
        self.left_out[site, f"control of {key}"] = wanted - arrived
        return arrived


@dataclass
class Cyclic(Loop):
    """Chang et al. 2018: each site trains the result of the previous one."""

    def next_model(self, models: list[Model], round_: int, taking_part: Round) -> Model:
        now = models[-1]
        for site, _ in taking_part:
            x = {key: through(self.task, value) for key, value in now.items()}
            sent = self.sent(x, trained(x, site), site)
            now = {key: now[key] + sent[key] if self.is_diff else sent[key] for key in now}
        return self.as_kept(now)


def trimmed(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Yin et al. 2018, option II: without the highest and the lowest third."""
    left_out = int(0.34 * len(rows))
    return np.sort(rows, axis=0)[left_out : len(rows) - left_out].mean(axis=0)


def median(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Yin et al. 2018, option I."""
    return np.median(rows, axis=0)


def krum(sent: list[Model], attackers: int) -> int:
    """Blanchard et al. 2017: the index of the contribution nearest to its neighbours."""
    flat = [np.concatenate([each[key].reshape(-1) for key in sorted(each)]) for each in sent]
    scores = []
    for one in flat:
        distances = sorted(float(((one - other) ** 2).sum()) for other in flat if other is not one)
        scores.append(sum(distances[: len(flat) - attackers - 2]))
    return int(np.argmin(scores))


@dataclass
class Krum(Loop):
    """The one contribution that Krum chooses, with no attackers."""

    @property
    def is_robust(self) -> bool:
        return True

    def mean(self, models: list[Model], round_: int, taking_part: Round, sent: list[Model]) -> Model:
        chosen = krum(sent, 0)
        return super().mean(models, round_, [taking_part[chosen]], [sent[chosen]])


def pairs(factors: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    """Return a small, fixed set of rows that covers all pairs of values of different factors."""
    names = list(factors)
    missing = {
        (one, first, other, second)
        for index, one in enumerate(names)
        for other in names[index + 1 :]
        for first in range(len(factors[one]))
        for second in range(len(factors[other]))
    }
    rows = []
    while missing:
        one, first, other, second = min(missing)
        row = {one: first, other: second}
        for name in names:
            if name not in row:
                row[name] = max(
                    range(len(factors[name])),
                    key=lambda value: sum(_pair(names, row | {name: value}, name, each) in missing for each in row),
                )
        missing -= {_pair(names, row, a, b) for a in names for b in names if a != b}
        rows.append({name: factors[name][row[name]] for name in names})
    return rows


def _pair(names: list[str], row: Mapping[str, int], one: str, other: str) -> tuple[str, int, str, int]:
    first, second = sorted((one, other), key=names.index)
    return first, row[first], second, row[second]
