"""Settings that hold for the tests of every package."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A busy machine is no reason to fail a property; pytest-timeout catches what hangs.
settings.register_profile("flare", deadline=None, print_blob=True)
# What is fuzzed for seconds in each run, for as long as is wanted: --hypothesis-profile=fuzz --timeout=0 -k fuzz
settings.register_profile("fuzz", settings.get_profile("flare"), max_examples=20_000)
settings.load_profile("flare")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip long tests, unless they are asked for."""
    if "FLARE_SLOW_TESTS" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("at_length") is not None:
            item.add_marker(pytest.mark.skip(reason="takes long; set FLARE_SLOW_TESTS=1"))
