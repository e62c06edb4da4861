"""Data contracts in federations: the data of every site are checked before any round begins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import contract_data
from contract_data import other_unit, patients, swapped
from flare_core import Job, JobFailed, RecipeError, Task
from flare_core.components import Component
from flare_core.events import SiteReplied
from flare_core.job import FilterEntry
from flare_core.job_folder import export_job, load_job
from flare_core.testing import (
    ExecutorConformance,
    FakeFederation,
    FakeSite,
    RecipeConformance,
    WorkflowConformance,
    resumed,
)
from flare_stats import ContractBroken, ContractRecipe, FedStatsRecipe, require_contract
from flare_stats.contract import yaml_of
from flare_stats.contract.making import contract_of_source
from flare_stats.contract.recipe import ContractExecutor, ContractWorkflow
from flare_stats.contract.verdict import Verdict
from flare_xgb import FileLoader, XGBHorizontalRecipe

SITES = ("site-1", "site-2", "site-3")
ECHO = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params={"w": model.params["w"] + 1}, metrics={"accuracy": 0.5}))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the data of three sites, and a contract that was made of another site's."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, site in enumerate(SITES, 1):
        patients(number).to_csv(folder / f"{site}.csv", index=False)
    made = contract_of_source(patients(0), name="patients", label="sick", units={"glucose": "mg/dL"})
    (folder / "contract.yml").write_text(yaml_of(made))
    return folder


def spoil(data: Path) -> None:
    swapped(patients(2)).to_csv(data / "site-2.csv", index=False)
    other_unit(patients(3)).to_csv(data / "site-3.csv", index=False)


def recipe_of(project, folder: Path, **arguments):
    recipe = project.recipe(ECHO, min_clients=3, num_rounds=2, initial_model={"w": np.zeros(3)})
    require_contract(recipe, folder / "contract.yml", **(arguments or {"data": str(folder / "{site}.csv")}))
    return recipe


def failed(recipe, project, clients: int = 3) -> tuple[str, Path]:
    run = recipe.execute(project.env(clients), raise_on_failure=False)
    folder = run.get_result(raise_on_failure=False)
    assert run.get_status().value == "failed"
    assert not [event for event in run.events() if isinstance(event, SiteReplied)], "no site may have trained"
    return str(run.summary()["error"]), folder


def check_told(text: str) -> None:
    """Check that an error names what is broken."""
    assert "the data of 2 sites break the contract 'patients'" in text
    site_2, site_3 = text.partition("site-2:")[2].split("site-3:")
    assert "columns 'ldl' and 'hdl' are swapped" in site_2
    assert "columns 'hdl' and 'ldl' are swapped" in site_2
    assert "other unit: a constant factor of 0.0554994 (mmol/l instead of mg/dl of glucose)" in site_3
    assert re.search(r"usual: 4\d\d of 400 values|usual: all but fewer than 10 of 400 values", site_3)


def values_in(data: Path, site: str) -> list[str]:
    """Return the numbers of a site that no other number looks like."""
    table = pd.read_csv(data / f"{site}.csv", dtype=str)
    return [each for name in ("ldl", "hdl", "glucose") for each in table[name] if len(each) >= 7]


def test_data_may_be_a_mapping_with_a_path_alone(project, data):
    recipe = recipe_of(project, data, data={"path": str(data / "{site}.csv")})
    assert recipe.execute(project.env(3)).get_status().value == "finished"


def test_broken_data_end_the_run_before_a_round_with_all_sites_columns_and_rules(project, data):
    spoil(data)
    error, folder = failed(recipe_of(project, data), project)
    check_told(error)
    verdicts = json.loads((folder / "server" / "contract.json").read_text())
    assert {site: bool(each["broken"]) for site, each in verdicts.items()} == dict(
        zip(SITES, (False, True, True), strict=True)
    )
    details = (folder / "sites" / "site-2" / "data-contract.txt").read_text()
    assert details.startswith("site-2 breaks the contract 'patients':")
    assert (folder / "sites" / "site-1" / "data-contract.txt").read_text() == "site-1 keeps the contract 'patients'.\n"


def test_no_value_of_a_person_leaves_a_site(project, data):
    spoil(data)
    for site, value in (("site-1", "Muggia"), ("site-2", "Trieste")):
        table = pd.read_csv(data / f"{site}.csv").astype({"age": float, "sick": object})
        table.loc[:4, "sick"], table.loc[5:7, "age"] = value, 1337.71
        table.to_csv(data / f"{site}.csv", index=False)
    error, folder = failed(recipe_of(project, data), project)
    places = [path for path in folder.rglob("*") if path.is_file() and path.name != "data-contract.txt"]
    told = error + "".join(path.read_text(errors="replace") for path in places)
    for site in SITES:
        assert not [value for value in values_in(data, site) if value in told]
    assert not [value for value in ("Muggia", "Trieste", "1337.71") if value in told]
    assert "1337.71" in (folder / "sites" / "site-2" / "data-contract.txt").read_text()


def test_data_that_keep_the_contract_train_the_same_model(project, data):
    plain = project.recipe(ECHO, min_clients=3, num_rounds=2, initial_model={"w": np.zeros(3)})
    assert project.outcome(recipe_of(project, data), 3).models == project.outcome(plain, 3).models


def test_an_exported_job_checks_the_data_too(project, data):
    spoil(data)
    job = load_job(export_job(recipe_of(project, data).job(), project.folder / "jobs"))
    run = project.env(3).deploy(job)
    check_told(str(run.summary()["error"]))


def test_sites_share_a_process(project, data):
    spoil(data)
    recipe = recipe_of(project, data)
    run = recipe.execute(project.env(3, num_threads=1, share_processes=True), raise_on_failure=False)
    check_told(str(run.summary()["error"]))


def test_each_site_may_have_data_of_its_own(project, data):
    places = {
        site: {"path": str(data / f"{site}.csv"), "columns": ["age", "ldl", "hdl", "glucose", "sick"]} for site in SITES
    }
    assert project.outcome(recipe_of(project, data, per_site_data=places), 3).models
    error, _ = failed(recipe_of(project, data, per_site_data=dict(list(places.items())[:2])), project)
    assert "no data are named for site-3" in error


def test_data_can_be_a_setting_of_the_job_or_a_function_in_its_code(project, data, monkeypatch):
    recipe = recipe_of(project, data, data={"config": "rows"})
    recipe.add_client_config({"rows": str(data / "{site}.csv")})
    assert project.outcome(recipe, 3).models
    error, _ = failed(recipe_of(project, data, data={"config": "rows"}), project)
    assert "the settings of site-1 have no 'rows'" in error
    monkeypatch.setenv("FLARE_TEST_DATA", str(data))  # for the sites' processes
    assert project.outcome(recipe_of(project, data, data=contract_data.find), 3).models


def test_each_site_may_have_a_contract_of_its_own_for_columns_of_its_own(project, data):
    for number, (site, columns) in enumerate({"site-1": ["age", "ldl"], "site-2": ["hdl", "sick"]}.items(), 1):
        table = patients(number)[columns]
        (data / f"{site}.yml").write_text(yaml_of(contract_of_source(patients(0)[columns], name="patients")))
        table.to_csv(data / f"{site}.csv", index=False)
    contracts = {site: data / f"{site}.yml" for site in ("site-1", "site-2")}

    def recipe():
        made = project.recipe(ECHO, initial_model={"w": np.zeros(3)})
        require_contract(made, contracts, data=str(data / "{site}.csv"))
        return made

    assert project.outcome(recipe(), 2).models
    patients(2)[["hdl", "sick"]].assign(hdl=7777.7).to_csv(data / "site-2.csv", index=False)
    assert re.search(r"  hdl\n    range: 400 of 400", failed(recipe(), project, 2)[0])
    with pytest.raises(RecipeError, match="contract is for site-1, but per_site_data for site-2; name the same sites"):
        require_contract(project.recipe(ECHO), {"site-1": data / "site-1.yml"}, per_site_data={"site-2": "a.csv"})


def test_a_recipe_requires_one_contract(project, data):
    with pytest.raises(RecipeError, match="requires a contract already; put the rules of both into one"):
        require_contract(recipe_of(project, data), data / "contract.yml", data="a.csv")


def test_data_that_cannot_be_read_are_named_without_their_content(project, data):
    (data / "site-1.csv").unlink()
    (data / "site-2.csv").write_bytes(b"age,ldl\nKowalski\xff\xfe,1\n")
    error, folder = failed(recipe_of(project, data), project)
    assert f"there is no file {data / 'site-1.csv'}" in error
    assert "the data cannot be read (SourceError); data-contract.txt at the site says why" in error
    assert "Kowalski" not in error
    assert "utf8" in (folder / "sites" / "site-2" / "data-contract.txt").read_text()


def test_a_file_without_a_header_does_not_show_the_values_of_its_first_row(project, data):
    text = (data / "contract.yml").read_text()
    (data / "contract.yml").write_text(text.replace("columns:\n", "extra: false\ncolumns:\n", 1))
    table = patients(2)
    table.to_csv(data / "site-2.csv", index=False, header=False)
    error, folder = failed(recipe_of(project, data), project)
    assert "extra: 5 columns that the contract does not name" in error
    assert error.count("the file has no header, or is another table") == 5
    first = [str(value) for value in table.iloc[0][["ldl", "hdl", "glucose"]]]
    assert not [value for value in first if value in error]
    assert all(value in (folder / "sites" / "site-2" / "data-contract.txt").read_text() for value in first)


def test_an_error_about_very_many_columns_is_cut(project, data):
    columns = "".join(f"  column {number}: {{kind: int}}\n" for number in range(300))
    (data / "contract.yml").write_text(f"contract: 1\nname: wide\ncolumns:\n{columns}")
    error, folder = failed(recipe_of(project, data), project)
    assert len(error.splitlines()) < 320
    assert "lines more; contract.json in the server's folder has all" in error
    verdicts = json.loads((folder / "server" / "contract.json").read_text())
    assert [len(verdicts[site]["broken"]) for site in SITES] == [300, 300, 300]


def test_trees_and_statistics_can_require_it_too(project, data):
    spoil(data)
    paths = {site: str(data / f"{site}.csv") for site in SITES}
    loaders = {site: {"data_loader": FileLoader(path, label="age", features=["ldl"])} for site, path in paths.items()}
    trees = XGBHorizontalRecipe(min_clients=3, num_rounds=1, per_site_config=loaders)
    statistics = FedStatsRecipe(
        statistic_configs={"mean": {}},
        per_site_config={site: {"data": {"train": path}} for site, path in paths.items()},
    )
    for recipe in (trees, statistics):
        require_contract(recipe, data / "contract.yml", per_site_data=paths)
        check_told(failed(recipe, project)[0])


def test_the_rules_of_a_sites_owner_hold(project, data):
    spoil(data)
    owner = project.folder / "runs" / "local" / "site-3"
    owner.mkdir(parents=True)
    policy = owner / "privacy.toml"

    def told(rules: str, **arguments) -> str:
        policy.write_text(rules)
        return failed(recipe_of(project, data, **arguments), project)[0].partition("site-3:")[2]

    assert "usual: fewer than 5000 of 400 values are unusual" in told("min_count = 5000")
    hidden = told('forbidden_features = ["gluc*"]\nsources = ["*.csv"]')
    assert "glucose" in hidden
    assert "the site's rules forbid to check it" in hidden
    assert "of 400" not in hidden
    assert "which the site's rule sources does not name" in told('sources = ["/data/*"]')
    own = told('sources = ["/data/*"]', data=contract_data.find)
    assert "a function of the job returns the data, which the site's rule sources cannot limit; give a path" in own
    assert "max_queries: 1 questions about this source were answered" in (
        told("max_queries = 1") + told("max_queries = 1")
    )
    assert "is unknown; did you mean min_count?" in told("min_counts = 3")
    private = told('[differential_privacy]\nmechanism = "laplace"\nepsilon = 0.1\ntotal_epsilon = 1.0')
    assert "the site's rule differential_privacy lets no more be told" in private
    assert "glucose" not in private


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either data, the same for all sites, or per_site_data"),
        ({"data": "a.csv", "per_site_data": {"site-1": "b.csv"}}, "give either data"),
        ({"data": 7}, "data is a int; give a path"),
        ({"data": {"file": "a.csv"}}, "give a dict with 'path'"),
        ({"per_site_data": {"server": "a.csv"}}, "reserved name 'server'"),
        ({"per_site_data": ["a.csv"]}, "give a dict of data by site name"),
        ({"data": lambda site: site}, "define the function in a module of its own"),
        ({"contract": 3, "data": "a.csv"}, "contract is 3; give the path of a contract"),
        ({"contract": "none.yml", "data": "a.csv"}, "none.yml: No such file"),
    ],
)
def test_an_unusable_argument_is_an_error_that_names_it(project, data, arguments, message):
    contract = arguments.pop("contract", data / "contract.yml")
    recipe = project.recipe(ECHO)
    with pytest.raises(Exception, match=re.escape(message)):
        require_contract(recipe, contract, **arguments)
    with pytest.raises(RecipeError, match=re.escape(message)):
        ContractRecipe(min_clients=1, contract=contract, **arguments)


def test_a_recipe_checks_all_sites_without_training(project, data, monkeypatch):
    arguments = {"min_clients": 3, "contract": data / "contract.yml", "data": str(data / "{site}.csv")}
    run = ContractRecipe(**arguments).execute(project.env(3))
    verdicts = json.loads((run.get_result() / "server" / "contract.json").read_text())
    assert verdicts == {site: {"rows": 400, "broken": []} for site in SITES}
    monkeypatch.setenv("FLARE_TEST_DATA", str(data))  # for the sites' processes
    by_function = ContractRecipe(**{**arguments, "data": contract_data.find})
    assert by_function.execute(project.env(3)).get_status().value == "finished"
    spoil(data)
    run = ContractRecipe(**arguments).execute(project.env(3), raise_on_failure=False)
    with pytest.raises(JobFailed) as caught:
        run.get_result()
    check_told(str(caught.value))
    verdicts = json.loads((run.get_result(raise_on_failure=False) / "server" / "contract.json").read_text())
    assert [bool(verdicts[site]["broken"]) for site in SITES] == [False, True, True]


def test_a_recipe_that_is_continued_after_its_round_still_fails(data):
    spoil(data)
    contract = (data / "contract.yml").read_text()
    sites = {site: ContractExecutor(contract, str(data / "{site}.csv")) for site in SITES}
    with pytest.raises(ContractBroken, match="the data of 2 sites break"):
        resumed(lambda: ContractWorkflow(contract, 3), FakeFederation(sites), after_round=0)


def test_what_a_site_sends_is_not_trusted(data):
    contract = (data / "contract.yml").read_text()
    for answer in (None, 3, [], {"broken": 1}, {"rows": "x", "broken": [1, {"column": ["a"]}, {"found": "y" * 10**6}]}):
        verdict = Verdict.from_data("site-1", answer)
        assert len(str(verdict)) < 10_000
        assert verdict.broken or isinstance(answer, dict)
        fed = FakeFederation({"site-1": lambda task, answer=answer: answer})
        with pytest.raises(ContractBroken, match="site-1"):
            fed.run(ContractWorkflow(contract, 1))


class TestContractWorkflow(WorkflowConformance):
    can_spare = 1

    @pytest.fixture(autouse=True)
    def _with_data(self, data):
        self.data = data
        self.contract = (data / "contract.yml").read_text()

    def make(self):
        return ContractWorkflow(self.contract, 2)

    def federation(self, **faults):
        executor = ContractExecutor(self.contract, str(self.data / "{site}.csv"))
        return FakeFederation(dict.fromkeys(SITES, executor), **faults)


class TestContractExecutor(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def _with_data(self, data):
        self.data = data

    def make(self):
        return ContractExecutor((self.data / "contract.yml").read_text(), str(self.data / "{site}.csv"))

    def tasks(self):
        return [Task("contract.check")]


class TestContractRecipe(RecipeConformance):
    def make(self, folder):
        made = contract_of_source(patients(0), name="patients", label="sick")
        (folder / "contract.yml").write_text(yaml_of(made))
        return ContractRecipe(min_clients=2, contract=folder / "contract.yml", data="/data/{site}.csv")


def test_an_executor_that_is_cancelled_reads_no_further(data):
    site = FakeSite("site-1")
    site.cancelled.set()
    executor = ContractExecutor((data / "contract.yml").read_text(), str(data / "{site}.csv"))
    assert "the run was over" in str(executor.execute(Task("contract.check"), site))


@pytest.mark.deployed
@pytest.mark.parametrize("is_broken", [False, True], ids=["kept", "broken"])
def test_separate_processes_check_their_data(project, data, is_broken):
    if is_broken:
        spoil(data)
    project.write("client.py", ECHO)
    project.write(
        "job.py",
        f"""
        import numpy as np

        from flare_deploy import PocEnv
        from flare_recipes_np import FedAvgRecipe
        from flare_stats import require_contract

        recipe = FedAvgRecipe(
            min_clients=3, num_rounds=2, initial_model={{"w": np.zeros(3)}}, train_script="client.py"
        )
        require_contract(recipe, {str(data / "contract.yml")!r}, data={str(data / "{site}.csv")!r})
        run = recipe.execute(PocEnv(num_clients=3))
        folder = run.get_result(raise_on_failure=False)
        print(run.get_status().value, folder)
        """,
    )
    done = project.python("job.py", timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    status, folder = done.stdout.splitlines()[-1].split(" ", 1)
    assert status == ("failed" if is_broken else "finished"), done.stdout
    if is_broken:
        check_told(json.loads((Path(folder) / "summary.json").read_text())["error"])
        told = "".join(path.read_text(errors="replace") for path in Path(folder).rglob("*") if path.is_file())
        assert not [value for site in SITES for value in values_in(data, site) if value in told + done.stdout]


def _job(place, data: Path, gate) -> Job:
    job = place.noise_job(gate, gated_round=1)
    contract = (data / "contract.yml").read_text()
    job.server.components["contract"] = Component(
        "flare_stats.contract.services.ContractAtServer", {"name": "patients"}
    )
    gate_filter = Component("flare_stats.contract.services.ContractGate")
    job.server.task_data_filters.append(FilterEntry(("*",), (gate_filter,)))
    args = {"contract": contract, "data": str(data / "{site}.csv")}
    job.client.components["contract"] = Component("flare_stats.contract.services.ContractAtSite", args)
    return job


@pytest.mark.timeout(200)
@pytest.mark.parametrize("victim", ["server", pytest.param("site-2", marks=pytest.mark.at_length)])
def test_a_run_goes_on_after_a_kill(hospital, data, victim):
    place = hospital(2)
    gate = place.gate(lambda site, pid, calls: place.kill(victim) if (site, calls) == ("site-2", 1) else None)
    found, _ = place.run(_job(place, data, gate))
    assert found["state"] == "finished", found


@pytest.mark.timeout(200)
@pytest.mark.at_length
def test_a_site_that_is_started_again_is_checked_again(hospital, data):
    place = hospital(2)

    def decide(site: str, pid: int, calls: int) -> None:
        if (site, calls) == ("site-2", 1):
            swapped(patients(2)).to_csv(data / "site-2.csv", index=False)
            place.kill("site-2")

    found, _ = place.run(_job(place, data, place.gate(decide)))
    assert found["state"] == "failed", found
    assert "site-2" in found["reason"]
    assert "columns 'ldl' and 'hdl' are swapped" in found["reason"]


@pytest.mark.timeout(200)
def test_a_site_that_does_not_come_does_not_let_others_begin(hospital, data):
    place = hospital(3)
    place.end("site-3")  # without a word to the server
    swapped(patients(2)).to_csv(data / "site-2.csv", index=False)
    found, _ = place.run(_job(place, data, None))
    assert found["state"] == "failed", found
    assert "site-2" in found["reason"]
    assert "columns 'ldl' and 'hdl' are swapped" in found["reason"]
    (events,) = (place.folder / "results").rglob("events.jsonl")
    assert "SiteReplied" not in events.read_text()
    assert "RunStarted" in events.read_text()
    logs = [path.read_text() for path in (place.folder / "results").rglob("sites/*/log.txt")]
    assert not [log for log in logs if "trained" in log]
