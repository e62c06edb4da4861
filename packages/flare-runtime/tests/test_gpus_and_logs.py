from __future__ import annotations

import json
import logging

import pytest

from flare_core import RecipeError
from flare_runtime.logs import check_log_config, log_to
from flare_runtime.simulator.gpus import gpu_groups

FOUR = {"CUDA_VISIBLE_DEVICES": "4,5,GPU-abc,7"}


@pytest.mark.parametrize(
    ("config", "groups"),
    [
        (None, []),
        ("0", ["4"]),
        ("0,1", ["4", "5"]),
        ("[0,1],[2]", ["4,5", "GPU-abc"]),
        (" [0, 3] , 2 ", ["4,7", "GPU-abc"]),
        ("0,0", ["4", "4"]),
    ],
)
def test_gpu_config_is_parsed_into_groups(config, groups):
    assert gpu_groups(config, FOUR) == groups


@pytest.mark.parametrize("config", ["", "a", "0,", "[0", "[[0]]", "0;1", "-1", 0, ["0"]])
def test_a_malformed_gpu_config_is_refused(config):
    with pytest.raises(RecipeError, match="gpu_config is"):
        gpu_groups(config, FOUR)


@pytest.mark.parametrize(("config", "there"), [("4", "this process sees 4 GPUs"), ("[0,9]", "GPU 9 does not exist")])
def test_gpus_that_do_not_exist_are_refused(config, there):
    with pytest.raises(RecipeError, match=there):
        gpu_groups(config, FOUR)
    with pytest.raises(RecipeError, match="no GPU"):
        gpu_groups(config, {"CUDA_VISIBLE_DEVICES": ""})


def test_sites_of_a_group_see_its_gpus(project, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    script = """
        import os
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            card = int(os.environ["CUDA_VISIBLE_DEVICES"])
            flare.send(flare.FLModel(params=flare.receive().params, metrics={"card": card}))
    """
    run = project.env(4, gpu_config="0,1").deploy(project.job(script, rounds=1, sites=4))
    cards = {row["site"]: row["value"] for row in run.metrics() if row["key"] == "card" and row["site"]}
    assert cards == {"site-1": 2, "site-2": 3, "site-3": 2, "site-4": 3}


def test_flare_logs_to_the_file_and_logging_is_restored(tmp_path, caplog):
    logger = logging.getLogger("flare_runtime.something")
    before = logging.getLogger("flare_runtime")
    state = (before.level, before.propagate, list(before.handlers))
    with log_to(tmp_path / "log.txt", "DEBUG"):
        logger.debug("detail")
        logging.getLogger("other").warning("not ours")
    assert (before.level, before.propagate, list(before.handlers)) == state
    text = (tmp_path / "log.txt").read_text()
    assert "detail" in text
    assert "not ours" not in text


def test_a_process_that_was_forked_in_a_run_logs_each_record_once(tmp_path):
    with log_to(tmp_path / "log.txt", "INFO"), log_to(tmp_path / "log.txt", "INFO"):  # the second in the new process
        logging.getLogger("flare_runtime.something").info("once")
    assert (tmp_path / "log.txt").read_text().count("once") == 1


def test_log_config_is_a_level_a_dict_or_a_file(tmp_path):
    assert check_log_config(None) == "INFO"
    assert check_log_config("debug") == "DEBUG"
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"version": 1}))
    assert check_log_config(str(path)) == {"version": 1}
    path.write_text("[]")
    with pytest.raises(RecipeError, match="contains a list"):
        check_log_config(path)
    path.write_text("{")
    with pytest.raises(RecipeError, match="not valid JSON"):
        check_log_config(path)
