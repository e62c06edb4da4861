"""Text made safe for a terminal or a log: sites and scripts can send anything."""

from __future__ import annotations

import re

# Control characters other than tab and newline, characters that change the text direction, and surrogates.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return the text with control characters made visible, so that a terminal does not execute escape sequences.

    A carriage return becomes a newline, so that it does not overwrite text.

    Example:
        >>> printable("a\\x1b[2Jb\\rc")
        'a\\\\x1b[2Jb\\nc'
    """
    return _UNSAFE.sub(_visible, text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """Return the text as :func:`printable` does, with newlines made visible as well."""
    return printable(text).replace("\n", "\\n")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
