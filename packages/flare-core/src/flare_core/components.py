"""Components: parts of a job, described by a class path and arguments so that a job folder can hold them as JSON."""

from __future__ import annotations

import copy
import importlib
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from flare_core.component_state import differences
from flare_core.errors import FlareError, JobError

_JSON_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Component:
    """A class path with arguments, or a live object until the job leaves this process.

    Args:
        class_path: ``package.module.Class``.
        args: keyword arguments; a nested ``{"path": ..., "args": ...}`` is built first.
        instance: a live object; every run gets a deep copy of it, so that no run affects the next.
    """

    class_path: str
    args: dict[str, Any] = field(default_factory=dict)
    instance: Any = field(default=None, compare=False)

    @classmethod
    def of(cls, value: Any, *, what: str) -> Component:
        """Create a component from an object, or from a dict with ``class_path`` (or ``path``) and ``args``.

        The value is copied if possible, so that later changes to it have no effect. A component is returned unchanged.

        Raises:
            JobError: the value is a class instead of an object, or a dict of another form; names ``what`` it is for.
        """
        if isinstance(value, Component):
            return value
        if isinstance(value, type):
            raise JobError(f"{what} is the class {value.__name__} itself; give an object, {value.__name__}(...)")
        try:
            kept = copy.deepcopy(value)
        except Exception:  # for example, it holds a lock; a job folder can still describe it
            kept = value
        if not isinstance(kept, Mapping):
            return cls(_path_of(type(kept)), {}, kept)
        path, args = kept.get("class_path", kept.get("path")), kept.get("args") or {}
        if not isinstance(path, str) or "." not in path or not isinstance(args, Mapping):
            text = f"{what} is {dict(kept)!r}; write {{'class_path': 'package.module.Class', 'args': {{...}}}}"
            raise JobError(text)
        if unknown := sorted(set(kept) - {"class_path", "path", "args", "id", "config_type", "disabled"}):
            raise JobError(f"{what} has the unknown key {unknown[0]!r}; use class_path and args")
        return cls(path, dict(args))

    def build(self) -> Any:
        """Create the object.

        Raises:
            JobError: the class cannot be imported or rejects the arguments; the cause is attached.
        """
        if self.instance is not None:
            return copy.deepcopy(self.instance)
        target = import_class(self.class_path)
        args = {name: _built(value) for name, value in self.args.items()}
        try:
            return target(**args)
        except Exception as error:
            text = f"{self.class_path} cannot be created with arguments {sorted(args)}: {type(error).__name__}: {error}"
            raise JobError(text) from error

    def to_json(self) -> dict[str, Any]:
        """Describe the component for a job folder, and check the description by creating an object from it.

        Raises:
            JobError: the class is defined in the launching script or in a function, an argument has no JSON form, or
                the object created from the description differs.
        """
        description = self.description()
        if self.instance is not None:
            _check_same(self.instance, description)
        return description

    def description(self) -> dict[str, Any]:
        """Describe the component without creating an object, since constructors can be slow or have side effects.

        Raises:
            JobError: the class is defined in the launching script or in a function, or an argument has no JSON form.
        """
        if self.instance is None:
            return {"path": self.class_path, "args": _plain(self.args, self.class_path)}
        return _described(self.instance)


def import_class(path: str) -> Any:
    """Import ``package.module.Class``.

    Raises:
        JobError: names the part that is missing, or the file that was changed after this process imported it.
    """
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
        _check_current(module)
    except ImportError as error:
        if isinstance(error, FlareError):  # it has its own remedy
            raise JobError(f"class path {path!r}: {error}") from error
        raise JobError(
            f"class path {path!r}: cannot import '{module_name}' ({error}); add its file to the recipe with"
            " add_server_file or add_client_file, or install its package here"
        ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise JobError(f"class path {path!r}: '{module_name}' ({module.__file__}) has no '{name}'") from None


_imported: dict[str, tuple[Any, bytes]] = {}  # each module's spec, which a reload replaces, and its source


def _check_current(module: types.ModuleType) -> None:
    """Check that the file of a user's module was not edited since its import, as between two runs in a notebook."""
    file = getattr(module, "__file__", None) or ""
    if not file.endswith(".py") or "site-packages" in file or module.__name__.startswith("flare_"):
        return
    spec, source = _imported.get(module.__name__, (None, b""))
    current = Path(file).read_bytes() if Path(file).is_file() else source
    if spec is not module.__spec__:
        _imported[module.__name__] = module.__spec__, current
    elif current != source:
        raise JobError(
            f"{file} was changed after this process imported it, so the run would use the old {module.__name__};"
            f" restart the process, or call importlib.reload({module.__name__})"
        )


def _path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _built(value: Any) -> Any:
    if isinstance(value, Component):
        return value.build()
    if isinstance(value, Mapping):
        if ("path" in value or "class_path" in value) and set(value) <= {"path", "class_path", "args"}:
            return Component.of(value, what="a nested component").build()
        return {name: _built(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_built(inner) for inner in value]
    return value


def _described(value: Any) -> dict[str, Any]:
    cls = type(value)
    path = _path_of(cls)
    if cls.__module__ == "__main__" or "<locals>" in path:
        raise JobError(
            f"{cls.__name__} is defined in the launching script, which is not part of the job; move it to a module of"
            " its own next to the script"
        )
    args = {}
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        attribute = next((name for name in (parameter.name, f"_{parameter.name}") if hasattr(value, name)), None)
        if attribute is None:
            raise JobError(
                f"{path}: the argument '{parameter.name}' cannot be read back from the object; store it in an attribute"
                f" '{parameter.name}', or give {{'class_path': {path!r}, 'args': {{...}}}}"
            )
        current = getattr(value, attribute)
        if parameter.default is parameter.empty or not _same(current, parameter.default):
            args[parameter.name] = current
    return {"path": path, "args": _plain(args, path)}


def _check_same(instance: Any, description: dict[str, Any]) -> None:
    """Check that an object equals one created from its description."""
    path = description["path"]
    created, again = (Component.of(description, what=path).build() for _ in range(2))
    by_chance = differences(created, again)  # the time, for example, or random weights
    for name, (ours, theirs) in differences(instance, created).items():
        if name not in by_chance:
            raise JobError(
                f"{path}: in an exported job its attribute '{name}' would be {theirs!r}, not {ours!r}; store each"
                " argument unchanged in the attribute of its name, from which the object is created there, or give"
                f" {{'class_path': {path!r}, 'args': {{...}}}} instead of the object"
            )


def _same(left: Any, right: Any) -> bool:
    return left is right or (type(left) is type(right) and isinstance(left, _JSON_SCALARS) and left == right)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _JSON_SCALARS):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        if other := [name for name in value if not isinstance(name, str)]:
            raise JobError(f"{where} has the key {other[0]!r}, which JSON would turn into a string; use string keys")
        return {name: _plain(inner, f"{where}.{name}") for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
    if isinstance(value, Component):
        return value.to_json()
    if type(value).__module__ in ("builtins", "numpy"):
        raise JobError(
            f"{where} is a {type(value).__name__}, which a job folder cannot hold; use numbers, strings and lists"
        )
    return _described(value)
