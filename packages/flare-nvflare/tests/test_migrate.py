"""``flare migrate``: reports and rewritten scripts."""

import importlib
import json
import textwrap

import pytest
import typer
from typer.testing import CliRunner

from nvflare._migrate.cli import migrate
from nvflare._migrate.rewriting import rewritten
from nvflare._migrate.uses import uses_in
from nvflare._migrate.verdicts import Kind, verdict_of

app = typer.Typer(add_completion=False)
app.command()(migrate)


@pytest.mark.parametrize(
    ("name", "kind", "note"),
    [
        ("nvflare.client.FLModel", Kind.SAME, "flare_core.FLModel"),
        ("nvflare.client.ParamsType.FULL", Kind.SAME, "flare_core.ParamsType.FULL"),
        ("nvflare.client.tracking.SummaryWriter", Kind.SAME, "flare_core.client.tracking.SummaryWriter"),
        ("nvflare.app_common.np.recipes.NumpyFedAvgRecipe", Kind.ADAPTED, "Flare's own: flare_recipes_np.FedAvgRecipe"),
        ("nvflare.app_common.np.no_such_module.Name", Kind.MISSING, "no such name"),
        ("nvflare.app_common.workflows.fedavg.FedAvg", Kind.ADAPTED, ""),
        ("nvflare.app_common.executors.client_api_launcher_executor.ClientAPILauncherExecutor", Kind.ADAPTED, "Flare"),
        ("nvflare.app_common.workflows.fedavg.NoSuchName", Kind.MISSING, "no such name"),
        ("nvflare.fuel.hci.client.api.AdminAPI", Kind.MISSING, "Admin"),
        ("nvflare.app_opt.monai.MonaiTrainer", Kind.MISSING, "use the Client API in a script with MONAI's own trainer"),
        ("nvflare.app_opt.monai.decomposers.register_monai_types", Kind.ADAPTED, ""),
        ("monai_nvflare.client_algo_executor.ClientAlgoExecutor", Kind.MISSING, "use the Client API"),
        ("monai_nvflare.ClientAlgoStatistics", Kind.MISSING, "use FedStatsRecipe"),
        ("monai_nvflare.utils.convert_dict_keys", Kind.MISSING, "see docs/migration.md"),
    ],
)
def test_a_name_is_the_same_adapted_or_missing(name, kind, note):
    verdict = verdict_of(name)
    assert verdict.kind is kind
    assert note in verdict.note


def test_names_are_found_with_their_lines_in_scripts_notebooks_and_configurations(tmp_path):
    script = tmp_path / "a.py"
    script.write_text(
        textwrap.dedent(
            """
            import nvflare.client as flare
            from nvflare.recipe import SimEnv, PocEnv
            PATH = "nvflare.app_common.np.np_trainer.NPTrainer"
            flare.init()
            import os.path
            """
        )
    )
    assert [(each.line, each.name) for each in uses_in(script)] == [
        (2, "nvflare.client"),
        (3, "nvflare.recipe.PocEnv"),
        (3, "nvflare.recipe.SimEnv"),
        (4, "nvflare.app_common.np.np_trainer.NPTrainer"),
        (5, "nvflare.client.init"),
    ]
    config = tmp_path / "config_fed_server.conf"
    config.write_text('# "nvflare.old.Name"\npath = "nvflare.app_common.workflows.fedavg.FedAvg"\n')
    assert [(each.line, each.name) for each in uses_in(config)] == [(2, "nvflare.app_common.workflows.fedavg.FedAvg")]
    notebook = tmp_path / "n.ipynb"
    cell = {"cell_type": "code", "source": ["%matplotlib inline\n", "from nvflare import FedJob\n"]}
    notebook.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["x"]}, cell]}))
    assert [(each.line, each.name) for each in uses_in(notebook)] == [(1, "nvflare.FedJob")]


def test_names_of_internals_in_the_record_of_a_run_are_left_out(tmp_path):
    record = tmp_path / "summary.json"
    record.write_text('{"recipe": {"class": "nvflare._host.server.HostedWorkflow"}}\n')
    assert uses_in(record) == []


def test_long_notes_take_lines_of_their_own(tmp_path):
    script = tmp_path / "job.py"
    script.write_text("from nvflare.app_opt.pt.recipes.fedavg_he import FedAvgRecipeWithHE\n")
    lines = CliRunner().invoke(app, [str(tmp_path)]).stdout.splitlines()
    assert lines[0] == "not provided  nvflare.app_opt.pt.recipes.fedavg_he.FedAvgRecipeWithHE"
    assert lines[1].startswith("              (Flare does not encrypt homomorphically;")
    assert lines[-2:] == ["              job.py:1", "1 name: 0 same, 0 adapted, 1 not provided"]
    assert max(map(len, lines)) <= 100


def test_names_of_the_package_for_monai_are_found_and_explained(tmp_path):
    script = tmp_path / "job.py"
    script.write_text("from monai_nvflare import MonaiBundlePersistor\nimport monai_nvflare.utils\n")
    config = tmp_path / "config_fed_client.json"
    config.write_text('{"path": "monai_nvflare.client_algo_executor.ClientAlgoExecutor"}\n')
    report = CliRunner().invoke(app, [str(tmp_path), "--format", "json"])
    assert report.exit_code == 1
    rows = {each["name"]: each for each in json.loads(report.stdout)["names"]}
    assert rows["monai_nvflare.client_algo_executor.ClientAlgoExecutor"]["places"] == ["config_fed_client.json:1"]
    assert "monai.bundle.ConfigParser" in rows["monai_nvflare.MonaiBundlePersistor"]["note"]
    assert {each["status"] for each in rows.values()} == {"not provided"}
    with pytest.raises(ImportError, match="monai_nvflare is not provided by Flare: use the Client API in a script"):
        importlib.import_module("monai_nvflare.client_algo_executor")


