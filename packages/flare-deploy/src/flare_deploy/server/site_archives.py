"""The archives that sites are sent: each holds one site's part of a job and what all share, and no other site's part.

An archive is a job's folder of its own:

    meta.json                                  name, seed, types that travel, what the run was made with
    app/config/config_fed_server.json          empty: the server's part stays at the server
    app/custom/…                               the job's code, without the files that are for the server alone
    app_site/config/config_fed_client.json     the site's part
    app_site/custom/…                          its code, if it is not the job's

Sites whose parts are equal share an archive. Archives are named by their digests; an index gives each site its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core import JobError, load_job
from flare_core.job import ALL_SITES, SERVER
from flare_core.job_folder import are_texts, deployed_apps, files_below, read_meta
from flare_core.parameters import parameters_of
from flare_deploy.archive import pack, sha256_of

__all__ = ["ARCHIVES", "make_site_archives", "site_archive"]

ARCHIVES = "archives"
"""The folder of a job's archives, in the job's folder."""

INDEX = "index.json"
_KEPT = ("name", "min_clients", "seed", "decomposers")
_REPLACED = ("train_script", "train_args", "command")
"""Arguments of a recipe that a site with a part of its own need not know: its part has its own."""


def make_site_archives(app: Path, folder: Path) -> None:
    """Make the archives of a job, one for each distinct part.

    Args:
        app: the job's folder.
        folder: where the archives go; it must be empty.
    Raises:
        JobError: the job's folder is none; names the file.
    """
    job, meta, apps = load_job(app), read_meta(app), deployed_apps(app)
    server_files = meta.get("server_files") or []
    if not are_texts(server_files):
        raise JobError(f"{app / 'meta.json'}: 'server_files' must be a list of file names")
    default = apps.pop(ALL_SITES, None)
    main = apps.pop(SERVER, default)
    assert main is not None  # load_job has checked it
    shared = _code(app / main, "app", server_files)
    made_with = parameters_of(job)
    parts = {ALL_SITES: default, **apps}
    index: dict[str, str] = {}
    made: dict[str, str] = {}
    for site, name in parts.items():
        own: dict[str, Path | bytes] = {}
        if name is not None:
            config = "config/config_fed_client.json"
            own = {f"app_site/{config}": app / name / config}
            if name != main:
                own.update(_code(app / name, "app_site", server_files))
        own["meta.json"] = _meta(meta, made_with, shared, site, has_part=name is not None)
        key = _digest(own)
        if key not in made:
            archive = pack({"app/config/config_fed_server.json": b"{}\n", **shared, **own}, folder / "partial.zip")
            made[key] = sha256_of(archive)
            archive.rename(folder / f"{made[key]}.zip")
        index[site] = made[key]
    (folder / INDEX).write_text(json.dumps(index))


def site_archive(folder: Path, site: str) -> tuple[Path, str]:
    """Return the archive of a site and its digest."""
    index = json.loads((folder / INDEX).read_text())
    digest = index.get(site, index[ALL_SITES])
    return folder / f"{digest}.zip", digest


def _code(app: Path, place: str, server_files: list[str]) -> dict[str, Path | bytes]:
    custom = app / "custom"
    found = {path.relative_to(custom).as_posix(): path for path in files_below(custom)}
    return {f"{place}/custom/{name}": path for name, path in found.items() if name not in server_files}


def _meta(
    meta: Mapping[str, Any], made_with: Mapping[str, Any], shared: Mapping[str, Any], site: str, *, has_part: bool
) -> bytes:
    """What a site is told of the job as a whole; the same for sites whose parts are equal."""
    hidden = {"per_site_config"} if site == ALL_SITES else {"per_site_config", *_REPLACED}
    where = "sites " if site == ALL_SITES else f"{site} "
    code = {name: value for name, value in _below(made_with["code"], "").items() if f"app/custom/{name}" in shared}
    content = {
        **{name: meta[name] for name in _KEPT if name in meta},
        "deploy_map": {"app": [SERVER], **({"app_site": [ALL_SITES]} if has_part else {})},
        "recipe": {
            "class": made_with["class"],
            "arguments": {name: value for name, value in made_with["arguments"].items() if name not in hidden},
            "added": {f"sites {name}": value for name, value in _below(made_with["added"], where).items()},
            "code": code | _below(made_with["code"], f"{site}/"),
        },
    }
    return json.dumps(content, indent=2).encode()


def _below(values: Any, prefix: str) -> dict[str, Any]:
    """The entries whose names begin with a prefix, without it; none of a dict that was too large to be recorded."""
    found = values if isinstance(values, Mapping) else {}
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


def _digest(files: Mapping[str, Path | bytes]) -> str:
    """Tell parts apart by their files' names and contents."""
    digests = {
        name: hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_of(content)
        for name, content in files.items()
    }
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
