"""C20: the order of calls follows the same rules in a shared and in a separate process."""

from __future__ import annotations

import pytest

LOG_CALLS = """
    import json, os, time
    import flare_core.client as flare

    def attempt(call):
        try:
            result = call()
        except Exception as error:
            return type(error).__name__
        return "model" if isinstance(result, flare.FLModel) else result

    flare.init()
    seen = []
    {body}
    with open("seen.json", "w") as file:
        json.dump(seen, file)
    while flare.is_running():
        flare.receive()
        flare.send(flare.FLModel(metrics={"accuracy": 1.0}, params={}))
"""
SEND = 'lambda: flare.send(flare.FLModel(metrics={"accuracy": 1.0}, params={}))'


def calls(project, body, external, **arguments):
    import json

    recipe = project.recipe(
        LOG_CALLS.replace("{body}", body), min_clients=1, launch_external_process=external, **arguments
    )
    folder = recipe.execute(project.env(1)).get_result()
    return json.loads((folder / "sites" / "site-1" / "seen.json").read_text())


pytestmark = pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])


def test_send_without_receive_is_refused(project, external):
    body = f"seen = [attempt(flare.is_running), attempt({SEND})]"
    assert calls(project, body, external) == [True, "ClientApiError"]


def test_a_second_send_is_refused(project, external):
    body = f"seen = [attempt(flare.receive), attempt({SEND}), attempt({SEND})]"
    assert calls(project, body, external, num_rounds=2) == ["model", None, "ClientApiError"]


def test_receive_twice_gives_the_same_model(project, external):
    body = "seen = [flare.receive() is flare.receive()]"
    assert calls(project, body, external) == [True]


def test_receive_with_a_timeout_returns_none_without_a_task(project, external):
    # site-1 has answered round 0 and waits for site-2, which takes its time
    script = """
        import json, time
        import flare_core.client as flare

        flare.init()
        seen = []
        if flare.get_site_name() == "site-2":
            while flare.is_running():
                flare.receive()
                time.sleep(1.0)
                flare.send(flare.FLModel(metrics={"accuracy": 1.0}, params={}))
        else:
            flare.receive()
            flare.send(flare.FLModel(metrics={"accuracy": 1.0}, params={}))
            started = time.monotonic()
            seen.append(flare.receive(timeout=0.2))
            seen.append(0.15 < time.monotonic() - started < 0.9)
            try:
                flare.send(flare.FLModel(metrics={"accuracy": 1.0}, params={}))
            except flare_error as error:
                seen.append("refused")
            while flare.is_running():
                seen.append(flare.receive().current_round)
                flare.send(flare.FLModel(metrics={"accuracy": 1.0}, params={}))
            with open("seen.json", "w") as file:
                json.dump(seen, file)
    """.replace("flare_error", "RuntimeError")
    import json

    recipe = project.recipe(script, num_rounds=3, launch_external_process=external)
    folder = recipe.execute(project.env(num_threads=2)).get_result()
    seen = json.loads((folder / "sites" / "site-1" / "seen.json").read_text())
    assert seen == [None, True, "refused", 1, 2]


def test_every_round_gives_the_servers_model(project, external):
    script = """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            assert model.params["numpy_key"].tolist() == [model.current_round] * 2, model.params
            assert model.total_rounds == 4
            model.params["numpy_key"] += 1  # the received model is the script's own
            flare.send(model)
    """
    recipe = project.recipe(script, num_rounds=4, launch_external_process=external)
    assert recipe.execute(project.env()).load_model()["numpy_key"].tolist() == [4.0, 4.0]


def test_a_launch_of_several_processes_must_say_its_ranks(project, external):
    script = """
        import os
        import flare_core.client as flare

        os.environ["WORLD_SIZE"] = "2"
        try:
            flare.init()
        except RuntimeError as error:
            assert "RANK is not set" in str(error), error
        flare.init(rank="0")
        while flare.is_running():
            flare.send(flare.FLModel(params=flare.receive().params))
    """
    project.recipe(script, launch_external_process=external).execute(project.env())


def test_a_rank_above_zero_takes_part_without_a_model(project, external):
    script = """
        import flare_core.client as flare

        flare.init(rank="1")
        assert flare.is_running()
        assert flare.receive() is None
        assert flare.send(flare.FLModel(metrics={"a": 1})) is None
        raise SystemExit(7)
    """
    recipe = project.recipe(script, min_clients=1, launch_external_process=external)
    if external:
        pytest.skip("alone, a rank above zero waits for what rank 0 is given: see the launch of two ranks")
    run = recipe.execute(project.env(1), raise_on_failure=False)
    assert "7" in run.summary()["error"]


def test_the_rules_hold_between_processes_of_a_federation(project, external):
    body = f"seen = [attempt({SEND}), flare.receive() is flare.receive(), attempt({SEND}), attempt({SEND})]"
    script = LOG_CALLS.replace("{body}", body).replace(
        'with open("seen.json", "w") as file:\n        json.dump(seen, file)',
        'print("SEEN", json.dumps(seen), flush=True)',
    )
    status, folder, _ = project.poc(script, clients=1, launch_external_process=external, num_rounds=2)
    assert status == "finished"
    log = (folder / "sites" / "site-1" / "log.txt").read_text()
    assert '["ClientApiError", true, null, "ClientApiError"]' in log
