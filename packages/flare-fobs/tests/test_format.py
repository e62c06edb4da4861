"""The bytes themselves: another implementation reads what this one writes, and a later release what this one wrote."""

from __future__ import annotations

import struct
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID

import ml_dtypes
import numpy as np
import pytest
from strategies import same

from flare_core.model import FLModel, MetaKey
from flare_core.task import Task
from flare_fobs import dump_frames, dumps, load_frames, loads


def ext(code, data):
    return b"\xc7" + bytes([len(data), code]) + data


def text(value):
    return bytes([0xA0 + len(value)]) + value.encode()


def head(name):
    short = {1: b"\xd4", 2: b"\xd5", 4: b"\xd6", 8: b"\xd7", 16: b"\xd8"}.get(len(name))
    return short + b"\x01" + name.encode() if short else ext(1, name.encode())


def header(dtype, *shape):
    return struct.pack(f"<HB{len(shape)}Q", 3 + 8 * len(shape) + len(dtype), len(shape), *shape) + dtype.encode()


GOLDEN = [
    ([None, True, 1, -1, 1.5, "a", b"a"], b"\x97\xc0\xc3\x01\xff\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa1a\xc4\x01a"),
    ({"a": 1, 2: []}, b"\x82\xa1a\x01\x02\x90"),
    (2**64, ext(2, b"\x00" * 8 + b"\x01")),
    (-(2**64), ext(2, b"\x00" * 8 + b"\xff")),
    ((1, ()), b"\x93" + head("tuple") + b"\x01\x91" + head("tuple")),
    ({7}, b"\x92" + head("set") + b"\x07"),
    (frozenset([7]), b"\x92" + head("frozenset") + b"\x07"),
    (OrderedDict(a=1), b"\x93" + head("OrderedDict") + b"\xa1a\x01"),
    (1j, b"\x93" + head("complex") + b"\xcb" + bytes(8) + b"\xcb" + struct.pack(">d", 1.0)),
    (Decimal("1.50"), b"\x92" + head("Decimal") + text("1.50")),
    (UUID(int=5), b"\x92" + head("UUID") + b"\xc4\x10" + bytes(15) + b"\x05"),
    (PurePosixPath("/a"), b"\x92" + head("path.posix") + text("/a")),
    (date(2024, 2, 29), b"\x94" + head("date") + b"\xcd\x07\xe8\x02\x1d"),
    (timedelta(1, 2, 3), b"\x94" + head("timedelta") + b"\x01\x02\x03"),
    (UTC, b"\x92" + head("timezone") + b"\x94" + head("timedelta") + b"\x00\x00\x00"),
    (datetime(1, 2, 3, 4, 5, 6, 7, fold=1), b"\x9a" + head("datetime") + b"\x01\x02\x03\x04\x05\x06\x07\x01\xc0"),
    (MetaKey.JOB_ID, b"\x92" + head("flare.MetaKey") + text("JOB_ID")),
    (np.float32(1), ext(3, header("float32") + b"\x00\x00\x80?")),
    (np.array([[1, 2]], ">i2"), ext(4, header(">int16", 1, 2) + b"\x00\x01\x00\x02")),
    (np.array([1.0], ml_dtypes.bfloat16), ext(4, header("bfloat16", 1) + b"\x80?")),
    (np.array(["ab"]), ext(4, header("U2", 1) + "ab".encode("utf-32-le"))),
    (
        Task("t", FLModel(params={}, metrics={"m": 1}, current_round=2), id=3),
        b"\x96"
        + head("flare.Task")
        + b"\xa1t\x99"
        + head("flare.FLModel")
        + text("FULL")
        + b"\x80\xc0\x81\xa1m\x01\x00\x02\xc0\x80\x03\x02\xc2",
    ),
]


@pytest.mark.parametrize(("value", "metadata"), GOLDEN, ids=lambda part: type(part).__name__)
def test_metadata_is_written_and_read_as_described(value, metadata):
    assert dump_frames(value) == [metadata]
    assert same(load_frames([metadata]), value)


def test_a_large_array_leaves_its_header_and_takes_the_next_frame():
    array = np.arange(600.0)
    metadata, frame = dump_frames(array)
    assert metadata == ext(5, header("float64", 600))
    assert bytes(frame) == array.tobytes()


def test_tensors_have_codes_of_their_own():
    torch = pytest.importorskip("torch")
    assert dump_frames(torch.ones(1)) == [ext(6, header("float32", 1) + b"\x00\x00\x80?")]
    assert dump_frames(torch.ones(2000))[0] == ext(7, header("float32", 2000))


def test_one_string_of_bytes_is_laid_out_as_described():
    array = np.arange(513.0)
    metadata = b"\x92" + ext(5, header("float64", 513)) + b"\x01"
    start = b"FOBS\x01\x00\x00\x00" + struct.pack("<QQQ", 2, len(metadata), array.nbytes) + metadata
    expected = start.ljust(64, b"\x00") + array.tobytes()
    assert len(start) < 64
    assert dumps([array, 1]) == expected
    assert same(loads(expected), [array, 1])


def test_a_timestamp_of_msgpack_is_read():
    assert load_frames([b"\xd6\xff" + struct.pack(">I", 86400)]) == datetime(1970, 1, 2, tzinfo=UTC)


def test_of_equal_keys_the_last_one_wins():
    assert load_frames([b"\x82\x01\x0a\x01\x0b"]) == {1: 11}
