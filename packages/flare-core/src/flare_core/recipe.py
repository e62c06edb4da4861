"""Recipe: named arguments that become a job, and the checks that every recipe's arguments go through."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_core.components import Component
from flare_core.compression.codecs import parse_codec
from flare_core.environment import ExecEnv, Run, chosen_environment
from flare_core.errors import JobError, ModelTypeError, RecipeError
from flare_core.filters import Filter
from flare_core.job import ALL_SITES, SERVER, ClientApp, FilterEntry, Job, check_name
from flare_core.job_folder import export_job

__all__ = ["Recipe"]

_COMPRESS, _RESTORE = "flare_core.compression.CompressTensors", "flare_core.compression.DecompressTensors"

_RECIPE_OF_FRAMEWORK = {
    "torch": "flare_recipes_pt",
    "tensorflow": "flare_recipes_tf",
    "keras": "flare_recipes_tf",
    "sklearn": "flare_recipes_sklearn",
    "numpy": "flare_recipes_np",
    "xgboost": "flare_xgb",
}


class Recipe(ABC):
    """An algorithm with its arguments; executing it, in whatever environment, never changes it."""

    def __init__(
        self,
        *,
        name: str,
        min_clients: int,
        seed: int = 0,
        compression: str | Mapping[str, str] | None = None,
        round_deadline_s: float | None = None,
        reconnect_grace_s: float | None = None,
    ) -> None:
        try:
            check_name(name, what="name")
        except JobError as error:
            raise RecipeError(str(error)) from None
        self.name = name
        self.min_clients = check_count(min_clients, "min_clients")
        self.seed = check_count(seed, "seed", minimum=0)
        self.compression = check_compression(compression)
        self.round_deadline_s = check_seconds(round_deadline_s, "round_deadline_s")
        self.reconnect_grace_s = check_seconds(reconnect_grace_s, "reconnect_grace_s")
        self._filters: list[tuple[str, FilterEntry, tuple[str, ...] | None]] = []

    @abstractmethod
    def build(self) -> Job:
        """Return the job that the arguments describe, without the recipe's filters."""

    def job(self) -> Job:
        """Return a new job for this recipe, filters included."""
        job = self.build()
        for chain, entry, clients in self._filters:
            for app in _targets(job, chain, clients):
                getattr(app, chain.partition(".")[2]).append(entry)
        self._compress(job)
        for name in ("round_deadline_s", "reconnect_grace_s"):
            if getattr(self, name) is not None:
                job.meta[name] = getattr(self, name)
        return job

    def _compress(self, job: Job) -> None:
        """Add the filters for compression: last where a model leaves one end, first where it reaches the other."""
        for what, codec in self.compression.items():
            compress = FilterEntry(("*",), (Component(_COMPRESS, {"codec": codec}),))
            restore = FilterEntry(("*",), (Component(_RESTORE),))
            for client in (job.client, *job.sites.values()):
                if what == "task":
                    client.task_data_filters.insert(0, restore)
                else:
                    client.task_result_filters.append(compress)
            if what == "task":
                job.server.task_data_filters.append(compress)
            else:
                job.server.task_result_filters.insert(0, restore)

    def execute(self, env: ExecEnv, *, raise_on_failure: bool = True) -> Run:
        """Run the job in ``env`` and return its run; in the simulator it has ended by then.

        ``flare run`` can put another environment in the place of ``env``.

        Raises:
            JobFailed: the run failed, unless ``raise_on_failure`` is false.
        """
        run = (chosen_environment() or env).deploy(self.job())
        if raise_on_failure and run.get_status().has_ended:
            run.get_result()
        return run

    def export(self, job_dir: str | Path) -> Path:
        """Write the job as a folder below ``job_dir`` and return that folder."""
        return export_job(self.job(), Path(job_dir))

    def add_client_input_filter(
        self, filter: Filter, tasks: Sequence[str] | None = None, clients: Sequence[str] | None = None
    ) -> None:
        """Filter tasks when they reach the sites (``clients`` names some of them)."""
        self._add_filter("client.task_data_filters", filter, tasks, clients)

    def add_client_output_filter(
        self, filter: Filter, tasks: Sequence[str] | None = None, clients: Sequence[str] | None = None
    ) -> None:
        """Filter results before they leave the sites (``clients`` names some of them)."""
        self._add_filter("client.task_result_filters", filter, tasks, clients)

    def add_server_input_filter(self, filter: Filter, tasks: Sequence[str] | None = None) -> None:
        """Filter results when they reach the server."""
        self._add_filter("server.task_result_filters", filter, tasks, None)

    def add_server_output_filter(self, filter: Filter, tasks: Sequence[str] | None = None) -> None:
        """Filter tasks before they leave the server."""
        self._add_filter("server.task_data_filters", filter, tasks, None)

    def _add_filter(
        self, chain: str, filter: Filter, tasks: Sequence[str] | None, clients: Sequence[str] | None
    ) -> None:
        if not isinstance(filter, Filter):
            raise RecipeError(f"a filter is a {type(filter).__name__}; give an object whose class derives from Filter")
        entry = FilterEntry(tuple(tasks or ("*",)), (Component.of(filter, what="a filter"),))
        self._filters.append((chain, entry, tuple(clients) if clients else None))


