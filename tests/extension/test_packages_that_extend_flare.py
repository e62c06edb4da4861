"""A package that is installed beside Flare extends it by its entry points alone."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parent / "flare-example"
PACKAGES = Path(__file__).parents[2] / "packages"


def install(target: Path, source: Path = EXAMPLE) -> Path:
    """Install a package into a folder of its own, as pip does."""
    copy = target.with_name(f"{target.name}-source")
    shutil.copytree(source, copy)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--disable-pip-version-check", "--target", str(target), str(copy)], check=True)
    return target


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    return install(tmp_path_factory.mktemp("extension") / "installed")


@pytest.fixture
def environment(installed, tmp_path, monkeypatch):
    """Make the package visible to the processes that a test starts, which touch a file when they import it."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("FLARE_EXAMPLE_IMPORTED", str(tmp_path / "imported"))


@pytest.fixture
def flare(environment, tmp_path):
    """Run the command flare; return its exit code and all that it printed."""

    def run(*words: str | Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "flare_deploy.cli", *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def python(environment, project):
    """Run a script, and return what it printed."""

    def run(text: str) -> str:
        done = project.python(str(project.write("script.py", text)))
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_help_lists_a_packages_commands_without_importing_it(flare, tmp_path):
    code, printed = flare("--help")
    assert code == 0
    assert "greet" in printed
    assert "herd" in printed
    assert "Extends Flare in every way" in printed
    assert not (tmp_path / "imported").exists()


def test_a_command_is_a_function(flare, tmp_path):
    assert flare("greet", "you") == (0, "hello you\n")
    assert (tmp_path / "imported").exists()
    code, printed = flare("greet", "--help")
    assert code == 0
    assert "Greet somebody" in printed


def test_a_command_is_a_group(flare):
    assert flare("herd", "count", "7") == (0, "7 sheep\n")
    assert "Sell the sheep" in flare("herd", "--help")[1]


def test_a_command_never_replaces_one_of_flare(flare):
    assert "Show the sites" in flare("status", "--help")[1]


def test_a_command_that_cannot_be_imported_names_distribution_and_entry_point(flare):
    code, printed = flare("broken")
    assert code == 1
    assert "broken = flare_example.nothing:here (flare.commands) of flare-example" in printed
    assert "ModuleNotFoundError" in printed
    assert "Traceback" not in printed


def test_two_packages_that_declare_the_same_command_are_both_named(flare, tmp_path, installed, monkeypatch):
    source = tmp_path / "other"
    shutil.copytree(EXAMPLE, source)
    text = (source / "pyproject.toml").read_text().replace('name = "flare-example"', 'name = "other-example"')
    build = '\n[tool.hatch.build.targets.wheel]\npackages = ["src/flare_example"]\n'
    (source / "pyproject.toml").write_text(text + build)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), str(install(tmp_path / "second", source))]))
    code, printed = flare("greet", "you")
    assert code == 1
    assert "of flare-example" in printed
    assert "of other-example" in printed


def test_what_a_package_logs_is_in_the_log(flare, tmp_path):
    assert flare("greet", "you", "--log", tmp_path / "log.txt")[0] == 0
    assert "flare_example.commands greeted you" in (tmp_path / "log.txt").read_text()


def test_recipes_are_listed_without_an_import_and_shown(flare, tmp_path):
    code, printed = flare("recipe", "list")
    assert code == 0
    assert "flare recipe show flare_example.PebbleRecipe" in printed
    assert not (tmp_path / "imported").exists()
    assert "Federated averaging of pebbles." in flare("recipe", "show", "PebbleRecipe")[1]


def test_the_error_for_a_model_recommends_the_recipe_of_the_package_that_takes_it(python):
    printed = python(
        """
        import types

        from flare_core import ModelTypeError
        from flare_recipes_np import FedAvgRecipe

        pebble = types.new_class("Pebble", exec_body=lambda body: body.update(__module__="pebbles.core"))()
        try:
            FedAvgRecipe(name="case", min_clients=1, initial_model=pebble, train_script=__file__)
        except ModelTypeError as error:
            print(error)
        """
    )
    assert "flare_example accepts it, but has no FedAvgRecipe: it has PebbleRecipe" in printed


def test_where_no_package_takes_a_model_the_error_says_what_to_install(tmp_path):
    for path in Path(np.__file__).parents[1].glob("numpy*"):
        if not path.name.endswith(".dist-info"):
            (tmp_path / path.name).symlink_to(path)  # numpy, without the packages that are installed beside it
    paths = [str(PACKAGES / "flare-core" / "src"), str(tmp_path)]
    script = f"""if True:
        import sys, types

        sys.path += {paths}
        from flare_core.recipe import wrong_model

        for module in ("torch.nn", "xgboost"):
            model = types.new_class("Model", exec_body=lambda body: body.update(__module__=module))()
            print(wrong_model(model, "flare_recipes_np.FedAvgRecipe", "arrays"))
    """
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
    known, unknown = done.stdout.splitlines()
    assert known.endswith("; pip install flare-recipes-pt, whose recipes take models of torch")
    assert "Flare has no recipe for models of xgboost." in unknown


