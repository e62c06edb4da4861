"""Evaluation of the models of a swarm, which stay at the sites."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from flare_core.errors import ModelError
from flare_core.model import FLModel, ParamsType
from flare_core.task import Reply, Sample, TaskName
from flare_core.workflow import TrainingFederation
from flare_core.workflows.evaluation import SERVER_MODELS, CrossSiteEval
from flare_core.workflows.swarm import ask_one


class SwarmEval(CrossSiteEval):
    """Evaluate the models of a :class:`~flare_core.workflows.Swarm` and every site's own model at every site.

    It runs after the swarm, which has left ``global`` and ``best`` as files at the sites. One of the sites reads such a
    file, or submits its own model, and the others fetch it from there: the server sees metrics only. The arguments and
    the result are those of :class:`~flare_core.workflows.CrossSiteEval`.
    """

    def _candidates(self, fed: TrainingFederation, sites: Sample) -> Iterator[tuple[str, FLModel]]:
        kept = ((name, self._read(fed, name, sites)) for name in SERVER_MODELS if name in self.models)
        own = ((owner, self._submitted(fed, owner)) for owner in sites if "sites" in self.models)
        for name, model in chain(kept, own):
            if model is not None:
                yield name, FLModel(params=model.params)
                fed.release(model)

    def _read(self, fed: TrainingFederation, name: str, sites: Sample) -> FLModel | None:
        """Let the first site that can do so read the model from its file; None if none has it."""
        for site in sites:
            model = ask_one(fed, TaskName.SWARM_RECALL, FLModel(meta={"name": name}), site)
            if model is not None and model.params is not None:
                return model
        if name == "global":
            fed.warn(f"no connected site has the {name} model of the swarm, which is not evaluated")
        return None

    def _submitted(self, fed: TrainingFederation, owner: str) -> FLModel | None:
        model = ask_one(fed, TaskName.SUBMIT_MODEL, FLModel(), owner)
        if model is None or model.params is None:
            why = "left before it submitted its model" if model is None else "submitted no model"
            fed.warn(f"{owner} {why}, so that none of its own is evaluated")
            return None
        if model.params_type is ParamsType.DIFF:
            raise ModelError(f"{owner} replied to 'submit_model' with a difference; send the whole model")
        return model

    def _replies(self, fed: TrainingFederation, model: FLModel, sites: Sample) -> Iterator[Reply]:
        with fed.ask(TaskName.VALIDATE, model, to=sites, result_stays=True) as conversation:
            for reply in conversation:
                if lost := reply.model.meta.get("lost"):
                    fed.warn(f"{reply.site} could not fetch a model to evaluate: {lost}")
                yield reply
                fed.release(reply.model)
