"""The defaults for the project folder and the administrator's kit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flare_deploy.admin import Admin
from flare_runtime.terminal import printable

PROJECT = Path("flare-project")

KitOption = Annotated[
    Path | None,
    typer.Option(
        "--kit",
        help="An administrator's kit; by default $FLARE_KIT, ./flare-project/admin or the POC's.",
        show_default=False,
    ),
]


def find_kit(kit: Path | None) -> Path | None:
    """Return the administrator's kit to use; None if there is none."""
    if kit is not None:
        return kit
    if os.environ.get("FLARE_KIT"):
        return Path(os.environ["FLARE_KIT"])
    if (PROJECT / "admin" / "startup").is_dir():
        return PROJECT / "admin"
    return None


def connect(kit: Path | None) -> Admin:
    """Connect to the server as an administrator.

    Raises:
        typer.BadParameter: no kit is found.
        FlareError: the kit cannot be used, or the server cannot be reached.
    """
    from flare_deploy.admin import Admin
    from flare_deploy.poc import Poc, default_poc

    found = find_kit(kit)
    if found is None and (default_poc() / "project" / "admin" / "startup").is_dir():
        found = Poc(default_poc()).admin
    if found is None:
        raise typer.BadParameter(
            "no administrator's kit was found; give --kit, set FLARE_KIT, or change to the folder of 'flare up'"
        )
    admin = Admin.connect(found)
    admin.connection.notify = lambda text: typer.echo(printable(text), err=True)
    return admin
