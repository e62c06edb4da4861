"""Workspace, the folders of one party in a run."""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.fl_constant import WorkspaceConstants


class Workspace:
    """The folders of one party.

    Args:
        root_dir: the party's folder.
        site_name: its name.
        config_folder: the name of the folder of an app's settings.
    """

    def __init__(self, root_dir: str, site_name: str = "", config_folder: str = "config") -> None:
        self.root_dir = str(root_dir)
        self.name = site_name
        self.config_folder = config_folder

    def get_root_dir(self) -> str:
        """Return the party's folder."""
        return self.root_dir

    def get_run_dir(self, job_id: str) -> str:
        """Return the folder of a run."""
        return self._made(job_id)

    def get_app_dir(self, job_id: str) -> str:
        """Return the folder of the app of a run."""
        return self._made(job_id, f"{WorkspaceConstants.APP_PREFIX}{self.name}")

    def get_app_config_dir(self, job_id: str) -> str:
        """Return the folder of an app's settings."""
        return self._made(job_id, f"{WorkspaceConstants.APP_PREFIX}{self.name}", self.config_folder)

    def get_app_custom_dir(self, job_id: str) -> str:
        """Return the folder of an app's code."""
        return self._made(job_id, f"{WorkspaceConstants.APP_PREFIX}{self.name}", WorkspaceConstants.CUSTOM_FOLDER_NAME)

    def get_client_custom_dir(self) -> str:
        """Return the folder of the site's own code."""
        return self.get_site_custom_dir()

    def get_site_custom_dir(self) -> str:
        """Return the folder of the party's own code."""
        return str(Path(self.get_site_config_dir()) / WorkspaceConstants.CUSTOM_FOLDER_NAME)

    def get_site_config_dir(self) -> str:
        """Return the folder of the party's own settings."""
        return str(Path(self.root_dir) / WorkspaceConstants.SITE_FOLDER_NAME)

    def get_startup_kit_dir(self) -> str:
        """Return the folder of the party's kit."""
        return str(Path(self.root_dir) / WorkspaceConstants.STARTUP_FOLDER_NAME)

    def get_file_path_in_site_config(self, file_basename: str | list[str]) -> str | None:
        """Return the path of the first of these files that the party's owner has."""
        names = [file_basename] if isinstance(file_basename, str) else file_basename
        paths = [Path(self.get_site_config_dir()) / name for name in names]
        return next((str(path) for path in paths if path.exists()), None)

    def get_file_path_in_startup(self, file_basename: str) -> str:
        """Return the path of a file of the kit."""
        return str(Path(self.get_startup_kit_dir()) / file_basename)

    def get_file_path_in_root(self, file_basename: str) -> str:
        """Return the path of a file of the party."""
        return str(Path(self.root_dir) / file_basename)

    def get_log_root(self, job_id: str | None = None) -> str:
        """Return the folder of logs."""
        return self.get_run_dir(job_id) if job_id else self.root_dir

    def get_audit_root(self, job_id: str | None = None) -> str:
        """Return the folder of audit logs."""
        return self.get_log_root(job_id)

    def get_result_root(self, job_id: str) -> str:
        """Return the folder of results."""
        return self.get_run_dir(job_id)

    def get_job_meta_path(self, job_id: str) -> str:
        """Return the path of the job's ``meta.json``."""
        return str(Path(self.get_run_dir(job_id)) / WorkspaceConstants.JOB_META_FILE)

    def get_stats_pool_summary_path(self, job_id: str, prefix: str | None = None) -> str:
        """Return where a summary of counters goes."""
        return self._prefixed(job_id, prefix, WorkspaceConstants.STATS_POOL_SUMMARY_FILE_NAME)

    def get_stats_pool_records_path(self, job_id: str, prefix: str | None = None) -> str:
        """Return where records of counters go."""
        return self._prefixed(job_id, prefix, WorkspaceConstants.STATS_POOL_RECORDS_FILE_NAME)

    def _prefixed(self, job_id: str, prefix: str | None, name: str) -> str:
        return str(Path(self.get_run_dir(job_id)) / (f"{prefix}.{name}" if prefix else name))

    def _made(self, *parts: str) -> str:
        path = Path(self.root_dir).joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return str(path)
