"""A controller that fails is stopped, as it is by NVIDIA FLARE, and its error is that of the run."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from nvflare._host.server import HostedWorkflow
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal


class Engine:
    """Notes the events of a workflow."""

    def __init__(self) -> None:
        self.abort_signal = Signal()
        self.events: list[str] = []

    def new_context(self) -> FLContext:
        return FLContext()

    def fire(self, event: str) -> None:
        self.events.append(event)

    def fire_event(self, event: str, fl_ctx: FLContext) -> None:
        self.events.append(event)

    def end(self) -> None:
        self.events.append("end")


class Failing:
    """Fails in the methods that are named."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any) -> None:
            self.called.append(name)
            if name in self.methods:
                raise ValueError(f"{name} failed")

        return method


def run(controller: Any) -> list[str]:
    engine: Any = Engine()
    with pytest.raises(ValueError, match=f"^{controller.methods[0]} failed$"):
        HostedWorkflow(index=1)._control(engine, "rounds", controller)
    return engine.events


@pytest.mark.parametrize("method", ["initialize", "control_flow"])
def test_a_controller_that_fails_is_stopped(method):
    controller = Failing(method)
    assert run(controller)[-1] == "_end_workflow"
    assert controller.called[-2:] == [method, "stop_controller"]


def test_the_first_error_is_that_of_the_run(caplog):
    with caplog.at_level(logging.WARNING):
        run(Failing("control_flow", "stop_controller"))
    assert "workflow rounds could not be stopped" in caplog.text


def test_a_controller_that_cannot_be_stopped_fails_the_run():
    assert run(Failing("stop_controller"))[-1] == "_start_workflow"
