"""A gate before a run: no round begins before the data of all its sites keep a contract.

Each site checks its data when it starts, before its script or its executors do anything, and tells the server the
verdict. The server ends the run if a verdict is bad: when all sites have told theirs, so that the error names what is
broken at each of them; before a task leaves; or when it has waited long enough. A site that joins later, or is started
again, is checked in the same way, and ends the run at once.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from flare_core import Filter, FilterContext, JobContext, Service
from flare_core.files import replacing
from flare_stats.contract.errors import ContractBroken
from flare_stats.contract.reading import parse
from flare_stats.contract.site import DETAILS, judge
from flare_stats.contract.verdict import Verdict, text_of_all

TOPIC = "contract.verdict"
PATIENCE_S = 60.0
"""How long the server waits for the verdicts of other sites when one is bad."""
END_S = 10.0
"""How long a site waits for the server to end the run."""


class ContractAtSite(Service):
    """Checks the data of a site before anything else happens there.

    Args:
        contract: the contract, as YAML.
        data: the data, as :func:`~flare_stats.contract.site.data_of` takes them.
    """

    def __init__(self, contract: str, data: object = None) -> None:
        self.contract = contract
        self.data = data

    def start(self, context: JobContext) -> None:
        contract = parse(self.contract)
        verdict = judge(contract, self.data, context)
        # Several sites can share this process and start one after the other, so one must not wait for the others here.
        has_ended = context.endpoint.request("server", TOPIC, verdict.to_data())
        if verdict.broken and has_ended:
            context.cancelled.wait(END_S)
            raise ContractBroken(text_of_all(contract.name, [verdict], DETAILS))

    def stop(self) -> None:
        """Nothing to release."""


class ContractAtServer(Service):
    """Collects the verdicts of the sites, into ``contract.json`` in the server's folder, and ends a run if one is bad.

    Args:
        name: the contract's name.
        sites: the sites whose data are known; None for all.
    """

    def __init__(self, name: str, sites: list[str] | None = None) -> None:
        self.name = name
        self.sites = sites
        self._verdicts: dict[str, Verdict] = {}
        self._has_begun = False
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def start(self, context: JobContext) -> None:
        self._context = context
        self._parties = [party for party in context.endpoint.parties if party != "server"]
        if self.sites is not None and (unknown := [site for site in self._parties if site not in self.sites]):
            raise ContractBroken(
                f"no data are named for {', '.join(unknown)}, which could not be checked; name them in per_site_data"
            )
        context.endpoint.handle(TOPIC, self._note)
        _gates[context.job_id] = self

    def stop(self) -> None:
        _gates.pop(self._context.job_id, None)
        if self._timer is not None:
            self._timer.cancel()

    def _note(self, site: str, data: object) -> bool:
        """Note a verdict; return True if the run ends because of one."""
        with self._lock:
            self._verdicts[site] = Verdict.from_data(site, data)
            with replacing(self._context.folder / "contract.json") as partial:
                told = {each: self._verdicts[each].to_data() for each in self._parties if each in self._verdicts}
                partial.write_text(json.dumps(told, indent=2) + "\n")
            is_broken = any(each.broken for each in self._verdicts.values())
            is_complete = self._has_begun or len(self._verdicts) == len(self._parties)
            if is_broken and not is_complete and self._timer is None:
                self._timer = threading.Timer(PATIENCE_S, lambda: self._context.fail(self._error()))
                self._timer.daemon = True
                self._timer.start()
        if is_broken and is_complete:
            self._context.fail(self._error())
        return is_broken and is_complete

    def open(self) -> None:
        """Let tasks leave the server.

        Raises:
            ContractBroken: a verdict is bad.
        """
        with self._lock:
            self._has_begun = True
            is_broken = any(each.broken for each in self._verdicts.values())
        if is_broken:
            raise self._error()

    def _error(self) -> ContractBroken:
        verdicts = [self._verdicts[each] for each in self._parties if each in self._verdicts]
        return ContractBroken(text_of_all(self.name, verdicts, DETAILS))


class ContractGate(Filter):
    """Lets no task leave the server while the verdict of a site is bad: the filter of its tasks.

    Sites that can be given a task have told their verdicts. It goes with :class:`ContractAtServer`.
    """

    data_type = object
    same_for_all_sites = True

    def process(self, data: Any, context: FilterContext) -> Any:
        _gates[context.job_id].open()
        return data


_gates: dict[str, ContractAtServer] = {}
"""The services of the runs of this process, by job id: a filter and a service are built apart."""
