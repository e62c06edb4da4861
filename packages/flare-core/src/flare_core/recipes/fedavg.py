"""The FedAvg recipe without a framework: each framework's package adds how it reads an initial model."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from flare_core.aggregation import Aggregator
from flare_core.code import calling_folder, collect_code, find_script
from flare_core.components import Component
from flare_core.errors import JobError, RecipeError
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.model import ParamsType
from flare_core.recipe import Recipe, check_args, check_count, check_sites, copy_of

__all__ = ["BaseFedAvgRecipe"]

INITIAL_MODEL = "initial_model.safetensors"


class BaseFedAvgRecipe(Recipe):
    """Federated averaging of a model that a training script trains at each site.

    Args:
        name: names the job and its folder.
        min_clients: how many sites a round needs; all that are there take part.
        num_rounds: number of rounds.
        initial_model: the model to start from, in one of the framework's forms; copied now, so what happens to it
            later does not change the recipe.
        initial_ckpt: a checkpoint file to start from, alone or to fill ``initial_model``; relative to the file that
            makes the recipe.
        train_script: the script that the sites run, relative to the file that makes the recipe. An absolute path that
            is not there on this machine is that of a script which is installed at the sites, for ProdEnv only.
        train_args: its command line, as one string (split as a POSIX shell does, nothing substituted) or as a list.
        launch_external_process: run the script as its own process instead of inside the site's.
        command: what starts such a process; the script and its arguments are appended.
        params_transfer_type: FULL sends whole models back, DIFF their difference to the model received.
        per_site_config: by site name, values that replace ``train_script``, ``train_args``,
            ``launch_external_process``, ``command`` and ``params_transfer_type`` there, and ``config``, a dict that the
            script reads with ``flare.get_config()``. None stands for the recipe's own value; any other value counts.
        aggregator: an :class:`~flare_core.Aggregator` instead of the weighted mean, or ``{"class_path", "args"}``.
        aggregation_weights: extra weight by site name.
        exclude_vars: keys that the server keeps as they are: an expression searched for in the key, or names.
        key_metric: the metric that chooses the best model; None chooses none.
        key_metric_mode: ``max`` where higher is better, ``min`` where lower is.
        stop_cond: ends the run early, such as ``"accuracy >= 0.9"``.
        patience: ends it after so many rounds without improvement.
        compression: how models are made smaller on the wire: ``fp16``, ``bf16``, ``int8``, ``int4`` or ``zstd`` for
            both directions, ``topk:0.01`` (which needs DIFF) for results; or a dict with ``task`` and ``result``.
            ``+zstd`` after a codec compresses further. See :mod:`flare_core.compression` for what each costs.
        round_deadline_s: seconds after which a round goes on without sites that have not answered, if ``min_clients``
            have; None waits for all that are there.
        reconnect_grace_s: seconds to wait for sites while fewer than ``min_clients`` are there; then the run fails.
        seed: start of every random choice of the run, and of the global generators (``random``, ``numpy.random``,
            torch) of scripts that run inside the site's process.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.
        ModelTypeError: the model belongs to another framework; names its recipe.
    """

    framework: ClassVar[str]
    """The form in which scripts get arrays: ``numpy`` or ``pytorch``."""

    persistor: ClassVar[str]
    """Class path of what reads the initial model and writes the framework's own checkpoint format."""

    def __init__(
        self,
        *,
        name: str = "fedavg",
        min_clients: int,
        num_rounds: int = 2,
        initial_model: Any = None,
        initial_ckpt: str | Path | None = None,
        train_script: str | Path,
        train_args: str | Sequence[str] = "",
        launch_external_process: bool = False,
        command: str | Sequence[str] = "python3 -u",
        params_transfer_type: ParamsType | str = ParamsType.FULL,
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        aggregator: Aggregator | Mapping[str, Any] | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        exclude_vars: str | Iterable[str] | None = None,
        key_metric: str | None = "accuracy",
        key_metric_mode: str = "max",
        stop_cond: str | None = None,
        patience: int | None = None,
        compression: str | Mapping[str, str] | None = None,
        round_deadline_s: float | None = None,
        reconnect_grace_s: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            name=name,
            min_clients=min_clients,
            seed=seed,
            compression=compression,
            round_deadline_s=round_deadline_s,
            reconnect_grace_s=reconnect_grace_s,
        )
        self.num_rounds = check_count(num_rounds, "num_rounds")
        self.aggregator = aggregator
        self.aggregation_weights = dict(aggregation_weights or {})
        check_sites(self.aggregation_weights, "aggregation_weights")
        self.exclude_vars = (
            exclude_vars if exclude_vars is None or isinstance(exclude_vars, str) else list(exclude_vars)
        )
        self.key_metric = key_metric
        self.key_metric_mode = key_metric_mode
        self.stop_cond = stop_cond
        self.patience = patience if patience is None else check_count(patience, "patience")
        self._workflow = self._checked_workflow()
        self._folder = calling_folder()
        self._defaults = _SiteSettings(self._folder).changed(
            {
                "train_script": train_script,
                "train_args": train_args,
                "launch_external_process": launch_external_process,
                "command": command,
                "params_transfer_type": params_transfer_type,
            },
            where="",
        )
        self._sites = self._checked_sites(per_site_config or {})
        self._check_topk()
        self._initial = self._snapshot(initial_model, initial_ckpt)

    def _check_topk(self) -> None:
        settings = [self._defaults, *self._sites.values()]
        if self.compression.get("result", "").startswith("topk") and any(
            each.transfer is not ParamsType.DIFF for each in settings
        ):
            raise RecipeError(
                f"compression of results is {self.compression['result']!r}, which leaves values out; only a difference"
                " allows that, so give params_transfer_type='DIFF' too"
            )

    @abstractmethod
    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        """Write the initial model, read from either argument or both, as safetensors to ``target``.

        Raises:
            ModelTypeError: the model is of another framework.
            RecipeError: the checkpoint does not fit.
        """

    def build(self) -> Job:
        settings = [self._defaults, *self._sites.values()]
        travelling = [each.script for each in settings if not each.is_installed]
        inside = [script for script in travelling if script.is_relative_to(self._folder)] or travelling[:1]
        code = collect_code(inside, self._folder) if inside else CodeBundle(self._folder)
        client = self._client_app(self._defaults, code)
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(
                workflows=[self._workflow],
                components={"persistor": Component(self.persistor, {"initial": INITIAL_MODEL})},
            ),
            client=client,
            sites={site: self._client_app(each, code) for site, each in self._sites.items()},
            code=replace(code, extra={PurePosixPath(INITIAL_MODEL): self._initial.path}, owner=self._initial),
            seed=self.seed,
            meta={"server_files": [INITIAL_MODEL]},  # the sites are sent the model when a round begins
        )

    def _client_app(self, settings: _SiteSettings, shared: CodeBundle) -> ClientApp:
        own = None
        if not settings.is_installed and not settings.script.is_relative_to(shared.root):
            own = collect_code([settings.script], settings.script.parent)
        root = (own or shared).root
        script = settings.script if settings.is_installed else settings.script.relative_to(root)
        executor = Component(
            "flare_runtime.scripts.ScriptExecutor",
            {
                "script": script.as_posix(),
                "args": settings.args,
                "launch_external_process": settings.external,
                "command": settings.command,
                "params_transfer_type": settings.transfer.value,
                "exchange_format": self.framework,
            },
        )
        return copy_of(ClientApp(executors=[ExecutorEntry(("*",), executor)], config=dict(settings.config), code=own))

    def _checked_workflow(self) -> Component:
        args: dict[str, Any] = {
            "min_clients": self.min_clients,
            "num_rounds": self.num_rounds,
            "aggregation_weights": self.aggregation_weights or None,
            "exclude_vars": self.exclude_vars,
            "key_metric": self.key_metric,
            "key_metric_mode": self.key_metric_mode,
            "stop_cond": self.stop_cond,
            "patience": self.patience,
        }
        if self.aggregator is not None:
            args["aggregator"] = self._checked_aggregator()
        component = Component("flare_core.workflows.FedAvg", args)
        try:
            component.build()  # raises now what would be wrong later
        except JobError as error:
            raise RecipeError(str(error.__cause__ or error)) from error
        return component

    def _checked_aggregator(self) -> Component:
        try:
            component = Component.of(self.aggregator, what="aggregator")
            built = component.build()
        except JobError as error:
            raise RecipeError(str(error)) from error
        if not isinstance(built, Aggregator):
            raise RecipeError(
                f"aggregator is a {type(built).__name__}; give an object whose class derives from flare_core.Aggregator"
                " (methods add, result, reset)"
            )
        return component

    def _checked_sites(self, per_site: Mapping[str, Mapping[str, Any]]) -> dict[str, _SiteSettings]:
        if not isinstance(per_site, Mapping):
            raise RecipeError(f"per_site_config is a {type(per_site).__name__}; give a dict of site name to dict")
        check_sites(per_site, "per_site_config")
        return {
            site: self._defaults.changed(values, where=f"per_site_config[{site!r}]: ")
            for site, values in per_site.items()
        }

    def _snapshot(self, model: Any, checkpoint: str | Path | None) -> _Snapshot:
        if model is None and checkpoint is None:
            raise RecipeError("give initial_model or initial_ckpt: the sites need a model to start from")
        path = None if checkpoint is None else _find_checkpoint(checkpoint, self._folder)
        snapshot = _Snapshot()
        self._write_initial(model, path, snapshot.path)
        return snapshot


