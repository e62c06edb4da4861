"""Downloads from Kaggle, with a stand-in for its client."""

import sys

import pytest

from nvflare._flare.errors import NotProvidedError
from nvflare.app_opt.kaggle.download_data import download

CLIENT = """
from pathlib import Path


def dataset_download(name):
    folder = Path({cache!r}) / name
    folder.mkdir(parents=True)
    (folder / "data.csv").write_text("1,2")
    return str(folder)
"""


@pytest.fixture
def client(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "kagglehub.py").write_text(CLIENT.format(cache=str(tmp_path / "cache")))
    monkeypatch.syspath_prepend(tmp_path / "package")
    monkeypatch.delitem(sys.modules, "kagglehub", raising=False)


def test_a_data_set_becomes_a_folder_that_only_a_later_download_replaces(client, tmp_path):
    target = tmp_path / "data"
    download("owner/name", str(target))
    assert (target / "data.csv").read_text() == "1,2"
    with pytest.raises(FileExistsError, match="give overwrite=True"):
        download("owner/name", str(target))
    (target / "data.csv").write_text("old")
    download("owner/name", str(target), overwrite=True)
    assert (target / "data.csv").read_text() == "1,2"
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="no earlier download"):
        download("owner/name", str(tmp_path / "mine"), overwrite=True)


def test_without_the_client_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # as if it were not installed
    with pytest.raises(NotProvidedError, match="pip install kagglehub"):
        download("owner/name", "data")
