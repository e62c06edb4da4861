"""Settings of transfers, which an operator sets as environment variables of a process.

    FLARE_INLINE_BYTES     tensors up to this size are sent inside messages (65536)
    FLARE_SKIP_UNCHANGED   0: send tensors even if the receiver already has them (1)
    FLARE_SPILL_BYTES      receive larger models into a file instead of memory (never)

Defaults are in parentheses. A size may end in K, M or G, which stand for powers of 1024.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from flare_core.errors import FlareError

INLINE_BYTES = 1 << 16
_SIZE = re.compile(r"(\d+)([KMG]?)")
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class SettingError(FlareError, ValueError):
    """An environment variable has an invalid value."""


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Settings of transfers; see above.

    Attributes:
        inline_bytes: tensors up to this size are sent inside the message.
        skip_unchanged: do not send tensors that the receiver already has.
        spill_bytes: receive models larger than this into a file; None means never.
    """

    inline_bytes: int = INLINE_BYTES
    skip_unchanged: bool = True
    spill_bytes: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> TransferSettings:
        """Read the settings from environment variables.

        Raises:
            SettingError: a variable has an invalid value; names it.
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
