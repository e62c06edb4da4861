"""Feature election: votes of sites, and a job of them."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from nvflare.app_opt.feature_election.controller import FeatureElectionController
from nvflare.app_opt.feature_election.executor import FeatureElectionExecutor
from nvflare.job_config.api import FedJob


class Executor(FeatureElectionExecutor):
    """Has data in which the first two of six features tell the class, the second at site-2 alone."""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        if self.X_train is None:
            name = fl_ctx.get_identity_name()
            data = np.random.default_rng(int(name[-1])).normal(size=(80, 6))
            signal = data[:, 0] + (2 * data[:, 1] if name == "site-2" else 0)
            self.set_data(data, (signal > 0).astype(int), feature_names=list("abcdef"))
        return super().execute(task_name, shareable, fl_ctx, abort_signal)


@pytest.mark.parametrize(("degree", "elected"), [(0.0, [1]), (0.3, [1, 2]), (0.6, [1, 2, 3]), (1.0, [0, 1, 2, 3])])
def test_the_degree_decides_about_features_that_some_sites_select(degree, elected):
    votes = {
        "site-1": {"selected_features": [0, 1, 1, 0, 0], "feature_scores": [0, 5, 9, 0, 0], "num_samples": 300},
        "site-2": {"selected_features": [1, 1, 0, 1, 0], "feature_scores": [1, 8, 0, 9, 0], "num_samples": 100},
        "site-3": {"selected_features": [0, 1, 1, 0, 0], "feature_scores": [0, 4, 5, 0, 0], "num_samples": 100},
    }  # with scores between 0 and 1, by samples: 0.8 for the third feature, 0.2 for the fourth, 0 for the first
    controller = FeatureElectionController(freedom_degree=degree)
    assert np.flatnonzero(controller.aggregate_selections(votes)).tolist() == elected


def test_tuning_goes_back_by_smaller_steps():
    controller = FeatureElectionController(freedom_degree=0.5, auto_tune=True, tuning_rounds=4)
    tried = []
    for number, score in enumerate([0.5, 0.6, 0.4, 0.7]):
        controller.advance_tuning(score, first_step=number == 0)
        tried.append(round(controller.freedom_degree, 3))
    assert tried == [0.6, 0.7, 0.65, 0.6]


def test_a_job_elects_and_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = FedJob(name="election")
    job.to_server(
        FeatureElectionController(
            num_rounds=2, auto_tune=True, tuning_rounds=2, wait_time_after_min_received=0, freedom_degree=0.9
        )
    )
    job.to_clients(Executor(fs_params={"alpha": 0.05}))
    job.simulator_run(str(tmp_path / "work"), n_clients=2)
    found = json.loads(next(Path(tmp_path, "work").rglob("feature_election_results.json")).read_text())
    assert found["global_mask"][:2] == [True, True]
    assert found["num_features_selected"] == sum(found["global_mask"])


def test_wrong_settings_are_errors():
    with pytest.raises(ValueError, match="aggregation_mode"):
        FeatureElectionController(aggregation_mode="most")
    with pytest.raises(ValueError, match="fs_method"):
        FeatureElectionExecutor(fs_method="pyimpetus")
    executor = FeatureElectionExecutor()
    with pytest.raises(ValueError, match="feature_names"):
        executor.set_data(np.zeros((2, 3)), np.zeros(2), feature_names=["a"])
