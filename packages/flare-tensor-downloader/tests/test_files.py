"""Files from one cell to another, and tensors received into a file."""

from __future__ import annotations

import random
import resource
import threading

import numpy as np
import pytest

from flare_tensor_downloader import (
    DownloadError,
    add_file,
    add_tensors,
    download_file,
    download_tensors,
    iterate_tensors,
    read_file,
)
from flare_tensor_downloader.source import CHUNK_BYTES


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 17])
def test_a_file_arrives_whole(downloader, receiver, tmp_path, size):
    source = tmp_path / "weights.bin"
    source.write_bytes(random.Random(size).randbytes(size))
    (tmp_path / "here").mkdir()
    error, path = download_file("site-1", add_file(downloader, source), None, receiver, tmp_path / "here")
    assert error is None
    assert path == tmp_path / "here" / "weights.bin"
    assert path.read_bytes() == source.read_bytes()


def test_several_receivers_fetch_one_file(downloader, receiver, another, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("text")
    reference = add_file(downloader, source, receivers=["server", "site-2"])
    for number in range(2):
        place = tmp_path / str(number)
        place.mkdir()
        assert download_file("site-1", reference, None, receiver, place)[0] is None
    assert downloader.open_offers == 1  # site-2 has not fetched it yet
    (tmp_path / "last").mkdir()
    assert download_file("site-1", reference, None, another, tmp_path / "last")[0] is None
    error, _ = download_file("site-1", reference, None, another, tmp_path / "last")
    assert "offers nothing under the reference" in error


def test_an_owner_that_does_not_answer(cells, tmp_path):
    owner, receiver = cells
    go_on = threading.Event()
    owner.handle("tensor.manifest", lambda message: go_on.wait(20))
    error, path = download_file("site-1", "0123", 0.1, receiver, tmp_path)
    go_on.set()
    assert path is None
    assert "site-1 did not reply within 0.1 s" in error


def test_a_file_that_is_larger_than_allowed_is_not_fetched(downloader, receiver, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("text")
    (tmp_path / "here").mkdir()
    error, path = download_file("site-1", add_file(downloader, source), None, receiver, tmp_path / "here", max_bytes=3)
    assert path is None
    assert "it has 4 bytes, and 3 are allowed" in error
    assert list((tmp_path / "here").iterdir()) == []
    error, path = download_file("site-1", add_file(downloader, source), None, receiver, tmp_path / "here", max_bytes=4)
    assert error is None
    assert path.read_text() == "text"


def test_the_sender_does_not_choose_the_folder(cells, downloader, receiver, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("text")
    cells[0].handle("tensor.manifest", lambda message: [["../../outside.txt", "uint8", [4]]])
    (tmp_path / "here").mkdir()
    error, path = download_file("site-1", add_file(downloader, source), None, receiver, tmp_path / "here")
    assert error is None
    assert path == tmp_path / "here" / "outside.txt"


def test_a_file_that_shrinks_meanwhile_does_not_appear(downloader, receiver, tmp_path):
    source = tmp_path / "weights.bin"
    source.write_bytes(bytes(2 * CHUNK_BYTES))
    reference = add_file(downloader, source)
    source.write_bytes(bytes(10))
    (tmp_path / "here").mkdir()
    error, path = download_file("site-1", reference, None, receiver, tmp_path / "here")
    assert path is None
    assert "weights.bin" in error
    assert list((tmp_path / "here").iterdir()) == []


def test_what_is_offered_nowhere(receiver, tmp_path):
    error, path = download_file("site-1", "0123", 5.0, receiver, tmp_path)
    assert path is None
    assert "0123" in error


def test_tensors_can_be_received_into_a_file(downloader, receiver, tmp_path):
    sent = {
        "layer": {"w": np.arange(3 * CHUNK_BYTES // 8, dtype=np.float64)},
        "half": np.ones((5, 3), np.float16),
        "none": np.zeros((0, 4)),
        "scalar": np.array(7),
    }
    path = tmp_path / "received.safetensors"
    for _ in range(2):  # the second time, the file is there
        error, found = download_tensors("site-1", add_tensors(downloader, sent), None, receiver, spill=path)
        assert error is None
        np.testing.assert_array_equal(found["layer"]["w"], sent["layer"]["w"])
        assert found["half"].dtype == np.float16
        assert found["none"].shape == (0, 4)
        assert found["scalar"] == 7
        found["half"] += 1  # the receiver's own
    written = read_file(path)
    np.testing.assert_array_equal(written["layer.w"], sent["layer"]["w"])
    assert written["half"].tolist() == (sent["half"] + 1).tolist()


def test_a_disk_that_is_full_is_told(downloader, receiver, tmp_path):
    reference = add_tensors(downloader, {"w": np.zeros(1000)})
    error, found = download_tensors("site-1", reference, None, receiver, spill=tmp_path / "no folder" / "x")
    assert found == {}
    assert "no folder" in error


def test_tensors_one_after_the_other(downloader, receiver):
    sent = {f"layer.{number}": np.full(CHUNK_BYTES // 4, number, np.float32) for number in range(4)}
    found = iterate_tensors("site-1", add_tensors(downloader, sent), None, receiver)
    for (key, array), (wanted_key, wanted) in zip(found, sent.items(), strict=True):
        assert key == wanted_key
        np.testing.assert_array_equal(array, wanted)
    with pytest.raises(DownloadError, match="0123"):
        list(iterate_tensors("site-1", "0123", None, receiver))


def test_a_file_for_which_the_disk_has_no_room_does_not_appear_cut_short(downloader, receiver, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(100_000))
    target = tmp_path / "target"
    target.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # half of it is written, and only then is there an error
    try:
        problem, path = download_file("site-1", add_file(downloader, source), None, receiver, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path is None
    assert problem is not None
    assert f"File too large: '{target / 'source'}'" in problem
    assert list(target.iterdir()) == []
