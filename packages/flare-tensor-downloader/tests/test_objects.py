"""Objects that are made piece by piece."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from flare_tensor_downloader import DownloadError, add_object, add_tensors, download_object


class Counting:
    """Makes some pieces, and remembers which it was asked for."""

    def __init__(self, pieces: int, fails_at: int | None = None) -> None:
        self.pieces, self.fails_at = pieces, fails_at
        self.asked: list[int] = []

    def produce(self, number: int):
        self.asked.append(number)
        if number == self.fails_at:
            raise ValueError("the disk is gone")
        return {"number": number, "w": np.full(1000, number)} if number < self.pieces else None


def test_the_pieces_come_in_order_as_they_are_wanted(downloader, receiver):
    producer = Counting(100)
    pieces = download_object("site-1", add_object(downloader, producer), None, receiver)
    for number, piece in enumerate(itertools.islice(pieces, 5)):
        assert piece["number"] == number
        np.testing.assert_array_equal(piece["w"], np.full(1000, number))
    assert max(producer.asked) <= 5  # one ahead
    assert [piece["number"] for piece in pieces] == list(range(5, 100))
    receiver.request("site-1", "tensor.manifest", [add_tensors(downloader, {"x": np.zeros(1)})])  # after the release
    assert downloader.open_offers == 1


def test_every_receiver_has_its_own_pace(downloader, receiver, another):
    reference = add_object(downloader, Counting(3), receivers=["server", "site-2"])
    first = download_object("site-1", reference, None, receiver)
    next(first)
    assert len(list(download_object("site-1", reference, None, receiver))) == 3
    assert len(list(first)) == 2
    assert downloader.open_offers == 1  # site-2 has not come yet
    assert len(list(download_object("site-1", reference, None, another))) == 3
    with pytest.raises(DownloadError, match="offers no object"):
        next(download_object("site-1", reference, None, another))  # now all have it


def test_an_owner_that_does_not_answer(cells):
    owner, receiver = cells
    go_on = threading.Event()
    owner.handle("object.piece", lambda message: go_on.wait(20))
    with pytest.raises(TimeoutError, match=r"site-1 did not reply within 0\.1 s"):
        next(download_object("site-1", "0123", 0.1, receiver))
    go_on.set()


def test_a_producer_that_fails_is_named(downloader, receiver):
    found = download_object("site-1", add_object(downloader, Counting(9, fails_at=2)), None, receiver)
    assert [next(found)["number"], next(found)["number"]] == [0, 1]
    with pytest.raises(DownloadError, match=r"piece 2 of the object .* from site-1: .*the disk is gone"):
        next(found)


def test_a_reference_to_something_else(downloader, receiver):
    reference = add_tensors(downloader, {"w": np.zeros(3)})
    with pytest.raises(DownloadError, match="offers no object"):
        next(download_object("site-1", reference, None, receiver))
