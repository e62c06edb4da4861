"""GPUs of a simulation: which sites see which cards."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from flare_core import RecipeError

__all__ = ["VARIABLE", "gpu_groups", "visible_devices", "visible_gpus"]

VARIABLE = "CUDA_VISIBLE_DEVICES"


def gpu_groups(config: str | None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Read a ``gpu_config`` and return, for each group of sites, its value of ``CUDA_VISIBLE_DEVICES``.

    Args:
        config: ids by group: ``"0,1"`` is two groups of one card, ``"[0,1],[2]"`` one of two and one of one. Ids count
            the cards that this process sees, so they are mapped through its own ``CUDA_VISIBLE_DEVICES``.
        environment: variables of this process.
    Raises:
        RecipeError: it cannot be read, or names a card that is not there.
    """
    if config is None:
        return []
    if not isinstance(config, str) or not re.fullmatch(
        r"\s*(\d+|\[\s*\d+(\s*,\s*\d+)*\s*\])(\s*,\s*(\d+|\[\s*\d+(\s*,\s*\d+)*\s*\]))*\s*", config
    ):
        raise RecipeError(f"gpu_config is {config!r}; write ids, such as '0,1', or groups of them, such as '[0,1],[2]'")
    groups = [re.findall(r"\d+", group) for group in re.findall(r"\[[^\]]*\]|\d+", config)]
    cards = visible_gpus(environment)
    for group in groups:
        for card in group:
            if int(card) >= len(cards):
                there = f"{len(cards)} GPUs (ids 0 to {len(cards) - 1})" if cards else "no GPU"
                raise RecipeError(f"gpu_config is {config!r}, but GPU {card} is not there: this process sees {there}")
    return [",".join(cards[int(card)] for card in group) for group in groups]


def visible_devices(ids: Sequence[int], environment: Mapping[str, str] = os.environ) -> str:
    """Return the value of ``CUDA_VISIBLE_DEVICES`` for cards that are counted among those that this process sees."""
    cards = visible_gpus(environment)
    return ",".join(cards[each] if each < len(cards) else str(each) for each in ids)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names, as ``CUDA_VISIBLE_DEVICES`` takes them, of the cards that this process may use."""
    chosen = environment.get(VARIABLE)
    if chosen is not None:
        return [card.strip() for card in chosen.split(",") if card.strip() not in ("", "-1")]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(line for line in listing.splitlines() if line.startswith("GPU "))]
