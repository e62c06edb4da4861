"""Settings that hold for the tests of every package."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no reason to fail a property; pytest-timeout catches what hangs.
settings.register_profile("flare", deadline=None, print_blob=True)
settings.load_profile("flare")
