"""What an operator can tune about the transfer of models, by environment variables of the process.

    FLARE_INLINE_BYTES     tensors of up to so many bytes travel inside messages (65536)
    FLARE_SKIP_UNCHANGED   0: tensors travel again even where the other end has them (1)
    FLARE_SPILL_BYTES      models larger than this are received into a file instead of memory (never)

A number may end in K, M or G, which stand for powers of 1024.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from flare_core.errors import FlareError

__all__ = ["SettingError", "TransferSettings"]

INLINE_BYTES = 1 << 16
_SIZE = re.compile(r"(\d+)([KMG]?)")
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class SettingError(FlareError, ValueError):
    """An environment variable holds what it cannot."""


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How models are transferred; see above.

    Attributes:
        inline_bytes: up to which size a tensor travels within the message.
        skip_unchanged: whether a tensor that the other end has is left out.
        spill_bytes: from which size on a model is received into a file; None for never.
    """

    inline_bytes: int = INLINE_BYTES
    skip_unchanged: bool = True
    spill_bytes: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> TransferSettings:
        """Read the settings.

        Raises:
            SettingError: a variable holds something else; names it.
        """
        inline = environment.get("FLARE_INLINE_BYTES", "")
        skip = environment.get("FLARE_SKIP_UNCHANGED", "")
        spill = environment.get("FLARE_SPILL_BYTES", "")
        if skip not in ("", "0", "1"):
            raise SettingError(f"FLARE_SKIP_UNCHANGED is {skip!r}; set it to 0 or 1")
        return cls(
            inline_bytes=_size("FLARE_INLINE_BYTES", inline) if inline else INLINE_BYTES,
            skip_unchanged=skip != "0",
            spill_bytes=_size("FLARE_SPILL_BYTES", spill) if spill else None,
        )


def _size(name: str, text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise SettingError(f"{name} is {text!r}; set it to a number of bytes, such as 65536, 64K or 2G")
    return int(found[1]) * _FACTORS[found[2]]