def _targets(job: Job, chain: str, clients: tuple[str, ...] | None) -> list[Any]:
    if chain.startswith("server."):
        return [job.server]
    if clients is None:
        return [job.client, *job.sites.values()]
    for site in clients:
        if site not in job.sites:
            job.sites[site] = copy_of(job.client)
    return [job.sites[site] for site in clients]


def copy_of(app: ClientApp) -> ClientApp:
    """A site's part that starts as the others' and can then differ."""
    return ClientApp(
        executors=list(app.executors),
        components=dict(app.components),
        task_data_filters=list(app.task_data_filters),
        task_result_filters=list(app.task_result_filters),
        config=dict(app.config),
        code=app.code,
    )


def check_count(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return ``value`` as an integer of at least ``minimum``.

    Raises:
        RecipeError: it is none.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < minimum:
        raise RecipeError(f"{name} is {value!r}; give an integer from {minimum}")
    return int(value)


def check_seconds(value: Any, name: str) -> float | None:
    """Return ``value`` as a positive number of seconds; None stays None.

    Raises:
        RecipeError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise RecipeError(f"{name} is {value!r}; give a number of seconds above 0, or None")
    return float(value)


def check_compression(value: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the codecs by what they are for, ``task`` or ``result``.

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
            "compression of tasks is 'topk', which leaves values out; sites need whole models, so use it"
            " for results: {'result': 'topk:0.01'}"
        )
    return {what: codec.text for what, codec in codecs.items()}


def check_args(value: str | Sequence[str], name: str) -> list[str]:
    """Split a command line as a POSIX shell does, with nothing substituted; a list is taken as it is.

    Raises:
        RecipeError: quotes do not match, or it is neither text nor a list of text.
    """
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise RecipeError(f"{name} is {value!r}: {error}; close the quotes, or give a list of arguments") from None
    if isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
        return list(value)
    raise RecipeError(f"{name} is {value!r}; give one string, or a list of strings")


def check_sites(value: Mapping[str, Any], name: str) -> None:
    """Refuse site names that are reserved or cannot be names.

    Raises:
        RecipeError: names the entry.
    """
    for site in value:
        if site in (SERVER, ALL_SITES):
            raise RecipeError(f"{name} has an entry {site!r}, which is reserved; its keys are names of sites")
        try:
            check_name(site, what=f"a site in {name}")
        except JobError as error:
            raise RecipeError(str(error)) from None


def framework_of(value: Any) -> str | None:
    """The framework that a model or an array belongs to, told by the modules of its classes; None if unknown."""
    classes = value.__mro__ if isinstance(value, type) else type(value).__mro__
    for cls in classes:
        package = cls.__module__.partition(".")[0]
        if package in _RECIPE_OF_FRAMEWORK:
            return package
    return None


def wrong_model(value: Any, recipe: str, wanted: str, *, what: str = "initial_model") -> ModelTypeError:
    """The error for a model, or a part of one, that ``recipe`` cannot take; names the package whose recipe can."""
    if isinstance(value, type):
        return ModelTypeError(
            f"{what} is the class {value.__name__} itself; give an object, {value.__name__}(...), or"
            f" {{'class_path': '{value.__module__}.{value.__qualname__}', 'args': {{...}}}}"
        )
    package = _RECIPE_OF_FRAMEWORK.get(framework_of(value) or "")
    hint = f"; use {package}.FedAvgRecipe for it" if package else ""
    return ModelTypeError(
        f"{what} is a {type(value).__module__}.{type(value).__qualname__}, but {recipe} takes {wanted}{hint}"
    )
