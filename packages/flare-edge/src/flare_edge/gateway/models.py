"""Versions of the model that devices can fetch; not thread-safe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flare_edge.device.safetensors import dumps
from flare_edge.errors import EdgeError

Params = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Model:
    """A version of the model.

    Args:
        params: its parameters.
        content: these in safetensors.
        etag: of the content.
    """

    params: Params
    content: bytes = field(repr=False)
    etag: str

    @classmethod
    def of(cls, version: int, params: Params) -> Model:
        """Return a version, ready to be sent.

        Raises:
            EdgeError: a parameter is not floating-point.
        """
        for name, value in params.items():
            if value.dtype.kind != "f" or value.dtype.itemsize > 8:
                raise EdgeError(
                    f"parameter {name!r} is {value.dtype}; devices can train floating-point parameters only"
                )
        content = dumps(params, {"version": str(version)})
        return cls(dict(params), content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class Models:
    """The versions that are kept.

    Attributes:
        like: parameters with the names, shapes and dtypes of all versions; empty before the first.
    """

    def __init__(self) -> None:
        self.like: Params = {}
        self._models: dict[int, Model] = {}

    def add(self, version: int, model: Model) -> None:
        """Keep a version.

        Raises:
            EdgeError: its names, shapes or dtypes are not those of others.
        """
        if self.like and _shapes(model.params) != _shapes(self.like):
            raise EdgeError(f"version {version} of the model has other names, shapes or dtypes than earlier versions")
        self.like = model.params
        self._models[version] = model

    def drop(self, version: int) -> None:
        """Forget a version."""
        self._models.pop(version, None)

    def get(self, version: int) -> Model | None:
        """Return a version; None if it is not kept."""
        return self._models.get(version)


def _shapes(params: Params) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: (value.shape, value.dtype) for name, value in params.items()}
