"""ScriptRecipe: the base class of recipes in which a script trains or evaluates a model at each site."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from flare_core.additions import check_sites
from flare_core.code import TemporaryFolder, calling_folder, collect_code, find_script
from flare_core.components import Component
from flare_core.compression.codecs import parse_codec
from flare_core.errors import JobError, RecipeError
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, FilterEntry, Job, ServerApp
from flare_core.model import ParamsType
from flare_core.parameters import recorded_model
from flare_core.recipe import Recipe, check_count
from flare_core.recipes.site_settings import SiteSettings, check_script

INITIAL_MODEL = "initial_model.safetensors"

_COMPRESS, _RESTORE = (
    "flare_core.compression.filters.CompressTensors",
    "flare_core.compression.filters.DecompressTensors",
)


@dataclass(kw_only=True, eq=False, repr=False)
class ScriptRecipe(Recipe):
    """A recipe in which a script trains or evaluates a model at each site.

    Args:
        num_rounds: number of rounds.
        initial_model: the model to start from, in one of the framework's forms. It is copied when the recipe is
            created; later changes to the object have no effect.
        initial_ckpt: a checkpoint file to start from, alone or with ``initial_model``, whose values it replaces. The
            path is relative to the file that creates the recipe.
        train_script: the script that the sites run; the path is relative to the file that creates the recipe. It is
            sent with the job. Only for ProdEnv, an absolute path that does not exist on this machine names a script
            that is installed at the sites.
        train_args: the script's arguments: one string, split as a POSIX shell does but without substitution, or a list.
        launch_external_process: run the script in its own process instead of inside the site's process.
        command: the command that starts such a process; the script and its arguments are appended.
        params_transfer_type: ``FULL`` sends whole models back, ``DIFF`` their difference to the received model.
        per_site_config: settings by site name that replace ``train_script``, ``train_args``,
            ``launch_external_process``, ``command`` or ``params_transfer_type`` at that site, and ``config``, a dict
            that its script reads with ``flare.get_config()``. None means the recipe's own value.
        compression: a codec that compresses models on the wire: ``fp16``, ``bf16``, ``int8``, ``int4`` or ``zstd``
            in both directions, ``topk:0.01`` (with DIFF only) for results; or a dict with ``task`` and ``result``.
            A codec followed by ``+zstd`` compresses further. All but ``zstd`` lose precision.
        round_deadline_s: seconds after which a round continues without sites that have not replied, if ``min_clients``
            have, and without a site whose reply stops arriving for that long. None waits for all connected sites.
        reconnect_grace_s: seconds to wait while fewer than ``min_clients`` sites are connected before the run fails.
        seed: seeds every random choice of the run, and the global generators (``random``, ``numpy.random``, torch) of
            scripts that run inside the site's process.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.
        ModelTypeError: the model belongs to another framework; names its recipe.
    """

    framework: ClassVar[str]
    """The form of the scripts' arrays: ``numpy``, ``pytorch`` or ``tensorflow``."""

    persistor: ClassVar[str]
    """Class path of the persistor, which reads the initial model and writes the framework's checkpoint format."""

    optimizers: ClassVar[tuple[type, str] | None] = None
    """The base class of the framework's optimizers, and the class path of their adapter to a server optimizer."""

    num_rounds: int = 2
    initial_model: Any = None
    initial_ckpt: str | Path | None = None
    train_script: str | Path
    train_args: str | Sequence[str] = ""
    launch_external_process: bool = False
    command: str | Sequence[str] = "python3 -u"
    params_transfer_type: ParamsType | str = ParamsType.FULL
    per_site_config: Mapping[str, Mapping[str, Any]] | None = None
    compression: str | Mapping[str, str] | None = None
    round_deadline_s: float | None = None
    reconnect_grace_s: float | None = None
    seed: int = 0

    def _check(self) -> None:
        super()._check()
        self.num_rounds = check_count(self.num_rounds, "num_rounds")
        self._codecs = check_compression(self.compression)
        self._folder = calling_folder()
        check_script(self.train_script)  # changed() would ignore None
        self._defaults = SiteSettings(self._folder).changed(
            {
                "train_script": self.train_script,
                "train_args": self.train_args,
                "launch_external_process": self.launch_external_process,
                "command": self.command,
                "params_transfer_type": self.params_transfer_type,
            },
            where="",
        )
        self._sites = self._checked_sites(self.per_site_config or {})
        self._check_topk()
        self._trainable: list[str] | None = None
        self._executors: list[ExecutorEntry] = []
        model = self._read_model(self.initial_model)
        if model is None and self.initial_ckpt is None:
            raise RecipeError("give initial_model or initial_ckpt: the sites need a model to start from")
        checkpoint = self._checkpoint()
        self._initial = TemporaryFolder()  # exists as long as the recipe or a job needs it
        self._initial_file = self._initial.folder / INITIAL_MODEL
        self._write_initial(model, checkpoint, self._initial_file)
        self._workflows = [_checked(self._workflow())]  # after the snapshot, which sets _trainable
        self._model_text = recorded_model(self.initial_model)
        self.initial_model = None  # it is in the snapshot; free the memory of a large one

    @abstractmethod
    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        """Write the initial model, read from one or both arguments, to ``target`` as safetensors.

        Also set ``_trainable`` if :meth:`_read_model` could not. Raise ``ModelTypeError`` for a model of another
        framework, and ``RecipeError`` if the checkpoint does not match the model.
        """

    def _read_model(self, model: Any) -> Any:
        """Return the initial model, created first if it is a description; set ``_trainable`` if known."""
        return model

    @abstractmethod
    def _workflow(self) -> Component:
        """Return the workflow with its arguments."""

    def _checkpoint(self) -> Path | None:
        if self.initial_ckpt is None:
            return None
        return find_script(self.initial_ckpt, self._folder, argument="initial_ckpt")

    def _persistor(self) -> Component:
        return Component(self.persistor, {"initial": INITIAL_MODEL})

    def add_workflow(self, workflow: Component) -> None:
        """Run another workflow after the existing ones.

        Raises:
            RecipeError: there already is one of its class, or its arguments are unusable.
        """
        if any(each.class_path == workflow.class_path for each in self._workflows):
            raise RecipeError(f"{type(self).__name__} already has a {workflow.class_path.rpartition('.')[2]}")
        self._workflows.append(_checked(workflow))

    def add_executor(self, entry: ExecutorEntry) -> None:
        """Add an executor at every site, for tasks that the script does not handle."""
        self._executors.append(entry)

    def build(self) -> Job:
        settings = [self._defaults, *self._sites.values()]
        travelling = [each.script for each in settings if not each.is_installed]
        inside = [script for script in travelling if script.is_relative_to(self._folder)] or travelling[:1]
        code = collect_code(inside, self._folder) if inside else CodeBundle(self._folder)
        client = self._client_app(self._defaults, code)
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(workflows=list(self._workflows), components={"persistor": self._persistor()}),
            client=client,
            sites={site: self._client_app(each, code) for site, each in self._sites.items()},
            code=replace(code, extra={PurePosixPath(INITIAL_MODEL): self._initial_file}, owner=self._initial),
            seed=self.seed,
            meta={"server_files": [INITIAL_MODEL]},  # the sites receive the model in the first round
        )

    def job(self) -> Job:
        job = super().job()
        self._compress(job)
        return job

    def recorded(self, argument: str) -> Any:
        return self._model_text if argument == "initial_model" else super().recorded(argument)

    def _compress(self, job: Job) -> None:
        """Add the filters for compression: compress after all other filters, decompress before them."""
        clients = [job.client, *job.sites.values()]
        for what, codec in self._codecs.items():
            chain = "task_data_filters" if what == "task" else "task_result_filters"
            senders, receivers = ([job.server], clients) if what == "task" else (clients, [job.server])
            for app in senders:
                getattr(app, chain).append(FilterEntry(("*",), (Component(_COMPRESS, {"codec": codec}),)))
            for app in receivers:
                getattr(app, chain).insert(0, FilterEntry(("*",), (Component(_RESTORE),)))

    def _client_app(self, settings: SiteSettings, shared: CodeBundle) -> ClientApp:
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
        executors = [*self._executors, ExecutorEntry(("*",), executor)]
        return ClientApp(executors=executors, config=copy.deepcopy(settings.config), code=own)

    def _checked_sites(self, per_site: Mapping[str, Mapping[str, Any]]) -> dict[str, SiteSettings]:
        if not isinstance(per_site, Mapping):
            raise RecipeError(f"per_site_config is a {type(per_site).__name__}; give a dict of dicts by site name")
        check_sites(per_site, "per_site_config")
        return {
            site: self._defaults.changed(values, where=f"per_site_config[{site!r}]: ")
            for site, values in per_site.items()
        }

    def _check_topk(self) -> None:
        codec, settings = self._codecs.get("result", ""), [self._defaults, *self._sites.values()]
        if codec.startswith("topk") and any(each.transfer is not ParamsType.DIFF for each in settings):
            raise RecipeError(f"compression {codec!r} of results needs differences; give params_transfer_type='DIFF'")


def _checked(workflow: Component) -> Component:
    """Return a workflow after building it once, so that errors appear early."""
    try:
        workflow.build()
    except JobError as error:
        raise RecipeError(str(error.__cause__ or error)) from error
    return workflow


def check_compression(value: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the names of the codecs for ``task`` and ``result``.

    Raises:
        RecipeError: a codec is unknown, or cannot be used for tasks.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        value = {"result": value} if parse_codec(value).name == "topk" else {"task": value, "result": value}
    if not isinstance(value, Mapping) or not set(value) <= {"task", "result"}:
        raise RecipeError(f"compression is {value!r}; give a codec, or a dict with the keys 'task' and 'result'")
    codecs = {what: parse_codec(codec) for what, codec in value.items()}
    if "task" in codecs and codecs["task"].name == "topk":
        raise RecipeError(
            "compression of tasks is 'topk', but sites need whole models; use it for results: {'result': 'topk:0.01'}"
        )
    return {what: codec.text for what, codec in codecs.items()}
