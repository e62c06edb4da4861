"""FedJob, a job that is put together part by part."""

from __future__ import annotations

import importlib
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flare_core import Job, JobError, Recipe, RecipeError
from flare_core.code import TemporaryFolder, calling_folder
from flare_core.job import ALL_SITES, SERVER, check_name
from flare_core.job_folder import export_job
from nvflare._flare.describe import is_ours
from nvflare._flare.job_form import JobForm
from nvflare._flare.layout import Outputs
from nvflare._flare.parts import Parts, code_of, form_of
from nvflare.job_config.defs import FilterType, JobTargetType


class JobCtx:
    """The place at which an object is being added to a job.

    Args:
        obj: the object.
        target: the party that it is for.
        comp_id: the id that was wanted for it.
    """

    def __init__(self, obj: Any, target: str, comp_id: str | None) -> None:
        self.obj = obj
        self.target = target
        self.comp_id = comp_id


class FedJob:
    """A job: objects, scripts, files and settings, for the server, for all sites or for some.

    An object is asked where it belongs by its method ``add_to_fed_job(job, ctx, ...)``; without one it becomes a
    component.

    Args:
        name: its name.
        min_clients: the number of sites that it needs.
        mandatory_clients: sites without which it does not run.
        meta_props: further entries of its meta.json.
        fail_fast: without effect; a run always ends when a site's script fails.
    Raises:
        RecipeError: the name or the number cannot be one.
    """

    def __init__(
        self,
        name: str = "fed_job",
        min_clients: int = 1,
        mandatory_clients: list[str] | None = None,
        meta_props: dict[str, Any] | None = None,
        fail_fast: bool = False,
    ) -> None:
        try:
            check_name(name, what="a job's name")
        except JobError as error:
            raise RecipeError(str(error)) from None
        if isinstance(min_clients, bool) or not isinstance(min_clients, int) or min_clients < 1:
            raise RecipeError(f"min_clients is {min_clients!r}; give an integer of at least 1")
        self.name = name
        self.min_clients = min_clients
        self.mandatory_clients = list(mandatory_clients or [])
        self.meta_props = dict(meta_props or {})
        self.clients: list[str] = []
        self.native: Recipe | None = None
        self.outputs = Outputs()
        self.remade: Callable[[Mapping[str, Any]], FedJob] | None = None
        """Returns a job of the same recipe with other settings of sites, if it can have some."""
        self.folder = calling_folder()
        self._deploy_map: dict[str, Parts] = {}
        self._referenced: dict[str, Any] = {}  # objects that as_id() was asked for and that have no place yet

    @property
    def job(self) -> FedJob:
        """This job; NVIDIA FLARE keeps the entries of meta.json in an object of its own."""
        return self

    @classmethod
    def of(cls, recipe: Recipe, outputs: Outputs) -> FedJob:
        """Return the job of one of Flare's recipes, to which other parts can be added."""
        job = cls(recipe.name, recipe.min_clients)
        job.native, job.outputs = recipe, outputs
        return job

    @property
    def is_extended(self) -> bool:
        """True if anything was added to the job of a recipe."""
        return bool(self._deploy_map) or bool(self.native and (self.native._additions or self.native._files))

    def to(self, obj: Any, target: str, id: str | None = None, **kwargs: Any) -> Any:
        """Add something for one party.

        Args:
            obj: the path of a script, a file or a folder; a dict of settings; or an object.
            target: ``server``, the name of a site, or ``@ALL``.
            id: the id that is wanted for an object.
            kwargs: arguments for the object's ``add_to_fed_job``.
        Returns:
            What ``add_to_fed_job`` returns, or the id of the component.
        Raises:
            RecipeError: there is nothing to add, the target is no name, or the object is for other parties.
        """
        if not obj:
            raise RecipeError(f"there is nothing to add for {target!r}: {obj!r}")
        parts = self._parts(target)
        if isinstance(obj, str):
            parts.add_resource(obj)
            return None
        if isinstance(obj, dict):
            parts.settings.update(obj)
            return None
        kind = getattr(obj, "get_job_target_type", None)
        if kind is not None and (wanted := kind()) != JobTargetType.get_target_type(target):
            raise RecipeError(f"a {type(obj).__name__} is for the {wanted}, not for {target!r}")
        add = getattr(obj, "add_to_fed_job", None)
        result = (
            parts.add_component(obj, id or "component") if add is None else add(self, JobCtx(obj, target, id), **kwargs)
        )
        self._add_referenced(obj, parts)
        return result

    def to_server(self, obj: Any, id: str | None = None, **kwargs: Any) -> Any:
        """Add something for the server; arguments as for :meth:`to`."""
        return self.to(obj, SERVER, id, **kwargs)

    def to_clients(self, obj: Any, id: str | None = None, **kwargs: Any) -> Any:
        """Add something for all sites; arguments as for :meth:`to`."""
        return self.to(obj, ALL_SITES, id, **kwargs)

    def add_component(self, comp_id: str | None, obj: Any, ctx: JobCtx) -> str:
        """Add a component where ``ctx`` is, and return its id."""
        parts = self._parts(ctx.target)
        name = parts.add_component(obj, comp_id or ctx.comp_id or "component")
        self._add_referenced(obj, parts)
        return name

    def add_controller(self, obj: Any, ctx: JobCtx) -> None:
        """Add a controller where ``ctx`` is: a workflow of the server, or a component of a site."""
        parts = self._parts(ctx.target)
        if ctx.target == SERVER:
            parts.workflows[parts.new_id(ctx.comp_id or "controller")] = obj
        else:
            parts.add_component(obj, ctx.comp_id or "component")

    def add_executor(self, obj: Any, tasks: list[str] | None, ctx: JobCtx) -> None:
        """Add an executor where ``ctx`` is, for all tasks if none are named.

        Raises:
            RecipeError: another executor of the party has one of the tasks.
        """
        if ctx.target == SERVER:
            raise RecipeError("an executor is for sites; use job.to_clients(executor) or job.to(executor, <site>)")
        parts, wanted = self._parts(ctx.target), list(tasks or ["*"])
        if taken := sorted({task for known, _ in parts.executors for task in known} & set(wanted)):
            raise RecipeError(f"{ctx.target} already has an executor for the task {taken[0]!r}; name other tasks")
        parts.executors.append((wanted, obj))

    def add_filter(self, obj: Any, filter_type: str, tasks: list[str] | None, ctx: JobCtx) -> None:
        """Add a filter where ``ctx`` is, for all tasks if none are named.

        Raises:
            RecipeError: the type is neither of :class:`FilterType`.
        """
        parts = self._parts(ctx.target)
        if filter_type not in (FilterType.TASK_DATA, FilterType.TASK_RESULT):
            raise RecipeError(f"filter_type is {filter_type!r}; give FilterType.TASK_DATA or FilterType.TASK_RESULT")
        chain = parts.task_data_filters if filter_type == FilterType.TASK_DATA else parts.task_result_filters
        chain.append((list(tasks or ["*"]), obj))

    def add_resources(self, resources: list[str], ctx: JobCtx) -> None:
        """Add files and folders where ``ctx`` is."""
        for each in resources:
            self._parts(ctx.target).add_resource(each)

    def add_file_source(self, src_path: str, dest_dir: str | None, app_folder_type: str | None, ctx: JobCtx) -> None:
        """Add a file or a folder where ``ctx`` is; other arguments as for :meth:`add_file_to`."""
        self._parts(ctx.target).files.append((src_path, dest_dir, app_folder_type))

    def add_params(self, args: dict[str, Any], ctx: JobCtx) -> None:
        """Add settings where ``ctx`` is."""
        self._parts(ctx.target).settings.update(args)

    def add_file_to(
        self, src_path: str, target: str, dest_dir: str | None = None, app_folder_type: str | None = None
    ) -> None:
        """Add a file or a folder for a party.

        Args:
            src_path: its path.
            target: the party, as for :meth:`to`.
            dest_dir: the folder below that of the app.
            app_folder_type: ``custom`` (by default) or ``config``.
        """
        self._parts(target).files.append((src_path, dest_dir, app_folder_type))

    def add_file_to_server(
        self, src_path: str, dest_dir: str | None = None, app_folder_type: str | None = None
    ) -> None:
        """Add a file or a folder for the server; arguments as for :meth:`add_file_to`."""
        self.add_file_to(src_path, SERVER, dest_dir, app_folder_type)

    def add_file_to_clients(
        self, src_path: str, dest_dir: str | None = None, app_folder_type: str | None = None
    ) -> None:
        """Add a file or a folder for all sites; arguments as for :meth:`add_file_to`."""
        self.add_file_to(src_path, ALL_SITES, dest_dir, app_folder_type)

    def as_id(self, obj: Any) -> str:
        """Return an id for an object, which becomes a component of each party that has a part with that id."""
        name = str(uuid.uuid4())
        self._referenced[name] = obj
        return name

    def add_code_of(self, obj: Any, target: str) -> None:
        """Add the module of an object's class for a party, unless it is installed everywhere."""
        cls = type(obj)
        if obj is not None and not is_ours(cls):
            for place, path in code_of(cls).items():
                self._parts(target).files.append((str(path), str(place.parent), None))

    def set_app_packages(self, app_packages: list[str]) -> None:
        """Name packages whose code does not travel; that of installed packages never does."""
        return None

    def set_up_client(self, target: str) -> None:
        """Prepare a site, or all, when it gets its first part; a subclass can override this."""
        return None

    @staticmethod
    def check_kwargs(args_to_check: Mapping[str, Any], args_expected: Mapping[str, bool]) -> None:
        """Check the arguments that an ``add_to_fed_job`` was given.

        Args:
            args_to_check: the arguments.
            args_expected: for each known name, if it must be given.
        Raises:
            RecipeError: one is missing or unknown.
        """
        known = ", ".join(args_expected) or "none"
        for name in args_to_check.keys() - args_expected.keys():
            raise RecipeError(f"unknown argument {name!r}; known are: {known}")
        for name, is_required in args_expected.items():
            if is_required and name not in args_to_check:
                raise RecipeError(f"the argument {name!r} is missing")

    @contextmanager
    def settings(self, server: dict[str, Any] | None, clients: dict[str, Any] | None) -> Iterator[None]:
        """Change the settings of the parties while the context lasts: None leaves them, an empty dict clears them."""
        before = {target: dict(parts.settings) for target, parts in self._deploy_map.items()}
        for given, targets in ((server, [SERVER]), (clients, self.clients or [ALL_SITES])):
            for target in targets if given is not None else ():
                assert given is not None
                if given:
                    self._parts(target).settings.update(given)
                elif target in self._deploy_map:
                    self._deploy_map[target].settings.clear()
        try:
            yield
        finally:
            for target, parts in self._deploy_map.items():
                parts.settings = before.get(target, {})

    def form(self) -> JobForm:
        """Return the content of the job's folder."""
        meta: dict[str, Any] = {"name": self.name, "resource_spec": {}, "min_clients": self.min_clients}
        if self.mandatory_clients:
            meta["mandatory_clients"] = self.mandatory_clients
        return form_of(meta | self.meta_props, self._deploy_map)

    def flare_job(self) -> Job:
        """Return a new job in Flare's own form.

        Raises:
            FlareError: a part of the job cannot run on Flare; says what to use instead.
        """
        recipe, parties = self._recipe()
        if recipe is None and self.remade is not None:
            raise RecipeError("the recipe needs settings of each site; call set_per_site_config(recipe, {site: {…}})")
        if recipe is None:
            return _hosted(self.form())
        from nvflare._flare.native import add_parts

        job = recipe.job()
        job.meta |= {name: value for name, value in self.meta_props.items() if name not in job.meta}
        add_parts(job, parties)
        return job

    def export_job(self, job_root: str) -> None:
        """Write the job to a folder below ``job_root``, replacing an older one of the same name.

        Raises:
            JobError: something else is in the way.
        """
        folder = Path(job_root) / self.name
        if (folder / "meta.json").is_file():
            shutil.rmtree(folder)
        if self.remade is not None or self._recipe()[0] is not None:
            export_job(self.flare_job(), Path(job_root))
            return
        if folder.exists():
            raise JobError(f"{folder} is in the way of the job's folder and is no job; choose another job_root")
        self.form().write(folder)

    def simulator_run(
        self,
        workspace: str,
        n_clients: int | None = None,
        clients: list[str] | None = None,
        threads: int | None = None,
        gpu: str | None = None,
        log_config: Any = None,
    ) -> None:
        """Simulate the job on this machine.

        Args:
            workspace: the folder of the results.
            n_clients: the number of sites, if the job has parts for all sites.
            clients: the names of the sites.
            threads: how many scripts run at a time.
            gpu: the GPUs for each group of sites.
            log_config: as for :class:`nvflare.recipe.SimEnv`.
        Raises:
            RecipeError: the number of sites is missing, or the job names its sites itself.
            JobFailed: the run has failed.
        """
        from nvflare.recipe.sim_env import SimEnv

        named = [target for target in self.clients if target != ALL_SITES]
        if named and n_clients:
            raise RecipeError(
                f"n_clients is {n_clients}, but the job names its sites: {', '.join(named)}; leave it out"
            )
        if not (named or n_clients or clients):
            raise RecipeError("give n_clients: the job has parts for all sites, and does not say how many there are")
        sites = clients or named or None
        env = SimEnv(
            num_clients=0 if sites else n_clients or 0,
            clients=sites,
            num_threads=threads,
            gpu_config=gpu,
            log_config=log_config,
        )
        env.run(self, Path(workspace), Path(workspace))

    def _recipe(self) -> tuple[Recipe | None, dict[str, Parts]]:
        """Return the recipe of Flare's that the job is, if any, and the parts that it does not stand for."""
        if self.native is None and SERVER in self._deploy_map and "nvflare._flare.recipe_parts" in sys.modules:
            from nvflare._flare.recipe_parts import as_recipe, other_parts

            if (found := as_recipe(self.name, self.min_clients, self._deploy_map)) is not None:
                self.outputs = found[1]
                for target, parts in self._deploy_map.items():
                    for each in list(parts.components.values()) if target != SERVER else ():
                        self.add_code_of(each, target)
                return found[0], other_parts(self._deploy_map)
        return self.native, self._deploy_map

    def _parts(self, target: str) -> Parts:
        """Return the parts of a party, which is prepared when it gets the first."""
        if target not in self._deploy_map:
            if target != ALL_SITES:
                try:
                    check_name(target, what="a target")
                except JobError as error:
                    raise RecipeError(str(error)) from None
            self._deploy_map[target] = Parts()
            if target != SERVER:
                self.clients.append(target)
                self.set_up_client(target)
        return self._deploy_map[target]

    def _add_referenced(self, obj: Any, parts: Parts) -> None:
        """Add the objects that ``obj`` names by an id from :meth:`as_id`."""
        for value in list(getattr(obj, "__dict__", {}).values()):
            if isinstance(value, str) and value in self._referenced:
                other = self._referenced.pop(value)
                parts.add_component(other, value)
                self._add_referenced(other, parts)


def _hosted(form: JobForm) -> Job:
    """Return a job that runs objects of NVIDIA FLARE's classes."""
    folder = TemporaryFolder()
    path = folder.folder / str(form.meta["name"])
    form.write(path)
    jobs = importlib.import_module("nvflare._host.jobs")  # loaded late, since most jobs have no such objects
    job: Job = jobs.load_job_folder(path)
    job.code = replace(job.code, owner=(folder, job.code.owner))
    return job


def has_add_to_job_method(obj: Any) -> bool:
    """Return True if an object knows itself how it is added to a job."""
    return isinstance(getattr(obj, "add_to_fed_job", None), Callable)  # type: ignore[arg-type]  # a runtime check


def validate_object_for_job(name: str, obj: Any, obj_type: type) -> None:
    """Check an object that is to be part of a job.

    Args:
        name: the argument, for the message.
        obj: the object.
        obj_type: the class that it must have, unless it has a method ``add_to_fed_job``.
    Raises:
        RecipeError: it has not.
    """
    if not has_add_to_job_method(obj) and not isinstance(obj, obj_type):
        raise RecipeError(f"{name} is a {type(obj).__name__}; give a {obj_type.__name__}")
