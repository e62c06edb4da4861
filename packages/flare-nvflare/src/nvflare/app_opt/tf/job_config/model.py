"""TFModel, a Keras model as a part of a job."""

from __future__ import annotations

from typing import Any

from nvflare._flare.describe import Described
from nvflare.job_config.api import FedJob, JobCtx


class TFModel:
    """A Keras model that the server reads, gives to the sites, and writes.

    Args:
        model: a model, or ``{"path": …, "args": {…}}``.
        persistor: a component to use in place of the usual one.
        initial_ckpt: a file with the weights to start from.
    """

    def __init__(self, model: Any = None, persistor: Any = None, initial_ckpt: str | None = None) -> None:
        args: dict[str, Any] = {"model": model}
        if initial_ckpt is not None:
            args["source_ckpt_file_full_name"] = initial_ckpt
        self.persistor = persistor or Described("nvflare.app_opt.tf.model_persistor.TFModelPersistor", args)

    def add_to_fed_job(self, job: FedJob, ctx: JobCtx) -> str:
        """Add the model to the server, and return the id of its persistor."""
        return job.add_component("persistor", self.persistor, ctx)
