"""What works at a site beside its script: it takes part in a swarm, and keeps models as files."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import ClassVar, cast

from flare_core import Executor, FLModel, SiteChannel, Task
from flare_runtime.site.site import Site
from flare_tensor_downloader import write_file

__all__ = ["BesideExecutor", "KeepModelExecutor"]


class BesideExecutor(Executor):
    """An executor that does one task after the other, on models that the server or other sites have."""

    works_beside: ClassVar[bool] = True

    def run(self, channel: SiteChannel) -> None:
        """Do the tasks until the run is over."""
        while not channel.ended:
            task = channel.next_task()
            if task is not None:
                channel.reply(self.execute(task, channel))

    def execute(self, task: Task, channel: SiteChannel) -> FLModel:
        """Do one task."""
        return self.do(task, cast(Site, channel))

    @abstractmethod
    def do(self, task: Task, site: Site) -> FLModel:
        """Do one task at a site."""


class KeepModelExecutor(BesideExecutor):
    """Writes the models that the site is given into its folder, as safetensors; answers with the file's digest."""

    def do(self, task: Task, site: Site) -> FLModel:
        """Write one model."""
        path = site.folder.path / f"{task.model.meta['name']}_model.safetensors"
        write_file(path, task.model.params or {})
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FLModel(meta={"file": path.name, "digest": digest[:16]})
