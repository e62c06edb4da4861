"""The scheduler: decide whether a job can start now, on which sites and GPUs, and else what it is waiting for.

A job's ``resource_spec`` declares what it needs at a site, or at ``@ALL``: ``num_of_gpus``, ``mem_per_gpu_in_GiB``,
``num_of_cpus``. A site declares what it has in ``local/resources.json``, under the same names. Neither is measured: a
job is trusted to use no more than it has asked for.
"""

from __future__ import annotations

import re
import reprlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flare_core import JobError
from flare_core.job import ALL_SITES
from flare_core.job_folder import are_texts


@dataclass(frozen=True, slots=True)
class Needs:
    """The sites and resources that a job needs, from its meta.json."""

    min_clients: int = 1
    mandatory: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()  # empty for all
    resources: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Needs:
        """Read the content of a meta.json.

        Raises:
            JobError: a value is of the wrong type or out of range; names the key.
        """
        deploy_map = meta.get("deploy_map") or {"": [ALL_SITES]}
        if not isinstance(deploy_map, Mapping) or not all(map(are_texts, deploy_map.values())):
            raise JobError("meta.json: deploy_map must be an object of lists of site names")
        named = {site for sites in deploy_map.values() for site in sites}
        mandatory, min_clients = meta.get("mandatory_clients") or [], meta.get("min_clients", 1)
        if not are_texts(mandatory) or not are_texts(meta.get("server_files") or []):
            raise JobError("meta.json: mandatory_clients and server_files must be lists of strings")
        if type(min_clients) is not int or not 0 <= min_clients <= MAX_AMOUNT:
            raise JobError(f"meta.json: min_clients is {min_clients!r}; give a whole number from 0 to {MAX_AMOUNT}")
        resources = meta.get("resource_spec") or {}
        if not isinstance(resources, Mapping) or not all(isinstance(each, Mapping) for each in resources.values()):
            raise JobError("meta.json: resource_spec must be an object of objects, by site or @ALL")
        for site, wanted in resources.items():
            for key, value in wanted.items():
                if key not in _KEYS or not _is_amount(value):
                    raise JobError(f"meta.json: resource_spec of {site}: {key}={value!r}; known are {', '.join(_KEYS)}")
        return cls(
            min_clients=min_clients,
            mandatory=tuple(mandatory),
            sites=() if ALL_SITES in named else natural_order(named - {"server"}),
            resources={site: dict(wanted) for site, wanted in resources.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the form that is stored in the database."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Needs:
        """Read the form that :meth:`to_json` has returned."""
        return cls(values["min_clients"], tuple(values["mandatory"]), tuple(values["sites"]), values["resources"])

    def at(self, site: str) -> Mapping[str, float]:
        """Return the resources that the job needs at a site."""
        return self.resources.get(site, self.resources.get(ALL_SITES, {}))


_KEYS = ("num_of_gpus", "mem_per_gpu_in_GiB", "num_of_cpus")
MAX_AMOUNT = 1 << 20  # of GPUs, processors, GiB or sites; each GPU is listed, so it must be a small number


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= MAX_AMOUNT


@dataclass(slots=True)
class Capacity:
    """The resources of a connected site, and how much of them is reserved for which jobs."""

    num_of_gpus: int = 0
    mem_per_gpu_in_GiB: float = 0.0
    num_of_cpus: float = 0.0
    gpus_of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    cpus_of: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.time)  # when it has connected, in seconds since the epoch

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Capacity:
        """Read the resources that a site declares; those that it leaves out count as 0.

        Raises:
            JobError: an amount is impossible, such as a billion GPUs.
        """
        amounts = [values.get(key, 0) for key in _KEYS] if isinstance(values, Mapping) else [None]
        if not all(map(_is_amount, amounts)):
            raise JobError(
                f"a site declares {reprlib.repr(values)}; give numbers from 0 to {MAX_AMOUNT}: {', '.join(_KEYS)}"
            )
        return cls(int(amounts[0]), float(amounts[1]), float(amounts[2]))

    def fit(self, wanted: Mapping[str, float]) -> tuple[int, ...] | str:
        """Return the GPUs that a job would get, or a message about what is missing."""
        if (lack := self.lacks(wanted)) is not None:
            return lack
        cpus = float(wanted.get("num_of_cpus", 0))
        free_cpus = self.num_of_cpus - sum(self.cpus_of.values())
        if cpus > free_cpus:
            return f"{cpus:g} processors are needed, {free_cpus:g} of {self.num_of_cpus:g} are free"
        count = int(wanted.get("num_of_gpus", 0))
        taken = {gpu for gpus in self.gpus_of.values() for gpu in gpus}
        free = [gpu for gpu in range(self.num_of_gpus) if gpu not in taken]
        if count > len(free):
            return f"{count} GPUs are needed, {len(free)} of {self.num_of_gpus} are free"
        return tuple(free[:count])

    def lacks(self, wanted: Mapping[str, float]) -> str | None:
        """Describe what the site lacks even when no job runs there; None if it has everything."""
        cpus, count = float(wanted.get("num_of_cpus", 0)), int(wanted.get("num_of_gpus", 0))
        if cpus > self.num_of_cpus:
            return f"{cpus:g} processors are needed, it has {self.num_of_cpus:g}"
        if count > self.num_of_gpus:
            return f"{count} GPUs are needed, it has {self.num_of_gpus}"
        if count and wanted.get("mem_per_gpu_in_GiB", 0) > self.mem_per_gpu_in_GiB:
            return f"{wanted['mem_per_gpu_in_GiB']:g} GiB per GPU are needed, it has {self.mem_per_gpu_in_GiB:g}"
        return None

    def reserve(self, job: str, gpus: tuple[int, ...], wanted: Mapping[str, float]) -> None:
        """Reserve GPUs and processors for a job."""
        self.gpus_of[job] = gpus
        self.cpus_of[job] = float(wanted.get("num_of_cpus", 0))

    def release(self, job: str) -> None:
        """Free what is reserved for a job."""
        self.gpus_of.pop(job, None)
        self.cpus_of.pop(job, None)


def grant(needs: Needs, eligible: Sequence[str], connected: Mapping[str, Capacity]) -> dict[str, tuple[int, ...]] | str:
    """Return the GPUs that a job would get, by site, if it can start now, or the reason why it has to wait.

    The reason says whether more sites would have to join, or it is only a matter of time.

    Args:
        needs: the job's.
        eligible: the sites that take part in the job's study.
        connected: the connected sites and their resources.
    """
    sites = [site for site in eligible if not needs.sites or site in needs.sites]
    fits: dict[str, tuple[int, ...]] = {}
    refusals: list[str] = []
    for site in sites:
        if site not in connected:
            refusals.append(f"{site} is not connected")
            continue
        found = connected[site].fit(needs.at(site))
        if isinstance(found, str):
            refusals.append(f"{site}: {found}")
        else:
            fits[site] = found
    missing = [site for site in needs.mandatory if site not in fits]
    unknown = [site for site in {*needs.sites, *needs.mandatory} if site not in eligible]
    refusals += [f"{site} does not take part in this study" for site in unknown]
    if missing or len(fits) < needs.min_clients:
        wanted = f"{needs.min_clients} sites are needed, {len(fits)} are ready"
        if missing:
            wanted += f"; {', '.join(missing)} must be among them"
        never = {site for site in sites if site in connected and connected[site].lacks(needs.at(site)) is not None}
        if len(sites) - len(never) < needs.min_clients or {*never, *unknown} & set(needs.mandatory):
            wanted = f"it cannot start with the sites of this project: {wanted}"
        return f"{wanted} ({'; '.join(refusals) or 'no other site takes part in this study'})"
    return fits


def natural_order(names: Any) -> tuple[str, ...]:
    """Sort names with numbers by value: site-2 before site-10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.findall(r"([0-9]+)|([^0-9])", name + " ")
        return [(0, int(digits), "") if digits else (1, 0, character) for digits, character in parts]

    return tuple(sorted(names, key=key))
