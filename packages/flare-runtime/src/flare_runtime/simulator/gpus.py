"""GPUs: which sites see which ones, by ``CUDA_VISIBLE_DEVICES``."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from flare_core import RecipeError

VARIABLE = "CUDA_VISIBLE_DEVICES"
_GROUP = r"(\d+|\[\s*\d+(\s*,\s*\d+)*\s*\])"


def gpu_groups(config: str | None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Parse a ``gpu_config``; return the value of ``CUDA_VISIBLE_DEVICES`` for each group of sites.

    Args:
        config: GPU ids by group: ``"0,1"`` is two groups with one GPU each, ``"[0,1],[2]"`` one with two and one with
            one. Ids count the GPUs that this process sees, so they are mapped through its own
            ``CUDA_VISIBLE_DEVICES``.
        environment: the environment variables of this process.
    Raises:
        RecipeError: ``config`` is malformed, or names a GPU that does not exist.
    """
    if config is None:
        return []
    if not isinstance(config, str) or not re.fullmatch(rf"\s*{_GROUP}(\s*,\s*{_GROUP})*\s*", config):
        raise RecipeError(f"gpu_config is {config!r}; write ids, such as '0,1', or groups of them, such as '[0,1],[2]'")
    groups = [re.findall(r"\d+", group) for group in re.findall(r"\[[^\]]*\]|\d+", config)]
    gpus = visible_gpus(environment)
    for gpu in (each for group in groups for each in group):
        if int(gpu) >= len(gpus):
            seen = f"{len(gpus)} GPUs (ids 0 to {len(gpus) - 1})" if gpus else "no GPU"
            raise RecipeError(f"gpu_config is {config!r}, but GPU {gpu} does not exist: this process sees {seen}")
    return [",".join(gpus[int(gpu)] for gpu in group) for group in groups]


def visible_devices(ids: Sequence[int], environment: Mapping[str, str] = os.environ) -> str:
    """Return the value of ``CUDA_VISIBLE_DEVICES`` for ids that count the GPUs which this process sees."""
    gpus = visible_gpus(environment)
    return ",".join(gpus[each] if each < len(gpus) else str(each) for each in ids)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the GPUs that this process may use, as named in ``CUDA_VISIBLE_DEVICES``."""
    chosen = environment.get(VARIABLE)
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(line for line in listing.splitlines() if line.startswith("GPU "))]
