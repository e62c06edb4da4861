"""GPUs by site."""

from __future__ import annotations

import re


def split_gpus(gpus: str) -> list[str]:
    """Return the GPUs of each site: ``[0,1],2`` are ``0,1`` for one and ``2`` for another.

    Raises:
        ValueError: a bracket has no partner.
    """
    text = gpus.replace(" ", "")
    if not re.fullmatch(r"[^\[\]]*(\[[^\[\]]*\][^\[\]]*)*", text):
        raise ValueError(f"gpus is {gpus!r}, where a bracket has no partner; write for example [0,1],[2,3]")
    return [group or one for group, one in re.findall(r"\[([^\[\]]*)\]|((?<![^,])[^\[\],]*(?![^,]))", text)]
