"""PSIRecipe: its arguments, and runs in the simulator."""

from __future__ import annotations

import json

import pytest
from parties import Given

from flare_core import FlareError, JobFailed
from flare_core.filters import Filter
from flare_core.testing import RecipeConformance
from flare_fobs import dumps
from flare_psi import PSIRecipe
from flare_runtime import SimEnv

SITES = {"site-1": {"ids": "a.csv", "column": "id"}, "site-2": {"ids": "b.parquet", "column": "ID"}}


class TestRecipe(RecipeConformance):
    def make(self, folder):
        return PSIRecipe(min_clients=2, per_site_config=SITES, normalize=["email"], pad_to=100, receivers=["site-1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_clients": 1}, "min_clients is 1; an intersection needs at least 2 sites"),
        ({"result": "union"}, "result is 'union'; use 'ids' or 'cardinality'"),
        ({"receivers": "site-1"}, "receivers is 'site-1'; give a list"),
        ({"receivers": []}, "give a list of sites, or None for all"),
        ({"receivers": ["server"]}, "reserved name 'server'"),
        ({"pad_to": 0}, "pad_to is 0"),
        ({"output_path": "../x.csv"}, "output_path is '../x.csv'"),
        ({"output_path": "/x.csv"}, "output_path"),
        ({"output_path": "x.parquet"}, "ends in .csv or .txt"),
        ({"per_site_config": None}, "the sites need ids"),
        ({"per_site_config": {"site-1": "a.csv"}}, "write {site: {'ids': PATH"),
        ({"per_site_config": {"site-1": {"id": "a.csv"}}}, "unknown setting 'id'; use ids, column, delimiter"),
        (
            {"per_site_config": {"site-1": {"ids": "a.csv", "delimiter": ";;"}}},
            "'delimiter'] is ';;'; give the",
        ),
        (
            {"per_site_config": {"site-1": {"ids": "a.txt", "delimiter": ";"}}},
            "only for ids in files that end in .csv",
        ),
        (
            {"per_site_config": {"site-1": {"ids": "a.parquet", "encoding": "latin-1"}}},
            "only for ids in files that end in",
        ),
        ({"per_site_config": {"site-1": {"ids": "a.csv", "encoding": "latin-99"}}}, "'encoding'] is 'latin-99'"),
        ({"per_site_config": {"site-1": {"column": "id"}}}, "has no ids; give the path"),
        ({"per_site_config": {"site-1": {"ids": "a.csv", "column": 3}}}, "'column'] is 3"),
        ({"per_site_config": {"site-1": {"ids": "a.csv", "min_intersection": -1}}}, "min_intersection'] is -1"),
        ({"per_site_config": {"site-1": {"ids": "a.csv", "output": "/data/x.xls"}}}, "'output'] is '/data/x.xls'"),
        ({"per_site_config": {**SITES, "site-2": {"ids": "b", "salt": "s"}}}, "a salt for some sites only"),
        (
            {"per_site_config": {**SITES, "site-2": {"ids": "b.csv", "column": ["a", "b"]}}},
            "1 columns for site-1, but 2 for site-2",
        ),
        ({"normalize": ["email", "case"]}, "rules for 2 columns, but keys have 1"),
        ({"normalize": "soundex"}, "unknown rule 'soundex'"),
        ({"local_psi": object()}, "local_psi is a object without load_items"),
        ({"reconnect_grace_s": -1}, "reconnect_grace_s is -1"),
        ({"outputpath": "x"}, "did you mean output_path"),
    ],
)
def test_unusable_arguments_are_named(arguments, message):
    with pytest.raises(FlareError, match=message.replace("[", r"\[").replace("{", r"\{").replace("(", r"\(")):
        PSIRecipe(**{"min_clients": 2, "per_site_config": SITES} | arguments)


def write_ids(folder, ids):
    settings = {}
    for site, own in ids.items():
        (folder / f"{site}.txt").write_text("".join(f"{each}\n" for each in own))
        settings[site] = {"ids": str(folder / f"{site}.txt")}
    return settings


def run(folder, ids, **arguments):
    recipe = PSIRecipe(min_clients=len(ids), per_site_config=write_ids(folder, ids), **arguments)
    return recipe.execute(SimEnv(num_clients=len(ids), workspace_root=folder / "runs"))


