"""Lightning and transformers are extras: the package works without them and says how to install them."""

from __future__ import annotations

import subprocess
import sys

import pytest


def printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_the_package_imports_neither():
    names = "{'lightning', 'pytorch_lightning', 'transformers', 'peft', 'accelerate'}"
    assert printed(f"import sys, flare_recipes_pt; print({names} & set(sys.modules))") == "set()"


@pytest.mark.parametrize(("extra", "package"), [("lightning", "lightning"), ("transformers", "transformers")])
def test_the_error_for_a_missing_extra_shows_the_pip_command(extra, package):
    code = f"""
import sys
sys.modules[{package!r}] = None  # behaves like a missing package
from flare_core import FlareError
try:
    import flare_recipes_pt.{extra}
except FlareError as error:
    print(error)
"""
    assert f"pip install 'flare-recipes-pt[{extra}]'" in printed(code)
