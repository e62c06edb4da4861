"""Commands that make and maintain a federation, from ``flare up`` to ``flare site remove``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flare_deploy.cli.output import Form, FormOption, moment, show, table
from flare_deploy.cli.places import PROJECT, KitOption, connect
from flare_deploy.cli.status import audit, status

site_app = typer.Typer(help="List or remove participants of the project.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, down, invite, join, renew, provision, server, client, relay, stop, status, audit):
        app.command()(command)


def up(
    folder: Annotated[Path, typer.Option(help="The project's folder.")] = PROJECT,
    name: Annotated[str, typer.Option(help="The project's name.")] = "flare",
    port: Annotated[int, typer.Option(help="The one port that sites connect to.", min=1, max=65535)] = 8002,
    address: Annotated[
        str, typer.Option(help="This machine's name or address, as seen by the sites; detected by default.")
    ] = "",
    form: FormOption = Form.TEXT,
) -> None:
    """Make a project with its certificates, unless there is one, and start its server."""
    from flare_deploy.daemons import pid_of, start_daemon
    from flare_deploy.provision.project import Project, own_address

    folder = folder.absolute()
    is_new = not (folder / "project.json").exists()
    if is_new:
        Project.create(folder, name=name, address=f"grpc://{address or own_address()}:{port}")
    project = Project.load(folder)
    kit = folder / "server"
    running = pid_of("server", kit)
    pid = running or start_daemon("server", kit).process.pid
    state = "already running" if running else "started"
    show(
        form,
        {
            "project": project.name,
            "address": project.address,
            "folder": str(folder),
            "pid": pid,
            "started": not running,
        },
        f"project {project.name} in {folder}{' (new)' if is_new else ''}\n"
        f"server {state} at {project.address}, process {pid}, log {kit / 'log.txt'}\n"
        "next: flare invite site-1",
    )


def down(
    folder: Annotated[Path, typer.Option(help="The project's folder.")] = PROJECT, form: FormOption = Form.TEXT
) -> None:
    """Stop the project's server; running jobs continue when it is restarted."""
    from flare_deploy.daemons import stop_daemon

    was_running = stop_daemon("server", folder.absolute() / "server")
    show(form, {"stopped": was_running}, "server stopped" if was_running else "no server was running")


def invite(
    name: Annotated[str, typer.Argument(help="The name of the participant.")],
    admin: Annotated[str, typer.Option(help="Invite an administrator with this role.", show_default=False)] = "",
    kind: Annotated[
        str, typer.Option(help="Invite a client, a relay, or another kind that a package at the server adds.")
    ] = "client",
    address: Annotated[
        str,
        typer.Option(
            help="The address of a relay, grpc://host:port. Participants named <relay>.<name> connect to it.",
            show_default=False,
        ),
    ] = "",
    org: Annotated[str, typer.Option(help="The participant's organization.")] = "",
    study: Annotated[str, typer.Option(help="The studies it takes part in, comma-separated; * for all.")] = "default",
    days: Annotated[int, typer.Option(help="How many days the token is valid.", min=1)] = 3,
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Print a token with which a site, a relay or an administrator can join once."""
    with connect(kit) as connection:
        kind = "admin" if admin else kind
        token = connection.invite(name, kind=kind, role=admin, org=org, studies=study, days=days, address=address)
    show(form, {"name": name, "kind": kind, "days": days, "token": token}, token)


def join(
    token: Annotated[str, typer.Argument(help="The token that 'flare invite' has printed, or a file with it.")],
    folder: Annotated[
        Path | None, typer.Option(help="The folder for the kit; ./<name> by default.", show_default=False)
    ] = None,
    start: Annotated[bool, typer.Option(help="Start the site's client or the relay.")] = True,
    form: FormOption = Form.TEXT,
) -> None:
    """Make a key on this machine, have it certified with an invitation, and start the site's client or the relay."""
    from flare_deploy.daemons import start_daemon
    from flare_deploy.provision.join import join as use_invitation

    if not token.startswith("flare1-") and len(token) < 4096 and Path(token).is_file():
        token = Path(token).read_text()
    kit = use_invitation(token, folder)
    pid = None
    kind = kit.info.kind
    if kind != "admin" and start:
        pid = start_daemon(kind, kit.folder).process.pid
    lines = [f"{kit.info.name} has joined the project {kit.info.project}; its kit is {kit.folder}"]
    if pid is not None:
        lines.append(f"{kind} started, connected to {kit.info.address}, process {pid}, log {kit.folder / 'log.txt'}")
    elif kind == "admin":
        lines.append(f"next: export FLARE_KIT={kit.folder}")
    values = {"name": kit.info.name, "kind": kind, "project": kit.info.project, "folder": str(kit.folder)}
    show(form, {**values, "pid": pid, "certificate_expires": kit.expires.timestamp()}, "\n".join(lines))


def renew(
    folder: Annotated[Path, typer.Argument(help="The kit of a site, a relay, an administrator or the server.")],
    form: FormOption = Form.TEXT,
) -> None:
    """Replace a kit's key and certificate. Except for the server's, the former certificate is revoked."""
    from flare_deploy.daemons import pid_of, start_daemon, stop_daemon
    from flare_deploy.provision.join import renew as renew_kit
    from flare_deploy.provision.kit import kit_info
    from flare_deploy.provision.project import Project

    folder = folder.absolute()
    kind = kit_info(folder).kind
    project = Project.load(folder.parent) if kind == "server" else None  # may fail, so it comes before the stop
    was_running = pid_of(kind, folder) is not None

    def stop_if_running() -> None:
        stop_daemon(kind, folder)

    try:
        if project is None:
            kit = renew_kit(folder, stop_if_running)
        else:
            stop_if_running()
            kit = project.renew_server()
    finally:
        if was_running and pid_of(kind, folder) is None:
            start_daemon(kind, folder)
    text = f"the certificate of {kit.info.name} is valid until {kit.expires:%Y-%m-%d}"
    show(form, {"name": kit.info.name, "certificate_expires": kit.expires.timestamp()}, text)


def provision(
    project_file: Annotated[Path, typer.Argument(help="The project file, project.yml.")],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="The folder for projects.")] = Path("workspace"),
    form: FormOption = Form.TEXT,
) -> None:
    """Make start-up kits for all participants that a project.yml lists, with keys that are made here."""
    from flare_deploy.provision.project_file import provision as make_kits

    made = make_kits(project_file, workspace)
    rows = [[name, kind, path] for name, kind, path in made]
    show(
        form,
        [{"name": name, "kind": kind, "folder": str(path)} for name, kind, path in made],
        table(["name", "kind", "kit"], rows, empty="no new participants"),
    )


