"""Check that no other distribution owns the import package ``nvflare``."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from nvflare._flare.errors import TwoNvflareError

_OTHERS = ("nvflare", "nvflare-nightly")


def check_only_one() -> None:
    """Check that NVIDIA FLARE itself is not installed beside flare-nvflare: each would overwrite files of the other.

    pip cannot refuse that, so the first import does.

    Raises:
        TwoNvflareError: it is; says how to keep one of the two.
    """
    for name in _OTHERS:
        try:
            version = distribution(name).version
        except PackageNotFoundError:
            continue
        raise TwoNvflareError(
            f"{name} {version} and flare-nvflare are both installed here, and both own the folder 'nvflare': one"
            f" has overwritten files of the other. To run on Flare: pip uninstall -y {name} flare-nvflare, then install"
            f" flare-nvflare. To run on NVIDIA FLARE: the same, then pip install {name}. Use two virtual environments"
            " to have both"
        )
