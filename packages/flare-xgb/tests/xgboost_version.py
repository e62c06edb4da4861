"""The release of XGBoost that tests compare with, and the rules that releases after 3.2 changed.

The engine keeps the rules of 3.2. ``test_xgboost_versions.py`` shows each change; the other tests compare with a later
release only what it left alone.
"""

from __future__ import annotations

from typing import Any

import pytest
import xgboost

VERSION = tuple(map(int, xgboost.__version__.split(".")[:2]))
CHANGES = {
    "cuts": ((3, 3), "has no lower bound of a feature's first bin"),
    "draws": ((3, 3), "draws rows and columns by other random numbers"),
    "gains": (
        (3, 4),
        "has other rules for min_child_weight, alpha and monotone constraints, and rounds gains otherwise",
    ),
    "names": ((3, 4), "has the names of categories as they were given"),
    "pairs": ((3, 4), "draws the pairs of a ranking by other random numbers"),
    "quantiles": ((3, 4), "smooths the absolute and the quantile error, and sorts the quantiles of a row"),
}


def changed(rule: str) -> bool:
    """Return whether the installed XGBoost has another rule than 3.2."""
    return CHANGES[rule][0] <= VERSION


def unless_changed(rule: str) -> pytest.MarkDecorator:
    """Skip a test if the installed XGBoost has another rule than 3.2."""
    (major, minor), what = CHANGES[rule]
    return pytest.mark.skipif(changed(rule), reason=f"XGBoost {major}.{minor} {what}")


def skip_if_of_quantiles(objective: str) -> None:
    """Skip the rest of a test whose objective the installed XGBoost computes otherwise than 3.2."""
    if objective in ("reg:absoluteerror", "reg:quantileerror") and changed("quantiles"):
        pytest.skip(f"XGBoost 3.4 {CHANGES['quantiles'][1]}")


def without_changed(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters without alpha and constraints such that they mean the same in 3.2 and in the installed XGBoost.

    In 3.2 any nodes, and sets of categories, whose Hessians are less than ``min_child_weight`` weigh nothing.
    """
    return {**params, "min_child_weight": 1e-6} if changed("gains") else params
