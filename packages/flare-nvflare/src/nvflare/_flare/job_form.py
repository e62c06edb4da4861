"""A job in the form of NVIDIA FLARE's job folders, which is also what :class:`nvflare.job_config.api.FedJob` makes.

<job>/meta.json                           name, min_clients, deploy_map (sites by app), resource_spec, …
<job>/<app>/config/config_fed_server.json workflows, components, task_data_filters, task_result_filters, settings
<job>/<app>/config/config_fed_client.json executors, components, task_data_filters, task_result_filters, settings
<job>/<app>/custom/                       the app's files, which are on its import path

Workflows and components are ``{"id", "path", "args"}``, executors ``{"tasks", "executor": {"path", "args"}}``, filters
``{"tasks", "filters": [{"path", "args"}]}``. All values are JSON values.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any


@dataclass(slots=True)
class AppForm:
    """An app of a job.

    Attributes:
        server: the content of config_fed_server.json; empty if no server runs the app.
        client: the content of config_fed_client.json; empty if no site runs the app.
        files: the files below ``custom``, by their path there.
        others: the files below the app's other folders, by their path in the app.
    """

    server: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    files: dict[PurePosixPath, Path] = field(default_factory=dict)
    others: dict[PurePosixPath, Path] = field(default_factory=dict)


@dataclass(slots=True)
class JobForm:
    """The content of a job folder.

    Attributes:
        meta: the content of meta.json.
        apps: the apps by name.
    """

    meta: dict[str, Any]
    apps: dict[str, AppForm] = field(default_factory=dict)

    def app_of(self, party: str) -> AppForm | None:
        """Return the app of ``server`` or of a site; None if the job has none for it."""
        deployed: dict[str, list[Any]] = self.meta.get("deploy_map", {})
        for wanted in (party, "@ALL"):
            for name, places in deployed.items():
                if any((place.get("sites") if isinstance(place, dict) else place) == wanted for place in places):
                    return self.apps[name]
        return None

    def write(self, folder: Path) -> None:
        """Write the job into an empty or new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / "meta.json", self.meta)
        for name, app in self.apps.items():
            config = folder / name / "config"
            config.mkdir(parents=True)
            for side in ("server", "client"):
                if content := getattr(app, side):
                    _write_json(config / f"config_fed_{side}.json", content)
            placed = {PurePosixPath("custom") / place: source for place, source in app.files.items()} | app.others
            for place, source in placed.items():
                target = folder / name / place
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
