"""Errors of this package.

FlareError
├── NotProvidedError    a name of NVIDIA FLARE that this package lacks; also an ImportError
│   └── UnknownNameError    a module that nothing is known of, perhaps misspelt; also a ModuleNotFoundError
└── TwoNvflareError     the real nvflare is installed as well; also an ImportError
"""

from flare_core import FlareError


class NotProvidedError(FlareError, ImportError):
    """A name of NVIDIA FLARE that Flare does not provide; the message says what to use instead."""


class UnknownNameError(NotProvidedError, ModuleNotFoundError):
    """A module below ``nvflare`` that is neither provided nor known not to be."""


class TwoNvflareError(FlareError, ImportError):
    """Two distributions own the folder ``nvflare``."""
