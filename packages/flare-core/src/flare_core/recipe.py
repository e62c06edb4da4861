"""Recipe: named arguments that build a job, and the checks that all recipes share."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from flare_core.additions import Additions
from flare_core.components import Component
from flare_core.environment import ExecEnv, Run, override
from flare_core.errors import JobError, ModelTypeError, RecipeError, UnknownArgumentError
from flare_core.extensions import extensions
from flare_core.job import Job, check_name
from flare_core.job_folder import export_job
from flare_core.parameters import recorded_recipe

_PUBLISHED = {
    "torch": "flare-recipes-pt",
    "tensorflow": "flare-recipes-tf",
    "keras": "flare-recipes-tf",
    "sklearn": "flare-recipes-sklearn",
    "numpy": "flare-recipes-np",
}
"""What to recommend where no installed package takes a framework's models; a new package need not be added here."""

_TIMES = ("round_deadline_s", "reconnect_grace_s")  # arguments of most recipes
_DATA = (str, bytes, int, float, complex, bool, type(None), list, tuple, dict, set, Path)


@dataclass(kw_only=True, eq=False, repr=False)
class Recipe(Additions, ABC):
    """An algorithm with its arguments, which can be executed in any environment, repeatedly.

    The arguments are the fields of the recipe and cannot be changed afterwards. A subclass is also a dataclass, adds
    its own fields, and checks them in ``_check``.

    Args:
        name: name of the job and of its folder.
        min_clients: number of sites that a round needs; all connected sites take part.
    """

    name: str
    min_clients: int

    def __new__(cls, *arguments: Any, **named: Any) -> Self:  # before __init__, whose error would name a base class
        known = [field.name for field in fields(cls) if field.init]
        check_named(cls.public_name(), known, arguments, named)
        for field in fields(cls):
            if field.default is not MISSING and getattr(cls, field.name, field.default) is not field.default:
                raise RecipeError(
                    f"{cls.public_name()} sets {field.name} but is not a dataclass, so the value would have no effect;"
                    f" decorate the class with @dataclass(kw_only=True), and declare '{field.name}: <its type> = …'"
                )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        Additions.__init__(self)
        self._check()
        self._is_made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless its name resembles an argument, which was read when the recipe was created."""
        if getattr(self, "_is_made", False) and not name.startswith("_"):
            known = [field.name for field in fields(self)]
            if meant := get_close_matches(name, known, n=1, cutoff=0.85):
                raise RecipeError(
                    f"{name} cannot be set on an existing {type(self).__name__}; create another one with {meant[0]}=…"
                )
        super().__setattr__(name, value)

    def _check(self) -> None:
        """Check and normalize the arguments."""
        try:
            check_name(self.name, what="name")
        except JobError as error:
            raise RecipeError(str(error)) from None
        self.min_clients = check_count(self.min_clients, "min_clients")
        if hasattr(self, "seed"):
            self.seed: int = check_count(self.seed, "seed", minimum=0)
        for name in _TIMES:
            if hasattr(self, name):
                setattr(self, name, check_seconds(getattr(self, name), name))

    @classmethod
    def public_name(cls) -> str:
        """Return the package that users import the recipe from, and the class."""
        return f"{cls.__module__.partition('.')[0]}.{cls.__name__}"

    @abstractmethod
    def build(self) -> Job:
        """Return the job that the arguments describe, without additions to the recipe."""

    def job(self) -> Job:
        """Return a new job for this recipe, with all additions."""
        job = self.build()
        self._add_to(job)
        job.meta["recipe"] = recorded_recipe(self, job)
        for name in _TIMES:
            if (seconds := getattr(self, name, None)) is not None:
                job.meta[name] = seconds
        return job

    def recorded(self, argument: str) -> Any:
        """Return the value of an argument for the record of a run; see :mod:`flare_core.parameters`."""
        return getattr(self, argument)

    def execute(self, env: ExecEnv, *, raise_on_failure: bool = True) -> Run:
        """Run the job in ``env`` and return the run; the simulator returns when it has ended.

        ``flare run`` can replace ``env`` with another environment.

        Raises:
            RecipeError: ``env`` is not an environment, or the job cannot run in it.
            JobFailed: the run failed, unless ``raise_on_failure`` is false.
        """
        if isinstance(env, type):
            raise RecipeError(f"env is the class {env.__name__} itself; give an object, such as {env.__name__}(…)")
        if not isinstance(env, ExecEnv):
            raise RecipeError(f"env is {env!r}; give an environment, such as SimEnv(num_clients={self.min_clients})")
        override.is_used = True
        run = (override.env or env).deploy(self.job())
        if raise_on_failure and run.get_status().has_ended:
            run.get_result()
        return run

    def export(self, job_dir: str | Path) -> Path:
        """Write the job to a folder below ``job_dir``, and return that folder."""
        override.is_used = True
        return export_job(self.job(), Path(job_dir))


def check_named(what: str, known: Sequence[str], arguments: Sequence[Any], named: Iterable[str]) -> None:
    """Reject positional arguments and unknown keyword arguments.

    Args:
        what: the recipe or environment, for the message.
        known: the names of its arguments.
        arguments: the positional arguments that were given.
        named: the names of the keyword arguments that were given.
    Raises:
        UnknownArgumentError: names the first, and a similar argument.
    """
    if arguments:
        raise UnknownArgumentError(f"{what} takes keyword arguments only; write {known[0]}=…")
    for name in named:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            raise UnknownArgumentError(f"{what} has no argument {name!r}; {hint}")


def check_count(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return ``value`` as an integer of at least ``minimum``.

    Raises:
        RecipeError: it is not one; calls it ``name``.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < minimum:
        raise RecipeError(f"{name} is {value!r}; give an integer of at least {minimum}")
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


def check_component(value: Any, name: str, base: type, methods: str = "") -> tuple[Component, Any]:
    """Return an object, or the description of one, as a component, along with the object.

    Args:
        value: the object or its description.
        name: the argument, for the message.
        base: the class that its class must derive from.
        methods: the methods to implement, for the message.
    Raises:
        RecipeError: it cannot be created, or has another class.
    """
    try:
        component = Component.of(value, what=name)
        built = component.build()
    except JobError as error:
        raise RecipeError(str(error)) from error
    if not isinstance(built, base):
        hint = f"flare_core.{base.__name__}" + (f" ({methods})" if methods else "")
        raise RecipeError(f"{name} is a {type(built).__name__}; give an object whose class derives from {hint}")
    return component, built


def check_args(value: str | Sequence[str], name: str) -> list[str]:
    """Split a command line as a POSIX shell does, but without substitutions; a list is copied.

    Raises:
        RecipeError: quotes do not match, or it is neither a string nor a list of strings.
    """
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise RecipeError(f"{name} is {value!r}: {error}; close the quotes, or give a list of arguments") from None
    if isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
        return list(value)
    raise RecipeError(f"{name} is {value!r}; give one string, or a list of strings")


def framework_of(value: Any) -> str | None:
    """Return the framework of a model or an array, judging by the modules of its classes; None if unknown."""
    classes = value.__mro__ if isinstance(value, type) else type(value).__mro__
    packages = (cls.__module__.partition(".")[0] for cls in classes)
    return next((each for each in packages if each in _PUBLISHED or each in _recipes_by_framework()), None)


def _recipes_by_framework() -> dict[str, str]:
    """Map each framework to the installed package of recipes that takes its models."""
    return {entry.name: entry.value for entry in extensions("flare.frameworks")}


def wrong_model(value: Any, recipe: str, wanted: str, *, what: str = "initial_model") -> ModelTypeError:
    """Return the error for a model, or a part of one, that ``recipe`` does not accept; names the recipe to use.

    Args:
        value: the value that was given.
        recipe: the class name of the recipe.
        wanted: a description of the values that it accepts.
        what: the name of the argument.
    """
    if isinstance(value, type):
        return ModelTypeError(
            f"{what} is the class {value.__name__} itself; give an object, {value.__name__}(...), or"
            f" {{'class_path': '{value.__module__}.{value.__qualname__}', 'args': {{...}}}}"
        )
    return ModelTypeError(
        f"{what} is a {type(value).__module__}.{type(value).__qualname__}, but {recipe} takes"
        f" {wanted}{_where_to(value, recipe)}"
    )


def _where_to(value: Any, recipe: str) -> str:
    """Return the end of a message about a model that ``recipe`` does not accept: the recipe to use, if any."""
    own_package, _, name = recipe.rpartition(".")
    if isinstance(value, str | Path):
        return "; give the path of a file as initial_ckpt"
    if isinstance(value, _DATA):
        return ""
    framework = framework_of(value)
    package = _recipes_by_framework().get(framework or "")
    if package == own_package:
        return ""  # an object of the right framework, but not a model
    if package is None and framework is not None:
        return f"; pip install {_PUBLISHED[framework]}, whose recipes take models of {framework}"
    if package is None:
        kind = type(value).__module__.partition(".")[0]
        return (
            f"; Flare has no recipe for models of {kind}. If its parameters are arrays, pass them to"
            " flare_recipes_np.FedAvgRecipe as a dict of numpy arrays by name"
        )
    known = [entry.attr for entry in extensions("flare.recipes") if entry.module == package]
    if name in known:
        return f"; use {package}.{name} instead"
    return f"; {package} accepts it, but has no {name}: it has {', '.join(known)}"
