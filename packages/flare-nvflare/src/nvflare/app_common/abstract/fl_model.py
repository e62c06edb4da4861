"""FLModel, the model that the server and the sites exchange."""

from flare_core import FLModel, ParamsType

__all__ = ["FLModel", "ParamsType"]
