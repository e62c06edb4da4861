"""Two commands, a function and a group."""

import logging
from pathlib import Path

import typer

from flare_runtime.logs import log_to

herd = typer.Typer(help="Look after sheep.")


def greet(name: str, log: Path | None = None) -> None:
    """Greet somebody, and log it."""
    typer.echo(f"hello {name}")
    if log is not None:
        with log_to(log, "INFO"):
            logging.getLogger("flare_example.commands").info("greeted %s", name)


@herd.command("count")
def count(sheep: int) -> None:
    """Count sheep."""
    typer.echo(f"{sheep} sheep")


@herd.command("sell")
def sell() -> None:
    """Sell the sheep."""
