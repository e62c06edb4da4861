"""What can go wrong in a run, beyond what flare-core names.

FlareError
└── SiteError (flare-core)
    └── ScriptError      a training script raised, exited, or returned too early; carries its traceback
        └── ScriptKilledError   its own process was killed from outside, such as for want of memory
"""

from __future__ import annotations

from flare_core import SiteError

__all__ = ["ScriptError", "ScriptKilledError"]


class ScriptError(SiteError):
    """A training script ended in another way than with the run."""


class ScriptKilledError(ScriptError):
    """A script's own process was killed from outside: not its failure, if somebody can start it again."""