class _Snapshot:
    """A file for the initial model, which is there as long as a recipe or a job needs it."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="flare-recipe-")
        self.path = Path(folder) / INITIAL_MODEL
        weakref.finalize(self, _remove, folder, os.getpid())


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked process has the object too, but the file is not its own
        shutil.rmtree(folder, ignore_errors=True)


class _SiteSettings:
    """How one site runs its script."""

    script: Path
    is_installed: bool  # at the sites, so that it does not travel
    args: list[str]
    external: bool
    command: list[str]
    transfer: ParamsType

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.config: dict[str, Any] = {}

    def changed(self, values: Mapping[str, Any], *, where: str) -> _SiteSettings:
        """Return these settings with some replaced; None keeps what is there."""
        if not isinstance(values, Mapping):
            raise RecipeError(f"{where}is a {type(values).__name__}; give a dict of settings")
        new = _SiteSettings(self._folder)
        new.__dict__.update(self.__dict__)
        for name, value in values.items():
            setter = _SETTERS.get(name)
            if setter is None:
                raise RecipeError(f"{where}unknown setting {name!r}; known are {', '.join(_SETTERS)}")
            if value is not None:
                try:
                    setter(new, value)
                except RecipeError as error:
                    raise RecipeError(f"{where}{error}") from None
        return new

    def _set_script(self, value: Any) -> None:
        path = Path(value).expanduser()
        self.is_installed = path.is_absolute() and not path.exists()
        self.script = path if self.is_installed else find_script(value, self._folder)

    def _set_args(self, value: Any) -> None:
        self.args = check_args(value, "train_args")

    def _set_external(self, value: Any) -> None:
        if not isinstance(value, bool | int):
            raise RecipeError(f"launch_external_process is {value!r}; give True or False")
        self.external = bool(value)

    def _set_command(self, value: Any) -> None:
        self.command = check_args(value, "command")
        if not self.command:
            raise RecipeError("command is empty; give what starts the script, such as 'python3 -u'")

    def _set_transfer(self, value: Any) -> None:
        try:
            self.transfer = ParamsType(value)
        except ValueError:
            raise RecipeError(f"params_transfer_type is {value!r}; use 'FULL' or 'DIFF'") from None

    def _set_config(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise RecipeError(f"config is a {type(value).__name__}; give a dict")
        self.config = dict(value)


_SETTERS = {
    "train_script": _SiteSettings._set_script,
    "train_args": _SiteSettings._set_args,
    "launch_external_process": _SiteSettings._set_external,
    "command": _SiteSettings._set_command,
    "params_transfer_type": _SiteSettings._set_transfer,
    "config": _SiteSettings._set_config,
}


def _find_checkpoint(checkpoint: str | Path, folder: Path) -> Path:
    try:
        return find_script(checkpoint, folder)
    except RecipeError as error:
        raise RecipeError(str(error).replace("train_script", "initial_ckpt", 1)) from None
