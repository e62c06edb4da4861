"""``flare run``: run a script that executes a recipe, in another environment if wanted."""

from __future__ import annotations

import runpy
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flare_deploy.cli.places import KitOption, find_kit

if TYPE_CHECKING:
    from flare_core import ExecEnv, Job, Run

__all__ = ["Where", "add_to"]


class Where(StrEnum):
    """Where a script's recipes run."""

    AUTO = "auto"
    SCRIPT = "script"
    SIM = "sim"
    POC = "poc"
    PROD = "prod"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(context_settings=settings)(run)


def run(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(help="A script that executes a recipe; what follows are its arguments.")],
    env: Annotated[
        Where,
        typer.Option(
            help="Where: sim, poc, prod, as the script says, or auto: prod if there is a kit, else as it says."
        ),
    ] = Where.AUTO,
    clients: Annotated[int, typer.Option("--clients", "-n", help="How many sites, for sim and poc.", min=1)] = 2,
    study: Annotated[str, typer.Option(help="The study, for prod.")] = "default",
    kit: KitOption = None,
) -> None:
    """Run a script that executes a recipe, and wait for the result; one that executes none is an error."""
    from flare_core.environment import choose_environment

    if script.is_dir():
        raise typer.BadParameter(f"{script} is a folder; give the script in it that executes the recipe")
    if not script.is_file():
        raise typer.BadParameter(f"{script} is not there; give the script that executes the recipe")
    chosen = _environment(env, clients, study, kit)
    choose_environment(_Waiting(chosen) if chosen is not None else None)
    sys.argv = [str(script), *context.args]
    sys.path.insert(0, str(script.parent.absolute()))
    try:
        runpy.run_path(str(script), run_name="__main__")
        _check_that_it_ran(script)
    finally:
        choose_environment(None)


def _check_that_it_ran(script: Path) -> None:
    from flare_core import RecipeError
    from flare_core.environment import is_recipe_used

    if not is_recipe_used():
        raise RecipeError(f"{script} has executed no recipe, so nothing has run; have it call recipe.execute(env)")


def _environment(env: Where, clients: int, study: str, kit: Path | None) -> ExecEnv | None:
    if env is Where.AUTO:
        env = Where.PROD if find_kit(kit) is not None else Where.SCRIPT
    if env is Where.SIM:
        from flare_runtime import SimEnv

        return SimEnv(num_clients=clients)
    if env is Where.POC:
        from flare_deploy.poc import PocEnv

        return PocEnv(num_clients=clients)
    if env is Where.PROD:
        from flare_deploy.prod import ProdEnv

        found = find_kit(kit)
        if found is None:
            raise typer.BadParameter("no administrator's kit was found; give --kit, or set FLARE_KIT")
        return ProdEnv(found, study=study)
    return None


class _Waiting:
    """An environment whose runs have ended when they are returned, as the simulator's have."""

    def __init__(self, env: ExecEnv) -> None:
        self._env = env

    def deploy(self, job: Job) -> Run:
        """Run ``job`` to its end."""
        run = self._env.deploy(job)
        run.get_result(raise_on_failure=False)
        return run
