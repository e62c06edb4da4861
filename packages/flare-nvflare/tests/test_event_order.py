"""Events fire in the order in which NVIDIA FLARE 2.7.2 fires them, as observed there with the same components."""

from __future__ import annotations

import pytest
from nvflare_folders import write_job

from nvflare._host.simulator import simulate

PARTS = """
    import os
    from nvflare.apis.controller_spec import Task
    from nvflare.apis.dxo import DXO, DataKind
    from nvflare.apis.executor import Executor
    from nvflare.apis.filter import Filter
    from nvflare.apis.fl_component import FLComponent
    from nvflare.apis.impl.controller import Controller
    from nvflare.app_common.abstract.fl_model import FLModel
    from nvflare.app_common.workflows.model_controller import ModelController

    def note(fl_ctx, text):
        with open(os.path.join({folder!r}, fl_ctx.get_identity_name()), "a") as file:
            file.write(text + "\\n")

    class Recorder(FLComponent):
        def handle_event(self, event_type, fl_ctx):
            note(fl_ctx, event_type)

    class Noting(Filter):
        def process(self, shareable, fl_ctx):
            note(fl_ctx, "filter")
            return shareable

    class Answers(Executor):
        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            note(fl_ctx, "execute")
            return DXO(DataKind.WEIGHTS, {{"x": 2.0}}).to_shareable()

    class Once(Controller):
        def start_controller(self, fl_ctx):
            note(fl_ctx, "start_controller")

        def stop_controller(self, fl_ctx):
            note(fl_ctx, "stop_controller")

        def control_flow(self, abort_signal, fl_ctx):
            note(fl_ctx, "control_flow")
            task = Task(
                "train",
                DXO(DataKind.WEIGHTS, {{"x": 1.0}}).to_shareable(),
                before_task_sent_cb=lambda client_task, fl_ctx: note(fl_ctx, "before_sent"),
                after_task_sent_cb=lambda client_task, fl_ctx: note(fl_ctx, "after_sent"),
                result_received_cb=lambda client_task, fl_ctx: note(fl_ctx, "result_received"),
                task_done_cb=lambda task, fl_ctx: note(fl_ctx, "task_done"),
            )
            self.broadcast_and_wait(task, fl_ctx, min_responses=1)

    class Rounds(ModelController):
        def run(self):
            note(self.fl_ctx, "run")
            self.send_model_and_wait(data=FLModel(params={{"x": 1.0}}, current_round=0))
            self.event("mine")
"""
REQUEST = ["_before_process_task_request", "before_sent", "after_sent", "_after_process_task_request"]
SERVER = [
    "_start_run",
    "start_controller",
    "_start_workflow",
    "control_flow",
    *REQUEST,
    *("_before_task_data_filter", "filter", "_after_task_data_filter"),
    *("_before_task_result_filter", "filter", "_after_task_result_filter"),
    *("_before_process_submission", "result_received", "_after_process_submission"),
    "task_done",
    "stop_controller",
    *("_end_workflow", "_about_to_end_run", "_check_end_run_readiness", "_end_run"),
]
SITE = [
    *("_about_to_start_run", "_start_run"),
    *("_swap_in", "_before_pull_task", "_after_pull_task"),
    *("_before_task_data_filter", "filter", "_after_task_data_filter"),
    *("_before_task_execution", "execute", "_after_task_execution"),
    *("_before_task_result_filter", "filter", "_after_task_result_filter"),
    *("_before_send_task_result", "_after_send_task_result"),
    *("_about_to_end_run", "_check_end_run_readiness", "_end_run"),
]
MODELS = [
    "_start_run",
    *("_start_workflow", "_training_started", "run", "_round_started"),
    *("_before_process_task_request", "_before_train_task", "_after_process_task_request"),
    *("_before_task_data_filter", "_after_task_data_filter"),
    *("_before_task_result_filter", "_after_task_result_filter"),
    *("_before_process_submission", "_before_contribution_accept"),
    *("_after_contribution_accept", "_after_process_submission"),
    "mine",
    *("_end_workflow", "_about_to_end_run", "_check_end_run_readiness", "_end_run"),
]


@pytest.mark.parametrize(
    ("controller", "args", "has_filters", "server"),
    [
        ("Once", {}, True, SERVER),
        ("Once", {}, False, [each for each in SERVER if each != "filter"]),
        ("Rounds", {"persistor_id": ""}, False, MODELS),
    ],
    ids=["controller with filters", "controller", "model controller"],
)
def test_events_fire_in_the_order_of_nvidia_flare(tmp_path, controller, args, has_filters, server):
    chain = [{"tasks": ["train"], "filters": [{"path": "parts.Noting"}]}] if has_filters else []
    common = {
        "components": [{"id": "recorder", "path": "parts.Recorder"}],
        "task_data_filters": chain,
        "task_result_filters": chain,
    }
    job = write_job(
        tmp_path / "job",
        {"workflows": [{"id": "controller", "path": f"parts.{controller}", "args": args}], **common},
        {"executors": [{"tasks": ["train"], "executor": {"path": "parts.Answers"}}], **common},
        {"parts.py": PARTS.format(folder=str(tmp_path))},
    )
    (job / "meta.json").write_text('{"name": "job", "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}')
    simulate(job, tmp_path / "runs", n_clients=1)
    assert (tmp_path / "server").read_text().split() == server
    site = [each for each in SITE if has_filters or each != "filter"]
    assert (tmp_path / "site-1").read_text().split() == site
