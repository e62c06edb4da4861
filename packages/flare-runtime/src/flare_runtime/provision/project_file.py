"""project.yml: who belongs to a project, and the kits that are made from it.

    api_version: 3
    name: hospitals
    participants:
      - {name: server.example.org, type: server, org: hub, fed_learn_port: 8002}
      - {name: site-1, type: client, org: hospital-a}
      - {name: admin@example.org, type: admin, org: hub, role: project_admin}

Files as NVIDIA FLARE writes them are accepted. Of what they can say, host names and the port of the server, names,
organizations and roles are used; builders, a second port for administrators and overseers have no meaning here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flare_runtime.provision.kit import KitError
from flare_runtime.provision.project import DEFAULT_PORT, ROLES, Project, participant_of

__all__ = ["provision"]

_TYPES = ("server", "client", "admin")
_IGNORED = ("overseer",)


def provision(project_file: Path, workspace: Path) -> list[tuple[str, str, Path]]:
    """Make the kits of a project's participants; those that have one keep it.

    Args:
        project_file: a project.yml.
        workspace: where the project's folder is made, under its name; ``server`` is in it, ``sites/<name>`` and
            ``admins/<name>`` are to be handed out.
    Returns:
        name, kind and folder of each kit that is new.
    Raises:
        KitError: the file cannot be used; names the entry.
    """
    values = _read(project_file)
    name = _text(values, "name", project_file)
    participants = [_participant(each, project_file) for each in values.get("participants") or ()]
    participants = [each for each in participants if each["type"] in _TYPES]
    servers = [each for each in participants if each["type"] == "server"]
    if len(servers) != 1:
        raise KitError(f"{project_file}: {len(servers)} participants are of type 'server'; there must be one")
    admins = [each for each in participants if each["type"] == "admin"]
    if not admins:
        raise KitError(f"{project_file}: no participant is of type 'admin'; somebody must submit jobs")
    folder = workspace.absolute() / name
    made = []
    if (folder / "project.json").exists():
        project = Project.load(folder)
    else:
        project = Project.create(folder, name=name, address=_address(servers[0], project_file), admin=None)
        made.append(("server", "server", folder / "server"))
    for each in participants:
        if each["type"] == "server":
            continue
        place = folder / ("sites" if each["type"] == "client" else "admins") / each["name"]
        if (place / "startup").is_dir():
            continue
        kit = project.make_kit(place, each["name"], each["type"], role=each.get("role", ""), org=each.get("org", ""))
        project.know([participant_of(kit, studies="*" if each["type"] == "admin" else "default")])
        made.append((each["name"], each["type"], place))
    return made


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise KitError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise KitError(f"{path} holds no project; it must have a name and participants")
    if values.get("api_version") not in (3, 4):
        raise KitError(f"{path}: api_version is {values.get('api_version')!r}; 3 and 4 are understood")
    return values


def _participant(entry: Any, path: Path) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise KitError(f"{path}: a participant is {entry!r}; it must have a name and a type")
    values = dict(entry)
    name, kind = _text(values, "name", path), _text(values, "type", path)
    if kind in _IGNORED:
        return {"name": name, "type": "ignored"}
    if kind not in _TYPES:
        raise KitError(f"{path}: {name} is of type {kind!r}; known are {', '.join(_TYPES)}")
    if kind == "admin" and values.get("role") not in ROLES:
        raise KitError(f"{path}: {name} has the role {values.get('role')!r}; known are {', '.join(ROLES)}")
    return values


def _address(server: Mapping[str, Any], path: Path) -> str:
    host = server.get("default_host") or (server.get("host_names") or [server["name"]])[0]
    port = server.get("fed_learn_port", DEFAULT_PORT)
    if not isinstance(port, int) or not 0 < port < 65536:
        raise KitError(f"{path}: fed_learn_port of {server['name']} is {port!r}; give a port from 1 to 65535")
    return f"grpc://{host}:{port}"


def _text(values: Mapping[str, Any], key: str, path: Path) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise KitError(f"{path}: {key} is {value!r}; give a text")
    return value
