"""The version of this package."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["VERSION"]

try:
    VERSION = version("flare-runtime")
except PackageNotFoundError:  # a source tree that was not installed
    VERSION = "0+source"
