"""How a script's models travel: constants that recipes and script runners take."""

from enum import StrEnum

from flare_core import ParamsType as TransferType

__all__ = ["ExchangeFormat", "TransferType"]


class ExchangeFormat(StrEnum):
    """The form of the arrays that the server and a script exchange."""

    RAW = "raw"
    PYTORCH = "pytorch"
    NUMPY = "numpy"
    KERAS_LAYER_WEIGHTS = "keras_layer_weights"
