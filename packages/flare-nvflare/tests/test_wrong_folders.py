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
    with pytest.raises(JobError, match="'min_clients' in meta is .*; write the number of sites"):
        load_job_folder(job)


def test_a_number_of_sites_can_be_a_text_as_it_can_with_nvidia_flare(tmp_path):
    assert load_job_folder(meta(write_job(tmp_path / "job"), min_clients="2")).min_clients == 2


def test_a_single_site_of_an_app_needs_no_list(tmp_path):
    job = meta(write_job(tmp_path / "job"), deploy_map={"app": ["server", {"sites": "site-1"}]})
    assert list(load_job_folder(job).sites) == ["site-1"]
