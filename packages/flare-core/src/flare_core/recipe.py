"""Recipe: named arguments that become a job, and the checks that every recipe's arguments go through."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from flare_core.additions import Additions
from flare_core.environment import ExecEnv, Run, chosen_environment, note_use
from flare_core.errors import JobError, ModelTypeError, RecipeError, UnknownArgumentError
from flare_core.extensions import extensions
from flare_core.job import ALL_SITES, SERVER, Job, check_name
from flare_core.job_folder import export_job
from flare_core.parameters import recorded_recipe

__all__ = ["Recipe"]

_PUBLISHED = {
    "torch": "flare-recipes-pt",
    "tensorflow": "flare-recipes-tf",
    "keras": "flare-recipes-tf",
    "sklearn": "flare-recipes-sklearn",
    "numpy": "flare-recipes-np",
}
"""What to recommend where no installed package takes a framework's models; a new package need not be added here."""

_DATA = (str, bytes, int, float, complex, bool, type(None), list, tuple, dict, set, Path)


@dataclass(kw_only=True, eq=False, repr=False)
class Recipe(Additions, ABC):
    """An algorithm with its arguments; executing it, in whatever environment, never changes it.

    A recipe's fields are its arguments, which stay as they are when it is made: a subclass is a dataclass too, adds its
    own, and checks them in ``_check``.

    Args:
        name: name of the job and of its folder.
        min_clients: number of sites that a round needs; all connected sites take part.
    """

    name: str
    min_clients: int

    def __new__(cls, *arguments: Any, **named: Any) -> Self:  # Python's own error would name a base class
        known = [field.name for field in fields(cls) if field.init]
        check_named(cls.public_name(), known, arguments, named)
        for field in fields(cls):
            if field.default is not MISSING and getattr(cls, field.name, field.default) is not field.default:
                raise RecipeError(
                    f"{cls.public_name()} sets {field.name} and is no dataclass, so the value would not count; put"
                    f" @dataclass(kw_only=True) before the class, and write '{field.name}: <its type> = …' in it"
                )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        Additions.__init__(self)
        self._check()
        self._is_made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute.

        Raises:
            RecipeError: it is, or is nearly, one of the arguments, which have been read already.
        """
        if getattr(self, "_is_made", False) and not name.startswith("_"):
            known = [field.name for field in fields(self)]
            if meant := get_close_matches(name, known, n=1, cutoff=0.85):
                raise RecipeError(
                    f"{name} cannot be set on a {type(self).__name__}, whose arguments are read when it is made; make"
                    f" another with {meant[0]}=…"
                )
        super().__setattr__(name, value)

    def _check(self) -> None:
        """Check the arguments, and bring them into one form.

        Raises:
            RecipeError: an argument is unusable; names it, its value and the remedy.
        """
        try:
            check_name(self.name, what="name")
        except JobError as error:
            raise RecipeError(str(error)) from None
        self.min_clients = check_count(self.min_clients, "min_clients")

    @classmethod
    def public_name(cls) -> str:
        """Where users import it from: package and class."""
        return f"{cls.__module__.partition('.')[0]}.{cls.__name__}"

    @abstractmethod
    def build(self) -> Job:
        """Return the job that the arguments describe, without what was added to the recipe."""

    def job(self) -> Job:
        """Return a new job for this recipe, with all that was added to it."""
        job = self.build()
        self._add_to(job)
        job.meta["recipe"] = recorded_recipe(self, job)
        return job

    def recorded(self, argument: str) -> Any:
        """Return the value that a run's record has for an argument; see :mod:`flare_core.parameters`."""
        return getattr(self, argument)

    def execute(self, env: ExecEnv, *, raise_on_failure: bool = True) -> Run:
        """Run the job in ``env`` and return its run; in the simulator it has ended by then.

        ``flare run`` can put another environment in the place of ``env``.

        Raises:
            RecipeError: ``env`` is no environment, or the job does not fit it.
            JobFailed: the run failed, unless ``raise_on_failure`` is false.
        """
        if isinstance(env, type):
            raise RecipeError(f"env is the class {env.__name__} itself; give an object, such as {env.__name__}(…)")
        if not isinstance(env, ExecEnv):
            raise RecipeError(f"env is {env!r}; give an environment, such as SimEnv(num_clients={self.min_clients})")
        note_use()
        run = (chosen_environment() or env).deploy(self.job())
        if raise_on_failure and run.get_status().has_ended:
            run.get_result()
        return run

    def export(self, job_dir: str | Path) -> Path:
        """Write the job as a folder below ``job_dir`` and return that folder."""
        note_use()
        return export_job(self.job(), Path(job_dir))


def check_named(what: str, known: Sequence[str], arguments: Sequence[Any], named: Iterable[str]) -> None:
    """Refuse arguments without a name, and names that are none of the ``known`` arguments of ``what``.

    Args:
        what: the recipe or environment, for the message.
        known: the names of its arguments.
        arguments: the positional arguments that were given.
        named: the names of the keyword arguments that were given.
    Raises:
        UnknownArgumentError: names the first, and the argument that may be meant.
    """
    if arguments:
        raise UnknownArgumentError(
            f"{what} takes arguments by their names only, such as {known[0]}=…; its first is not named"
        )
    for name in named:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
            raise UnknownArgumentError(f"{what} has no argument {name!r}; {hint}")


def check_count(value: Any, name: str, *, minimum: int = 1) -> int:
    """Return ``value`` as an integer of at least ``minimum``.

    Raises:
        RecipeError: it is none; calls it ``name``.
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
        if package in _PUBLISHED or package in _recipes_by_framework():
            return package
    return None


def _recipes_by_framework() -> dict[str, str]:
    """Map each framework to the installed package of recipes that takes its models."""
    return {entry.name: entry.value for entry in extensions("flare.frameworks")}


def wrong_model(value: Any, recipe: str, wanted: str, *, what: str = "initial_model") -> ModelTypeError:
    """The error for a model, or a part of one, that ``recipe`` cannot take; names the package whose recipe can.

    Args:
        value: what was given.
        recipe: the name of the recipe's class.
        wanted: what it takes, for people.
        what: the argument for which the value was given.
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
    """Return the end of a message about a model that ``recipe`` cannot take: which recipe can, if any."""
    own_package, _, name = recipe.rpartition(".")
    if isinstance(value, str | Path):
        return "; the path of a file goes into initial_ckpt"
    if isinstance(value, _DATA):
        return ""
    framework = framework_of(value)
    package = _recipes_by_framework().get(framework or "")
    if package == own_package:
        return ""  # of the right framework, but no model
    if package is None and framework is not None:
        return f"; pip install {_PUBLISHED[framework]}, whose recipes take models of {framework}"
    if package is None:
        kind = type(value).__module__.partition(".")[0]
        return (
            f"; Flare has no recipe for models of {kind}. If its parameters are arrays, give them to"
            " flare_recipes_np.FedAvgRecipe as a dict of name to numpy array"
        )
    known = [entry.attr for entry in extensions("flare.recipes") if entry.module == package]
    if name in known:
        return f"; use {package}.{name} for it"
    return f"; {package} takes it, but has no {name}: it has {', '.join(known)}"
