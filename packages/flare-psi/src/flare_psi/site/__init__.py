"""A site's part of an intersection."""

from flare_psi.site.executor import PSIExecutor
from flare_psi.site.outbox import Outbox

__all__ = ["Outbox", "PSIExecutor"]
