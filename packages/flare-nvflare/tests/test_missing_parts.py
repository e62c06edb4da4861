"""Runs that lack a model or control variates end with an error that names them, the party and the remedy."""

from __future__ import annotations

import textwrap

import pytest
from nvflare_folders import write_job

from flare_core import JobFailed
from flare_runtime import SimEnv
from nvflare._host.jobs import load_job_folder

NP = "nvflare.app_common.np"
CSE = "nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval"


@pytest.mark.parametrize(
    ("submits", "words"),
    [
        (False, r"server has no model in \S*server\.npy: put a workflow that trains before CrossSiteModelEval"),
        (True, r"site-\d has no model in \S*best_numpy\.npy: it has not trained in this run"),
    ],
    ids=["server", "site"],
)
def test_evaluation_across_sites_without_a_trained_model_names_the_file(tmp_path, submits, words):
    args = {"model_locator_id": "" if submits else "locator", **({} if submits else {"submit_model_task_name": ""})}
    server = {
        "workflows": [{"id": "eval", "path": CSE, "args": args}],
        "components": [{"id": "locator", "path": f"{NP}.np_model_locator.NPModelLocator"}],
    }
    client = {
        "executors": [
            {"tasks": ["train", "submit_model"], "executor": {"path": f"{NP}.np_trainer.NPTrainer"}},
            {"tasks": ["validate"], "executor": {"path": f"{NP}.np_validator.NPValidator"}},
        ]
    }
    job = load_job_folder(write_job(tmp_path / "job", server, client))
    with pytest.raises(JobFailed, match=words):
        SimEnv(num_clients=2, workspace_root=tmp_path / "runs").deploy(job).get_result()


def test_a_script_that_sends_no_control_variates_is_told_what_to_send(tmp_path):
    pytest.importorskip("flare_recipes_np")
    from flare_recipes_np import ScaffoldRecipe

    script = """
        import nvflare.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            flare.send(flare.FLModel(params=model.params))
    """
    (tmp_path / "client.py").write_text(textwrap.dedent(script))
    recipe = ScaffoldRecipe(
        name="job", min_clients=2, num_rounds=1, initial_model={"w": [0.0]}, train_script=str(tmp_path / "client.py")
    )
    with pytest.raises(JobFailed, match=r"no meta\['scaffold_c_diff'\].*get_delta_controls\(\)"):
        recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs")).get_result()
