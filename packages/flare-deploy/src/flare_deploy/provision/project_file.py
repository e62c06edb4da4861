"""Provisioning: make the kits of all participants that a project.yml lists.

    api_version: 3
    name: hospitals
    participants:
      - {name: server.example.org, type: server, org: hub, fed_learn_port: 8002}
      - {name: site-1, type: client, org: hospital-a}
      - {name: hospital-b, type: relay, listening_host: {default_host: gateway.example.org, port: 8002}}
      - {name: ward-1, type: client, connect_to: hospital-b}
      - {name: admin@example.org, type: admin, org: hub, role: project_admin}

Project files of NVIDIA FLARE are accepted. The names, organizations and roles of participants, the host names and ports
of the server and of relays, and the relay to connect to are used; builders, overseers and the second port for
administrators are ignored. A site that connects to a relay is named after it: ``hospital-b.ward-1``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flare_core import JobError
from flare_deploy.participants import forwards, known_kinds, participant_kind, takes_jobs
from flare_deploy.provision.kit import Kit, KitError, KitInfo, check_participant
from flare_deploy.provision.project import DEFAULT_PORT, ROLES, Project, is_reserved, name_conflict, participant_of
from flare_transport import AddressError
from flare_transport.address import parse_address

_IGNORED = ("overseer",)
MAX_FILE_BYTES = 1 << 20
MAX_CHARACTERS = 200
_REPR = reprlib.Repr()
_REPR.maxlevel = 2


def provision(project_file: Path, workspace: Path) -> list[tuple[str, str, Path]]:
    """Make the kits of a project's participants, except for those that are there already.

    Args:
        project_file: a project.yml.
        workspace: the folder in which the project's folder is made, with the project's name. The folders in
            ``sites``, ``relays``, ``admins`` and those of other kinds are to be given to the participants.
    Returns:
        Name, kind and folder of each new kit.
    Raises:
        KitError: the file cannot be used; names the entry.
    """
    values = _read(project_file)
    name = _name(values, project_file)
    entries = values.get("participants") or []
    if not isinstance(entries, list):
        raise KitError(f"{project_file}: participants is {_short(entries)}; give a list")
    participants = [_participant(each, project_file) for each in entries]
    participants = [each for each in participants if each["type"] not in _IGNORED]
    servers = [each for each in participants if each["type"] == "server"]
    if len(servers) != 1:
        raise KitError(f"{project_file}: {len(servers)} participants are of type 'server'; there must be exactly one")
    admins = [each for each in participants if each["type"] == "admin"]
    if not admins:
        raise KitError(f"{project_file}: no participant is of type 'admin'; add one, who can submit jobs")
    participants = _below_relays(participants, project_file)
    _check_names(participants, project_file)
    folder = workspace.absolute() / name
    made = []
    if (folder / "project.json").exists():
        project = Project.load(folder)
    else:
        project = Project.create(folder, name=name, address=_address(servers[0], project_file), admin=None)
        made.append(("server", "server", folder / "server"))
    return [*made, *_make_kits(project, participants, project_file)]


def _make_kits(project: Project, participants: list[dict[str, Any]], path: Path) -> list[tuple[str, str, Path]]:
    """Make the missing kits, those of relays before those of the sites below them."""
    made = []
    relays: dict[str, KitInfo] = {}
    for each in sorted(participants, key=lambda each: (not forwards(each["type"]), each["name"].count("."))):
        name, kind = each["name"], each["type"]
        if kind == "server":
            continue
        place = project.folder / ("admins" if kind == "admin" else participant_kind(kind).kit_folder) / name
        if not (place / "startup").is_dir():
            kit = project.make_kit(
                place,
                name,
                kind,
                role=each.get("role", ""),
                org=each.get("org", ""),
                listen=_listening(each, path) if forwards(kind) else "",
                relay=_relay_above(name, relays),
            )
            project.register([participant_of(kit, studies="*" if kind == "admin" else "default")])
            made.append((name, kind, place))
        if forwards(kind):
            relays[name] = Kit.load(place).info
    return made


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise KitError(f"{path} has more than {MAX_FILE_BYTES} bytes, which is the limit for a project file")
        values = yaml.safe_load(text.decode("utf-8"))
    except (OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise KitError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise KitError(f"{path} is not a project file; it must have a name and participants")
    if values.get("api_version") not in (3, 4):
        raise KitError(f"{path}: api_version is {_short(values.get('api_version'))}; 3 and 4 are supported")
    return values


def _participant(entry: Any, path: Path) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise KitError(f"{path}: a participant is {_short(entry)}; it must have a name and a type")
    values = dict(entry)
    kind = _text(values, "type", path)
    name = _text(values, "name", path) if kind in ("server", *_IGNORED) else _name(values, path)
    if kind in _IGNORED:
        return {"name": name, "type": kind}
    if kind not in known_kinds():
        raise KitError(f"{path}: {name} is of type {kind!r}; choose one of {', '.join(known_kinds())}")
    if kind == "admin" and values.get("role") not in ROLES:
        raise KitError(f"{path}: {name} has the role {_short(values.get('role'))}; choose one of {', '.join(ROLES)}")
    for key in ("org", "role"):
        if not isinstance(values.get(key, ""), str):
            raise KitError(f"{path}: {key} of {name} is {_short(values[key])}; give a string")
    return values


def _below_relays(participants: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Return the participants, with the names of relays before those of the sites that connect to them.

    ``connect_to`` is a name, or as in NVIDIA FLARE's files a mapping that has one.
    """
    relays = {each["name"] for each in participants if forwards(each["type"])}
    servers = {"server", *(each["name"] for each in participants if each["type"] == "server")}
    found = []
    for each in participants:
        above = each.pop("connect_to", "")
        above = above.get("name", "") if isinstance(above, Mapping) else above
        if not isinstance(above, str):
            raise KitError(f"{path}: connect_to of {each['name']} is {_short(above)}; give the name of a relay")
        if above and above not in servers:
            if not takes_jobs(each["type"]) or above not in relays:
                raise KitError(
                    f"{path}: {each['name']} cannot connect to {_short(above)}; sites connect to the server or a relay"
                    f" ({', '.join(sorted(relays)) or 'there is none'}), all others to the server"
                )
            each = {**each, "name": f"{above}.{each['name'].removeprefix(f'{above}.')}"}
        found.append(each)
    return found


