"""Compares asynchronous aggregation with synchronous rounds: simulated time to a target, on the same fleets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flare_edge.errors import EdgeError
from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.virtual.fleet import FleetModel
from flare_edge.virtual.history import History, Target
from flare_edge.virtual.simulation import Simulation
from flare_edge.virtual.training import DigitsTraining

GRID = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""The factors on the mean update (``global_lr``) of which each method has the best for itself."""

TUNING_SEEDS = (1_000_000, 1_000_001, 1_000_002)


@dataclass(frozen=True)
class Comparison:
    """The methods that are compared, and their common settings.

    All methods have the same devices with the same data and the same local training, and the same number of devices at
    work at a time. Each has the ``global_lr`` of :data:`GRID` with which it reaches the target first on three fleets
    that are not used afterwards.

    Args:
        num_devices: in the fleet.
        at_once: number of devices that work at the same time.
        num_updates: of which an asynchronous version is made.
        median_train_s, speed_sigma: of the log-normal times that devices take, see :class:`FleetModel`.
        accuracy: the target, which the mean over the versions of the last ``2 * at_once`` updates has to reach.
        seeds: of the fleets.
        max_rounds: number of synchronous rounds after which a run ends without having reached the target.
    """

    num_devices: int = 1000
    at_once: int = 100
    num_updates: int = 10
    median_train_s: float = 60.0
    speed_sigma: float = 1.0
    accuracy: float = 0.92
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    max_rounds: int = 400

    def methods(self) -> dict[str, Callable[[float], FedBuffSettings]]:
        """Return the methods by name, as functions of ``global_lr``.

        Of the second kind of rounds, the slowest 23 % of the devices are not waited for (over-selection by 30 %).
        """
        needed = max(round(self.at_once / 1.3), 1)
        return {
            f"FedBuff, K = {self.num_updates}": self._buffered,
            f"rounds of {self.at_once}": lambda lr: FedBuffSettings.synchronous(
                self.at_once, self.max_rounds, global_lr=lr
            ),
            f"rounds of the first {needed} of {self.at_once}": lambda lr: FedBuffSettings.synchronous(
                needed, self.max_rounds * self.at_once // needed, spare=self.at_once - needed, global_lr=lr
            ),
        }

    def _buffered(self, global_lr: float) -> FedBuffSettings:
        models = ModelManagerConfig(
            max_num_active_model_versions=None,
            max_model_history=None,
            max_model_version=self.max_rounds * self.at_once // self.num_updates,
            num_updates_for_model=self.num_updates,
            staleness_weight=True,
            global_lr=global_lr,
        )
        return FedBuffSettings(models, DeviceManagerConfig(device_selection_size=self.at_once))

    def run(self, settings: FedBuffSettings, seed: int) -> History:
        """Run one method on the fleet of a seed until the target is reached."""
        fleet = FleetModel(
            self.num_devices, seed=seed, median_train_s=self.median_train_s, speed_sigma=self.speed_sigma
        )
        training = DigitsTraining(self.num_devices, seed)
        target = Target("accuracy", self.accuracy, updates=2 * self.at_once)
        return Simulation(settings, fleet.devices(), training, seed=seed, target=target).run()


@dataclass
class Compared:
    """The result of a comparison.

    Args:
        factors: the ``global_lr`` of each method.
        histories: by method, a run for each seed.
    """

    factors: dict[str, float] = field(default_factory=dict)
    histories: dict[str, list[History]] = field(default_factory=dict)

    def speedups(self) -> dict[str, list[float]]:
        """Return, by method, how many times as long as the first it took to the target, for each seed.

        Raises:
            EdgeError: the first has not reached the target.
        """
        first, *_ = self.histories.values()
        base = [each.reached for each in first]
        if not all(base):
            raise EdgeError("the first method has not reached the target; lower it")
        return {
            method: [each.seconds / reached for each, reached in zip(runs, base, strict=True) if reached]
            for method, runs in self.histories.items()
        }

    def table(self) -> str:
        """Return a table in Markdown. Where a run has not reached the target, its time is a lower bound."""
        lines = [
            "| method | `global_lr` | minutes to the target, by seed | mean | times as long | updates | mean age |",
            "|---|---|---|---|---|---|---|",
        ]
        speedups = self.speedups()
        for method, runs in self.histories.items():
            times = ", ".join(f"{'' if each.reached else '> '}{each.seconds / 60:.1f}" for each in runs)
            mean = _mean([each.seconds / 60 for each in runs])
            ratio = "1" if method == next(iter(self.histories)) else f"{_mean(speedups[method]):.1f}"
            updates, age = _mean([each.results for each in runs]), _mean([each.mean_age for each in runs])
            lines.append(
                f"| {method} | {self.factors[method]:g} | {times} | {mean:.1f} | {ratio} | {updates:,.0f} | {age:.1f} |"
            )
        return "\n".join(lines) + "\n"


def compare(comparison: Comparison, progress: Callable[[str], None] = lambda _: None) -> Compared:
    """Run all methods.

    Args:
        comparison: what is compared.
        progress: called with a line of text now and then.
    Raises:
        EdgeError: a method does not reach the target with any factor.
    """
    compared = Compared()
    for method, settings in comparison.methods().items():
        tuning = {lr: [comparison.run(settings(lr), seed).reached for seed in TUNING_SEEDS] for lr in GRID}
        times = {lr: _mean([each for each in runs if each]) if all(runs) else None for lr, runs in tuning.items()}
        reached = {lr: seconds for lr, seconds in times.items() if seconds is not None}
        if not reached:
            raise EdgeError(f"{method} reaches the accuracy {comparison.accuracy:g} with none of {GRID}; lower it")
        best = min(reached, key=lambda lr: reached[lr])
        text = ", ".join(f"{lr:g}: {'never' if at is None else f'{at / 60:.1f} min'}" for lr, at in times.items())
        progress(f"{method}: global_lr {text}")
        compared.factors[method] = best
        compared.histories[method] = []
        for seed in comparison.seeds:
            history = comparison.run(settings(best), seed)
            compared.histories[method].append(history)
            progress(f"{method}, seed {seed}: {history.seconds / 60:.1f} min, {history.outcome}")
    return compared


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
