"""EdgeFedBuffRecipe: training on devices that gateways connect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core import RecipeError
from flare_core.additions import check_sites
from flare_core.code import TemporaryFolder, calling_folder, collect_code, find_script
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.optimizers import ServerOptimizer
from flare_core.parameters import recorded_model
from flare_core.recipe import Recipe, check_component, check_count, check_seconds
from flare_core.recipes.script import INITIAL_MODEL
from flare_core.recipes.workflow import module_file
from flare_core.selection import MODES
from flare_edge.dataset_evaluator import described_module
from flare_edge.errors import EdgeError
from flare_edge.executor import SERVE
from flare_edge.fedbuff import (
    DeviceManagerConfig,
    EvaluatorConfig,
    FedBuffSettings,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge.initial_model import initial_params
from flare_edge.simulated import TaskProcessor
from flare_edge.sum_filters import SumFilter
from flare_edge.tree.topology import check_inner
from flare_tensor_downloader import write_file


@dataclass(kw_only=True, eq=False, repr=False)
class EdgeFedBuffRecipe(Recipe):
    """Train a model on devices with buffered asynchronous aggregation (FedBuff).

    Devices connect to gateways at the sites over HTTPS. The server chooses devices, and makes a version of the model
    whenever enough updates wait. Synchronous rounds are a special case: as many updates for a version as devices work.
    A run ends with ``model_manager_config.max_model_version``; each version is a round.

    Args:
        job_name: name of the job, in place of ``name``.
        model: the model to start from: arrays by name, a ``torch.nn.Module``, a state dict, or ``{"class_path",
            "args"}``. It is copied when the recipe is created. Devices train the floating-point parameters.
        model_manager_config: when versions are made, and from which updates.
        device_manager_config: how many devices work, and which.
        initial_ckpt: a ``.safetensors`` or ``.npz`` file to start from, alone or with ``model``, whose values it
            replaces. The path is relative to the file that creates the recipe.
        evaluator_config: how versions are evaluated. None: by the metrics that devices measure while they train.
        simulation_config: devices that are simulated in the processes of the gateways; None for real ones alone.
        custom_source_root: a folder with modules that the job needs, such as those of ``task_processor``.
        device_wait_timeout: the run fails after so many seconds without a device that can work; None: it waits on.
        device_config: settings for the devices, JSON values that every task carries; see
            :mod:`flare_edge.device.programs`.
        description: text for the people at the devices.
        tree: inner nodes: by site, the sites that report to it. All other sites are gateways, and sites that no other
            has report to the server.
        answer_within_s: a device that has not answered an order after so many seconds is given up; None: never.
        min_devices_per_sum: sums of fewer devices do not leave a gateway.
        sum_filters: objects derived from :class:`~flare_edge.SumFilter`, applied to the sums of each gateway before
            they leave its site; for masks, for example.
        optimizer_args: an optimizer of the server as ``{"class_path", "args"}``, see :mod:`flare_core.optimizers`; it
            takes the mean update as the negative gradient. None adds ``global_lr`` times the mean update.
        key_metric: the metric that chooses the best model.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower is.
        reconnect_grace_s: seconds to wait while fewer than ``min_clients`` sites are connected before the run fails.
        seed: of the choice of devices.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.

    Example:
        recipe = EdgeFedBuffRecipe(
            job_name="digits",
            model={"w": np.zeros((10, 64), np.float32), "b": np.zeros(10, np.float32)},
            model_manager_config=ModelManagerConfig(max_model_version=20, num_updates_for_model=10),
            device_manager_config=DeviceManagerConfig(device_selection_size=20),
        )
    """

    name: str = "edge-fedbuff"
    min_clients: int = 1
    job_name: str | None = None
    model: Any = None
    model_manager_config: ModelManagerConfig
    device_manager_config: DeviceManagerConfig
    initial_ckpt: str | Path | None = None
    evaluator_config: EvaluatorConfig | None = None
    simulation_config: SimulationConfig | None = None
    custom_source_root: str | Path | None = None
    device_wait_timeout: float | None = None
    device_config: Mapping[str, Any] | None = None
    description: str = ""
    tree: Mapping[str, Sequence[str]] | None = None
    answer_within_s: float | None = 600.0
    min_devices_per_sum: int = 1
    sum_filters: Sequence[Any] = ()
    optimizer_args: Mapping[str, Any] | None = None
    key_metric: str = "accuracy"
    key_metric_mode: str = "max"
    reconnect_grace_s: float | None = None
    seed: int = 0

    def _check(self) -> None:
        if self.job_name is not None:
            self.name = self.job_name
        super()._check()
        self._folder = calling_folder()
        self._check_configs()
        for name in ("device_wait_timeout", "answer_within_s"):
            setattr(self, name, check_seconds(getattr(self, name), name))
        self.min_devices_per_sum = check_count(self.min_devices_per_sum, "min_devices_per_sum")
        if self.key_metric_mode not in MODES:
            raise RecipeError(f"key_metric_mode is {self.key_metric_mode!r}; use 'max' or 'min'")
        self._tree = _checked_tree(self.tree)
        self._config = self._checked_config()
        self._simulation, self._modules = self._checked_simulation()
        self._sum_filters = [self._checked_filter(each, at) for at, each in enumerate(self.sum_filters)]
        self._evaluator = self._checked_evaluator()
        self._optimizer = None
        if self.optimizer_args is not None:
            self._optimizer, made = check_component(self.optimizer_args, "optimizer_args", object)
            if not isinstance(made, ServerOptimizer):
                raise RecipeError(f"optimizer_args describes a {type(made).__name__}; see flare_core.optimizers")
        self._initial = TemporaryFolder()  # exists as long as the recipe or a job needs it
        self._write_initial(self._initial.folder / INITIAL_MODEL)
        self._model_text = recorded_model(self.model)
        self.model = None  # it is in the snapshot

    def _check_configs(self) -> None:
        for name, kind, is_needed in (
            ("model_manager_config", ModelManagerConfig, True),
            ("device_manager_config", DeviceManagerConfig, True),
            ("evaluator_config", EvaluatorConfig, False),
            ("simulation_config", SimulationConfig, False),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) and (is_needed or value is not None):
                raise RecipeError(f"{name} is {value!r}; give a flare_edge.{kind.__name__}")
        try:
            self._settings = FedBuffSettings(
                self.model_manager_config, self.device_manager_config, self.evaluator_config
            )
        except EdgeError as error:
            raise RecipeError(str(error)) from error

    def _checked_config(self) -> dict[str, Any]:
        """Return the devices' configuration as plain data."""
        given = {} if self.device_config is None else self.device_config
        if not isinstance(given, Mapping):
            raise RecipeError(f"device_config is {given!r}; give a dict of settings by name")
        try:
            values: dict[str, Any] = json.loads(json.dumps(dict(given)))
        except (TypeError, ValueError) as error:
            raise RecipeError(f"device_config has no JSON form ({error}); use plain values") from None
        return values

    def _checked_simulation(self) -> tuple[dict[str, Any] | None, list[Path]]:
        simulation = self.simulation_config
        if simulation is None:
            return None, []
        processor, made = check_component(simulation.task_processor, "simulation_config.task_processor", object)
        if not isinstance(made, TaskProcessor):
            raise RecipeError(
                f"simulation_config.task_processor is a {type(made).__name__}; give an object whose class derives from"
                " flare_edge.TaskProcessor"
            )
        file = module_file(processor, self._folder)
        values = {"task_processor": processor, "num_devices": simulation.num_devices}
        return {**values, "num_workers": simulation.num_workers}, [] if file is None else [file]

    def _checked_evaluator(self) -> Component | None:
        """Return the evaluation on a data set at the server, if there is one."""
        given = self.evaluator_config
        if given is None or (given.torchvision_dataset is None and given.custom_dataset is None):
            return None
        try:
            model = described_module(self.model)
        except EdgeError as error:
            raise RecipeError(str(error)) from error
        if (file := module_file(model, self._folder)) is not None:
            self._modules.append(file)
        data = {"torchvision_dataset": given.torchvision_dataset, "custom_dataset": given.custom_dataset}
        return Component("flare_edge.dataset_evaluator.DatasetEvaluator", {"model": model, **data})

    def _checked_filter(self, given: Any, at: int) -> Component:
        component, made = check_component(given, f"sum_filters[{at}]", object)
        if not isinstance(made, SumFilter):
            raise RecipeError(
                f"sum_filters[{at}] is a {type(made).__name__}; give an object whose class derives from"
                " flare_edge.SumFilter"
            )
        if (file := module_file(component, self._folder)) is not None:
            self._modules.append(file)
        return component

    def _write_initial(self, target: Path) -> None:
        path = None
        if self.initial_ckpt is not None:
            path = find_script(self.initial_ckpt, self._folder, argument="initial_ckpt")
        write_file(target, initial_params(self.model, path))

    def build(self) -> Job:
        workflow = {
            "settings": self._settings.as_data(),
            "seed": self.seed,
            "tree": self._tree,
            "min_clients": self.min_clients,
            "optimizer": self._optimizer,
            "key_metric": self.key_metric,
            "key_metric_mode": self.key_metric_mode,
            "device_wait_timeout": self.device_wait_timeout,
            "evaluator": self._evaluator,
        }
        site = {
            "tree": self._tree,
            "models": asdict(self.model_manager_config),
            "job": {"name": self.name, "description": self.description, "config": self._config},
            "answer_within_s": self.answer_within_s,
            "min_devices_per_sum": self.min_devices_per_sum,
            "sum_filters": self._sum_filters,
            "simulation": self._simulation,
        }
        code = self._code()
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(
                workflows=[Component("flare_edge.workflow.EdgeWorkflow", workflow)],
                components={
                    "persistor": Component(
                        "flare_runtime.run.persistor.SafetensorsPersistor", {"initial": INITIAL_MODEL}
                    ),
                    "edge": Component("flare_edge.server.EdgeServer", {}),
                },
            ),
            client=ClientApp(
                executors=[ExecutorEntry((SERVE,), Component("flare_edge.executor.EdgeExecutor", {}))],
                components={"edge": Component("flare_edge.executor.EdgeSite", site)},
            ),
            code=replace(
                code, extra={PurePosixPath(INITIAL_MODEL): self._initial.folder / INITIAL_MODEL}, owner=self._initial
            ),
            seed=self.seed,
            meta={"server_files": [INITIAL_MODEL]},
        )

    def _code(self) -> CodeBundle:
        files = list(self._modules)
        folder = self._folder
        if self.custom_source_root is not None:
            folder = (folder / Path(self.custom_source_root).expanduser()).resolve()
            if not folder.is_dir():
                raise RecipeError(
                    f"custom_source_root is {str(self.custom_source_root)!r}: there is no folder {folder}"
                )
            files = [*files, *sorted(folder.rglob("*.py"))]
        return collect_code(files, folder) if files else CodeBundle(folder)

    def job(self) -> Job:
        """Return a new job for this recipe, with all additions.

        Raises:
            RecipeError: filters were added, which could not see what devices send.
        """
        job = super().job()
        apps: list[ClientApp | ServerApp] = [job.client, *job.sites.values(), job.server]
        if any(app.task_data_filters or app.task_result_filters for app in apps):
            raise RecipeError(
                "Flare's filters see tasks of sites, but not the updates of devices; remove them from the recipe, and"
                " use filters of the devices (device_config['filters']), min_devices_per_sum and sum_filters"
            )
        return job

    def recorded(self, argument: str) -> Any:
        return self._model_text if argument == "model" else super().recorded(argument)


def _checked_tree(given: Any) -> dict[str, list[str]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RecipeError(f"tree is {given!r}; give a dict of lists of sites, by the site that they report to")
    try:
        check_inner(given)
    except EdgeError as error:
        raise RecipeError(str(error)) from error
    check_sites([*given, *(child for children in given.values() for child in children)], "tree")
    return {parent: list(children) for parent, children in given.items()}
