"""Swarm learning: federated averaging in which the sites take turns at aggregating."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_core.callbacks import BestModel, Callback
from flare_core.errors import RecipeError, SiteError
from flare_core.events import ModelSaved
from flare_core.model import FLModel, MetaKey
from flare_core.task import Reply, Sample, TaskName
from flare_core.workflow import TrainingFederation
from flare_core.workflows.distribution import distribute
from flare_core.workflows.fedavg import FedAvg

HOLDERS = 2  # number of sites that hold the global model, so that one of them may be lost
MOST_SEARCHES = 5  # per round, for a model that no site could fetch


@dataclass(frozen=True, slots=True)
class _Held:
    """A global model that is held by sites.

    Attributes:
        round: the round in which it is sent out.
        at: references to its copies, by site; replaced if the model had to be recovered.
    """

    round: int
    at: dict[str, FLModel]

    def given(self, **meta: Any) -> FLModel:
        """Return the model to send, which refers to the copies."""
        first, *others = [model.params for model in self.at.values()]
        return FLModel(params=first, meta={MetaKey.ALSO_AT: others, **meta})


class _BestAtSites(BestModel):
    """A selection of the best model that keeps it at the sites."""

    def __init__(self, given: BestModel, swarm: Swarm) -> None:
        super().__init__(given.key_metric, given.key_metric_mode)
        self._swarm = swarm

    def keep(self, fed: TrainingFederation, model: FLModel, value: float | None, round_: int) -> None:
        self._swarm._keep_best(fed, value)


class Swarm(FedAvg):
    """Train at the sites, which take turns at aggregating: a different one in each round.

    The server assigns the tasks, chooses the best round and keeps the record; it never holds a model except the initial
    one. Each site keeps its contribution until the round ends. The round's aggregator fetches the contributions and
    updates the global model as :class:`FedAvg` does, in the same order and hence to the same bits. Then the next
    round's aggregator fetches the result, and the sites fetch it from these two holders.

    Any one site may be lost. If it is the aggregator, the next in turn takes over without its contribution. If fewer
    than ``min_clients`` contributions are left, the round waits for sites to return and train again. If both holders
    are lost, it waits for one of them to return and read the model from a file; in the simulator, where lost sites
    never return, the run fails.

    At the end, all connected sites receive the last model and the best one as files in their folders.

    Args:
        aggregator_sites: sites that aggregate, in turn; all by default.
        callbacks: as for :class:`FedAvg`, but none may evaluate models. They receive models without params, and the
            choice of :class:`~flare_core.BestModel` stays at the sites.
        arguments: those of :class:`FedAvg`, except ``quorum``. ``aggregator`` and ``exclude_vars`` must equal those of
            the sites' executor, which aggregates.

    Source: Warnat-Herresthal et al. 2021, "Swarm Learning for decentralized and confidential clinical machine
    learning", Nature 594; the leader is chosen in turn here.
    """

    def __init__(
        self, *, aggregator_sites: Sequence[str] | None = None, callbacks: Sequence[Callback] = (), **arguments: Any
    ) -> None:
        chosen = [_BestAtSites(each, self) if isinstance(each, BestModel) else each for each in callbacks]
        super().__init__(callbacks=chosen, **arguments)
        if without := [type(each).__name__ for each in chosen if type(each).evaluate is not Callback.evaluate]:
            raise RecipeError(
                f"{without[0]} evaluates models at the server, but a swarm's server has none; remove the callback"
            )
        self.aggregator_sites = None if aggregator_sites is None else list(aggregator_sites)
        self._held: _Held | None = None
        self._best_held: _Held | None = None
        self._searches = 0  # in this round
        self._restored: dict[str, Any] = {}

    def run(self, fed: TrainingFederation) -> None:
        if unknown := [site for site in self.aggregator_sites or () if site not in fed.sites]:
            raise RecipeError(f"aggregator_sites names {unknown[0]!r}; the sites are {', '.join(fed.sites)}")
        held = self._resume(fed) if self._restored else self._start(fed)
        for _ in fed.rounds(self.num_rounds):
            self._held = held
            self._searches = 0
            contributions = {}
            for reply in self._train(fed, held, self._sample(fed)):
                contributions[reply.site] = reply.model
                self._record(fed, reply)
            self._monitor.averaged(fed, FLModel())
            self._held = self._aggregate(fed, held, contributions)
            for model in contributions.values():
                fed.release(model)
            self._release(fed, held)
            held = self._held
            if self._monitor.round_ended(fed):
                break
        self._monitor.run_ended(fed)
        self._distribute(fed, held)

    def state(self) -> dict[str, Any]:
        models = {"held": self._held, "best_held": self._best_held}
        return super().state() | {name: [held.round, list(held.at)] for name, held in models.items() if held}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._restored = dict(state)

    def _start(self, fed: TrainingFederation) -> _Held:
        """Send the initial model to the first holders."""
        model = fed.load("initial")
        if model.params is None:
            raise RecipeError("a swarm needs an initial_model: its server cannot create one from the sites' models")
        self._begin(fed, model)
        fed.sample(self.min_clients)
        held = _Held(0, {})
        self._add_holders(fed, model, held)
        if not held.at:
            raise SiteError(
                f"no site could fetch the initial model; the sites are {', '.join(fed.sites)}", site=fed.sites[0]
            )
        return held

    def _add_holders(self, fed: TrainingFederation, model: FLModel, held: _Held) -> None:
        """Send the model to the next sites in turn, until enough hold it."""
        for site in self._in_turn(fed, held.round):
            if len(held.at) < HOLDERS and site not in held.at:
                copy = self._hold(fed, model, held.round, site)
                if copy is not None and not copy.meta.get("lost"):
                    held.at[site] = copy

    def _hold(self, fed: TrainingFederation, model: FLModel, round_: int, site: str) -> FLModel | None:
        """Let a site fetch a model and hold it; return a reference to its copy, or None if the site left."""
        task = FLModel(params=model.params, meta={"round": round_, "keep": self._files()})
        return ask_one(fed, TaskName.SWARM_HOLD, task, site)

    def _train(self, fed: TrainingFederation, held: _Held, to: Sample) -> Iterator[Reply]:
        """Train at some sites, and again at those that could not fetch the model, once it is recovered."""
        while to:
            without, why = [], ""
            with fed.ask(TaskName.TRAIN, held.given(), to=to, result_stays=True) as conversation:
                for reply in conversation:
                    if lost := reply.model.meta.get("lost"):
                        without.append(reply.site)
                        why = f"{reply.site}: {lost}"
                    else:
                        yield reply
            if without:
                self._recover(fed, held, why)
            to = Sample(without, 0)

    def _aggregate(self, fed: TrainingFederation, held: _Held, contributions: dict[str, FLModel]) -> _Held:
        """Aggregate at the first site in turn that succeeds; remove lost contributions, and add replacements."""
        tried: set[str] = set()
        while True:
            self._replace_lost(fed, held, contributions)
            aggregator = next((site for site in self._in_turn(fed, held.round) if site not in tried), None)
            if aggregator is None:
                raise SiteError(
                    f"round {held.round}: no site is left that can aggregate; sites that left while they aggregated:"
                    f" {', '.join(sorted(tried)) or 'none'}. Start them, or allow more with aggregator_sites",
                    site=next(iter(tried), fed.sites[0]),
                )
            ordered = [[site, contributions[site]] for site in fed.sites if site in contributions]
            task = held.given(round=held.round + 1, keep=self._files(), contributions=ordered)
            result = ask_one(fed, TaskName.SWARM_AGGREGATE, task, aggregator)
            if result is not None and (lost := result.meta.get("lost")):
                if (site := result.meta.get("site")) is None:
                    self._recover(fed, held, f"{aggregator}: {lost}")
                    continue
                if site not in contributions:
                    raise SiteError(
                        f"{aggregator}: it could not fetch the contribution of {site!r}, which was not in its task",
                        site=aggregator,
                    )
                del contributions[site]
                fed.warn(
                    f"round {held.round}: {aggregator} could not fetch the contribution of {site}; the round continues"
                    f" without it ({lost})"
                )
                continue
            successor = None if result is None else self._hold_at_successor(fed, held.round + 1, aggregator, result)
            if result is not None and successor is not None:
                return _Held(held.round + 1, {aggregator: result, **successor})
            tried.add(aggregator)
            without = "" if contributions.pop(aggregator, None) is None else " without its contribution"
            fed.warn(f"round {held.round}: {aggregator} left while it aggregated; the next site continues{without}")

    def _hold_at_successor(
        self, fed: TrainingFederation, round_: int, aggregator: str, result: FLModel
    ) -> dict[str, FLModel] | None:
        """Let the next site in turn, if there is one, hold a new model; None if the model is lost."""
        for site in self._in_turn(fed, round_):
            if site != aggregator and (copy := self._hold(fed, result, round_, site)) is not None:
                return None if copy.meta.get("lost") else {site: copy}
        return {} if aggregator in fed.sample(1) else None

    def _recover(self, fed: TrainingFederation, held: _Held, why: str) -> None:
        """Recover a model that no site could fetch from the files of its holders."""
        self._searches += 1
        found = self._recall(fed, held.round, list(held.at)) if self._searches <= MOST_SEARCHES else None
        if found is None:
            raise SiteError(
                f"the model of round {held.round} is lost: {' and '.join(held.at)} held it ({why}). Run the job again",
                site=next(iter(held.at)),
            )
        fed.warn(
            f"round {held.round}: no site could fetch the model, which {' and '.join(held.at)} held;"
            f" {' and '.join(found.at)} returned and read it from a file ({why})"
        )
        for copy in held.at.values():
            fed.release(copy)
        held.at.clear()
        held.at.update(found.at)
        self._add_holders(fed, next(iter(found.at.values())), held)

    def _replace_lost(self, fed: TrainingFederation, held: _Held, contributions: dict[str, FLModel]) -> None:
        """While there are too few contributions, train at the other sites, which may include ones that returned."""
        while len(contributions) < self.min_clients:
            others = [site for site in fed.sample(self.min_clients) if site not in contributions]
            fed.warn(
                f"round {held.round}: {self.min_clients} contributions are needed, {len(contributions)} are left"
                f" ({', '.join(contributions) or 'none'}); {', '.join(others)} train again"
            )
            for reply in self._train(fed, held, Sample(others, 0)):
                contributions[reply.site] = reply.model

    def _in_turn(self, fed: TrainingFederation, round_: int) -> Iterator[str]:
        """Yield the connected sites that may aggregate, starting with the one whose turn it is."""
        candidates = [site for site in fed.sites if self.aggregator_sites is None or site in self.aggregator_sites]
        first = round_ % len(candidates)
        for site in candidates[first:] + candidates[:first]:
            if site in fed.sample(1):
                yield site

    def _keep_best(self, fed: TrainingFederation, value: float | None) -> None:
        before, self._best_held = self._best_held, self._held
        if before is not None:
            self._release(fed, before)
        fed.events.emit(ModelSaved("best", fed.round, value))

    def _release(self, fed: TrainingFederation, held: _Held) -> None:
        if held is not self._best_held and held is not self._held:
            for model in held.at.values():
                fed.release(model)

    def _files(self) -> list[int]:
        """Return the rounds whose models the holders must keep in files, in case their processes die."""
        return [held.round for held in (self._held, self._best_held) if held is not None]

    def _resume(self, fed: TrainingFederation) -> _Held:
        """Find the models of a run that is continued."""
        self._monitor.started(fed, FLModel())
        best = self._restored.get("best_held")
        if best is not None:
            self._best_held = self._recall(fed, *best)
        round_, sites = self._restored["held"]
        held = self._recall(fed, round_, sites)
        if held is None:
            raise SiteError(
                f"no connected site has the model of round {round_}; {' and '.join(sites)} held it. Start one of them",
                site=sites[0],
            )
        return held

    def _recall(self, fed: TrainingFederation, round_: int, sites: Sequence[str]) -> _Held | None:
        """Ask the holders for a model; wait for all sites only if none of the connected holders has it."""
        at: dict[str, FLModel] = {}
        for needed in (self.min_clients, len(fed.sites)):
            connected = fed.sample(needed)
            for site in [site for site in sites if site in connected]:
                copy = ask_one(fed, TaskName.SWARM_RECALL, FLModel(meta={"round": round_}), site)
                if copy is not None and copy.params is not None:
                    at[site] = copy
            if at:
                return _Held(round_, at)
        return None

    def _distribute(self, fed: TrainingFederation, held: _Held) -> None:
        """Send the last and the best model to all sites, as files."""
        models = {name: each for name, each in (("global", held), ("best", self._best_held)) if each is not None}

        def search(name: str, why: str) -> FLModel | None:
            try:
                self._recover(fed, models[name], why)
            except SiteError:
                if name == "global":  # the run has no result without it
                    raise
                return None
            return models[name].given()

        self._searches = 0
        distribute(fed, {name: each.given() for name, each in models.items()}, search)
        copies = [copy for each in models.values() for copy in each.at.values()]
        self._held = self._best_held = None
        for copy in copies:
            fed.release(copy)


def ask_one(fed: TrainingFederation, task: str, model: FLModel, site: str) -> FLModel | None:
    """Send a task whose result stays at the site, and return the reply; None if the site leaves before that.

    Args:
        fed: the federation.
        task: the task's name.
        model: the model that is sent.
        site: the site.
    """
    with fed.ask(task, model, to=Sample((site,), 0), result_stays=True) as conversation:
        replies = [reply.model for reply in conversation]
    return replies[0] if replies else None
