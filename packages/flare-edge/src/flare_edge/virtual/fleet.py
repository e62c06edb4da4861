"""Fleets of devices: how fast they are, when they are there, and how often they fail; from a seed or from a trace file.

Nothing here knows whether time is simulated: the same fleet can run in virtual time, or in real time against a gateway.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from flare_edge.errors import EdgeError

DAY = 86400.0

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery of which training takes; it is charged all the time that the device does not train.

    Args:
        train_s: seconds of training that a full battery lasts.
        charge_s: seconds to charge an empty battery.
        enough: a device works only from this level on, from 0 to 1, and only if the charge lasts for its training; if
            not even a full battery does, its orders fail.
    """

    train_s: float
    charge_s: float
    enough: float = 0.3


@dataclass(frozen=True, slots=True)
class Presence:
    """When a seeded device is there.

    Args:
        online_s: mean length of a session, in seconds.
        offline_s: mean time between two sessions; 0: the device is always there.
        nightly: sessions begin once a day, at about the same hour, instead of at random times; each device has its own
            hour, as in other time zones.
    """

    online_s: float = math.inf
    offline_s: float = 0.0
    nightly: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a fleet.

    Args:
        name: unique in the fleet, ``<gateway>/<id>``.
        gateway: the gateway that it is connected to.
        train_s: seconds to train or evaluate once.
        bytes_per_s: its bandwidth, in both directions.
        failure_rate: share of its orders that it reports as failed.
        loss_rate: share of its orders in the middle of which it vanishes, without a word.
        battery: None if it is always charged.
        presence: when it is there; or, from a trace, the sessions themselves as ``(start, end)``.
        seed: of what is random in it.
        observed: its first orders, as they were recorded: the seconds from the order to the server's receipt of the
            result, infinite if there was none, and whether it succeeded.
    """

    name: str
    gateway: str
    train_s: float
    bytes_per_s: float = math.inf
    failure_rate: float = 0.0
    loss_rate: float = 0.0
    battery: Battery | None = None
    presence: Presence | Sequence[tuple[float, float]] = Presence()
    seed: int = 0
    observed: Sequence[tuple[float, bool]] = ()

    def sessions(self) -> Iterator[tuple[float, float]]:
        """Yield when the device comes and leaves, in seconds since the start, in order."""
        if not isinstance(self.presence, Presence):
            yield from self.presence
        elif not self.presence.offline_s:
            yield 0.0, math.inf
        elif self.presence.nightly:
            yield from self._nights(self.presence)
        else:
            yield from self._sessions(self.presence)

    def draw(self, what: str, number: int) -> float:
        """Return a random number from 0 to 1, always the same for the same arguments.

        Args:
            what: the purpose; numbers for others are independent of it.
            number: of the draw.
        """
        return uniform(self.seed, f"{self.name}/{what}", number)

    def transfer_s(self, size: int) -> float:
        """Return the seconds that it takes to send or to fetch a number of bytes."""
        return size / self.bytes_per_s

    def _sessions(self, presence: Presence) -> Iterator[tuple[float, float]]:
        is_there = self.draw("presence", 0) < presence.online_s / (presence.online_s + presence.offline_s)
        time, number = 0.0, 1
        while True:
            if number > 1 or not is_there:
                time += -presence.offline_s * math.log(1.0 - self.draw("offline", number))
            end = time - presence.online_s * math.log(1.0 - self.draw("online", number))
            yield time, end
            time, number = end, number + 1

    def _nights(self, presence: Presence) -> Iterator[tuple[float, float]]:
        hour = DAY * self.draw("hour", 0)
        number, last = 0, -math.inf
        while True:
            start = max(number * DAY + hour + 1800.0 * _normal(self.draw("start", number)) - DAY, last)
            end = start + presence.online_s * math.exp(0.25 * _normal(self.draw("online", number)))
            if end > 0:
                yield max(start, 0.0), end
            number, last = number + 1, end


@dataclass(frozen=True)
class FleetModel:
    """A fleet from a seed: speeds and bandwidths are log-normal.

    Args:
        num_devices: number of devices in all.
        num_gateways: number of gateways, named ``gateway-1`` and so on; devices are dealt out in turn.
        seed: the same seed gives the same fleet.
        median_train_s: median of the seconds to train once.
        speed_sigma: standard deviation of the logarithm of these seconds.
        median_bytes_per_s: median bandwidth; infinite: transfers take no time.
        bandwidth_sigma: standard deviation of its logarithm.
        failure_rate: share of orders that fail.
        loss_rate: share of orders in the middle of which a device vanishes.
        battery: of each device; None if they are always charged.
        presence: when devices are there.
    """

    num_devices: int = 1000
    num_gateways: int = 1
    seed: int = 0
    median_train_s: float = 60.0
    speed_sigma: float = 1.0
    median_bytes_per_s: float = math.inf
    bandwidth_sigma: float = 0.0
    failure_rate: float = 0.0
    loss_rate: float = 0.0
    battery: Battery | None = None
    presence: Presence = Presence()

    def __post_init__(self) -> None:
        for name in ("num_devices", "num_gateways"):
            if getattr(self, name) < 1:
                raise EdgeError(f"{name} of the fleet is {getattr(self, name)!r}; give an integer of at least 1")
        for name in ("median_train_s", "median_bytes_per_s"):
            if not getattr(self, name) > 0:
                raise EdgeError(f"{name} of the fleet is {getattr(self, name)!r}; give a number above 0")
        for name in ("speed_sigma", "bandwidth_sigma"):
            if not 0 <= getattr(self, name) < 10:
                raise EdgeError(f"{name} of the fleet is {getattr(self, name)!r}; give a number from 0 to 10")
        for name in ("failure_rate", "loss_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise EdgeError(f"{name} of the fleet is {getattr(self, name)!r}; give a share from 0 to 1")

    def devices(self) -> list[Device]:
        """Return the devices, in the order of their numbers."""
        return [self._device(number) for number in range(self.num_devices)]

    def _device(self, number: int) -> Device:
        gateway = f"gateway-{number % self.num_gateways + 1}"
        plain = Device(f"{gateway}/{number}", gateway, 1.0, seed=self.seed)
        speed = math.exp(self.speed_sigma * _normal(plain.draw("speed", 0)))
        bandwidth = math.exp(self.bandwidth_sigma * _normal(plain.draw("bandwidth", 0)))
        return replace(
            plain,
            train_s=self.median_train_s * speed,
            bytes_per_s=self.median_bytes_per_s * bandwidth,
            failure_rate=self.failure_rate,
            loss_rate=self.loss_rate,
            battery=self.battery,
            presence=self.presence,
        )


def uniform(seed: int, what: str, number: int) -> float:
    """Return a random number of 53 bits, at least 0 and below 1, that is a function of the arguments."""
    digest = hashlib.blake2b(f"{seed}/{what}/{number}".encode(), digest_size=8).digest()
    (bits,) = struct.unpack("<Q", digest)
    return float((bits >> 11) * 2.0**-53)


def _normal(share: float) -> float:
    """Return the quantile of the standard normal distribution."""
    return _NORMAL.inv_cdf(min(max(share, 1e-15), 1 - 1e-15))
