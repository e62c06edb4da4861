"""Split learning: one site has the data, the other the labels; and the pools of numbers that learners keep."""

import json

import numpy as np
import pytest
from nvflare_folders import GENERATOR, PERSISTOR, write_job

from flare_core import JobFailed
from flare_runtime import SimEnv
from nvflare._host.jobs import load_job_folder
from nvflare.fuel.f3.stats_pool import HistPool, StatsPoolManager

CODE = """
    import json
    from pathlib import Path

    import numpy as np
    from nvflare.apis.dxo import DXO, from_shareable
    from nvflare.apis.fl_constant import FLContextKey, ReturnCode
    from nvflare.apis.shareable import make_reply
    from nvflare.app_common.abstract.learner_spec import Learner
    from nvflare.app_common.app_constant import AppConstants
    from nvflare.app_common.workflows.splitnn_workflow import SplitNNConstants, SplitNNDataKind
    from nvflare.fuel.f3.stats_pool import StatsPoolManager

    X, Y = np.arange(8.0), 3 * np.arange(8.0) + 1

    class Half(Learner):
        '''y = a (b x) + c: the data side has b, the label side has a and c.'''

        def initialize(self, parts, fl_ctx):
            self.site, self.root = fl_ctx.get_identity_name(), fl_ctx.get_prop(FLContextKey.APP_ROOT)
            self.pool = StatsPoolManager.add_time_hist_pool("Compute_Time", "in seconds", scope=self.site)
            if self.site == "site-2":
                engine = fl_ctx.get_engine()
                engine.register_aux_message_handler(SplitNNConstants.TASK_TRAIN_LABEL_STEP, self.label_step)

        def init_model(self, shareable, fl_ctx, abort_signal):
            self.a, self.b, self.c = map(float, from_shareable(shareable).data["numpy_key"])
            return make_reply(ReturnCode.OK)

        def train(self, shareable, fl_ctx, abort_signal):
            names = shareable.get_header(SplitNNConstants.TARGET_NAMES)
            size = shareable.get_header(SplitNNConstants.BATCH_SIZE)
            for number in range(shareable.get_header(AppConstants.NUM_ROUNDS) if self.site == names[0] else 0):
                rows = (np.arange(size) + number) % len(X)
                dxo = DXO(SplitNNDataKind.ACTIVATIONS, {SplitNNConstants.DATA: self.b * X[rows]})
                dxo.set_meta_prop(SplitNNConstants.BATCH_INDICES, rows)
                answer = fl_ctx.get_engine().send_aux_request(
                    targets=names[1], topic=SplitNNConstants.TASK_TRAIN_LABEL_STEP, request=dxo.to_shareable(),
                    timeout=SplitNNConstants.TIMEOUT, fl_ctx=fl_ctx,
                )[names[1]]
                gradient = from_shareable(answer)
                assert gradient.data_kind == SplitNNDataKind.GRADIENT
                self.b -= 0.01 * (gradient.data[SplitNNConstants.DATA] * X[rows]).mean()
                self.pool.record_value(category="train", value=0.003)
            return make_reply(ReturnCode.OK)

        def label_step(self, topic, request, fl_ctx):
            dxo = from_shareable(request)
            z, rows = dxo.data[SplitNNConstants.DATA], dxo.get_meta_prop(SplitNNConstants.BATCH_INDICES)
            error = self.a * z + self.c - Y[rows]
            gradient = DXO(SplitNNDataKind.GRADIENT, {SplitNNConstants.DATA: error * self.a})
            self.a, self.c = self.a - 0.01 * (error * z).mean(), self.c - 0.01 * error.mean()
            return gradient.to_shareable()

        def finalize(self, fl_ctx):
            Path(self.root, "model.json").write_text(json.dumps([self.a, self.b, self.c]))
"""
EXECUTOR = "nvflare.app_common.executors.splitnn_learner_executor.SplitNNLearnerExecutor"


def job_of(tmp_path, rounds):
    server = {
        "workflows": [
            {
                "id": "splitnn",
                "path": "nvflare.app_common.workflows.splitnn_workflow.SplitNNController",
                "args": {"num_rounds": rounds, "batch_size": 4, "task_timeout": 0},
            }
        ],
        "components": [
            {"id": "persistor", "path": PERSISTOR, "args": {"model": [1.0, 0.5, 0.0]}},
            {"id": "shareable_generator", "path": GENERATOR},
        ],
    }
    tasks = ["_splitnn_task_init_model_", "_splitnn_task_train_"]
    client = {
        "executors": [{"tasks": tasks, "executor": {"path": EXECUTOR, "args": {"learner_id": "learner"}}}],
        "components": [{"id": "learner", "path": "own.Half"}],
    }
    return load_job_folder(write_job(tmp_path / "job", server, client, {"own.py": CODE}))


def expected(rounds):
    """Train the whole model in one place."""
    x, y = np.arange(8.0), 3 * np.arange(8.0) + 1
    a, b, c = 1.0, 0.5, 0.0
    for number in range(rounds):
        rows = (np.arange(4) + number) % 8
        z = b * x[rows]
        error = a * z + c - y[rows]
        a, b, c = a - 0.01 * (error * z).mean(), b - 0.01 * (error * a * x[rows]).mean(), c - 0.01 * error.mean()
    return a, b, c


@pytest.mark.filterwarnings("ignore:Learner is deprecated")
def test_two_sites_train_the_halves_of_a_model(tmp_path):
    run = SimEnv(num_clients=2, workspace_root=tmp_path / "runs").deploy(job_of(tmp_path, 5))
    folder = run.get_result()
    models = {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("model.json")}
    a, b, c = expected(5)
    np.testing.assert_allclose(models["app_site-1"][1], b, rtol=1e-12)
    np.testing.assert_allclose([models["app_site-2"][0], models["app_site-2"][2]], [a, c], rtol=1e-12)
    (summary,) = (path for path in folder.rglob("stats_pool_summary.json") if "site-1" in path.parts)
    bins = json.loads(summary.read_text())["compute_time@site-1"]["pool"]["cat_data"]["train"]
    assert [each and each["count"] for each in bins].index(5) == 4  # from 0.002 to 0.004 s


@pytest.mark.filterwarnings("ignore:Learner is deprecated")
def test_split_learning_needs_two_sites(tmp_path):
    with pytest.raises(JobFailed, match=r"the sites are site-1, site-2, site-3; .*needs site-1 and site-2"):
        SimEnv(num_clients=3, workspace_root=tmp_path / "runs").deploy(job_of(tmp_path, 1)).get_result()


def test_a_pool_that_is_added_again_is_the_same_one(tmp_path):
    pool = StatsPoolManager.add_msg_size_pool("Sizes", "of messages", marks=(1, 2), scope="gone")
    assert StatsPoolManager.add_msg_size_pool("sizes", "of messages", scope="gone") is pool
    for value in (0.5, 1, 1.5, 2):
        pool.record_value("sent", value)
    assert StatsPoolManager.get_pool("sizes@gone") is pool
    StatsPoolManager.end("gone", tmp_path)
    found = json.loads((tmp_path / "stats_pool_summary.json").read_text())["sizes@gone"]["pool"]
    assert [each["count"] for each in found["cat_data"]["sent"]] == [1, 2, 1]
    assert StatsPoolManager.get_pool("sizes@gone") is None
    with pytest.raises(ValueError, match="'rising' are \\[2, 1\\]"):
        HistPool("rising", "", [2, 1], "s")
