"""WandBReceiver: writes to a Weights & Biases run, which is offline by default."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flare_core import FlareError, ObservedRun, RecipeError
from flare_core.events import RunEnded
from flare_runtime.run.comparison import parameters as flat_parameters
from flare_runtime.tracking.receiver import Entry, Receiver, check_mappings, check_texts

MODES = ("offline", "online", "disabled", "shared")
STEP = "step"


@dataclass(kw_only=True, eq=False)
class WandBReceiver(Receiver):
    """Writes to one W&B run; ``step`` is its x-axis, and parameters and tags become its config.

    Offline, the run is written to ``wandb/`` in the run's ``server`` folder or the site's folder, and ``wandb sync``
    uploads it. Online, the API key is the one that W&B finds where the receiver runs (``WANDB_API_KEY``, ``wandb
    login``); it is never part of a job.

    Args:
        project: the project; by default the job's name.
        entity: the user or team.
        group: the group of the run; by default, the sites of one run form a group.
        run_name: the run's name; by default its id, such as ``job/20260102-101500``, with the site's name at a site.
        run_tags: labels of the run.
        config: settings to keep with the run, in addition to the recipe's parameters.
        mode: ``offline``, ``online``, ``shared`` or ``disabled``; by default ``WANDB_MODE`` where the receiver runs,
            else ``offline``.
    Raises:
        RecipeError: an argument is invalid; names it.
    """

    tracker: ClassVar[str] = "Weights & Biases"
    extra: ClassVar[str] = "wandb"

    _closing: ClassVar[threading.Lock] = threading.Lock()

    project: str | None = None
    entity: str | None = None
    group: str | None = None
    run_name: str | None = None
    run_tags: Sequence[str] | None = None
    config: Mapping[str, Any] | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        check_texts(self, "project", "entity", "group", "run_name")
        check_mappings(self, "config")
        if self.mode is not None and self.mode not in MODES:
            raise RecipeError(f"mode is {self.mode!r}; use one of {', '.join(MODES)}")
        tags = self.run_tags
        if tags is not None and (isinstance(tags, str) or not all(isinstance(each, str) for each in tags)):
            raise RecipeError(f"run_tags is {tags!r}; give a list of strings")

    def open(self, run: ObservedRun) -> None:
        import wandb

        mode: Any = self.mode or os.environ.get("WANDB_MODE") or "offline"
        self._names: dict[str, str] = {}
        self._run_there: Any = wandb.init(
            project=self.project or run.job_name,
            entity=self.entity,
            group=self.group or (None if run.site is None else run.name.removesuffix(f" {run.site}")),
            name=self.run_name or run.name,
            id=self.identity()[:16],
            resume="allow",  # a job that continues in a new process continues the same run
            reinit="create_new",  # sites that share a process have separate runs
            tags=self.run_tags,
            config={**flat_parameters(run.recipe), "job_id": run.job_id, **(self.config or {})},
            mode=mode,
            dir=str(run.folder),
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, save_code=False),
        )
        self._run_there.define_metric(STEP)
        self._run_there.define_metric("*", step_metric=STEP)  # W&B's own steps only increase

    def write(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind in ("parameter", "tag"):
                self._run_there.config.update({entry.name: entry.value}, allow_val_change=True)
            else:
                self._run_there.log({self._name(entry.name): entry.value, STEP: entry.step})

    def _name(self, name: str) -> str:
        """Return a name that W&B accepts: ``step`` is the axis, and a leading underscore is reserved."""
        if name not in self._names:
            fit = f"{name}_" if name == STEP else name.lstrip("_") or "value" if name.startswith("_") else name
            self._names[name] = fit
            if fit != name:
                self.warn(f"'{name}' is renamed '{fit}', since the name is reserved")
        return self._names[name]

    def close(self, end: RunEnded) -> None:
        import wandb

        with self._closing:
            self._run_there.finish(exit_code=0 if end.outcome == "finished" else 1)
            if wandb.setup().most_recent_active_run is not None:
                return
            try:
                wandb.teardown()  # finish() returns before the run's file is complete; this waits for its writer
            except SystemExit as error:
                raise FlareError(f"the process that writes the files ended with exit code {error.code}") from error
