"""DXO: data of a known kind with meta data, the usual content of a Shareable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

_KIND, _DATA, _META, _TYPE = "kind", "data", "meta", "DXO"
_KEY = "DXO"


class DataKind(StrEnum):
    """Kinds of data."""

    FL_MODEL = "FL_MODEL"
    WEIGHTS = "WEIGHTS"
    WEIGHT_DIFF = "WEIGHT_DIFF"
    METRICS = "METRICS"
    ANALYTIC = "ANALYTIC"
    COLLECTION = "COLLECTION"
    STATISTICS = "STATISTICS"
    PSI = "PSI"
    APP_DEFINED = "APP_DEFINED"

    def __str__(self) -> str:
        return self.value


class MetaKey(FLMetaKey):
    """Names of a DXO's meta data."""


class DXO:
    """Data of a known kind.

    Args:
        data_kind: the kind, one of :class:`DataKind`.
        data: the data by name; for ``COLLECTION``, DXOs by name.
        meta: further values by name.

    Raises:
        ValueError: the data or the meta data are not a dict, or a collection holds something else than DXOs.
    """

    def __init__(self, data_kind: str, data: Any, meta: Mapping[str, Any] | None = None) -> None:
        self.data_kind = data_kind
        self.data = {} if data is None else data
        self.meta: dict[str, Any] = {} if meta is None else meta  # type: ignore[assignment]  # the caller's own dict is kept
        if problem := self.validate():
            raise ValueError(f"this is no DXO: {problem}")

    def get_meta_prop(self, key: str, default: Any = None) -> Any:
        """Return one value of the meta data."""
        return self.meta.get(key, default) if isinstance(self.meta, dict) else default

    def set_meta_prop(self, key: str, value: Any) -> None:
        """Set one value of the meta data."""
        self.meta[key] = value

    def remove_meta_props(self, keys: Iterable[str]) -> None:
        """Remove values of the meta data."""
        for key in keys:
            self.meta.pop(key, None)

    def get_meta_props(self) -> dict[str, Any]:
        """Return the meta data."""
        return self.meta

    def update_meta_props(self, meta: Mapping[str, Any]) -> None:
        """Add values to the meta data."""
        self.meta.update(meta)

    def to_dict(self) -> dict[str, Any]:
        """Return the DXO as a dict of what can be serialized."""
        data = self.data
        if self.data_kind == DataKind.COLLECTION:
            data = {name: each.to_dict() for name, each in data.items()}
        kind = self.data_kind.value if isinstance(self.data_kind, Enum) else self.data_kind
        return {_KIND: kind, _DATA: data, _META: dict(self.meta)}

    def update_shareable(self, s: Shareable) -> Shareable:
        """Put the DXO into a shareable, and return that."""
        s.set_header(ReservedHeaderKey.CONTENT_TYPE, _TYPE)
        s[_KEY] = self.to_dict()
        return s

    def to_shareable(self) -> Shareable:
        """Return a new shareable with the DXO."""
        return self.update_shareable(Shareable())

    def to_bytes(self) -> bytes:
        """Serialize the DXO."""
        from nvflare.fuel.utils import fobs

        data: bytes = fobs.dumps(self.to_dict())
        return data

    def to_file(self, file_path: str) -> None:
        """Write the DXO to a file."""
        Path(file_path).write_bytes(self.to_bytes())

    def validate(self) -> str:
        """Return what is wrong with the DXO; an empty string if nothing is."""
        if not isinstance(self.data, dict):
            return f"its data are a {type(self.data).__name__}, not a dict"
        if not isinstance(self.meta, dict):
            return f"its meta data are a {type(self.meta).__name__}, not a dict"
        if self.data_kind == DataKind.COLLECTION:
            for name, each in self.data.items():
                if not isinstance(each, DXO):
                    return f"{name!r} of the collection is a {type(each).__name__}, not a DXO"
        return ""

    def add_filter_history(self, filter_name: str | list[str]) -> None:
        """Record that filters have changed the data."""
        names = [filter_name] if isinstance(filter_name, str) else list(filter_name)
        self.meta[MetaKey.FILTER_HISTORY] = [*(self.get_filter_history() or []), *names]

    def get_filter_history(self) -> Any:
        """Return the filters that have changed the data."""
        return self.get_meta_prop(MetaKey.FILTER_HISTORY)


def from_dict(encoded: Any) -> DXO:
    """Return the DXO of a dict.

    Raises:
        ValueError: it is not one that :meth:`DXO.to_dict` returned.
    """
    if not isinstance(encoded, dict) or not {_KIND, _DATA} <= encoded.keys():
        raise ValueError(f"not a DXO: a {type(encoded).__name__}" + (" without kind or data" if encoded else ""))
    kind, data = encoded[_KIND], encoded[_DATA]
    if kind == DataKind.COLLECTION:
        data = {name: from_dict(each) for name, each in data.items()}
    return DXO(kind, data, encoded.get(_META))


def from_shareable(s: Shareable) -> DXO:
    """Return the DXO in a shareable.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(s, Shareable):
        raise ValueError(f"a {type(s).__name__} is not a Shareable")
    if s.get_header(ReservedHeaderKey.CONTENT_TYPE) != _TYPE or _KEY not in s:
        code = s.get_return_code()
        raise ValueError(f"the shareable holds no DXO; it has {sorted(map(str, s))} and the return code {code}")
    return from_dict(s[_KEY])


def from_bytes(data: bytes) -> DXO:
    """Return the DXO that :meth:`DXO.to_bytes` serialized."""
    from nvflare.fuel.utils import fobs

    return from_dict(fobs.loads(data))


def from_file(file_path: str) -> DXO:
    """Return the DXO that :meth:`DXO.to_file` wrote."""
    return from_bytes(Path(file_path).read_bytes())


def get_leaf_dxos(dxo: DXO, root_name: str = "") -> tuple[dict[str, DXO], list[str]]:
    """Return the DXOs at the ends of nested collections, by the names on the way to each, and what was wrong.

    Raises:
        TypeError: this is no DXO.
    """
    if not isinstance(dxo, DXO):
        raise TypeError(f"a {type(dxo).__name__} is not a DXO")
    if dxo.data_kind != DataKind.COLLECTION:
        return {root_name: dxo}, []
    found: dict[str, DXO] = {}
    errors: list[str] = []
    for name, each in dxo.data.items():
        place = f"{root_name}.{name}" if root_name else name
        leaves, wrong = get_leaf_dxos(each, place) if isinstance(each, DXO) else ({}, [f"{place} is not a DXO"])
        found.update(leaves)
        errors.extend(wrong)
    return found, errors
