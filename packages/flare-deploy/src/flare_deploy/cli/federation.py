"""Commands that make a federation and look after it, from ``flare up`` to ``flare audit``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from flare_deploy.cli.output import Form, FormOption, ago, moment, show, table
from flare_deploy.cli.places import PROJECT, KitOption, connect

__all__ = ["add_to", "site_app"]

WARN_DAYS = 30

site_app = typer.Typer(help="The sites and administrators of the project.", no_args_is_help=True)

Foreground = Annotated[bool, typer.Option("--foreground", help="Stay in this terminal instead of the background.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, invite, join, renew, provision, server, client, relay, stop, status, audit):
        app.command()(command)


def up(
    folder: Annotated[Path, typer.Option(help="The project's folder.")] = PROJECT,
    name: Annotated[str, typer.Option(help="The project's name.")] = "flare",
    port: Annotated[int, typer.Option(help="The one port that sites connect to.", min=1, max=65535)] = 8002,
    address: Annotated[
        str, typer.Option(help="This machine's name or address for the sites; found out if left out.")
    ] = "",
    foreground: Foreground = False,
    form: FormOption = Form.TEXT,
) -> None:
    """Make a project with its certificates, if there is none here, and start its server."""
    from flare_deploy.daemons import pid_of, start_daemon
    from flare_deploy.provision.project import Project, own_address
    from flare_deploy.serve import serve

    folder = folder.absolute()
    is_new = not (folder / "project.json").exists()
    if is_new:
        Project.create(folder, name=name, address=f"grpc://{address or own_address()}:{port}")
    project = Project.load(folder)
    kit = folder / "server"
    running = pid_of("server", kit)
    if foreground:
        return serve("server", kit)
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
    """Stop the project's server; running jobs go on when it is started again."""
    from flare_deploy.daemons import stop_daemon

    was_running = stop_daemon("server", folder.absolute() / "server")
    show(form, {"stopped": was_running}, "server stopped" if was_running else "no server was running")


def invite(
    name: Annotated[str, typer.Argument(help="The site's name, or the administrator's.")],
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
    org: Annotated[str, typer.Option(help="Whom it belongs to.")] = "",
    study: Annotated[
        str, typer.Option(help="The studies it takes part in, with commas between them; * is all.")
    ] = "default",
    days: Annotated[int, typer.Option(help="How long the token is good.", min=1)] = 3,
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Print a token with which a site, a relay or an administrator can join, once."""
    with connect(kit) as connection:
        kind = "admin" if admin else kind
        token = connection.invite(name, kind=kind, role=admin, org=org, studies=study, days=days, address=address)
    show(form, {"name": name, "kind": kind, "days": days, "token": token}, token)


def join(
    token: Annotated[str, typer.Argument(help="What 'flare invite' printed, or a file that holds it.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where the kit goes; ./<name> if left out.", show_default=False)
    ] = None,
    start: Annotated[bool, typer.Option(help="Start the site's client, or the relay, afterwards.")] = True,
    foreground: Foreground = False,
    form: FormOption = Form.TEXT,
) -> None:
    """Make this machine's key, have it certified with an invitation, and start the site's client or the relay."""
    from flare_deploy.daemons import start_daemon
    from flare_deploy.provision.join import join as use_invitation
    from flare_deploy.serve import serve

    if not token.startswith("flare1-") and len(token) < 4096 and Path(token).is_file():
        token = Path(token).read_text()
    kit = use_invitation(token, folder)
    pid = None
    kind = kit.info.kind
    if kind != "admin" and start:
        if foreground:
            return serve(kind, kit.folder)
        pid = start_daemon(kind, kit.folder).process.pid
    lines = [f"{kit.info.name} belongs to the project {kit.info.project}; its kit is {kit.folder}"]
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
    """Replace a kit's key and certificate. The former ones of all but the server are not valid any more."""
    from flare_deploy.daemons import pid_of, start_daemon, stop_daemon
    from flare_deploy.provision.join import renew as renew_kit
    from flare_deploy.provision.kit import kit_info
    from flare_deploy.provision.project import Project

    folder = folder.absolute()
    kind = kit_info(folder).kind
    project = Project.load(folder.parent) if kind == "server" else None  # raises before anything is stopped
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
    project_file: Annotated[Path, typer.Argument(help="A project.yml.")],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", help="Where the kits are written.")] = Path(
        "workspace"
    ),
    form: FormOption = Form.TEXT,
) -> None:
    """Make a start-up kit for everybody whom a project.yml names, with keys that are made here."""
    from flare_deploy.provision.project_file import provision as make_kits

    made = make_kits(project_file, workspace)
    rows = [[name, kind, path] for name, kind, path in made]
    show(
        form,
        [{"name": name, "kind": kind, "folder": str(path)} for name, kind, path in made],
        table(["name", "kind", "kit"], rows, empty="nobody is new"),
    )


