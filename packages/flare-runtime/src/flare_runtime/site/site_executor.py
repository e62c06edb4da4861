"""Executors of Flare's own workflows, which handle models that passed the filters before."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

from flare_core import FLModel, Task
from flare_runtime.site.site import Site
from flare_tensor_downloader import write_file


class SiteExecutor(ABC):
    """An executor of Flare's own workflows; filters do not apply, since its models have passed them before."""

    @abstractmethod
    def execute(self, task: Task, site: Site) -> Any:
        """Do one task and return the reply."""

    def finish(self, site: Site) -> None:  # noqa: B027 - most have nothing to clean up
        """Clean up when the run is over."""


class KeepModelExecutor(SiteExecutor):
    """Writes models to the site's folder, as safetensors; replies with the file's name and digest."""

    def execute(self, task: Task, site: Site) -> FLModel:
        """Write one model."""
        path = site.folder / f"{task.model.meta['name']}_model.safetensors"
        write_file(path, task.model.params or {})
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FLModel(meta={"file": path.name, "digest": digest[:16]})
