"""C09: serializing looks at the caller's objects and changes nothing in them, from any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from strategies import same

from flare_core.model import FLModel
from flare_core.task import Task
from flare_fobs import dump_frames, dumps, load_frames, loads

THREADS = 8
TIMES = 100


def address(array):
    return array.__array_interface__["data"][0]


def test_messages_that_share_large_arrays_do_not_disturb_each_other():
    layers = [np.full(1_250_000, index, np.float32) for index in range(3)]
    message = {"round": 1, "layers": layers, "small": np.arange(3)}
    recipients = [dict(message, to=index) for index in range(THREADS)]

    def serve(recipient):
        return [load_frames(dump_frames(recipient)) for _ in range(TIMES)]

    with ThreadPoolExecutor(THREADS) as pool:
        arrived = list(pool.map(serve, recipients))

    assert all(left is right for left, right in zip(message["layers"], layers, strict=True))
    for index, values in enumerate(arrived):
        for value in values:
            # The same memory, so the same values.
            assert [address(layer) for layer in value["layers"]] == [address(layer) for layer in layers]
            assert value["to"] == index
            assert same(value["small"], message["small"])


def test_each_thread_gets_the_bytes_of_its_own_object():
    tasks = [
        Task(f"task-{index}", FLModel(params={"w": np.full(2000, index)}, meta={"nested": [{"i": (index,)}] * 30}))
        for index in range(THREADS)
    ]
    expected = [dumps(task) for task in tasks]

    def serve(index):
        return all(dumps(tasks[index]) == expected[index] for _ in range(TIMES))

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(serve, range(THREADS)))


def test_only_the_recipient_of_a_filtered_copy_sees_its_change():
    inner = {"w": np.zeros(5000)}
    message = {"inner": inner}
    changed = {"inner": {"w": inner["w"] + 1}}
    sent = [changed if index == 3 else message for index in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        arrived = list(pool.map(lambda value: loads(dumps(value)), sent))
    assert [value["inner"]["w"][0] for value in arrived] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert message["inner"] is inner


@pytest.mark.usefixtures("forget_registrations")
def test_types_can_be_registered_while_others_serialize():
    from flare_fobs import register

    value = {"a": [(1, 2)] * 50}

    def add(index):
        kind = type(f"Kind{index}", (), {})
        register(kind, f"tests.kind{index}", lambda _: None, lambda _: None)
        return loads(dumps(value)) == value

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(add, range(200)))
