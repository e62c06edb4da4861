"""The settings of buffered asynchronous aggregation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from flare_edge.errors import EdgeError
from flare_edge.fixed_point import MAX_UPDATES, Scale


@dataclass(frozen=True)
class ModelManagerConfig:
    """When versions of the model are made, and from which updates.

    Version 0 is the initial model. A version is made when ``num_updates_for_model`` updates wait.

    Args:
        max_num_active_model_versions: devices work on the newest so many versions; orders for older ones are withdrawn.
            None: none is withdrawn. A result that comes nevertheless is used if its version is kept.
        max_model_version: the run ends with this version.
        update_timeout: a gateway reports at the latest so many seconds after the first result that it has not reported;
            0: at once.
        num_updates_for_model: number of updates of which a version is made, at least.
        max_model_history: updates of the newest so many versions are used, and older ones dropped. None: all are used.
        staleness_weight: multiply an update by ``(1 + age) ** -0.5``, with the number of versions made since as age;
            see :func:`~flare_edge.fedbuff.mean_update`.
        global_lr: factor on the mean update.
        max_update_norm: the largest Euclidean norm of an update; others are refused. It also sets the step of the
            fixed-point numbers in which updates are added, see :mod:`flare_edge.fixed_point`.

    Raises:
        EdgeError: a value is out of range.
    """

    max_num_active_model_versions: int | None = 3
    max_model_version: int = 20
    update_timeout: float = 5.0
    num_updates_for_model: int = 100
    max_model_history: int | None = 10
    staleness_weight: bool = False
    global_lr: float = 1.0
    max_update_norm: float = 16.0

    def __post_init__(self) -> None:
        _check_int(self, "max_num_active_model_versions", 1, optional=True)
        _check_int(self, "max_model_version", 1)
        _check_int(self, "num_updates_for_model", 1)
        _check_int(self, "max_model_history", 1, optional=True)
        if self.update_timeout != 0:
            _check_positive(self, "update_timeout")
        _check_positive(self, "global_lr")
        Scale.for_norm(self.max_update_norm)

    @property
    def scale(self) -> Scale:
        """The fixed-point numbers in which updates are added."""
        return Scale.for_norm(self.max_update_norm)


@dataclass(frozen=True)
class DeviceManagerConfig:
    """How many devices work, and which.

    Args:
        device_selection_size: number of devices that work at the same time.
        min_hole_to_fill: free places are given to devices when so many can be given at once.
        device_reuse: a device may work again in the same run.

    Raises:
        EdgeError: a value is out of range.
    """

    device_selection_size: int = 100
    min_hole_to_fill: int = 1
    device_reuse: bool = True

    def __post_init__(self) -> None:
        _check_int(self, "device_selection_size", 1)
        _check_int(self, "min_hole_to_fill", 1)
        if self.device_selection_size > MAX_UPDATES // 2:
            raise EdgeError(f"device_selection_size is {self.device_selection_size}; give at most {MAX_UPDATES // 2:,}")
        if self.min_hole_to_fill > self.device_selection_size:
            raise EdgeError(
                f"min_hole_to_fill is {self.min_hole_to_fill}, but there are only"
                f" {self.device_selection_size} places (device_selection_size); lower it"
            )


@dataclass(frozen=True)
class EvaluatorConfig:
    """How versions of the model are evaluated; the metric chooses the best model.

    Args:
        eval_frequency: every so many versions are evaluated, and the last.
        torchvision_dataset: ``{"name": "CIFAR10", "path": folder}``: the accuracy on the test part of one of
            torchvision's data sets is measured at the server; the recipe's model must be a PyTorch module.
        custom_dataset: ``{"data": inputs, "labels": classes}``: likewise, on these examples, nested lists of numbers.
        num_devices: number of devices that evaluate each of these versions on their own data; 0 for none.
        function: a function at the server, as ``module.function``, that takes the params and returns metrics by name.

    Raises:
        EdgeError: a value is out of range, a data set has another form, or more than one evaluation at the server
            is given.
    """

    eval_frequency: int = 1
    torchvision_dataset: Mapping[str, Any] | None = None
    custom_dataset: Mapping[str, Any] | None = None
    num_devices: int = 0
    function: str | None = None

    def __post_init__(self) -> None:
        _check_int(self, "eval_frequency", 1)
        _check_int(self, "num_devices", 0)
        for name, keys in (("torchvision_dataset", {"name", "path"}), ("custom_dataset", {"data", "labels"})):
            given = getattr(self, name)
            if given is not None and (not isinstance(given, Mapping) or set(given) != keys):
                known = " and ".join(sorted(keys))
                raise EdgeError(f"EvaluatorConfig.{name} is {given!r}; give a dict with {known}")
        if len(self._at_server) > 1:
            raise EdgeError(f"EvaluatorConfig has {' and '.join(self._at_server)}; give one of them")

    @property
    def is_at_server(self) -> bool:
        """The server itself evaluates."""
        return bool(self._at_server)

    @property
    def _at_server(self) -> list[str]:
        names = ("torchvision_dataset", "custom_dataset", "function")
        return [name for name in names if getattr(self, name) is not None]


@dataclass(frozen=True)
class SimulationConfig:
    """Simulated devices that take part in a run.

    Args:
        task_processor: trains and evaluates for a device.
        job_timeout: seconds within which a device must have reached a gateway.
        num_devices: number of devices at each gateway.
        num_workers: number of devices at each gateway that work at the same time.

    Raises:
        EdgeError: a value is out of range.
    """

    task_processor: Any
    job_timeout: float = 60.0
    num_devices: int = 1000
    num_workers: int = 10

    def __post_init__(self) -> None:
        _check_positive(self, "job_timeout")
        _check_int(self, "num_devices", 1)
        _check_int(self, "num_workers", 1)


@dataclass(frozen=True)
class FedBuffSettings:
    """The settings of :class:`~flare_edge.fedbuff.FedBuff`.

    Synchronous rounds are a special case, see :meth:`synchronous`.

    Args:
        models: when versions are made, and from which updates.
        devices: how many devices work, and which.
        evaluation: how versions are evaluated; None for not at all.

    Raises:
        EdgeError: the settings contradict each other.
    """

    models: ModelManagerConfig = field(default_factory=ModelManagerConfig)
    devices: DeviceManagerConfig = field(default_factory=DeviceManagerConfig)
    evaluation: EvaluatorConfig | None = None

    def __post_init__(self) -> None:
        if self.models.num_updates_for_model > self.devices.device_selection_size:
            raise EdgeError(
                f"num_updates_for_model is {self.models.num_updates_for_model}, but only"
                f" {self.devices.device_selection_size} devices work at the same time (device_selection_size);"
                " lower the one or raise the other"
            )

    @classmethod
    def synchronous(cls, num_devices: int, num_rounds: int, *, spare: int = 0, **models: Any) -> Self:
        """Return the settings of synchronous rounds.

        Args:
            num_devices: number of updates in a round.
            num_rounds: number of rounds.
            spare: number of devices that are chosen in addition; the slowest so many of a round are withdrawn.
            models: further arguments of :class:`ModelManagerConfig`.
        """
        size = num_devices + spare
        return cls(
            ModelManagerConfig(
                max_num_active_model_versions=1,
                max_model_history=1,
                max_model_version=num_rounds,
                num_updates_for_model=num_devices,
                **models,
            ),
            DeviceManagerConfig(device_selection_size=size, min_hole_to_fill=size),
        )

    def remarks(self) -> list[str]:
        """Return what is valid but will hardly have been meant, in sentences."""
        ahead = self.devices.device_selection_size / self.models.num_updates_for_model
        names = ("max_num_active_model_versions", "max_model_history")
        limits = {name: limit for name in names if (limit := getattr(self.models, name)) is not None}
        return [
            f"{name} is {limit}, but while {self.devices.device_selection_size} devices (device_selection_size) work"
            f" once, about {ahead:.0f} versions of {self.models.num_updates_for_model} updates are made, so much of"
            " their work will be dropped; raise it, or give None"
            for name, limit in limits.items()
            if ahead >= limit > 1
        ]

    def as_data(self) -> dict[str, Any]:
        """Return the settings as nested dicts of JSON values."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Return the settings that :meth:`as_data` wrote."""
        evaluation = data.get("evaluation")
        return cls(
            ModelManagerConfig(**data["models"]),
            DeviceManagerConfig(**data["devices"]),
            None if evaluation is None else EvaluatorConfig(**evaluation),
        )


def _check_int(config: object, name: str, least: int, *, optional: bool = False) -> None:
    value = getattr(config, name)
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        none = ", or None" if optional else ""
        raise EdgeError(f"{type(config).__name__}.{name} is {value!r}; give an integer of at least {least}{none}")


def _check_positive(config: object, name: str) -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise EdgeError(f"{type(config).__name__}.{name} is {value!r}; give a number above 0")