def test_a_tracker_is_added_by_its_name_and_sees_the_run(python, project):
    printed = python(
        """
        import numpy as np

        from flare_core import RecipeError
        from flare_core.recipes import add_experiment_tracking
        from flare_recipes_np import FedAvgRecipe
        from flare_runtime import SimEnv

        if __name__ == "__main__":
            open("client.py", "w").write(
                "import flare_core.client as flare\\nflare.init()\\n"
                "while flare.is_running():\\n"
                "    flare.send(flare.FLModel(params=flare.receive().params, metrics={'weight': 1.0}))\\n"
            )
            recipe = FedAvgRecipe(
                name="case", min_clients=1, num_rounds=1, initial_model=np.zeros(2), train_script="client.py"
            )
            try:
                add_experiment_tracking(recipe, "lost")
            except RecipeError as error:
                print(error)
            add_experiment_tracking(recipe, "paper", {"file": "numbers.txt"})
            print(recipe.execute(SimEnv(num_clients=1)).get_result())
        """
    )
    assert "the pencil is lost; buy one" in printed
    assert "weight" in (Path(printed.splitlines()[-1]) / "server" / "numbers.txt").read_text()


def test_cells_meet_at_an_address_of_an_added_scheme(python, tmp_path):
    printed = python(
        f"""
        from flare_transport import AddressError, Cell

        address, secret = "local://{tmp_path}/s", b"0" * 32
        with Cell("one") as one, Cell("two") as two:
            one.handle("add", lambda message: sum(message.payload))
            one.listen(address, secret=secret)
            two.connect(address, secret=secret, peer="one")
            print(two.request("one", "add", [2, 3]).payload)
        try:
            Cell("three").connect("nothing://here")
        except AddressError as error:
            print(error)
        """
    )
    assert printed.startswith("5\n")
    assert "local://" in printed


@pytest.mark.usefixtures("environment")
def test_a_participant_of_an_added_kind_joins_serves_and_is_stopped(shell, installed):
    shell.environment["PYTHONPATH"] = str(installed)
    shell.flare("up", "--port", shell.free_port(), "--address", "127.0.0.1")
    token = shell.flare("invite", "edge", "--kind", "gateway").strip()
    assert "gateway started" in shell.flare("join", token, "--folder", "site-edge")
    (member,) = [each for each in shell.json("site", "list") if each["name"] == "edge"]
    assert (member["kind"], member["connected"]) == ("gateway", True)
    assert shell.json("status")["sites"] == []  # it takes no jobs
    assert "edge.phone cannot be the name" in shell.flare("invite", "edge.phone", code=1)  # and forwards for nobody
    assert shell.flare("stop", "site-edge") == "edge stopped\n"
    assert "nobody can be invited as a 'dam'" in shell.flare("invite", "edge-2", "--kind", "dam", code=1)
    shell.flare("down")
    del shell.environment["PYTHONPATH"]
    assert "edge is of the kind 'gateway', which no installed package declares" in shell.flare("up", code=1)
    shell.environment["PYTHONPATH"] = str(installed)


def test_kits_of_an_added_kind_are_provisioned(flare, tmp_path):
    (tmp_path / "project.yml").write_text(
        "api_version: 3\nname: edges\nparticipants:\n"
        "  - {name: flare.example.org, type: server, org: hub}\n"
        "  - {name: edge, type: gateway, org: hub}\n"
        "  - {name: admin@example.org, type: admin, org: hub, role: project_admin}\n"
    )
    code, printed = flare("provision", "project.yml")
    assert code == 0, printed
    assert (tmp_path / "workspace" / "edges" / "gateways" / "edge" / "startup" / "kit.json").is_file()


@pytest.mark.parametrize("package", sorted(path.name for path in PACKAGES.glob("flare-recipes-*")))
def test_every_public_recipe_is_declared(package):
    project = tomllib.loads((PACKAGES / package / "pyproject.toml").read_text())["project"]
    module = package.replace("-", "_")
    tree = ast.parse((PACKAGES / package / "src" / module / "__init__.py").read_text())
    (public,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    recipes = {name: f"{module}:{name}" for name in ast.literal_eval(public) if name.endswith("Recipe")}
    assert project["entry-points"]["flare.recipes"] == recipes
    assert set(project["entry-points"]["flare.frameworks"].values()) == {module}
