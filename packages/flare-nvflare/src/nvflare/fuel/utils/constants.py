"""Constants that recipes and components share."""

from enum import StrEnum


class FrameworkType(StrEnum):
    """The framework of a script's arrays; RAW is anything that serializes."""

    RAW = "raw"
    NUMPY = "numpy"
    PYTORCH = "pytorch"
    TENSORFLOW = "tensorflow"


class Mode(StrEnum):
    """The end of a pipe: the one that connects, or the one that waits."""

    ACTIVE = "ACTIVE"
    PASSIVE = "PASSIVE"
