"""``flare flower``: new Flower apps that run with Flare and with ``flwr run``."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make Flower apps.", no_args_is_help=True)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")  # Flower's own rule


@app.callback()
def flower() -> None:
    """Make Flower apps."""


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the app and its folder: letters, digits and hyphens.")],
    publisher: Annotated[str, typer.Option(help="Who publishes the app.")] = "me",
) -> None:
    """Write an app with NumPy and a job that runs it."""
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} does not begin with a letter and go on with letters, digits and hyphens")
    module = name.replace("-", "_").lower()
    folder = Path(name)
    if folder.exists():
        raise typer.BadParameter(f"{folder} exists already; choose another name, or remove it")
    values = {"name": name, "module": module, "publisher": publisher}
    for template, place in (
        ("pyproject.toml", folder / "app" / "pyproject.toml"),
        ("__init__.py", folder / "app" / module / "__init__.py"),
        ("task.py", folder / "app" / module / "task.py"),
        ("client_app.py", folder / "app" / module / "client_app.py"),
        ("server_app.py", folder / "app" / module / "server_app.py"),
        ("job.py", folder / "job.py"),
    ):
        text = (resources.files("flare_flower") / "templates" / f"{template}.txt").read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    typer.echo(f"made {folder}; run it with\ncd {folder} && python job.py")
