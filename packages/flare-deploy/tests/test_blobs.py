"""Job archives are stored by content, equal for equal files, and unpacked only inside the target folder."""

from __future__ import annotations

import zipfile

import pytest

from flare_core import JobError
from flare_deploy.archive import pack_folder, sha256_of, unpack
from flare_deploy.server.blobs import Blobs


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "job"
    (folder / "app").mkdir(parents=True)
    (folder / "meta.json").write_text("{}")
    (folder / "app" / "model.bin").write_bytes(bytes(3 << 20))
    return pack_folder(folder, tmp_path / "job.zip")


def test_equal_files_give_equal_archives(tmp_path, archive):
    assert sha256_of(pack_folder(tmp_path / "job", tmp_path / "again.zip")) == sha256_of(archive)
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "app" / "model.bin").read_bytes() == bytes(3 << 20)


@pytest.mark.parametrize("url", ["{folder}/blobs", "memory://flare-test-blobs"])
def test_content_is_stored_once_and_verified(tmp_path, archive, url):
    blobs = Blobs(url.format(folder=tmp_path))
    digest = sha256_of(archive)
    for _ in range(2):
        blobs.put(archive, digest)
    blobs.get(digest, tmp_path / "fetched.zip")
    assert (tmp_path / "fetched.zip").read_bytes() == archive.read_bytes()
    blobs.delete(digest)
    blobs.delete(digest)
    with pytest.raises(JobError, match=r"is no longer in .*; submit the job again"):
        blobs.get(digest, tmp_path / "gone.zip")


def test_damaged_content_is_noticed(tmp_path, archive):
    blobs = Blobs(str(tmp_path / "blobs"))
    digest = sha256_of(archive)
    blobs.put(archive, digest)
    (tmp_path / "blobs" / digest[:2] / digest).write_bytes(b"something else")
    with pytest.raises(JobError, match="is damaged"):
        blobs.get(digest, tmp_path / "fetched.zip")


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "..\\evil.py", "C:/evil.py"])
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(name, "x")
    with pytest.raises(JobError, match="leads out of the folder"):
        unpack(path, tmp_path / "deep" / "out")
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["evil.zip"]


def test_an_entry_without_a_name_is_refused(tmp_path):
    path = tmp_path / "nameless.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x", "x")
        made.infolist()[0].filename = ""  # in the central directory, which is written last
    with pytest.raises(JobError, match="the archive has the entry ''"):
        unpack(path, tmp_path / "out")


def test_a_link_is_refused(tmp_path):
    path = tmp_path / "link.zip"
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(entry, "/etc/passwd")
    with pytest.raises(JobError, match="leads out of the folder"):
        unpack(path, tmp_path / "out")


def test_garbage_is_not_an_archive(tmp_path):
    path = tmp_path / "garbage.zip"
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(JobError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")
