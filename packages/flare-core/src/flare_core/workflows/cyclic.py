"""Cyclic learning: the model is passed from site to site, and each continues training it."""

from __future__ import annotations

from collections.abc import Sequence

from flare_core.errors import RecipeError, SiteError
from flare_core.model import updated
from flare_core.selection import MetricMean
from flare_core.task import Sample, TaskName
from flare_core.workflow import TrainingFederation, Workflow
from flare_core.workflows.received import received

ORDERS = ("fixed", "random")


class Cyclic(Workflow):
    """Pass the model through all sites, once per round.

    A site that is disconnected, or leaves while it has the model, is skipped; the next site continues from the last
    model that was returned.

    Args:
        min_clients: how many sites must train in each round.
        num_rounds: number of rounds.
        order: ``fixed``, the order in which the run lists the sites; ``random``, drawn for each round; or a list of
            names, which excludes other sites.

    Raises:
        RecipeError: ``order`` is an unknown word.

    Source: Chang et al. 2018, "Distributed deep learning networks among institutions for medical imaging", cyclical
    weight transfer.
    """

    def __init__(
        self,
        *,
        min_clients: int,
        num_rounds: int,
        order: str | Sequence[str] = "fixed",
    ) -> None:
        if isinstance(order, str) and order not in ORDERS:
            raise RecipeError(f"order is {order!r}; use 'fixed', 'random', or a list of site names")
        self.min_clients = min_clients
        self.num_rounds = num_rounds
        self.order = order if isinstance(order, str) else list(order)

    def run(self, fed: TrainingFederation) -> None:
        model = fed.load()
        for _ in fed.rounds(self.num_rounds):
            metrics = MetricMean()
            trained: list[str] = []
            order = self._round(fed)
            for index in range(len(order)):
                turn = Sample.in_turn(order, index, done=len(trained), minimum=self.min_clients)
                for reply in fed.broadcast(TaskName.TRAIN, model, to=turn):
                    fed.record(metrics.add(reply, 1.0), site=reply.site)
                    model = updated(model, received(reply), whose=f"the update of {reply.site}")
                    trained.append(reply.site)
            if len(trained) < self.min_clients:
                raise SiteError(
                    f"{self.min_clients} sites must train in each round, but {len(trained)} did"
                    f" ({', '.join(trained) or 'none'}); start the missing sites, or lower min_clients",
                    site=next(site for site in fed.sites if site not in trained),
                )
            fed.record(metrics.means())
            fed.save(model)

    def _round(self, fed: TrainingFederation) -> list[str]:
        present = list(fed.sample(self.min_clients))
        if self.order == "random":
            return [present[index] for index in fed.random.permutation(len(present))]
        if self.order == "fixed":
            return present
        if unknown := [site for site in self.order if site not in fed.sites]:
            raise RecipeError(f"order names {unknown[0]!r}; the sites are {', '.join(fed.sites)}")
        return [site for site in self.order if site in present]
