"""ContractRecipe: checks the data of all sites without training a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core import Executor, Federation, RecipeError, SiteContext, Task, Workflow
from flare_core.code import calling_folder, collect_code
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.recipe import Recipe
from flare_stats.contract.errors import ContractBroken, ContractError
from flare_stats.contract.model import Contract
from flare_stats.contract.reading import parse
from flare_stats.contract.requirement import checked_data, contract_text
from flare_stats.contract.site import DETAILS, judge
from flare_stats.contract.verdict import Verdict, rows_of, text_of_all

TASK = "contract.check"


@dataclass(kw_only=True, eq=False, repr=False)
class ContractRecipe(Recipe):
    """Check the data of all sites against a contract, without training.

    The verdicts of the sites are shown as a table, and lie in ``contract.json`` in the server's folder of the run. The
    run fails if a site breaks a rule; its error names the site, the columns and the rules.

    Args:
        contract: the path of the contract, relative to the file that makes the recipe, or a
            :class:`~flare_stats.contract.Contract`.
        data: the data at every site, as for :func:`~flare_stats.require_contract`.
        per_site_data: the same by site, in place of ``data``.
        round_deadline_s: seconds after which the run goes on without sites that have not answered, if ``min_clients``
            have. None waits for all.
        reconnect_grace_s: seconds to wait while fewer than ``min_clients`` sites are connected before the run fails.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.

    Example:
        recipe = ContractRecipe(
            min_clients=2,
            contract="contract.yml",
            data="/data/{site}.csv",
        )
    """

    name: str = "contract"
    contract: str | Path | Contract
    data: Any = None
    per_site_data: Mapping[str, Any] | None = None
    round_deadline_s: float | None = None
    reconnect_grace_s: float | None = None

    def _check(self) -> None:
        super()._check()
        self._folder = calling_folder()
        try:
            self._text = contract_text(self.contract)
        except ContractError as error:
            raise RecipeError(str(error)) from error
        self._data, self._modules = checked_data(self.data, self.per_site_data)

    def recorded(self, argument: str) -> Any:
        value = super().recorded(argument)
        return value.name if isinstance(value, Contract) else value

    def build(self) -> Job:
        workflow = Component(
            "flare_stats.contract.recipe.ContractWorkflow", {"contract": self._text, "min_clients": self.min_clients}
        )
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(workflows=[workflow]),
            client=self._app(self._data.get(None)),
            sites={site: self._app(data) for site, data in self._data.items() if site is not None},
            code=collect_code(self._modules, self._folder) if self._modules else CodeBundle(self._folder),
        )

    def _app(self, data: Any) -> ClientApp:
        args = {"contract": self._text, "data": data}
        executor = Component("flare_stats.contract.recipe.ContractExecutor", args)
        return ClientApp(executors=[ExecutorEntry((TASK,), executor)])


class ContractExecutor(Executor):
    """Checks the data of a site.

    Args:
        contract: the contract, as YAML.
        data: the data, as :func:`~flare_stats.contract.site.data_of` takes them.
    """

    def __init__(self, contract: str, data: Any = None) -> None:
        self.contract = contract
        self.data = data

    def execute(self, task: Task, context: SiteContext) -> Any:
        return judge(parse(self.contract), self.data, context).to_data()


class ContractWorkflow(Workflow):
    """Has all sites check their data.

    Args:
        contract: the contract, as YAML.
        min_clients: how many sites must answer.
    """

    def __init__(self, contract: str, min_clients: int) -> None:
        self.contract = contract
        self.min_clients = min_clients
        self._verdicts: dict[str, Any] = {}

    def run(self, fed: Federation) -> None:
        name = parse(self.contract).name
        for _ in fed.rounds(1):
            replies = fed.broadcast(TASK, to=fed.sample(self.min_clients))
            verdicts = [Verdict.from_data(reply.site, reply.data) for reply in replies]
            self._verdicts = {each.site: each.to_data() for each in verdicts}
            fed.write("contract.json", json.dumps(self._verdicts, indent=2) + "\n")
            fed.show(f"Contract {name!r}", ["site", "column", "rule", "found", "likely cause"], rows_of(verdicts))
            fed.record({"sites_that_break_the_contract": float(sum(bool(each.broken) for each in verdicts))})
        verdicts = [Verdict.from_data(site, data) for site, data in self._verdicts.items()]
        if any(each.broken for each in verdicts):
            raise ContractBroken(text_of_all(name, verdicts, DETAILS))

    def state(self) -> dict[str, Any]:
        return {"verdicts": self._verdicts}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._verdicts = dict(state["verdicts"])
