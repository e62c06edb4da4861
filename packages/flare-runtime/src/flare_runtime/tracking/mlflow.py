"""MLflowReceiver: writes metrics, parameters, tags and texts to an MLflow run, on a server or in a local file."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from flare_core import FlareError, ObservedRun
from flare_core.events import RunEnded
from flare_runtime.run.comparison import parameters as flat_parameters
from flare_runtime.tracking.mlflow_store import FOLDER, MlflowStore, experiment_id
from flare_runtime.tracking.receiver import Entry, Receiver, check_mappings, check_texts

REACH_S = 10.0  # MLflow itself would retry for minutes
JOB_ID, SITE, IDENTITY = "flare.job_id", "flare.site", "flare.identity"

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "aborted": "KILLED"}


@dataclass(kw_only=True, eq=False)
class MLflowReceiver(Receiver):
    """Writes to one MLflow run; a job that continues in a new process continues the same MLflow run.

    Metrics, parameters, tags and the files of texts are named like ``site-1/loss``; the recipe's own parameters have no
    prefix, as in ``num_rounds``. MLflow keeps the first value of a parameter; a site that logs another value gets a
    warning.

    Args:
        tracking_uri: URI of the server or store. By default ``mlflow.db`` in the workspace, for all of its runs; what a
            server has recorded is copied into it when the run's folder is downloaded. At a site, a store of its own.
        experiment_name: the experiment, which is created if necessary; by default the job's name.
        run_name: the run's name; by default its id, such as ``job/20260102-101500``, with the site's name at a site.
        experiment_tags: tags of a new experiment.
        run_tags: tags of the run.
        artifact_location: where a new experiment keeps its texts.
    Raises:
        RecipeError: an argument has the wrong type; names it.
    """

    tracker: ClassVar[str] = "MLflow"
    extra: ClassVar[str] = "mlflow"

    tracking_uri: str | None = None
    experiment_name: str | None = None
    run_name: str | None = None
    experiment_tags: Mapping[str, str] | None = None
    run_tags: Mapping[str, str] | None = None
    artifact_location: str | None = None

    def __post_init__(self) -> None:
        check_texts(self, "tracking_uri", "experiment_name", "run_name", "artifact_location")
        check_mappings(self, "experiment_tags", "run_tags")

    def open(self, run: ObservedRun) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it reports each table that it creates
        self._metric: Any = Metric
        self._refusal: type[Exception] = MlflowException
        self._names: dict[str, str] = {}
        self._refused: set[tuple[str, str]] = set()  # for which a warning was shown
        self._written: dict[tuple[str, str], bool | int | float | str] = {}
        self._client: Any
        self._run_id: str
        uri, artifacts = self.tracking_uri, self.artifact_location
        if uri is None:
            store = (
                MlflowStore.of_workspace(run.workspace) if run.workspace is not None else MlflowStore.of_run(run.folder)
            )
            with store.opened() as self._client:
                self._run_id = self._open_run(run, artifacts or store.files.as_uri())
        else:
            _reach(uri)
            self._client = MlflowClient(tracking_uri=uri)
            self._run_id = self._open_run(run, artifacts)
        recipe = flat_parameters(run.recipe).items()
        self.write([Entry("parameter", name, str(value), 0) for name, value in recipe])

    def write(self, entries: Sequence[Entry]) -> None:
        now = int(time.time() * 1000)
        numbers = [each for each in entries if each.kind == "number"]
        metrics = [self._metric(self._name(each.name), each.value, now, each.step) for each in numbers]
        if metrics:
            self._client.log_batch(self._run_id, metrics=metrics)
        writers: dict[str, Callable[[str, str], Any]] = {
            "parameter": lambda name, text: self._client.log_param(self._run_id, name, text),
            "tag": lambda name, text: self._client.set_tag(self._run_id, name, text),
            "text": lambda name, text: self._client.log_text(self._run_id, text, name),
        }
        for entry in entries:
            if entry.kind != "number" and self._written.get((entry.kind, entry.name)) != entry.value:
                self._written[entry.kind, entry.name] = entry.value
                self._write_text(entry, writers[entry.kind])

    def close(self, end: RunEnded) -> None:
        self._client.set_terminated(self._run_id, _STATUS.get(end.outcome, "FAILED"))

    def _write_text(self, entry: Entry, write: Callable[[str, str], Any]) -> None:
        """Write one parameter, tag or text; a value that MLflow refuses, such as one that is too long, is left out."""
        try:
            write(self._name(entry.name), str(entry.value))
        except self._refusal as error:
            if getattr(error, "error_code", "") != "INVALID_PARAMETER_VALUE":
                raise
            if (entry.kind, entry.name) not in self._refused:
                self._refused.add((entry.kind, entry.name))
                self.warn(f"the {entry.kind} '{entry.name}' is left out ({str(error).strip().splitlines()[0]})")

    def _open_run(self, run: ObservedRun, artifacts: str | None) -> str:
        id_ = experiment_id(self._client, self.experiment_name or run.job_name, artifacts, self.experiment_tags)
        identity = self.identity()
        begun = self._client.search_runs([id_], filter_string=f"tags.`{IDENTITY}` = '{identity}'", max_results=1)
        if begun:
            self._client.update_run(begun[0].info.run_id, status="RUNNING")
            return str(begun[0].info.run_id)
        tags = {
            IDENTITY: identity,
            JOB_ID: run.job_id,
            FOLDER: str(run.folder.parent if run.site is None else run.folder),
        }
        if run.site is not None:
            tags[SITE] = run.site
        made = self._client.create_run(id_, run_name=self.run_name or run.name, tags={**(self.run_tags or {}), **tags})
        return str(made.info.run_id)

    def _name(self, name: str) -> str:
        """Return a name that MLflow accepts: letters, digits, ``_ - . : /`` and spaces."""
        if name not in self._names:
            fit = "/".join(re.sub(r"[^\w\-. :]", "_", part).strip(".") or "_" for part in name.split("/"))
            self._names[name] = fit
            if fit != name:
                self.warn(f"'{name}' is renamed '{fit}', since other characters are not allowed")
        return self._names[name]


def _reach(uri: str) -> None:
    """Check that a tracking server accepts connections.

    Raises:
        FlareError: it does not.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return  # the proxy reaches it, not this process
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), REACH_S).close()
    except OSError as error:
        raise FlareError(
            f"no tracking server answers at {uri} ({error}); check that it is running and reachable from here"
        ) from error
