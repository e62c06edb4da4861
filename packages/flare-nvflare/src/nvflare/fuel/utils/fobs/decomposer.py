"""Decomposers, which say how objects of a type are serialized."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any

from nvflare.fuel.utils.fobs.datum import DatumManager

__all__ = [
    "DataClassDecomposer",
    "Decomposer",
    "DictDecomposer",
    "EnumTypeDecomposer",
    "Externalizer",
    "Internalizer",
    "new_empty_container",
]


class Decomposer(ABC):
    """Says how objects of a type are serialized. Flare's own way is flare_fobs.register."""

    @abstractmethod
    def supported_type(self) -> type:
        """Return the type."""

    @abstractmethod
    def decompose(self, target: Any, manager: DatumManager | None = None) -> Any:
        """Return what is serialized instead of an object."""

    @abstractmethod
    def recompose(self, data: Any, manager: DatumManager | None = None) -> Any:
        """Return the object."""

    def supported_dots(self) -> list[int] | None:
        """Return None: large data travel as those of Flare do."""
        return None

    def process_datum(self, datum: Any, manager: DatumManager) -> None:  # noqa: B027 (nothing to do for any)
        """Do nothing: large data travel as those of Flare do."""


class DictDecomposer(Decomposer):
    """Serializes a subclass of dict.

    Args:
        dict_type: the class, which is made without arguments.
    """

    def __init__(self, dict_type: type) -> None:
        self.dict_type = dict_type

    def supported_type(self) -> type:
        return self.dict_type

    def decompose(self, target: Any, manager: DatumManager | None = None) -> Any:
        return dict(target)

    def recompose(self, data: Any, manager: DatumManager | None = None) -> Any:
        made = self.dict_type()
        made.update(data)
        return made


class DataClassDecomposer(Decomposer):
    """Serializes the attributes of an object.

    Args:
        data_type: its class.
    """

    def __init__(self, data_type: type) -> None:
        self.data_type = data_type

    def supported_type(self) -> type:
        return self.data_type

    def decompose(self, target: Any, manager: DatumManager | None = None) -> Any:
        return dict(vars(target))

    def recompose(self, data: Any, manager: DatumManager | None = None) -> Any:
        made: Any = object.__new__(self.data_type)
        made.__dict__.update(data)
        return made


class EnumTypeDecomposer(Decomposer):
    """Serializes the members of an Enum by name.

    Args:
        data_type: the Enum.
    """

    def __init__(self, data_type: type) -> None:
        self.data_type = data_type

    def supported_type(self) -> type:
        return self.data_type

    def decompose(self, target: Any, manager: DatumManager | None = None) -> Any:
        return target.name

    def recompose(self, data: Any, manager: DatumManager | None = None) -> Any:
        return self.data_type[data]  # type: ignore[index]  # an enumeration


class Externalizer:
    """Does nothing: large data travel as those of Flare do."""

    def __init__(self, manager: DatumManager | None) -> None:
        self.manager = manager

    def externalize(self, target: Any) -> Any:
        """Return the object as it is."""
        return target


class Internalizer:
    """Does nothing: large data travel as those of Flare do."""

    def __init__(self, manager: DatumManager | None) -> None:
        self.manager = manager

    def internalize(self, target: Any) -> Any:
        """Return the object as it is."""
        return target


def new_empty_container() -> dict[str, Any]:
    """Return an empty dict that keeps its order."""
    return OrderedDict()
