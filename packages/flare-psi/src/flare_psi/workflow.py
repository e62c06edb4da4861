"""The workflow of an intersection: moves the sites on from step to step, compares what they deliver, hands out places.

The server never sees an id, nor a point: blinded points go from site to site. It sees digests of the fully blinded ids
of each site, and so the number of each site's ids and how many any of the sites have in common.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Federation, SiteError, Workflow
from flare_psi.agreement import DIGEST_BYTES
from flare_psi.errors import PSIError
from flare_psi.matching import match
from flare_psi.summary import Sizes, shown

BLOCK_SIZE = 32_768
_MOST_RETURNS = 20  # of lost sites, in one step


class Intersect(Workflow):
    """Find which ids all sites have.

    All sites take part from the beginning to the end. A round is a block of each site's ids; the last one compares. If
    a site is started again, or the server is, the run continues with the block that it was in.

    Args:
        result: ``ids`` or ``cardinality``.
        receivers: the sites that learn the result; None for all.
        block_size: number of ids that pass from site to site at a time; memory and repeated work grow with it.
    """

    def __init__(
        self, result: str = "ids", receivers: Sequence[str] | None = None, *, block_size: int = BLOCK_SIZE
    ) -> None:
        self.result = result
        self.receivers = receivers
        self.block_size = block_size
        self._tags: dict[str, str] = {}

    def run(self, fed: Federation) -> None:
        self._check_sites(fed)
        began = time.monotonic()
        prepared = self._prepare(fed)
        sizes = {site: int(reply["size"]) for site, reply in prepared.items()}
        blocks = -(-max(sizes.values()) // self.block_size)
        for round_ in fed.rounds(blocks + 1):
            fed.sample(len(fed.sites))
            if round_ < blocks:
                self._pass_block(fed, round_, sizes)
            else:
                self._conclude(fed, prepared, began)
        self._ask(fed, "psi.forget")

    def state(self) -> dict[str, Any]:
        return {"tags": self._tags}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._tags = dict(state.get("tags", {}))

    def _check_sites(self, fed: Federation) -> None:
        if len(fed.sites) < 2:
            raise PSIError(f"{fed.sites[0]} is alone; an intersection needs at least 2 sites")
        if unknown := [site for site in self.receivers or () if site not in fed.sites]:
            raise PSIError(f"receivers names {unknown[0]!r}; the sites are {', '.join(fed.sites)}")

    def _prepare(self, fed: Federation) -> dict[str, Any]:
        """Let all sites read their ids, and check that they agree."""
        prepared = self._ask(fed, "psi.prepare")
        for site, reply in prepared.items():
            _check_reply(site, reply, fed.sites)
        first = fed.sites[0]
        for site, reply in prepared.items():
            for name in ("terms", "salt"):
                if reply[name] != prepared[first][name]:
                    raise SiteError(
                        f"{site}: has another {name} than {first}; give both the same"
                        + (f": {reply[name]}, {prepared[first][name]}" if name == "terms" else ""),
                        site=site,
                    )
            if self._tags.setdefault(site, reply["tag"]) != reply["tag"]:
                raise SiteError(
                    f"{site}: was started again without the files of its run folder, where its secret was; start a new"
                    " job",
                    site=site,
                )
        return prepared

    def _pass_block(self, fed: Federation, block: int, sizes: Mapping[str, int]) -> None:
        """Let a block of each site's ids pass all sites."""
        sites = fed.sites
        first = block * self.block_size
        counts = {site: min(self.block_size, max(0, size - first)) for site, size in sizes.items()}
        for step in range(len(sites)):
            tasks = {}
            for at, site in enumerate(sites):
                if count := counts[sites[(at - step) % len(sites)]]:
                    tasks[site] = {"block": block, "step": step, "first": first, "count": count}
            self._do(fed, tasks)

    def _do(self, fed: Federation, tasks: Mapping[str, Any]) -> None:
        """Let sites do one step, again and again while some were lost."""
        for _ in range(_MOST_RETURNS):
            with fed.scatter("psi.pass", tasks) as asked:
                replies = {reply.site: reply.data for reply in asked}
            missing = {_missing(site, reply) for site, reply in replies.items()} - {None}
            if not missing:
                return
            self._prepare(fed)  # waits for them; one that has lost its secret is named
        lost = sorted(map(str, missing))
        raise SiteError(f"{', '.join(lost)}: lost {_MOST_RETURNS} times in one step", site=lost[0])

    def _conclude(self, fed: Federation, prepared: Mapping[str, Any], began: float) -> None:
        """Compare, and let each site write what it may learn."""
        sizes = {site: int(reply["size"]) for site, reply in prepared.items()}
        places = match(self._digests(fed, sizes))
        size = len(next(iter(places.values())))
        demanding = max(fed.sites, key=lambda site: int(prepared[site]["minimum"]))
        if size < int(prepared[demanding]["minimum"]):
            self._ask(fed, "psi.forget")
            raise SiteError(
                f"{demanding}: demands an intersection of at least {prepared[demanding]['minimum']} ids, and it is"
                " smaller; no site has learnt anything",
                site=demanding,
            )
        receivers = fed.sites if self.receivers is None else self.receivers
        tasks: dict[str, Any] = {site: {"positions": None, "size": None} for site in fed.sites}
        for site in receivers:
            tasks[site] = {"positions": places[site] if self.result == "ids" else None, "size": size}
        with fed.scatter("psi.finish", tasks) as asked:
            for _ in asked:
                pass
        terms = prepared[fed.sites[0]]["terms"]
        report = Sizes(dict(prepared), size, receivers, time.monotonic() - began)
        fed.record({"intersection": float(size)})
        fed.write("psi.json", report.to_json(terms))
        fed.show(*shown(report))

    def _digests(self, fed: Federation, sizes: Mapping[str, int]) -> dict[str, NDArray[np.uint8]]:
        """Return the digests of each site's ids, which the site before it holds."""
        digests = {}
        for holder, reply in self._ask(fed, "psi.digests").items():
            owner = fed.sites[(fed.sites.index(holder) + 1) % len(fed.sites)]
            found = reply.get("digests") if isinstance(reply, Mapping) else None
            if not isinstance(found, np.ndarray):
                raise SiteError(f"{holder}: delivers no digests; all sites need the same version", site=holder)
            if found.dtype != np.uint8 or found.shape != (sizes[owner], DIGEST_BYTES):
                raise SiteError(
                    f"{holder}: delivers {found.dtype} {found.shape} for the {sizes[owner]} ids of {owner}", site=holder
                )
            digests[owner] = found
        return {site: digests[site] for site in fed.sites}

    def _ask(self, fed: Federation, task: str) -> dict[str, Any]:
        """Give all sites a task without data; return the replies by site."""
        with fed.ask(task, {}) as asked:
            return {reply.site: reply.data for reply in asked}


