"""Archives for the sites of a job: each holds one site's part and what all sites share, but no other site's part.

An archive holds a complete job folder:

    meta.json                                  name, seed, types of values to send, parameters of the recipe
    app/config/config_fed_server.json          empty: the server's part stays at the server
    app/custom/…                               the job's code, without the files that are for the server alone
    app_site/config/config_fed_client.json     the site's part
    app_site/custom/…                          its code, if it has code of its own

Sites whose parts are equal share an archive. Archives are named by their digests; an index maps sites to archives.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core import JobError
from flare_core.job import ALL_SITES, SERVER
from flare_core.job_folder import are_texts, deployed_apps, files_below, load_job, read_meta
from flare_core.parameters import parameters_of
from flare_deploy.archive import pack, sha256_of, unpack
from flare_deploy.server.blobs import Blobs

ARCHIVES = "archives"
"""The name of the folder with the archives, in the job's folder."""

INDEX = "index.json"
_KEPT = ("name", "min_clients", "seed", "decomposers")
_REPLACED = ("train_script", "train_args", "command")
"""Arguments of a recipe that are left out for a site with a part of its own, which has them in its own form."""


def prepare_job(folder: Path, blobs: Blobs, digest: str) -> None:
    """Unpack a job's content in its folder and make the archives for its sites, unless that is done already.

    Args:
        folder: the job's folder at the server.
        blobs: where the content is stored.
        digest: under which it is stored.
    Raises:
        JobError: the content is no longer there, or cannot be unpacked.
    """
    app, archives = folder / "app", folder / ARCHIVES
    if app.is_dir() and archives.is_dir():
        return
    (folder / "run" / "server").mkdir(parents=True, exist_ok=True)
    (folder / "run" / "sites").mkdir(exist_ok=True)
    for path in (app, archives, partial := folder / "app.partial"):
        shutil.rmtree(path, ignore_errors=True)
    blobs.get(digest, folder / "job.zip")
    unpack(folder / "job.zip", partial)
    archives.mkdir()
    make_site_archives(partial, archives)  # before the job's process leaves compiled modules among its files
    (folder / "job.zip").unlink()
    partial.rename(app)  # last, so that a job that was interrupted here is prepared again


def make_site_archives(app: Path, folder: Path) -> None:
    """Make the archives of a job, one for each distinct part.

    Args:
        app: the job folder.
        folder: receives the archives; must be empty.
    Raises:
        JobError: ``app`` is not a job folder; names the file.
    """
    job, meta, apps = load_job(app), read_meta(app), deployed_apps(app)
    server_files = meta.get("server_files") or []
    if not are_texts(server_files):
        raise JobError(f"{app / 'meta.json'}: 'server_files' must be a list of file names")
    default = apps.pop(ALL_SITES, None)
    main = apps.pop(SERVER, default)
    assert main is not None  # load_job has checked it
    shared = _code(app / main, "app", server_files)
    parameters = parameters_of(job)
    parts = {ALL_SITES: default, **apps}
    index: dict[str, str] = {}
    digests: dict[str, str] = {}  # of archives, by the digest of the part
    for site, name in parts.items():
        own: dict[str, Path | bytes] = {}
        if name is not None:
            config = "config/config_fed_client.json"
            own = {f"app_site/{config}": app / name / config}
            if name != main:
                own.update(_code(app / name, "app_site", server_files))
        own["meta.json"] = _meta(meta, parameters, shared, site, has_part=name is not None)
        key = _digest(own)
        if key not in digests:
            archive = pack({"app/config/config_fed_server.json": b"{}\n", **shared, **own}, folder / "partial.zip")
            digests[key] = sha256_of(archive)
            archive.rename(folder / f"{digests[key]}.zip")
        index[site] = digests[key]
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
    meta: Mapping[str, Any], parameters: Mapping[str, Any], shared: Mapping[str, Any], site: str, *, has_part: bool
) -> bytes:
    """Return the meta.json of a site's archive; the same for sites whose parts are equal."""
    hidden = {"per_site_config"} if site == ALL_SITES else {"per_site_config", *_REPLACED}
    where = "sites " if site == ALL_SITES else f"{site} "
    code = {name: value for name, value in _below(parameters["code"], "").items() if f"app/custom/{name}" in shared}
    content = {
        **{name: meta[name] for name in _KEPT if name in meta},
        "deploy_map": {"app": [SERVER], **({"app_site": [ALL_SITES]} if has_part else {})},
        "recipe": {
            "class": parameters["class"],
            "arguments": {name: value for name, value in parameters["arguments"].items() if name not in hidden},
            "added": {f"sites {name}": value for name, value in _below(parameters["added"], where).items()},
            "code": code | _below(parameters["code"], f"{site}/"),
        },
    }
    return json.dumps(content, indent=2).encode()


def _below(values: Any, prefix: str) -> dict[str, Any]:
    """Return the entries below a prefix, without the prefix; none if the dict was too large to be recorded."""
    found = values if isinstance(values, Mapping) else {}
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


def _digest(files: Mapping[str, Path | bytes]) -> str:
    """Return a digest of the names and contents of a part's files."""
    digests = {
        name: hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_of(content)
        for name, content in files.items()
    }
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
