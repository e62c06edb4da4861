"""Stores of MLflow's that are files: that of a workspace, and what a server recorded of one run, copied into it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flare_runtime.system import IS_UNIX

if IS_UNIX:
    import fcntl

__all__ = ["FOLDER", "MlflowStore", "copy_run", "experiment_id"]

logger = logging.getLogger(__name__)

FOLDER = "flare.folder"
"""The tag with the run's folder."""

WAIT_S = 60  # for other runs that write to the same database
MOST_METRICS = 1000  # that MLflow takes at once


@dataclass(frozen=True, slots=True)
class MlflowStore:
    """A database with a folder for files.

    Attributes:
        database: its file.
        files: where texts are kept.
    """

    database: Path
    files: Path

    @classmethod
    def of_workspace(cls, workspace: Path) -> MlflowStore:
        """The store of all runs of a workspace."""
        return cls(workspace / "mlflow.db", workspace / "mlflow-files")

    @classmethod
    def of_run(cls, folder: Path) -> MlflowStore:
        """The store of one run, in its ``server`` folder or a site's."""
        return cls(folder / "mlflow" / "mlflow.db", folder / "mlflow" / "artifacts")

    @property
    def uri(self) -> str:
        """For MLflow."""
        return f"sqlite:///{self.database}?timeout={WAIT_S}"

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Yield MLflow's client; within the block no other process opens the store.

        Whoever opens it first makes its tables, and MLflow fails if two processes do so at the same time.
        """
        from mlflow import MlflowClient

        self.database.parent.mkdir(exist_ok=True)
        with self.database.with_name(".mlflow.lock").open("w") as lock:
            if IS_UNIX:
                fcntl.flock(lock, fcntl.LOCK_EX)
            client: Any = MlflowClient(tracking_uri=self.uri)
            yield client


def experiment_id(client: Any, name: str, artifacts: str | None, tags: Mapping[str, str] | None = None) -> str:
    """Return the id of an experiment, which is made if it is not there."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifacts, tags))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise  # it was not another run that has made it meanwhile
    return str(experiment.experiment_id)


def copy_run(folder: Path, workspace: Path) -> str | None:
    """Copy what a server has recorded of a run into the store of the workspace to which its folder was fetched.

    Args:
        folder: the run's.
        workspace: where the store is, or will be.
    Returns:
        What kept it from being copied, for people; None if it was, or there is nothing.
    """
    source, target = MlflowStore.of_run(folder / "server"), MlflowStore.of_workspace(workspace)
    if not source.database.is_file():
        return None
    if find_spec("mlflow") is None:
        return f"MLflow: its record is in {source.database} alone, as mlflow is not installed here"
    try:
        _copy(source, target, folder)
    except Exception as error:  # the run's own results are there in any case
        logger.warning("run not copied folder=%s", folder, exc_info=error)
        first = next(iter(str(error).strip().splitlines()), "")
        return f"MLflow: the record in {source.database} cannot be copied to {target.database} ({first})"
    return None


def _copy(source: MlflowStore, target: MlflowStore, folder: Path) -> None:
    from mlflow.entities import Param

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells that it makes its tables
    with source.opened() as old, target.opened() as new:
        experiments = old.search_experiments()
        new.search_experiments()  # which makes the tables
    for experiment in experiments:
        for run in old.search_runs([experiment.experiment_id]):
            to = experiment_id(new, experiment.name, target.files.as_uri())
            tags = {**run.data.tags, FOLDER: str(folder)}
            made = new.create_run(to, run_name=run.info.run_name, start_time=run.info.start_time, tags=tags).info.run_id
            for key in run.data.metrics:
                history = old.get_metric_history(run.info.run_id, key)
                for start in range(0, len(history), MOST_METRICS):
                    new.log_batch(made, metrics=history[start : start + MOST_METRICS])
            for key, value in run.data.params.items():
                new.log_batch(made, params=[Param(key, value)])
            files = source.files / run.info.run_id / "artifacts"
            if files.is_dir():
                new.log_artifacts(made, str(files))
            new.set_terminated(made, run.info.status, run.info.end_time)