def server(kit: Annotated[Path, typer.Argument(help="The server's kit.")]) -> None:
    """Be a project's server until stopped, in this terminal."""
    _serve("server", kit)


def client(kit: Annotated[Path, typer.Argument(help="A site's kit.")]) -> None:
    """Be a site's client until stopped, in this terminal."""
    _serve("client", kit)


def relay(kit: Annotated[Path, typer.Argument(help="A relay's kit.")]) -> None:
    """Be the relay of a group of sites until stopped, in this terminal."""
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
    """Stop the server, the relay or the client that serves with a kit."""
    from flare_deploy.daemons import stop_daemon
    from flare_deploy.provision.kit import Kit

    kit = Kit.load(folder)
    was_running = stop_daemon(kit.info.kind, kit.folder)
    show(
        form,
        {"stopped": was_running},
        f"{kit.info.name} stopped" if was_running else f"{kit.info.name} was not running",
    )


def status(kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """Show the sites, and what every running thing waits for and since when."""
    with connect(kit) as connection:
        found = connection.status()
    show(form, found, status_text(found))


def status_text(found: dict[str, Any]) -> str:
    """What ``flare status`` prints."""
    sites = [
        [
            each["name"],
            "connected" if each["connected"] else "not connected",
            ago(each["since"]),
            ", ".join(each["jobs"]) or "-",
        ]
        for each in found["sites"]
    ]
    jobs = []
    for each in found["jobs"]:
        progress = each.get("progress", {})
        waits = progress.get("waiting_for") or each["reason"] or "-"
        since = progress.get("since") or each["submitted"]
        done = "-" if progress.get("round") is None else f"{progress['round']} of {progress['rounds']}"
        jobs.append([each["id"], each["name"], each["state"], done, waits, ago(since)])
    left = found["certificate_days_left"]
    warnings = [f"warning: the server's certificate ends in {left:.0f} days"] if left < WARN_DAYS else []
    for each in found["sites"]:
        days = (each["certificate_expires"] or float("inf")) / 86400 - time.time() / 86400
        if days < WARN_DAYS:
            warnings.append(f"warning: the certificate of {each['name']} ends in {days:.0f} days; 'flare renew' there")
    return "\n".join(
        [
            f"project {found['project']} at {found['address']}, version {found['version']},"
            f" certificate for {left:.0f} days",
            "",
            table(["site", "state", "for", "jobs"], sites, empty="no site has joined; flare invite site-1"),
            "",
            table(["job", "name", "state", "round", "waits for", "since"], jobs, empty="no job waits or runs"),
            *warnings,
        ]
    )


def audit(
    last: Annotated[int, typer.Option(help="How many lines.", min=1)] = 50,
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Show who did what, and whether it was allowed."""
    with connect(kit) as connection:
        found = connection.audit(last)
    rows = [[moment(each["time"]), each["who"], each["what"], each["target"], each["outcome"]] for each in found]
    show(form, found, table(["time", "who", "what", "target", "outcome"], rows, empty="nothing yet"))


@site_app.command("list")
def site_list(kit: KitOption = None, form: FormOption = Form.TEXT) -> None:
    """List everybody who belongs to the project, was invited or removed."""
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
    show(form, found, table(["name", "kind", "role", "state", "connected", "studies", "expires"], rows, empty="nobody"))


@site_app.command("remove")
def site_remove(
    name: Annotated[str, typer.Argument(help="A site or an administrator.")],
    kit: KitOption = None,
    form: FormOption = Form.TEXT,
) -> None:
    """Put a site or an administrator out, at once; the others are not touched."""
    with connect(kit) as connection:
        connection.remove(name)
    show(form, {"removed": name}, f"{name} was removed; its certificate and invitations are void")
