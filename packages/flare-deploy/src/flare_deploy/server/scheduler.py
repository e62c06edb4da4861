"""The scheduler: which waiting job may start now, with what, and why the others may not.

A job's ``resource_spec`` says what it needs at a site (or at ``@ALL``): ``num_of_gpus``, ``mem_per_gpu_in_GiB``,
``num_of_cpus``. A site says what it has in ``local/resources.json``, under the same names.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_core import JobError
from flare_core.job import ALL_SITES
from flare_core.job_folder import are_texts

__all__ = ["Capacity", "Grant", "Needs", "grant", "natural_order"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job needs, as its meta.json says."""

    min_clients: int = 1
    mandatory: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()  # none stands for all
    resources: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Needs:
        """Read them.

        Raises:
            JobError: a value is of the wrong kind; names the key.
        """
        deploy_map = meta.get("deploy_map") or {"": [ALL_SITES]}
        if not isinstance(deploy_map, Mapping) or not all(map(are_texts, deploy_map.values())):
            raise JobError("meta.json: deploy_map must be an object of lists of sites' names")
        named = {site for sites in deploy_map.values() for site in sites}
        mandatory, min_clients = meta.get("mandatory_clients") or [], meta.get("min_clients", 1)
        if not are_texts(mandatory) or not are_texts(meta.get("server_files") or []):
            raise JobError("meta.json: mandatory_clients and server_files must be lists of texts")
        if type(min_clients) is not int or not 0 <= min_clients <= MOST:
            raise JobError(f"meta.json: min_clients is {min_clients!r}; give a whole number")
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
        """As it is stored."""
        return {
            "min_clients": self.min_clients,
            "mandatory": list(self.mandatory),
            "sites": list(self.sites),
            "resources": {site: dict(wanted) for site, wanted in self.resources.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Needs:
        """What :meth:`to_json` returned."""
        return cls(values["min_clients"], tuple(values["mandatory"]), tuple(values["sites"]), values["resources"])

    def at(self, site: str) -> Mapping[str, float]:
        """What is needed at a site."""
        return self.resources.get(site, self.resources.get(ALL_SITES, {}))


_KEYS = ("num_of_gpus", "mem_per_gpu_in_GiB", "num_of_cpus")
MOST = 1 << 20  # of anything that is counted


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= MOST


@dataclass(slots=True)
class Capacity:
    """What a site has, and which jobs hold how much of it."""

    num_of_gpus: int = 0
    mem_per_gpu_in_GiB: float = 0.0
    num_of_cpus: float = 0.0
    gpus_of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    cpus_of: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Capacity:
        """Read what a site announces; what it does not say, it does not have.

        Raises:
            JobError: it announces what cannot be, such as a billion cards, each of which would be looked at.
        """
        amounts = [values.get(key, 0) for key in _KEYS] if isinstance(values, Mapping) else [None]
        if not all(map(_is_amount, amounts)):
            raise JobError(
                f"a site announces {reprlib.repr(values)}; give numbers from 0 to {MOST}: {', '.join(_KEYS)}"
            )
        return cls(int(amounts[0]), float(amounts[1]), float(amounts[2]))

    def fit(self, wanted: Mapping[str, float]) -> tuple[int, ...] | str:
        """Return the cards that the job would get, or what is missing."""
        if (lack := self.lacks(wanted)) is not None:
            return lack
        cpus = float(wanted.get("num_of_cpus", 0))
        free_cpus = self.num_of_cpus - sum(self.cpus_of.values())
        if cpus > free_cpus:
            return f"{cpus:g} processors are needed, {free_cpus:g} of {self.num_of_cpus:g} are free"
        count = int(wanted.get("num_of_gpus", 0))
        taken = {card for cards in self.gpus_of.values() for card in cards}
        free = [card for card in range(self.num_of_gpus) if card not in taken]
        if count > len(free):
            return f"{count} GPUs are needed, {len(free)} of {self.num_of_gpus} are free"
        return tuple(free[:count])

    def lacks(self, wanted: Mapping[str, float]) -> str | None:
        """What is wanted that the site does not have even when no job runs; None if it has all."""
        cpus, count = float(wanted.get("num_of_cpus", 0)), int(wanted.get("num_of_gpus", 0))
        if cpus > self.num_of_cpus:
            return f"{cpus:g} processors are needed, it has {self.num_of_cpus:g}"
        if count > self.num_of_gpus:
            return f"{count} GPUs are needed, it has {self.num_of_gpus}"
        if count and wanted.get("mem_per_gpu_in_GiB", 0) > self.mem_per_gpu_in_GiB:
            return f"{wanted['mem_per_gpu_in_GiB']:g} GiB a GPU are needed, its have {self.mem_per_gpu_in_GiB:g}"
        return None

    def hold(self, job: str, cards: tuple[int, ...], wanted: Mapping[str, float]) -> None:
        """Give a job what it needs."""
        self.gpus_of[job] = cards
        self.cpus_of[job] = float(wanted.get("num_of_cpus", 0))

    def release(self, job: str) -> None:
        """Take it back."""
        self.gpus_of.pop(job, None)
        self.cpus_of.pop(job, None)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a job gets: by site, its cards; or why it must wait."""

    cards: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    reason: str = ""


def grant(needs: Needs, eligible: Sequence[str], connected: Mapping[str, Capacity]) -> Grant:
    """Decide whether a job may start now.

    Args:
        needs: what it needs.
        eligible: the sites that may take part in it.
        connected: those that are there, and what they have.
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
            wanted = f"it cannot start with the sites that there are: {wanted}"
        return Grant(reason=f"{wanted} ({'; '.join(refusals) or 'nobody else takes part in this study'})")
    return Grant(cards=fits)


def natural_order(names: Any) -> tuple[str, ...]:
    """Sort names as people do: site-2 before site-10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts: list[tuple[int, int, str]] = []
        digits = ""
        for character in name + " ":
            if "0" <= character <= "9":
                digits += character
                continue
            if digits:
                parts.append((0, int(digits), ""))
                digits = ""
            parts.append((1, 0, character))
        return parts

    return tuple(sorted(names, key=key))
