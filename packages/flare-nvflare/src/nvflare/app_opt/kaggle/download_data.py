"""Data sets of Kaggle's, by its own client."""

from __future__ import annotations

import shutil
from pathlib import Path

from nvflare._flare.names import check_import

_MARK = ".kaggle_download_marker"


def download(input_path: str, output_path: str, overwrite: bool = False) -> None:
    """Download a data set with the package kagglehub.

    Args:
        input_path: its name, as ``owner/name``.
        output_path: the folder that it becomes.
        overwrite: replace a folder of an earlier download.
    Raises:
        NotProvidedError: kagglehub is not installed.
        FileExistsError: there is such a folder, which may not be replaced or is none of an earlier download.
    """
    check_import("kagglehub", "kagglehub", "nvflare.app_opt.kaggle.download_data.download")
    import kagglehub

    target = Path(output_path)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; give overwrite=True to replace an earlier download, or remove it")
    if target.exists() and not (target / _MARK).is_file():
        raise FileExistsError(f"{target} is no earlier download; move it away, or give another output_path")
    source = kagglehub.dataset_download(input_path)
    if target.exists():
        shutil.rmtree(target)
    shutil.move(source, target)
    (target / _MARK).touch()