def test_a_run_in_the_simulator_writes_the_common_ids_at_each_site(tmp_path):
    ids = {"site-1": ["a", "b", "b", "c"], "site-2": ["b", "c", "d"], "site-3": ["c", "b", "e"]}
    run_ = run(tmp_path, ids, output_path="psi/intersection.txt")
    folder = run_.get_result()
    found = [(folder / "sites" / site / "psi" / "intersection.txt").read_text() for site in ids]
    assert sorted(found[0].splitlines()) == ["b", "c"]
    assert found[0] == found[1] == found[2]
    assert json.loads((folder / "server" / "psi.json").read_text())["intersection"] == 2
    assert run_.summary()["metrics"]["intersection"] == 2


def test_sites_can_have_other_delimiters_and_encodings(tmp_path):
    (tmp_path / "a.csv").write_text("n;name\n1;José\n2;Ann\n", encoding="latin-1")
    (tmp_path / "b.csv").write_text("name,n\nJosé,1\n", encoding="utf-8")
    settings = {
        "site-1": {"ids": str(tmp_path / "a.csv"), "column": "name", "delimiter": ";", "encoding": "latin-1"},
        "site-2": {"ids": str(tmp_path / "b.csv"), "column": "name"},
    }
    recipe = PSIRecipe(min_clients=2, per_site_config=settings)
    folder = recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs")).get_result()
    lines = (folder / "sites" / "site-1" / "intersection.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ["José,0,1"]


def test_a_site_can_have_its_result_elsewhere(tmp_path):
    settings = write_ids(tmp_path, {"site-1": ["a", "b"], "site-2": ["b"]})
    settings["site-2"]["output"] = str(tmp_path / "new folder" / "{site}.txt")
    recipe = PSIRecipe(min_clients=2, per_site_config=settings)
    folder = recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs")).get_result()
    assert (tmp_path / "new folder" / "site-2.txt").read_text() == "b\n"
    assert not (folder / "sites" / "site-2" / "intersection.csv").exists()
    assert (folder / "sites" / "site-1" / "intersection.csv").exists()


def test_an_object_of_the_users_supplies_the_ids(tmp_path):
    recipe = PSIRecipe(min_clients=2, local_psi=Given(["x", "y"]))
    folder = recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path)).get_result()
    lines = (folder / "sites" / "site-1" / "intersection.csv").read_text().splitlines()
    assert lines[0] == "id,first_row,rows"
    assert sorted(lines[1:]) == ["x,0,1", "y,1,1"]


class Keep(Filter):
    """Writes the data that reach or leave the server into a file."""

    data_type = object

    def __init__(self, path):
        self.path = path

    def process(self, data, context):
        with open(self.path, "ab") as file:
            file.write(bytes(dumps(data)))
        return data


def test_nothing_that_the_server_sends_or_receives_in_a_run_holds_an_id(tmp_path):
    ids = {f"site-{at}": [f"patient-{number:06}" for number in range(at * 100, at * 100 + 300)] for at in (1, 2)}
    recipe = PSIRecipe(min_clients=2, per_site_config=write_ids(tmp_path, ids))
    recipe.add_server_input_filter(Keep(str(tmp_path / "in")))
    recipe.add_server_output_filter(Keep(str(tmp_path / "out")))
    folder = recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs")).get_result()
    assert len((folder / "sites" / "site-2" / "intersection.csv").read_text().splitlines()) == 201
    seen = (tmp_path / "in").read_bytes() + (tmp_path / "out").read_bytes()
    seen += b"".join(path.read_bytes() for path in (folder / "server").rglob("*") if path.is_file())
    seen += (folder / "events.jsonl").read_bytes() + (folder / "log.txt").read_bytes()
    assert len(seen) > 2 * 300 * 16
    assert b"patient" not in seen


def test_an_error_at_a_site_names_the_site_the_file_and_the_remedy(tmp_path):
    settings = write_ids(tmp_path, {"site-1": ["a"], "site-2": ["b"]})
    settings["site-2"]["ids"] = str(tmp_path / "nowhere.txt")
    recipe = PSIRecipe(min_clients=2, per_site_config=settings)
    with pytest.raises(JobFailed, match=r"site-2: .*nowhere.txt is not a file; correct the path"):
        recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs"))
