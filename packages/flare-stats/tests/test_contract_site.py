"""The check of a contract at a site whose owner has rules."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flare_stats.contract.reading import parse
from flare_stats.contract.site import judge

CONTRACT = parse("contract: 1\ncolumns:\n  age: {kind: int}\n")
DP = '[differential_privacy]\nmechanism = "laplace"\nepsilon = 1\ntotal_epsilon = 5\n'


@dataclass
class Context:
    """A site in a run."""

    folder: Path
    local: Path
    config: dict[str, Any] = field(default_factory=dict)
    party: str = "site-1"
    job_id: str = "job"
    cancelled: threading.Event = field(default_factory=threading.Event)


@pytest.mark.parametrize("by", ["function", "config"])
def test_a_function_of_the_job_is_refused_also_where_a_setting_names_it(tmp_path, by):
    function = {"function": "no_module.find"}
    context = Context(tmp_path, tmp_path, {"table": function})
    (tmp_path / "privacy.toml").write_text(DP)
    verdict = judge(CONTRACT, function if by == "function" else {"config": "table"}, context)  # type: ignore[arg-type]
    assert "a function of the job returns the data" in verdict.broken[0].found


@pytest.mark.parametrize("other", ["table", "find"])
def test_a_setting_that_names_a_setting_is_refused(tmp_path, other):
    context = Context(tmp_path, tmp_path, {"table": {"config": other}, "find": {"function": "no_module.find"}})
    verdict = judge(CONTRACT, {"config": "table"}, context)  # type: ignore[arg-type]
    assert "the setting 'table' of site-1 names another setting; give a path" in verdict.broken[0].found
