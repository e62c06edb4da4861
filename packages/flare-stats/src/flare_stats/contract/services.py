"""A gate before a run: no site begins before all data keep a contract.

Each site checks its data when it starts, before its script or executors do anything, and tells the server the verdict.
If data are broken, the server waits for the verdicts of the other sites that are starting, and ends the run with all of
them. A site that joins later, or is started again, is checked in the same way.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from flare_core import JobContext, Service
from flare_core.files import replacing
from flare_stats.contract.errors import ContractBroken
from flare_stats.contract.reading import parse
from flare_stats.contract.site import DETAILS, judge
from flare_stats.contract.verdict import Verdict, text_of_all

TOPIC = "contract.verdict"
PATIENCE_S, END_S = 60.0, 10.0
"""How long a site whose data are broken waits for the verdicts of the others, or if there are no others for the server
to end the run, before it ends the run by itself."""


class ContractAtSite(Service):
    """Checks the data of a site before anything else happens there.

    Args:
        contract: the contract, as YAML.
        data: the data, as :func:`~flare_stats.contract.site.data_of` takes them.
    """

    def __init__(self, contract: str, data: Any = None) -> None:
        self.contract = contract
        self.data = data

    def start(self, context: JobContext) -> None:
        contract = parse(self.contract)
        verdict = judge(contract, self.data, context)
        others = context.endpoint.request("server", TOPIC, verdict.to_data())
        if verdict.broken:
            context.cancelled.wait(PATIENCE_S if others else END_S)
            raise ContractBroken(text_of_all(contract.name, [verdict], DETAILS))

    def stop(self) -> None:
        """Nothing to release."""


class ContractAtServer(Service):
    """Collects the verdicts of the sites, into ``contract.json`` in the server's folder.

    Args:
        contract: the contract, as YAML.
        sites: the sites whose data are known; None for all.
    """

    def __init__(self, contract: str, sites: list[str] | None = None) -> None:
        self.contract = contract
        self.sites = sites
        self._verdicts: dict[str, Verdict] = {}
        self._lock = threading.Lock()

    def start(self, context: JobContext) -> None:
        self._name = parse(self.contract).name
        self._context = context
        self._awaited = [party for party in context.endpoint.parties if party != "server"]
        if self.sites is not None and (unknown := [site for site in self._awaited if site not in self.sites]):
            raise ContractBroken(
                f"no data are named for {', '.join(unknown)}, which could not be checked; name them in per_site_data"
            )
        context.endpoint.handle(TOPIC, self._note)

    def stop(self) -> None:
        """Nothing to release."""

    def _note(self, site: str, data: Any) -> list[str]:
        """Note a verdict; return the sites whose verdicts are awaited."""
        with self._lock:
            self._verdicts[site] = Verdict.from_data(site, data)
            verdicts = [self._verdicts[each] for each in self._awaited if each in self._verdicts]
            with replacing(self._context.folder / "contract.json") as partial:
                partial.write_text(json.dumps({each.site: each.to_data() for each in verdicts}, indent=2) + "\n")
            awaited = [each for each in self._awaited if each not in self._verdicts]
        if not awaited and any(each.broken for each in verdicts):
            self._context.fail(ContractBroken(text_of_all(self._name, verdicts, DETAILS)))
        return awaited
