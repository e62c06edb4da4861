"""SwarmExecutor: a site's part in a swarm besides training, which is to hold global models and to aggregate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flare_core import FLModel, Reply, Task
from flare_core.aggregation import Aggregator, WeightedMean
from flare_core.task import TaskName
from flare_core.workflows.fedavg import applied
from flare_runtime.site.site import Site
from flare_runtime.site.site_executor import SiteExecutor
from flare_tensor_downloader import DownloadError, read_file, write_file


class SwarmExecutor(SiteExecutor):
    """Does the tasks of :class:`flare_core.workflows.Swarm` and ``SwarmEval`` other than training and evaluation.

    In a durable run, each model that is held is also written to ``swarm-<round>.safetensors`` in the site's folder. It
    is deleted when later rounds no longer need it, or when the run is over.

    Args:
        aggregator, aggregation_weights, exclude_vars: as for :class:`flare_core.workflows.FedAvg`.
    """

    def __init__(
        self,
        *,
        aggregator: Aggregator | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        exclude_vars: str | Iterable[str] | None = None,
    ) -> None:
        self.aggregator = aggregator or WeightedMean(site_weights=aggregation_weights, exclude=exclude_vars)

    def execute(self, task: Task, site: Site) -> FLModel:
        """Do one task."""
        work: dict[str, Callable[[Task, Site], FLModel]] = {
            TaskName.SWARM_AGGREGATE: self._aggregate,
            TaskName.SWARM_HOLD: self._hold,
            TaskName.SWARM_RECALL: self._recall,
        }
        return work[task.name](task, site)

    def finish(self, site: Site) -> None:
        for path in site.folder.glob("swarm-*.safetensors"):
            path.unlink()

    def _aggregate(self, task: Task, site: Site) -> FLModel:
        self.aggregator.reset()
        kind = None
        for name, model in task.model.meta["contributions"]:
            try:
                kind = model.params_type
                model.params = site.peers.resolve(model.params)
                self.aggregator.add(Reply(name, TaskName.TRAIN, model, task.round))
            except DownloadError as error:
                return FLModel(meta={"lost": str(error), "site": name})
        task.model.params = applied(self.aggregator, FLModel(params=task.model.params), kind, site.warn).params
        return self._hold(task, site)

    def _hold(self, task: Task, site: Site) -> FLModel:
        params = task.model.params or {}
        if site.is_durable:
            round_ = task.model.meta["round"]
            write_file(_file(site, round_), params)  # before the reply: the server then counts on this copy
            # The previous round's model stays, since a restarted server may begin that round again.
            needed = {_file(site, each) for each in (round_, round_ - 1, *task.model.meta.get("keep", ()))}
            for path in set(site.folder.glob("swarm-*.safetensors")) - needed:
                path.unlink()
        return FLModel(params=params)

    def _recall(self, task: Task, site: Site) -> FLModel:
        name, round_ = task.model.meta.get("name"), task.model.meta.get("round", 0)
        path = _file(site, round_) if name is None else site.folder / f"{name}_model.safetensors"
        return FLModel(params=read_file(path)) if path.is_file() else FLModel()


def _file(site: Site, round_: int) -> Path:
    return site.folder / f"swarm-{round_}.safetensors"
