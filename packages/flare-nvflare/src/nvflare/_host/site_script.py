"""SiteScript: runs a script where NVIDIA FLARE has it, below the run's folder of the site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flare_runtime.scripts import ScriptExecutor
from nvflare._host.engine import job_id_of
from nvflare.apis.workspace import Workspace

if TYPE_CHECKING:
    from flare_runtime.scripts.task_queue import TaskQueue


class SiteScript(ScriptExecutor):
    """Runs a script as ``<site>/<run>/app_<site>/custom/<script>``, and as Flare's own executor does otherwise.

    Some scripts write their results two folders above their own file, which is then the site's folder of the run. The
    files there are links to the job's code.
    """

    def _locate(self, queue: TaskQueue) -> Path:
        path = super()._locate(queue)
        root = queue.context.code.root
        if not path.is_relative_to(root):  # installed at the site
            return path
        workspace = Workspace(str(queue.context.folder), queue.site)
        custom = Path(workspace.get_app_custom_dir(job_id_of(queue.context.job_id)))
        _link_files(root, custom)
        return custom / path.relative_to(root)


def _link_files(source: Path, target: Path) -> None:
    """Make folders like those of ``source``, with links to its files."""
    target.mkdir(exist_ok=True)
    for each in source.iterdir():
        place = target / each.name
        if each.is_dir() and each.name != "__pycache__":
            _link_files(each, place)
        elif each.is_file() and not place.is_symlink():
            place.symlink_to(each)
