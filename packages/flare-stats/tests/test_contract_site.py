"""The check of a contract at a site whose owner has rules."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flare_core import FilterContext
from flare_core.filters import FilterPoint
from flare_stats import ContractBroken
from flare_stats.contract.reading import parse
from flare_stats.contract.services import ContractAtServer, ContractGate
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


class Endpoint:
    """The server's endpoint of a run with one site; keeps what the site would call."""

    parties = ("server", "site-1")

    def handle(self, topic, handler):
        self.tell = handler


@dataclass
class Server(Context):
    party: str = "server"
    endpoint: Endpoint = field(default_factory=Endpoint)

    def fail(self, error):
        self.error = error


def test_runs_at_the_same_time_have_gates_of_their_own(tmp_path):
    broken = judge(CONTRACT, str(tmp_path / "absent.csv"), Context(tmp_path, tmp_path)).to_data()  # type: ignore[arg-type]
    assert broken["broken"]
    services = {}
    for job_id in ("bad", "good"):
        (tmp_path / job_id).mkdir()
        context = Server(tmp_path / job_id, tmp_path, job_id=job_id)
        services[job_id] = ContractAtServer("patients")
        services[job_id].start(context)
        context.endpoint.tell("site-1", broken if job_id == "bad" else {**broken, "broken": []})
    gate = ContractGate()
    at = {job_id: FilterContext(FilterPoint.SERVER_OUTPUT, "*", "train", 0, job_id) for job_id in services}
    try:
        assert gate.process("task", at["good"]) == "task"
        with pytest.raises(ContractBroken, match="site-1"):
            gate.process("task", at["bad"])
        services["good"].stop()
        with pytest.raises(ContractBroken, match="site-1"):
            gate.process("task", at["bad"])
    finally:
        services["bad"].stop()