def server(kit: Annotated[Path, typer.Argument(help="The server's kit.")]) -> None:
    """Run a project's server in this terminal."""
    _serve("server", kit)


def client(kit: Annotated[Path, typer.Argument(help="A site's kit.")]) -> None:
    """Run a site's client in this terminal."""
    _serve("client", kit)


def relay(kit: Annotated[Path, typer.Argument(help="A relay's kit.")]) -> None:
    """Run the relay of a group of sites in this terminal."""
    _serve("relay", kit)


def _serve(kind: str, folder: Path) -> None:
    from flare_deploy.provision.kit import Kit
    from flare_deploy.serve import serve

    kit = Kit.load(folder, kind=kind)
    typer.echo(
        f"{kind} {kit.info.name} of {kit.info.project}, {kit.info.address}; log {kit.folder / 'log.txt'}", err=True
    )
    if kit.warning:
        typer.echo(f"warning: {kit.warning}", err=True)
    serve(kind, kit.folder)


def stop(
    folder: Annotated[Path, typer.Argument(help="The kit of a server, a relay or a site.")],
    form: FormOption = Form.TEXT,
) -> None:
    """Stop the server, relay or client that uses a kit."""
    from flare_deploy.daemons import stop_daemon
    from flare_deploy.provision.kit import Kit

    kit = Kit.load(folder)
    was_running = stop_daemon(kit.info.kind, kit.folder)
    show(
        form,
        {"stopped": was_running},
        f"{kit.info.name} stopped" if was_running else f"{kit.info.name} was not running",
    )


@site_app.command("list")
def site_list(kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """List all participants of the project, also the invited and the removed ones."""
    with connect(kit) as connection:
        found = connection.members()
    rows = [
        [
            each["name"],
            each["kind"],
            each["role"] or "-",
            each["state"],
            "yes" if each["connected"] else "no",
            each["studies"],
            moment(each["expires"] or None),
        ]
        for each in found
    ]
    show(
        form,
        found,
        table(["name", "kind", "role", "state", "connected", "studies", "expires"], rows, empty="none"),
    )


@site_app.command("remove")
def site_remove(
    name: Annotated[str, typer.Argument(help="The name of a site, a relay or an administrator.")],
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Remove a participant at once; others are not affected."""
    with connect(kit) as connection:
        connection.remove(name)
    show(form, {"removed": name}, f"{name} was removed; its certificate and invitations are no longer valid")
