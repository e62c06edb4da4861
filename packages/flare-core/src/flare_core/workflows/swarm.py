"""Swarm learning: federated averaging in which the sites take turns at the server's work on the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_core.callbacks import BestModel, Callback
from flare_core.errors import RecipeError, SiteError
from flare_core.events import ModelSaved
from flare_core.model import FLModel, MetaKey
from flare_core.task import Reply, TaskName
from flare_core.workflow import Sample, TrainingFederation
from flare_core.workflows.distribution import distribute
from flare_core.workflows.fedavg import FedAvg

__all__ = ["Swarm"]

HOLDERS = 2  # sites that have the global model, so that one of them can be lost
MOST_SEARCHES = 5  # in one round, for a model that nobody can fetch


@dataclass(frozen=True, slots=True)
class _Held:
    """A global model, and where it is.

    Attributes:
        round: the round in which the sites are given it.
        at: by site, what says where its copy is; others when it had to be searched.
    """

    round: int
    at: dict[str, FLModel]

    def given(self, **meta: Any) -> FLModel:
        """What tells a site where the model is."""
        first, *others = [model.params for model in self.at.values()]
        return FLModel(params=first, meta={MetaKey.ALSO_AT: others, **meta})


class _BestAtSites(BestModel):
    """Keep the best model where it is: at sites."""

    def __init__(self, given: BestModel, swarm: Swarm) -> None:
        super().__init__(given.key_metric, given.key_metric_mode)
        self._swarm = swarm

    def keep(self, fed: TrainingFederation, model: FLModel, value: float | None, round_: int) -> None:
        self._swarm._keep_best(fed, value)


class Swarm(FedAvg):
    """Have the sites train, one of them aggregate what they made, and the next one do so in the next round.

    The server says who does what, chooses the best round and keeps the record; it never has a model but the initial
    one. What a site has made it keeps until the round is over. The round's aggregator fetches it from there, updates
    the global model as :class:`FedAvg` does, in the same order, and so to the same bits; then the aggregator of the
    next round fetches the result. From these two the sites are given it. So any one site can be lost: if the aggregator
    is, the next in turn takes over, with what the others have made. If fewer of those are left than ``min_clients``,
    the round waits for sites that come back, and has them train again. If both that have the model are lost, it waits
    for one of them, which reads it from a file; in the simulator, where no site comes back, the run fails.

    At the end all sites that are there are given the last model and the best one, as files in their folders.

    Args:
        aggregator_sites: those that aggregate, in turn; all if left out.
        callbacks: as for :class:`FedAvg`, but none that measures models. They are given models without params, and
            what :class:`~flare_core.BestModel` chooses stays at the sites.
        arguments: those of :class:`FedAvg`, except ``quorum``. ``aggregator`` and ``exclude_vars`` have to be those of
            the sites' executor, which aggregates; the server only needs to know them.

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
                f"{without[0]} measures models at the server, and a swarm's server has none; leave it out"
            )
        self.aggregator_sites = None if aggregator_sites is None else list(aggregator_sites)
        self._held: _Held | None = None
        self._best_held: _Held | None = None
        self._searches = 0  # in this round
        self._kept: dict[str, Any] = {}  # the state that is taken over

    def run(self, fed: TrainingFederation) -> None:
        self._check(fed)
        held = self._recalled(fed) if self._kept else self._first(fed)
        for _ in fed.rounds(self.num_rounds):
            self._held = held
            self._searches = 0
            made = {}
            for reply in self._train(fed, held, self._sample(fed)):
                made[reply.site] = reply.model
                self._record(fed, reply)
            self._monitor.averaged(fed, FLModel())
            self._held = self._aggregated(fed, held, made)
            for model in made.values():
                fed.release(model)
            self._let_go(fed, held)
            held = self._held
            if self._monitor.round_ended(fed):
                break
        self._monitor.run_ended(fed)
        self._distribute(fed, held)

    def state(self) -> dict[str, Any]:
        places = {"held": self._held, "best_held": self._best_held}
        return super().state() | {
            name: [held.round, list(held.at)] for name, held in places.items() if held is not None
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._kept = dict(state)

    def _check(self, fed: TrainingFederation) -> None:
        unknown = [site for site in self.aggregator_sites or () if site not in fed.sites]
        if unknown:
            raise RecipeError(f"aggregator_sites names {unknown[0]!r}; the sites are {', '.join(fed.sites)}")

    def _first(self, fed: TrainingFederation) -> _Held:
        """Give the initial model to the first who need it."""
        model = fed.load("initial")
        if model.params is None:
            raise RecipeError("a swarm needs an initial_model: the server cannot make one from what the sites have")
        self._begin(fed, model)
        fed.sample(self.min_clients)
        held = _Held(0, {})
        self._spread(fed, model, held)
        if not held.at:
            raise SiteError(
                f"no site could be given the initial model; the sites are {', '.join(fed.sites)}", site=fed.sites[0]
            )
        return held

    def _spread(self, fed: TrainingFederation, model: FLModel, held: _Held) -> None:
        """Have those whose turn it is next hold the model, too, until enough do."""
        for site in self._in_turn(fed, held.round):
            if len(held.at) < HOLDERS and site not in held.at:
                copy = _ask(fed, TaskName.SWARM_HOLD, _task(model, held.round, keep=self._files()), site)
                if copy is not None and not copy.meta.get("lost"):
                    held.at[site] = copy

    def _train(self, fed: TrainingFederation, held: _Held, to: Sample) -> Iterator[Reply]:
        """Have sites train; those that could not fetch the model do so once it was found again."""
        while to:
            without, why = [], ""
            with fed.ask(self.task_name, held.given(), to=to, result_stays=True) as conversation:
                for reply in conversation:
                    if lost := reply.model.meta.get("lost"):
                        without.append(reply.site)
                        why = f"{reply.site} says: {lost}"
                    else:
                        yield reply
            if without:
                self._search(fed, held, why)
            to = Sample(without, 0)

    def _aggregated(self, fed: TrainingFederation, held: _Held, made: dict[str, FLModel]) -> _Held:
        """Have the contributions aggregated by the first in turn who can.

        Args:
            made: by site; those that cannot be had are taken out, and what replaces them is put in.
        """
        tried: set[str] = set()
        while True:
            self._replace_lost(fed, held, made)
            aggregator = next((site for site in self._in_turn(fed, held.round) if site not in tried), None)
            if aggregator is None:
                raise SiteError(
                    f"round {held.round}: no site is left that can aggregate; those that left while they did:"
                    f" {', '.join(sorted(tried)) or 'none'}. Start them, or allow more with aggregator_sites",
                    site=next(iter(tried), fed.sites[0]),
                )
            contributions = [[site, made[site]] for site in fed.sites if site in made]
            task = held.given(round=held.round + 1, keep=self._files(), contributions=contributions)
            result = _ask(fed, TaskName.SWARM_AGGREGATE, task, aggregator)
            if result is not None and (lost := result.meta.get("lost")):
                if (site := result.meta.get("site")) is None:
                    self._search(fed, held, f"{aggregator} says: {lost}")
                    continue
                if site not in made:
                    raise SiteError(
                        f"{aggregator}: it was to aggregate, and misses what {site!r} has made, which it was not given",
                        site=aggregator,
                    )
                del made[site]
                fed.warn(
                    f"round {held.round}: {aggregator} could not fetch what {site} has made; the round goes on without"
                    f" ({lost})"
                )
                continue
            successor = None if result is None else self._successor(fed, held.round + 1, aggregator, result)
            if result is not None and successor is not None:
                return _Held(held.round + 1, {aggregator: result, **successor})
            tried.add(aggregator)
            if made.pop(aggregator, None) is not None:
                fed.warn(
                    f"round {held.round}: {aggregator} left while it aggregated; the next goes on without its part"
                )
            else:
                fed.warn(f"round {held.round}: {aggregator} left while it aggregated; the next goes on")

    def _successor(
        self, fed: TrainingFederation, round_: int, aggregator: str, result: FLModel
    ) -> dict[str, FLModel] | None:
        """Have the next in turn fetch a new model; None if it cannot be had any more. Nobody else may be there."""
        for site in self._in_turn(fed, round_):
            if site != aggregator:
                copy = _ask(fed, TaskName.SWARM_HOLD, _task(result, round_, keep=self._files()), site)
                if copy is not None:
                    return None if copy.meta.get("lost") else {site: copy}
        return {} if aggregator in fed.sample(1) else None

    def _search(self, fed: TrainingFederation, held: _Held, why: str) -> None:
        """Have a model that nobody can fetch read from the files of those that had it."""
        self._searches += 1
        found = self._recall(fed, held.round, list(held.at)) if self._searches <= MOST_SEARCHES else None
        if found is None:
            raise SiteError(
                f"the model of round {held.round} is lost: {' and '.join(held.at)} had it ({why}). Run the job again",
                site=next(iter(held.at)),
            )
        fed.warn(
            f"round {held.round}: {' and '.join(held.at)} had the model, of whom nobody could fetch it;"
            f" {' and '.join(found.at)} came back and read it from a file ({why})"
        )
        for copy in held.at.values():
            fed.release(copy)
        held.at.clear()
        held.at.update(found.at)
        self._spread(fed, next(iter(found.at.values())), held)

    def _replace_lost(self, fed: TrainingFederation, held: _Held, made: dict[str, FLModel]) -> None:
        """While too few contributions are left, have those train who have made none: who was lost may be back."""
        while len(made) < self.min_clients:
            others = [site for site in fed.sample(self.min_clients) if site not in made]
            fed.warn(
                f"round {held.round}: {self.min_clients} contributions are needed, {len(made)} are left"
                f" ({', '.join(made) or 'none'}); {', '.join(others)} train for it again"
            )
            for reply in self._train(fed, held, Sample(others, 0)):
                made[reply.site] = reply.model

    def _in_turn(self, fed: TrainingFederation, round_: int) -> Iterator[str]:
        """The sites that may aggregate and are there, beginning with whose turn it is."""
        candidates = [site for site in fed.sites if self.aggregator_sites is None or site in self.aggregator_sites]
        first = round_ % len(candidates)
        for site in candidates[first:] + candidates[:first]:
            if site in fed.sample(1):
                yield site

    def _keep_best(self, fed: TrainingFederation, value: float | None) -> None:
        before, self._best_held = self._best_held, self._held
        if before is not None:
            self._let_go(fed, before)
        fed.events.emit(ModelSaved("best", fed.round, value))

    def _let_go(self, fed: TrainingFederation, held: _Held) -> None:
        if held is not self._best_held and held is not self._held:
            for model in held.at.values():
                fed.release(model)

    def _files(self) -> list[int]:
        """The rounds whose models the holders must find again after their processes have died."""
        return [held.round for held in (self._held, self._best_held) if held is not None]

    def _recalled(self, fed: TrainingFederation) -> _Held:
        """Find the models of a run that is continued."""
        self._monitor.started(fed, FLModel())
        best = self._kept.get("best_held")
        if best is not None:
            self._best_held = self._recall(fed, *best)
        round_, sites = self._kept["held"]
        held = self._recall(fed, round_, sites)
        if held is None:
            raise SiteError(
                f"the model of round {round_} is at none of the sites that are there; {' and '.join(sites)} had it."
                " Start one of them",
                site=sites[0],
            )
        return held

    def _recall(self, fed: TrainingFederation, round_: int, sites: Sequence[str]) -> _Held | None:
        at: dict[str, FLModel] = {}
        for needed in (self.min_clients, len(fed.sites)):  # wait for more only if those that are there do not have it
            there = fed.sample(needed)
            for site in [site for site in sites if site in there]:
                copy = _ask(fed, TaskName.SWARM_RECALL, FLModel(meta={"round": round_}), site)
                if copy is not None and copy.params is not None:
                    at[site] = copy
            if at:
                return _Held(round_, at)
        return None

    def _distribute(self, fed: TrainingFederation, held: _Held) -> None:
        """Give the last and the best model to all sites, as files."""
        models = {name: each for name, each in (("global", held), ("best", self._best_held)) if each is not None}

        def search(name: str, why: str) -> FLModel | None:
            try:
                self._search(fed, models[name], why)
            except SiteError:
                if name == "global":  # then nobody has what the run was for
                    raise
                return None
            return models[name].given()

        self._searches = 0
        distribute(fed, {name: each.given() for name, each in models.items()}, search)
        copies = [copy for each in models.values() for copy in each.at.values()]
        self._held = self._best_held = None
        for copy in copies:
            fed.release(copy)


def _task(model: FLModel, round_: int, **meta: Any) -> FLModel:
    return FLModel(params=model.params, meta={"round": round_, **meta})


def _ask(fed: TrainingFederation, task: str, model: FLModel, site: str) -> FLModel | None:
    """Give a task to one site; None if it leaves before it answers."""
    with fed.ask(task, model, to=Sample((site,), 0), result_stays=True) as conversation:
        replies = [reply.model for reply in conversation]
    return replies[0] if replies else None
