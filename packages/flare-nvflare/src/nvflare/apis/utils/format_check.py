"""Checks of names."""

from __future__ import annotations

import re

_HOST = r"(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])"
_MAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"

type_pattern_mapping = {
    "server": _HOST,
    "host_name": _HOST,
    "client": r"[A-Za-z0-9\-_]+",
    "relay": r"[A-Za-z0-9\-_]+",
    "admin": _MAIL,
    "email": _MAIL,
    "org": r"[A-Za-z0-9_]+",
    "simple_name": r"[A-Za-z0-9_]+",
}


def name_check(name: str, entity_type: str) -> tuple[bool, str]:
    """Return True and the reason if a name cannot be that of such an entity, else False."""
    pattern = type_pattern_mapping.get(entity_type)
    if pattern is None:
        return True, f"there is no entity of the type {entity_type!r}"
    if re.fullmatch(pattern, name):
        return False, f"{name!r} can be the name of a {entity_type}"
    return True, f"{name!r} cannot be the name of a {entity_type}; it must match {pattern}"