def _relay_above(name: str, relays: Mapping[str, KitInfo]) -> KitInfo | None:
    """Return the nearest relay whose name is a prefix of ``name``."""
    while name := name.rpartition(".")[0]:
        if name in relays:
            return relays[name]
    return None


def _listening(relay: Mapping[str, Any], path: Path) -> str:
    """Return the address at which sites reach a relay."""
    host = relay.get("listening_host") or {}
    values = host if isinstance(host, Mapping) else {"default_host": host}
    return _address({"fed_learn_port": values.get("port", DEFAULT_PORT), **values, "name": relay["name"]}, path)


def _address(server: Mapping[str, Any], path: Path) -> str:
    hosts = server.get("host_names") or [server["name"]]
    host = server.get("default_host") or (hosts[0] if isinstance(hosts, list) else hosts)
    if not isinstance(host, str):
        raise KitError(f"{path}: the host of {server['name']} is {_short(host)}; give a string")
    port = server.get("fed_learn_port", DEFAULT_PORT)
    if not isinstance(port, int) or not 0 < port < 65536:
        raise KitError(f"{path}: fed_learn_port of {server['name']} is {_short(port)}; give a port from 1 to 65535")
    try:
        return str(parse_address(f"grpc://{host}:{port}"))
    except AddressError as error:
        raise KitError(f"{path}: {server['name']}: {error}") from error


def _text(values: Mapping[str, Any], key: str, path: Path) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise KitError(f"{path}: {key} is {_short(value)}; give a string")
    return value


def _name(values: Mapping[str, Any], path: Path) -> str:
    """Return the name of a project or a participant, which is also the name of a folder."""
    name = _text(values, "name", path)
    try:
        check_participant(name, what="a name")
    except JobError as error:
        raise KitError(f"{path}: {error}") from error
    if is_reserved(name, "server"):
        raise KitError(f"{path}: the name {name!r} is reserved; choose another")
    return name


def _check_names(participants: list[dict[str, Any]], path: Path) -> None:
    kinds: dict[str, str] = {}
    for each in participants:
        name, kind = each["name"], each["type"]
        if each.get("role") == "project_admin":
            kind = "project_admin"
        if name in kinds:
            raise KitError(f"{path}: the name {_short(name)} occurs more than once; names must be unique")
        problem = None if kind == "server" else name_conflict(name, kind, kinds)
        if problem is not None:
            raise KitError(f"{path}: {problem}")
        if kind != "server":  # its name in the file is its host's; in the project, it is 'server'
            kinds[name] = kind


def _short(value: Any) -> str:
    """Return a value for a message, shortened: with aliases, a small file may contain a list a billion times."""
    return _REPR.repr(value)[:MAX_CHARACTERS]
