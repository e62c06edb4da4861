"""MLflow stores in files: the store of a workspace, and the copying of a server's store of one run into it."""

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

logger = logging.getLogger(__name__)

FOLDER = "flare.folder"
"""The tag with the run's folder."""

WAIT_S = 60  # for other runs that write to the same database
MOST_METRICS = 1000  # MLflow's limit for one request


@dataclass(frozen=True, slots=True)
class MlflowStore:
    """A database with a folder for files.

    Attributes:
        database: the database file.
        files: the folder for texts.
    """

    database: Path
    files: Path

    @classmethod
    def of_workspace(cls, workspace: Path) -> MlflowStore:
        """Return the store for all runs of a workspace."""
        return cls(workspace / "mlflow.db", workspace / "mlflow-files")

    @classmethod
    def of_run(cls, folder: Path) -> MlflowStore:
        """Return the store of one run, in its ``server`` folder or a site's folder."""
        return cls(folder / "mlflow" / "mlflow.db", folder / "mlflow" / "artifacts")

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return f"sqlite:///{self.database}?timeout={WAIT_S}"

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Yield MLflow's client; no other process opens the store within the block.

        The first process to open it creates the tables, and MLflow fails if two do so at the same time.
        """
        from mlflow import MlflowClient

        self.database.parent.mkdir(exist_ok=True)
        with self.database.with_name(".mlflow.lock").open("w") as lock:
            if IS_UNIX:
                fcntl.flock(lock, fcntl.LOCK_EX)
            client: Any = MlflowClient(tracking_uri=self.uri)
            yield client


def experiment_id(client: Any, name: str, artifacts: str | None, tags: Mapping[str, str] | None = None) -> str:
    """Return the id of an experiment, which is created if necessary."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifacts, tags))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise  # otherwise another run has created it meanwhile
    return str(experiment.experiment_id)


def copy_run(folder: Path, workspace: Path) -> str | None:
    """Copy a server's record of a run into the store of the workspace to which the run's folder was downloaded.

    Args:
        folder: the run's folder.
        workspace: the workspace, whose store is created if necessary.
    Returns:
        A message if the record could not be copied; None if it was, or if there is none.
    """
    source, target = MlflowStore.of_run(folder / "server"), MlflowStore.of_workspace(workspace)
    if not source.database.is_file():
        return None
    if find_spec("mlflow") is None:
        return f"MLflow: the record stays in {source.database}, since mlflow is not installed here"
    try:
        _copy(source, target, folder)
    except Exception as error:  # the run's own results are complete in any case
        logger.warning("run not copied folder=%s", folder, exc_info=error)
        first = next(iter(str(error).strip().splitlines()), "")
        return f"MLflow: the record in {source.database} cannot be copied to {target.database} ({first})"
    return None


def _copy(source: MlflowStore, target: MlflowStore, folder: Path) -> None:
    from mlflow.entities import Param

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it reports each table that it creates
    with source.opened() as old, target.opened() as new:
        experiments = old.search_experiments()
        new.search_experiments()  # creates the tables
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
