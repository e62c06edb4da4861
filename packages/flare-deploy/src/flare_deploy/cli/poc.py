"""``flare poc``: a federation on this machine that keeps running, for experiments."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flare_deploy.cli.output import Form, FormOption, show, table

if TYPE_CHECKING:
    from flare_deploy.poc import Poc

app = typer.Typer(help="A federation of processes on this machine that runs until it is stopped.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        help="The folder; by default $FLARE_POC_WORKSPACE or one in the user's cache.",
        show_default=False,
    ),
]


@app.command()
def start(
    clients: Annotated[int, typer.Option("--clients", "-n", help="The number of sites.", min=1)] = 2,
    port: Annotated[int, typer.Option(help="The server's port; 0 for any free one.", min=0, max=65535)] = 0,
    folder: FolderOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Start a server and sites, with kits and encryption as across real sites."""
    from flare_core.errors import FlareError

    poc = _poc(folder)
    if poc.project_folder.exists():
        if any(poc.status().values()):
            raise FlareError(
                f"a POC is running in {poc.folder}; see 'flare poc status', or stop it with 'flare poc stop'"
            )
        if len(poc.sites) != clients:
            shutil.rmtree(poc.folder)
    if not poc.project_folder.exists():
        poc.prepare([f"site-{number}" for number in range(1, clients + 1)], port=port)
    poc.start(owned=False)
    _show(poc, form, f"next: export FLARE_KIT={poc.admin}")


@app.command()
def stop(folder: FolderOption = None, form: FormOption = Form.TEXT) -> None:
    """Stop the processes; the folder stays for the next start."""
    poc = _poc(folder)
    was_running = poc.project_folder.exists() and any(poc.status().values())
    if was_running:
        poc.stop()
    show(form, {"stopped": was_running}, "POC stopped" if was_running else "no POC was running")


@app.command()
def status(folder: FolderOption = None, form: FormOption = Form.TEXT) -> None:
    """Show the processes."""
    _show(_poc(folder), form, "")


@app.command()
def clean(folder: FolderOption = None, form: FormOption = Form.TEXT) -> None:
    """Delete the folder."""
    from flare_core.errors import FlareError

    poc = _poc(folder)
    if poc.project_folder.exists():
        if any(poc.status().values()):
            raise FlareError(f"the POC in {poc.folder} is running; stop it first with 'flare poc stop'")
        shutil.rmtree(poc.folder)
    show(form, {"removed": str(poc.folder)}, f"{poc.folder} removed")


def _poc(folder: Path | None) -> Poc:
    from flare_deploy.poc import Poc, default_poc

    return Poc((folder or default_poc()).absolute())


def _show(poc: Poc, form: Form, after: str) -> None:
    found = poc.status() if poc.project_folder.exists() else {}
    rows = [[name, "running" if pid else "stopped", pid or "-"] for name, pid in found.items()]
    text = table(["name", "state", "process"], rows, empty=f"no POC in {poc.folder}; start one with 'flare poc start'")
    values = {
        "folder": str(poc.folder),
        "admin": str(poc.admin),
        "processes": [{"name": name, "running": pid is not None, "pid": pid} for name, pid in found.items()],
    }
    show(form, values, f"{text}\n{after}")
