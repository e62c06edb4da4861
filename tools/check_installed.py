"""Measure an environment, and check that our packages are imported from it in the expected version.

Run it with the Python of an otherwise empty environment: check_installed.py [--lean] VERSION PACKAGE...
With --lean, also check what README.md promises for flare-recipes-np: a small installation without torch.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
from importlib.metadata import distributions, version
from pathlib import Path

MOST_DISTRIBUTIONS = 20
MOST_BYTES = 100_000_000
NOT_OURS = ("pip", "setuptools", "wheel")


def main(arguments: list[str]) -> None:
    lean = arguments[0] == "--lean"
    expected_version, *packages = arguments[lean:]
    site = Path(sysconfig.get_path("purelib"))
    installed = sorted({distribution.name for distribution in distributions()} - set(NOT_OURS))
    entries = [path for path in site.iterdir() if not path.name.startswith(NOT_OURS)]
    files = [file for path in entries for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    print(f"{len(installed)} distributions, {size / 1e6:.0f} MB: {', '.join(installed)}")
    if lean:
        check_lean(installed, size)
    for name in packages:
        module = importlib.import_module(name)
        if not Path(str(module.__file__)).is_relative_to(site):
            sys.exit(f"{name} is imported from {module.__file__}, not from {site}")
        if version(name) != expected_version:
            sys.exit(f"{name} is version {version(name)}, not {expected_version}")


def check_lean(installed: list[str], size: int) -> None:
    if "torch" in installed:
        sys.exit("flare-recipes-np installs torch")
    if len(installed) > MOST_DISTRIBUTIONS:
        sys.exit(f"flare-recipes-np installs more than {MOST_DISTRIBUTIONS} distributions")
    if size > MOST_BYTES:
        sys.exit(f"flare-recipes-np needs more than {MOST_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