def _check_reply(site: str, reply: Any, sites: Sequence[str]) -> None:
    """Check a reply to ``psi.prepare``.

    Raises:
        SiteError: it has not the form that other code relies on, or is for another order of sites; names the site.
    """
    kinds: dict[str, tuple[type, ...]] = {name: (str,) for name in ("terms", "tag")}
    kinds |= {"size": (int,), "minimum": (int,), "salt": (str, type(None))}
    kinds |= {name: (int, type(None)) for name in ("rows", "duplicates", "left_out")}
    if not isinstance(reply, Mapping) or any(not isinstance(reply.get(name, ...), kinds[name]) for name in kinds):
        raise SiteError(f"{site}: describes its ids in another form; all sites need the same version", site=site)
    if f'"sites":{json.dumps(list(sites), separators=(",", ":"))}' not in reply["terms"]:
        raise SiteError(f"{site}: passes ids on among other sites than {', '.join(sites)}", site=site)
    if reply["size"] < 0:
        raise SiteError(f"{site}: says that it has {reply['size']} ids", site=site)


def _missing(site: str, reply: Any) -> str | None:
    """Return the site that a reply to ``psi.pass`` says is missing; None if the step is done."""
    found = reply.get("missing") if isinstance(reply, Mapping) else ...
    if found is None or isinstance(found, str):
        return found
    raise SiteError(f"{site}: replies to psi.pass in another form; all sites need the same version", site=site)
