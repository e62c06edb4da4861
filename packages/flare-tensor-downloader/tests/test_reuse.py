"""Memory of a model that nobody uses any more is received into again, and no other."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from flare_tensor_downloader import ReusedMemory
from flare_tensor_downloader.source import ArraySource, Entry

ENTRY = Entry("w", "float32", (4, 5))


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_what_nobody_uses_is_lent_again_to_whoever_asks_next():
    """The same objects, each once, whatever else the model has; their place alone could be the same by chance."""
    memory, other = ReusedMemory(), Entry("v", "int64", (7,))
    lent = [weakref.ref(memory.empty(each, "site-1")) for each in (ENTRY, other, ENTRY)]
    memory.take_back("site-1")
    again = [memory.empty(each, "site-2") for each in (ENTRY, ENTRY, other, ENTRY, other)]
    assert [array.shape for array in again] == [(4, 5), (4, 5), (7,), (4, 5), (7,)]
    is_old = [any(ref() is array for ref in lent) for array in again]
    assert is_old == [True, True, True, False, False]
    assert len({address(array) for array in again}) == 5


def test_nothing_comes_back_from_who_was_lent_nothing():
    ReusedMemory().take_back("site-1")


USERS = {
    "the array": lambda array: array,
    "a view": lambda array: array[1:2].T,
    "a buffer": memoryview,
    "a dict": lambda array: {"w": [array]},
    "an offer": ArraySource,
    "a tensor": lambda array: pytest.importorskip("torch").from_numpy(array),
    "a part of a tensor": lambda array: pytest.importorskip("torch").from_numpy(array).view(-1)[3:].detach(),
}


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
def test_what_somebody_uses_is_his(user):
    memory = ReusedMemory()
    array = memory.empty(ENTRY, "site-1")
    place, used = address(array), user(array)
    del array
    memory.take_back("site-1")
    assert address(memory.empty(ENTRY, "site-1")) != place
    del used


@pytest.mark.parametrize("other", [Entry("w", "float32", (5, 4)), Entry("w", "int32", (4, 5))])
def test_for_another_model_nothing_is_kept(other):
    memory = ReusedMemory()
    memory.empty(ENTRY, "site-1")
    memory.take_back("site-1")
    array = memory.empty(other, "site-1")
    assert (array.dtype, array.shape) == (other.numpy_dtype, other.shape)
    assert not memory._free, "what is kept for nobody"


def test_what_was_made_read_only_is_not_written_to():
    memory = ReusedMemory()
    array = memory.empty(ENTRY, "site-1")
    array.flags.writeable = False
    del array
    memory.take_back("site-1")
    assert memory.empty(ENTRY, "site-1").flags.writeable


def test_no_more_is_kept_than_what_came_back_last():
    memory = ReusedMemory()
    for site in ("site-1", "site-2", "site-3"):
        memory.empty(ENTRY, site)
        memory.empty(ENTRY, site)
    for site in ("site-1", "site-2", "site-3"):
        memory.take_back(site)
    assert sum(map(len, memory._free.values())) == 2
