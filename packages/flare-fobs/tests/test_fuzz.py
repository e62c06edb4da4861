"""Damaged messages: a value or a FobsError comes out, nothing is imported, memory stays in proportion."""

from __future__ import annotations

import importlib
import random
import sys
import tracemalloc
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import objects

from flare_core.model import FLModel, MetaKey
from flare_core.task import Task
from flare_fobs import FobsError, dump_frames, dumps, load_frames, loads

EVERYTHING = [
    Task(
        "train", FLModel(params={"w": np.arange(10.0), "b": np.ones(3, ml_dtypes.bfloat16)}, meta={MetaKey.JOB_ID: "j"})
    ),
    {"a": [1, (2.5, {3}), frozenset([b"x"])], "n": None, 7: 2**70, "d": OrderedDict(a=1)},
    [
        datetime(2024, 1, 1, tzinfo=UTC),
        Decimal("1.5"),
        UUID(int=9),
        1j,
        np.float32(2),
        np.datetime64("2024", "D"),
    ],
    [np.arange(700.0), "between", np.zeros((30, 40), ">i4"), np.array(["text", "x"])],
    [[[[[["deep"]]]]], "é" * 40, list(range(-40, 200, 7)), [0.1] * 5],
]
INTERESTING = [
    *(bytes([value]) for value in (0x00, 0x7F, 0x80, 0x90, 0xC1, 0xC7, 0xC9, 0xD4, 0xDC, 0xDD, 0xDE, 0xDF, 0xFF)),
    *(b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff" * 8, b"\xd8\x01", b"\xc7\x00\x01", b"\x91" * 70),
]
PEAK_BYTES = 64 * 2**20


def mutated(generator, data):
    """Change one to four places: a bit, a byte, a cut, an insertion, a repetition."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data) + 1)
        match generator.randrange(6):
            case 0 if place < len(data):
                data[place] ^= 1 << generator.randrange(8)
            case 1 if place < len(data):
                data[place] = generator.randrange(256)
            case 2:
                del data[place : place + generator.randint(1, 8)]
            case 3:
                data[place:place] = generator.choice(INTERESTING)
            case 4:
                data[place : place + 4] = generator.choice(INTERESTING)
            case _:
                data[place:place] = data[max(0, place - generator.randint(1, 20)) : place]
    return bytes(data)


def run(count, seed, values=EVERYTHING):
    count *= max(1, settings().max_examples // 100)  # more with --hypothesis-profile=fuzz
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails, to repeat it
    generator = random.Random(seed)
    messages = [dumps(value) for value in values]
    frames = [dump_frames(value) for value in values]
    for data in messages:
        loads(data)  # so that what a valid message needs is imported before
    if "torch" in sys.modules:
        importlib.import_module("flare_fobs._torch")  # the one module that a damaged code may be the first to need
    modules = set(sys.modules)
    outcomes = {True: 0, False: 0}
    tracemalloc.start()
    try:
        for index in range(count):
            choice = index % len(values)
            try:
                if index % 2:
                    loads(mutated(generator, messages[choice]))
                else:
                    metadata, *rest = frames[choice]
                    load_frames([mutated(generator, metadata), *rest])
                outcomes[True] += 1
            except FobsError:
                outcomes[False] += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert set(sys.modules) - modules == set(), set(sys.modules) - modules
    assert peak < PEAK_BYTES
    assert all(outcomes.values()), "the mutations were all harmless, or all fatal: they test nothing"


def test_five_thousand_damaged_messages():
    run(5_000, seed=20)


def test_five_thousand_damaged_messages_with_tensors():
    torch = pytest.importorskip("torch")
    tensors = {
        "w": torch.ones(3, 4),
        "b": torch.ones(5, dtype=torch.bfloat16),
        "n": torch.tensor(1),
        "v": torch.ones(2000),
    }
    run(5_000, seed=21, values=[FLModel(params=tensors), list(tensors.values())])


@pytest.mark.slow
def test_a_hundred_thousand_damaged_messages():
    run(100_000, seed=random.SystemRandom().randrange(2**32))


@given(objects, st.data())
def test_any_single_changed_byte_is_a_value_or_a_fobs_error(value, data):
    message = bytearray(dumps(value))
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] ^= data.draw(st.integers(1, 255))
    with suppress(FobsError):
        loads(bytes(message))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_fobs_error(data):
    for read in (loads, lambda data: load_frames([data])):
        with suppress(FobsError):
            read(data)
