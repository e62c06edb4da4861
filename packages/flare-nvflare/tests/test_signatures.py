"""Signatures are those of NVIDIA FLARE, as recorded by tools/nvflare_signatures.py."""

from __future__ import annotations

import importlib
import inspect
import json
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

RECORDED = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))
NEEDS = {
    "nvflare.app_common.ccwf": "torch",
    "nvflare.app_opt.pt": "torch",
    "nvflare.app_opt.sklearn": "sklearn",
    "nvflare.app_opt.tracking": "tensorboard",
    "nvflare.app_opt.xgboost": "flare_xgb",
    "nvflare.job_config.stats_job": "flare_stats",
    "nvflare.recipe.fedstats": "flare_stats",
}
ELSEWHERE = {  # by name only, or not needed here
    ("nvflare.app_opt.flower.recipe.FlowerRecipe", "flower_app_path"),
    ("nvflare.app_opt.flower.recipe.FlowerRecipe", "flower_content"),  # positional in 2.7, by name alone in 2.9
    ("nvflare.app_opt.pt.job_config.base_fed_job.BaseFedJob", "metrics_artifact_writer"),
    ("nvflare.client.FLModel", "meta"),  # {} instead of None, which becomes {}
    ("nvflare.job_config.base_fed_job.BaseFedJob", "key_metric_mode"),
}


def target_of(name: str) -> Any:
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"{name} is not there")


@pytest.mark.parametrize("name", RECORDED)
def test_takes_the_arguments_of_every_release_in_their_order_and_with_the_newest_defaults(name):
    for prefix, package in NEEDS.items():
        if name.startswith(prefix):
            pytest.importorskip(package)
    ours = inspect.signature(target_of(name)).parameters
    rest = any(each.kind is each.VAR_KEYWORD for each in ours.values())
    for release, recorded in RECORDED[name].items():
        positional, is_by_name = [], False
        for parameter, default in recorded:
            is_by_name = is_by_name or parameter.startswith("*")
            if parameter.startswith("*"):
                continue
            is_same = (name, parameter) not in ELSEWHERE
            assert parameter in ours or rest or not is_same, f"{release}: {name} lacks {parameter}"
            if release == max(RECORDED[name]) and parameter in ours and is_same:
                assert default_of(ours[parameter]) == default, f"{release}: the default of {parameter} in {name}"
            if not is_by_name:
                positional.append(parameter)
        first = [each.name for each in ours.values() if each.kind is each.POSITIONAL_OR_KEYWORD][: len(positional)]
        assert first == positional or release != min(RECORDED[name]), f"{release}: the order in {name}"


def default_of(parameter: inspect.Parameter) -> str | None:
    if parameter.default is parameter.empty:
        return None
    return repr(parameter.default.value if isinstance(parameter.default, Enum) else parameter.default)
