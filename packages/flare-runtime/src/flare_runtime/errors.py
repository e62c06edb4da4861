"""Errors of a run, in addition to those of flare-core.

FlareError
└── SiteError (flare-core)
    └── ScriptError      a training script raised, exited, or returned too early; carries its traceback
        └── ScriptKilledError   its own process was killed from outside, for example because memory was full
"""

from __future__ import annotations

from flare_core import SiteError


class ScriptError(SiteError):
    """A training script failed, or ended before the run."""


class ScriptKilledError(ScriptError):
    """A script's own process was killed from outside; it has not failed if it can be started again."""