def test_imports_and_arguments_of_recipes_become_native():
    text = textwrap.dedent(
        """
        import nvflare.client as flare
        from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
        from nvflare.recipe import (
            SimEnv,
            set_recipe_meta,
        )

        def main():
            from nvflare.client.tracking import SummaryWriter
            recipe = NumpyFedAvgRecipe(name="ä", min_clients=2, model=[1, 2], train_script="client.py")
            model = "model"
        """
    )
    done = rewritten(text)
    assert done.text == textwrap.dedent(
        """
        import flare_core.client as flare
        from flare_recipes_np import FedAvgRecipe
        from flare_runtime import SimEnv
        from nvflare.recipe import set_recipe_meta

        def main():
            from flare_core.client.tracking import SummaryWriter
            recipe = FedAvgRecipe(name="ä", min_clients=2, initial_model=[1, 2], train_script="client.py")
            model = "model"
        """
    )
    assert [line for line, _ in done.notes] == [4]
    assert rewritten(done.text).text == done.text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import nvflare.client.lightning as flare", "import flare_recipes_pt.lightning as flare"),
        ("import nvflare.client.hf as flare", "import flare_recipes_pt.transformers as flare"),
        ("from nvflare.client import lightning, hf", "from flare_recipes_pt import lightning, transformers as hf"),
        ("from nvflare.client import hf as flare", "from flare_recipes_pt import transformers as flare"),
        (
            "from nvflare.client.lightning import FLModel, patch",
            "from flare_recipes_pt.lightning import FLModel, patch",
        ),
        ("from nvflare.app_opt.lightning import patch", "from flare_recipes_pt.lightning import patch"),
        ("from nvflare.recipe.sim_env import SimEnv", "from flare_runtime import SimEnv"),
        ("from nvflare.recipe.prod_env import ProdEnv", "from flare_deploy import ProdEnv"),
    ],
)
def test_clients_of_trainers_and_environments_become_native(before, after):
    assert rewritten(before).text == after
    assert rewritten(before).notes == []
    assert [note.partition(": ")[2] for _, note in rewritten(before, None).notes] == [
        "if a FedProxRecipe trains it, keep this import, whose patch adds its term"
    ] * ("lightning" in before)


def test_what_a_client_of_nvidia_flare_does_itself_keeps_its_import():
    client = "import nvflare.client.lightning as flare\n"
    assert rewritten(client, True).text == client
    assert rewritten(client, True).notes[0][1].startswith("nvflare.client.lightning stays: its patch adds the term")
    helper = "import nvflare.client as flare\nfrom nvflare.app_opt.pt.scaffold import PTScaffoldHelper\n"
    assert rewritten(helper).text == helper
    assert "PTScaffoldHelper works with the entries in meta" in rewritten(helper).notes[0][1]


def test_arguments_without_effect_are_left_out():
    text = """\
from nvflare.app_opt.pt.recipes import FedAvgRecipe

recipe = FedAvgRecipe(launch_once=True, name="ä", server_memory_gc_rounds=1, model=net, cuda_empty_cache=False)
recipe = FedAvgRecipe(
    name="job",
    shutdown_timeout=10.0,
    model=net,  # to start from
    client_memory_gc_rounds=rounds(),
    launch_timeout=None,
)
other(launch_once=True)
"""
    done = rewritten(text)
    assert (
        done.text
        == """\
from flare_recipes_pt import FedAvgRecipe

recipe = FedAvgRecipe(name="ä", initial_model=net)
recipe = FedAvgRecipe(
    name="job",
    initial_model=net,  # to start from
    client_memory_gc_rounds=rounds(),
)
other(launch_once=True)
"""
    )
    assert [line for line, _ in done.notes] == [3, 3, 3, 6, 9]
    assert done.notes[-1][1] == "launch_timeout is left out: it has no effect on Flare"


def test_the_command_looks_for_the_recipe_in_all_scripts(tmp_path):
    (tmp_path / "client.py").write_text("import nvflare.client.lightning as flare\n")
    job = tmp_path / "job.py"
    job.write_text("from nvflare.app_opt.pt.recipes import FedAvgRecipe\n")
    assert "+import flare_recipes_pt.lightning as flare" in CliRunner().invoke(app, [str(tmp_path), "--rewrite"]).stdout
    job.write_text("from nvflare.app_opt.pt.recipes.fedprox import FedProxRecipe\n")
    kept = CliRunner().invoke(app, [str(tmp_path), "--rewrite"]).stdout
    assert "client.py:1: nvflare.client.lightning stays" in kept
    assert kept.endswith("0 files would change\n")


def test_the_command_reports_and_changes_files_only_when_told_to(tmp_path):
    script = tmp_path / "job.py"
    before = "from nvflare.recipe import SimEnv\nfrom nvflare.fuel.hci.client.api import AdminAPI\n"
    script.write_text(before)
    runner = CliRunner()
    report = runner.invoke(app, [str(tmp_path), "--format", "json"])
    assert report.exit_code == 1
    assert json.loads(report.stdout)["counts"] == {"not provided": 1, "adapted": 1}
    assert "job.py:1" in runner.invoke(app, [str(tmp_path)]).stdout
    shown = runner.invoke(app, [str(tmp_path), "--rewrite"])
    assert "+from flare_runtime import SimEnv" in shown.stdout
    assert script.read_text() == before
    assert runner.invoke(app, [str(tmp_path), "--rewrite", "--write"]).exit_code == 0
    assert script.read_text() == before.replace("from nvflare.recipe", "from flare_runtime")
