"""Beginners' mistakes: each message says what was wrong, where, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import JobFailed, RecipeError, UnknownArgumentError
from flare_core.filters import Filter
from flare_deploy import PocEnv
from flare_runtime import SimEnv


class Passes(Filter):
    """Changes nothing."""

    def process(self, model, context):
        return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimEnv(2), "SimEnv takes keyword arguments only; write num_clients=…"),
        (lambda: SimEnv(num_client=2), "SimEnv has no argument 'num_client'; did you mean num_clients?"),
        (lambda: PocEnv(num_client=2), "PocEnv has no argument 'num_client'; did you mean num_clients?"),
    ],
)
def test_an_environment_suggests_the_intended_argument(make, message):
    with pytest.raises(UnknownArgumentError, match=message):
        make()


def test_a_number_instead_of_names_is_explained():
    with pytest.raises(RecipeError, match=r"clients is 2; give a list of names, or num_clients=…"):
        SimEnv(clients=2)


def test_a_class_instead_of_an_object_is_explained(project):
    with pytest.raises(RecipeError, match=r"env is the class SimEnv itself; give an object, such as SimEnv\(…\)"):
        project.recipe().execute(SimEnv)
    with pytest.raises(RecipeError, match=r"env is 'sim'; give an environment, such as SimEnv\(num_clients=2\)"):
        project.recipe().execute("sim")
    with pytest.raises(RecipeError, match=r"a filter is the class Passes itself; give an object, Passes\(…\)"):
        project.recipe().add_client_output_filter(Passes)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import no_such_package", r"No module named 'no_such_package'\. Install it at site-\d"),
        ("open('data.csv')", r"'data.csv'\. Scripts run in the folder of their site, .*/sites/site-\d; give absolute"),
        (
            "import sys\nsys.stdin = open('/dev/null')\ninput('go on?')",
            r"EOF when reading a line\. Scripts have no terminal for input; .* train_args",
        ),
        ("open('/nowhere/data.csv')", r"No such file or directory: '/nowhere/data.csv'\n"),
    ],
)
def test_an_error_of_a_script_comes_with_its_remedy(project, script, message):
    with pytest.raises(JobFailed, match=message):
        project.recipe(script).execute(project.env())


def cli(project, *words: str, code: int) -> str:
    done = project.python("-m", "flare_deploy.cli", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return " ".join(done.stderr.split())


def test_the_command_line_names_the_invalid_value(project):
    (project.folder / "src").mkdir()
    assert "src is a folder; give a script in it" in cli(project, "run", "src", code=2)
    assert "'--port'" in cli(project, "up", "--port", "99999", code=2)
    assert not (project.folder / "flare-project").exists()  # which would need manual repair
    project.write("job.py", "def main():\n    recipe.execute(env)\n")
    assert "job.py has executed no recipe, so nothing has run" in cli(project, "run", "job.py", code=1)
    project.write("job.py", "import argparse\nargparse.ArgumentParser().parse_args()\n")
    cli(project, "run", "job.py", "--help", code=0)


UNAWAITED = """
    import numpy as np

    from flare_recipes_np import FedAvgRecipe
    from flare_deploy import PocEnv

    recipe = FedAvgRecipe(
        name="case", min_clients=1, num_rounds=1000, initial_model=np.zeros(2), train_script="client.py"
    )
    recipe.execute(PocEnv(num_clients=1))
"""


@pytest.mark.slow
def test_a_poc_that_ends_before_its_job_says_why(project):
    project.recipe(initial_model=np.zeros(2))  # writes client.py
    project.write("job.py", UNAWAITED)
    done = project.python("job.py", timeout=100)
    assert "is stopped, since its result was not fetched; call run.get_result()" in done.stderr
