"""``flare poc``: a federation on this machine that stays, for trying things out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from flare_deploy.cli.output import Form, FormOption, show, table

__all__ = ["app"]

app = typer.Typer(
    help="A federation of processes on this machine that stays until it is stopped.", no_args_is_help=True
)

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", help="Its folder; $FLARE_POC_WORKSPACE or the user's cache if left out.", show_default=False
    ),
]


@app.command()
def start(
    clients: Annotated[int, typer.Option("--clients", "-n", help="How many sites.", min=1)] = 2,
    port: Annotated[int, typer.Option(help="The server's port; 0 takes one that is free.", min=0, max=65535)] = 0,
    folder: FolderOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Start a server and sites, with kits and encryption as between real sites."""
    from flare_core.errors import FlareError
    from flare_deploy.poc import Poc, default_poc

    poc = Poc((folder or default_poc()).absolute())
    if poc.project_folder.exists():
        if any(poc.status().values()):
            raise FlareError(f"a POC runs in {poc.folder}; 'flare poc status' shows it, 'flare poc stop' ends it")
        if len(poc.sites) != clients:
            shutil.rmtree(poc.folder)
    if not poc.project_folder.exists():
        poc.prepare([f"site-{number}" for number in range(1, clients + 1)], port=port)
    poc.start(leashed=False)
    _show(poc.folder, form, f"next: export FLARE_KIT={poc.admin}")


@app.command()
def stop(folder: FolderOption = None, form: FormOption = Form.TEXT) -> None:
    """End its processes; what it holds stays for the next start."""
    from flare_deploy.poc import Poc, default_poc

    poc = Poc((folder or default_poc()).absolute())
    was_running = poc.project_folder.exists() and any(poc.status().values())
    if was_running:
        poc.stop()
    show(form, {"stopped": was_running}, "POC stopped" if was_running else "no POC was running")


@app.command()
def status(folder: FolderOption = None, form: FormOption = Form.TEXT) -> None:
    """Show its processes."""
    from flare_deploy.poc import default_poc

    _show((folder or default_poc()).absolute(), form, "")


@app.command()
def clean(folder: FolderOption = None, form: FormOption = Form.TEXT) -> None:
    """Remove its folder."""
    from flare_core.errors import FlareError
    from flare_deploy.poc import Poc, default_poc

    poc = Poc((folder or default_poc()).absolute())
    if poc.project_folder.exists():
        if any(poc.status().values()):
            raise FlareError(f"the POC in {poc.folder} runs; 'flare poc stop' first")
        shutil.rmtree(poc.folder)
    show(form, {"removed": str(poc.folder)}, f"{poc.folder} removed")


def _show(folder: Path, form: Form, after: str) -> None:
    from flare_deploy.poc import Poc

    poc = Poc(folder)
    found = poc.status() if poc.project_folder.exists() else {}
    rows = [[name, "running" if pid else "stopped", pid or "-"] for name, pid in found.items()]
    text = table(["name", "state", "process"], rows, empty=f"no POC in {folder}; flare poc start")
    values = {
        "folder": str(folder),
        "admin": str(poc.admin),
        "processes": [{"name": name, "running": pid is not None, "pid": pid} for name, pid in found.items()],
    }
    show(form, values, f"{text}\n{after}")
