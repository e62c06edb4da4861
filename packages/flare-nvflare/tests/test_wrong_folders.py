"""Job folders whose entries have another form than they should are refused, with the file, the key and the value."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from nvflare_folders import CLIENT, PERSISTOR, SERVER, TRAINER, write_job
from test_recipe_folders import CONTROLLER, LOADER, STATS, executor, histogram_folder, statistics_folder, trees_folder

from flare_core import JobError, RecipeError
from nvflare._host.jobs import load_job_folder

FILTER = {"path": "nvflare.app_common.filters.percentile_privacy.PercentilePrivacy"}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("executors", [{"tasks": "train", "executor": TRAINER}], r"executors\[0\]: 'tasks' is 'train'; write a list"),
        ("executors", [{"tasks": ["train"], "executor": "x"}], r"executors\[0\]: 'executor' is 'x'"),
        ("executors", [{"tasks": ["train"], "executor": {**TRAINER, "args": [1]}}], r"executors\[0\]: 'args' is \[1\]"),
        ("executors", [{"tasks": [], "executor": TRAINER}], r"executors\[0\]: 'tasks' is \[\]"),
        ("task_result_filters", [{"tasks": "train", "filters": [FILTER]}], r"'tasks' is 'train'; write a list"),
        (
            "task_result_filters",
            [{"tasks": ["train"], "filter": [FILTER]}],
            r"task_result_filters\[0\] has no 'filters'",
        ),
        ("task_data_filters", [{"tasks": ["train"], "filters": ["x"]}], r"'filters' is \['x'\]; it must be a list of"),
        ("components", {"id": "x"}, r"'components' is \{'id': 'x'\}; it must be a list of objects"),
        ("components", [{"id": 5, "path": PERSISTOR}], r"components\[0\]: 'id' is 5; write a text"),
        ("components", [{"id": "x", "path": PERSISTOR}] * 2, r"two components have the id 'x'"),
        ("components", [{"id": "x", "name": "ConvertToFedEvent", "args": 5}], r"components\[0\]: 'args' is 5"),
    ],
)
def test_an_entry_of_another_form_is_named(tmp_path: Path, key: str, value: Any, words: str) -> None:
    job = write_job(tmp_path / "job", client={**CLIENT, key: value})
    with pytest.raises(JobError, match=rf"config_fed_client\.json: .*{words}"):
        load_job_folder(job)


def test_a_second_component_does_not_take_the_place_of_the_first(tmp_path):
    other = {"id": "persistor", "path": PERSISTOR, "args": {"model": [9.0]}}
    job = write_job(tmp_path / "job", {**SERVER, "components": [*SERVER["components"], other]})
    with pytest.raises(JobError, match=r"config_fed_server\.json: two components have the id 'persistor'"):
        load_job_folder(job)


def meta(job: Path, **entries: Any) -> Path:
    (job / "meta.json").write_text(json.dumps({"name": "job", "deploy_map": {"app": ["@ALL"]}, **entries}))
    return job


@pytest.mark.parametrize("value", ["two", 2.5, 0, True, []])
def test_a_number_of_sites_that_is_none_is_refused(tmp_path, value):
    job = meta(write_job(tmp_path / "job"), min_clients=value)
    with pytest.raises(JobError, match=r"'min_clients' in meta is .*; write the number of sites"):
        load_job_folder(job)


def test_a_number_of_sites_can_be_a_text_as_it_can_with_nvidia_flare(tmp_path):
    assert load_job_folder(meta(write_job(tmp_path / "job"), min_clients="2")).min_clients == 2


def test_a_single_site_of_an_app_needs_no_list(tmp_path):
    job = meta(write_job(tmp_path / "job"), deploy_map={"app": ["server", {"sites": "site-1"}]})
    assert list(load_job_folder(job).sites) == ["site-1"]


def own_apps(job: Path, clients: dict[str, dict[str, Any]]) -> Path:
    """Give sites apps of their own, with other configurations; a site may be ``@ALL``."""
    for site, content in clients.items():
        shutil.copytree(job / "app", job / site)
        (job / site / "config" / "config_fed_client.json").write_text(json.dumps(content))
    return meta(job, deploy_map={"app": ["server"], **{site: [site] for site in clients}})


@pytest.mark.parametrize(
    ("name", "value"), [("max_depth", 8), ("learning_rate", 0.1), ("training_mode", "cyclic"), ("lr_mode", "uniform")]
)
def test_sites_that_grow_other_trees_are_refused(tmp_path, name, value):
    pytest.importorskip("xgboost")
    job = trees_folder(tmp_path, "bagging")
    first = json.loads((job / "app" / "config" / "config_fed_client.json").read_text())
    second = copy.deepcopy(first)
    second["executors"][0]["executor"]["args"][name] = value
    with pytest.raises(
        JobError, match=r"config_fed_server\.json: site-2: .* but that of site-1 is .*make them the same"
    ):
        load_job_folder(own_apps(job, {"site-1": first, "site-2": second}))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data_split_mode", "1", "data_split_mode is '1'; write 0 for rows, or 1 for columns"),
        ("client_ranks", {"site-1": 0, "site-2": 0}, "give each site another number"),
        ("client_ranks", ["site-1"], "give each site another number"),
    ],
)
def test_a_setting_of_trees_that_is_none_is_named_with_the_file(tmp_path, name, value, words):
    pytest.importorskip("xgboost")
    job = histogram_folder(tmp_path)
    path = job / "app" / "config" / "config_fed_server.json"
    content = json.loads(path.read_text())
    content["workflows"][0]["args"][name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(JobError, match=rf"config_fed_server\.json: .*{words}"):
        load_job_folder(job)


def test_a_mode_of_learning_rates_that_is_none_is_refused():
    pytest.importorskip("xgboost")
    from nvflare.app_opt.xgboost.tree_based.executor import FedXGBTreeExecutor

    with pytest.raises(RecipeError, match="lr_mode is 'scale'; write 'uniform' or 'scaled'"):
        FedXGBTreeExecutor("bagging", 1.0, "loader", lr_mode="scale")


def test_groups_of_sites_have_different_names(tmp_path):
    pytest.importorskip("flare_stats")
    controller = f"{STATS}.workflows.hierarchical_statistics_controller.HierarchicalStatisticsController"
    job = statistics_folder(tmp_path, controller=controller, hierarchy_config="groups.json")
    groups = {"States": [{"Name": "north", "clinics": ["site-1"]}, {"Name": "north", "clinics": ["site-2"]}]}
    (job / "app" / "config" / "groups.json").write_text(json.dumps(groups))
    with pytest.raises(JobError, match=r"groups\.json: two groups of a level are called 'north'"):
        load_job_folder(job)


def test_limits_of_statistics_are_named_in_a_list(tmp_path):
    pytest.importorskip("flare_stats")
    job = statistics_folder(tmp_path)
    path = job / "app" / "config" / "config_fed_client.json"
    path.write_text(path.read_text().replace('["least", "noise", "bins"]', '"least"'))
    with pytest.raises(JobError, match=r"config_fed_client\.json: .*result_cleanser_ids is 'least'; give a list"):
        load_job_folder(job)


def test_a_least_count_with_a_fraction_is_not_lowered():
    pytest.importorskip("flare_stats")
    from nvflare.app_common.statistics.min_count_cleanser import MinCountCleanser

    assert MinCountCleanser(2.5).min_count == 3


def test_a_site_may_read_ids_in_another_way_than_all_others(tmp_path):
    pytest.importorskip("flare_psi")

    def client(path: str, **more: Any) -> dict[str, Any]:
        handler = "nvflare.app_opt.psi.dh_psi.dh_psi_task_handler.DhPSITaskHandler"
        writer = "nvflare.app_common.psi.file_psi_writer.FilePSIWriter"
        psi = executor("nvflare.app_common.psi.psi_executor.PSIExecutor", ["PSI"], psi_algo_id="dh_psi")
        components = [
            {"id": "dh_psi", "path": handler, "args": {"local_psi_id": "local"}},
            {"id": "local", "path": "ids.Ids", "args": {"psi_writer_id": "writer", "path": path}},
            {"id": "writer", "path": writer, "args": {"output_path": "common.txt"}},
        ]
        return {"executors": [psi], "components": components, **more}

    filtered = client("/all", task_result_filters=[{"tasks": ["PSI"], "filters": [FILTER]}])
    job = write_job(tmp_path / "job", {"workflows": [CONTROLLER]}, code={"ids.py": LOADER})
    loaded = load_job_folder(own_apps(job, {"@ALL": filtered, "site-2": client("/second")}))
    apps = [loaded.client, loaded.sites["site-2"]]
    paths = [app.executors[0].executor.args["local_psi"].args["path"] for app in apps]
    assert paths == ["/all", "/second"]
    assert [len(app.task_result_filters) for app in apps] == [1, 0]
