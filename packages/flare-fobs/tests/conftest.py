"""Puts this folder on the path, where pytest's importlib mode does not: the tests import ``strategies`` from it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def forget_registrations():
    """Take back what a test registers."""
    from flare_fobs import _registry

    tables = (_registry.encoders, _registry.decomposers, _registry.by_name)
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
