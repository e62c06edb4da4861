"""PSIError: ids, files or settings that an intersection cannot be computed with.

The other errors of the package: :class:`~flare_psi.group.MalformedPointError`.
"""

from __future__ import annotations

from flare_core import FlareError


class PSIError(FlareError, ValueError):
    """Ids, files or settings that an intersection cannot be computed with; names site, file, row or value."""
