"""Lightning and transformers are extras: the package works without them, and says how they are installed."""

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
def test_a_missing_package_is_told_with_what_installs_it(extra, package):
    code = f"""
import sys
sys.modules[{package!r}] = None  # as if it were not installed
from flare_core import FlareError
try:
    import flare_recipes_pt.{extra}
except FlareError as error:
    print(error)
"""
    assert f"pip install 'flare-recipes-pt[{extra}]'" in printed(code)
