"""``flare run``: run a script that executes a recipe, optionally in another environment."""

from __future__ import annotations

import runpy
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flare_deploy.cli.places import KitOption, find_kit

if TYPE_CHECKING:
    from flare_core import Job, Run
    from flare_core.environment import ExecEnv


class Environment(StrEnum):
    """The environment in which a script's recipes run."""

    AUTO = "auto"
    SCRIPT = "script"
    SIM = "sim"
    POC = "poc"
    PROD = "prod"


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(context_settings=settings)(run)


def run(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(help="A script that executes a recipe, followed by its arguments.")],
    env: Annotated[
        Environment,
        typer.Option(
            help="Where to run: sim, poc, prod, or as the script says; auto is prod if there is a kit, else script."
        ),
    ] = Environment.AUTO,
    clients: Annotated[int, typer.Option("--clients", "-n", help="The number of sites, for sim and poc.", min=1)] = 2,
    study: Annotated[str, typer.Option(help="The study, for prod.")] = "default",
    kit: KitOption = None,
) -> None:
    """Run a script that executes a recipe, and wait for the result; fail if it executes none."""
    from flare_core.environment import override

    if script.is_dir():
        raise typer.BadParameter(f"{script} is a folder; give a script in it that executes a recipe")
    if not script.is_file():
        raise typer.BadParameter(f"{script} does not exist; give a script that executes a recipe")
    chosen = _environment(env, clients, study, kit)
    override.env, override.is_used = None if chosen is None else _Waiting(chosen), False
    sys.argv = [str(script), *context.args]
    sys.path.insert(0, str(script.parent.absolute()))
    try:
        runpy.run_path(str(script), run_name="__main__")
        _check_that_it_ran(script)
    finally:
        override.env = None


def _check_that_it_ran(script: Path) -> None:
    from flare_core import RecipeError
    from flare_core.environment import override

    if not override.is_used:
        raise RecipeError(f"{script} has executed no recipe, so nothing has run; call recipe.execute(env) in it")


def _environment(env: Environment, clients: int, study: str, kit: Path | None) -> ExecEnv | None:
    if env is Environment.AUTO:
        env = Environment.PROD if find_kit(kit) is not None else Environment.SCRIPT
    if env is Environment.SIM:
        from flare_runtime import SimEnv

        return SimEnv(num_clients=clients)
    if env is Environment.POC:
        from flare_deploy.poc import PocEnv

        return PocEnv(num_clients=clients)
    if env is Environment.PROD:
        from flare_deploy.prod import ProdEnv

        found = find_kit(kit)
        if found is None:
            raise typer.BadParameter("no administrator's kit was found; give --kit, or set FLARE_KIT")
        return ProdEnv(found, study=study)
    return None


class _Waiting:
    """An environment that returns runs after their end, like the simulator."""

    def __init__(self, env: ExecEnv) -> None:
        self._env = env

    def deploy(self, job: Job) -> Run:
        """Run ``job`` to its end."""
        run = self._env.deploy(job)
        run.get_result(raise_on_failure=False)
        return run
