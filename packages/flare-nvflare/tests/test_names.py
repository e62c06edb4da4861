"""The names of NVIDIA FLARE: those that its public examples import, and those that are known to be missing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import nvflare
from nvflare._flare.errors import NotProvidedError

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_of_names_is_current():
    done = subprocess.run([sys.executable, ROOT / "tools/nvflare_names.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_missing_module_says_what_to_use_instead():
    with pytest.raises(NotProvidedError, match=r"dashboard.*use 'flare invite' and 'flare join'"):
        importlib.import_module("nvflare.dashboard")


def test_a_missing_name_says_what_to_use_instead_and_is_an_import_error():
    with pytest.raises(ImportError, match=r"nvflare\.recipe\.secret_ref .*files at the sites"):
        from nvflare.recipe import secret_ref  # noqa: F401


def test_an_unknown_module_points_to_the_guide_and_an_unknown_attribute_is_an_ordinary_error():
    with pytest.raises(NotProvidedError, match=r"nvflare\.no_such_module is not provided .*docs/migration\.md"):
        importlib.import_module("nvflare.no_such_module")
    with pytest.raises(AttributeError):
        nvflare.no_such_name  # noqa: B018


def test_the_names_of_the_examples_are_counted_by_release():
    names = json.loads((Path(__file__).parent / "example_names.json").read_text())
    assert names["nvflare.recipe.SimEnv"].keys() == {"2.7.2", "2.8.1", "2.9"}
