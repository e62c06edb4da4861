"""What can go wrong in a run, beyond what flare-core names.

FlareError
└── SiteError (flare-core)
    └── ScriptError      a training script raised, exited, or returned too early; carries its traceback
"""

from __future__ import annotations

from flare_core import SiteError

__all__ = ["ScriptError"]


class ScriptError(SiteError):
    """A training script ended in another way than with the run."""
