"""Whatever the bytes, they end in a value or in a FobsError: nothing is imported, nothing grows out of proportion."""

from __future__ import annotations

import random
import struct
import sys
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from test_format import ext, head, header

from flare_core.model import FLModel
from flare_core.task import Task
from flare_fobs import DecodeError, FobsError, LimitError, dump_frames, dumps, load_frames, loads

MESSAGE = Task("train", FLModel(params={"w": np.arange(3.0), "v": np.zeros(600)}, meta={"x": [(1, {2}), 10**30]}))


@pytest.mark.parametrize(
    "name", ["subprocess.Popen", "os.system", "builtins.eval", "written_by_import", "written_by_import.Thing"]
)
def test_c10_a_type_named_by_the_payload_is_refused_before_any_import(name, tmp_path, monkeypatch):
    (tmp_path / "written_by_import.py").write_text(f"open({str(tmp_path / 'written')!r}, 'w')\nThing = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    with pytest.raises(DecodeError, match=f"the type '{name}' is not registered here"):
        load_frames([b"\x92" + head(name) + b"\xa6whoami"])
    assert not (tmp_path / "written").exists()
    assert set(sys.modules) == before


def test_c10_a_message_cut_anywhere_is_a_clean_error():
    data = dumps(MESSAGE)
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            loads(data[:end])
    metadata, *frames = dump_frames(MESSAGE)
    for end in range(len(metadata)):
        with pytest.raises(DecodeError):
            load_frames([metadata[:end], *frames])


def test_c10_a_message_with_a_tail_is_a_clean_error():
    metadata, *frames = dump_frames(MESSAGE)
    with pytest.raises(DecodeError):
        loads(dumps(MESSAGE) + b"\x00")
    with pytest.raises(DecodeError):
        load_frames([metadata + b"\xc0", *frames])


def test_c10_random_bytes_are_a_clean_error_or_a_value():
    generator = random.Random(10)
    for _ in range(3000):
        data = generator.randbytes(generator.randrange(60))
        for read in (loads, lambda data: load_frames([data]), lambda data: loads(b"FOBS\x01\0\0\0" + data)):
            with suppress(FobsError):
                read(data)


@pytest.mark.parametrize(
    "metadata",
    [
        b"\x91" * 100_000,
        b"\x81\x01" * 100_000 + b"\x01",
        (b"\x92" + head("tuple")) * 1000 + b"\x90",
        b"\x91" * 65 + b"\xc0",
        (b"\x92" + head("tuple")) * 65 + b"\xc0",
        b"\x91\x81\x01" * 33 + b"\xc0",
    ],
    ids=["lists cut off", "maps", "tuples", "65 lists", "65 tuples", "66 of both"],
)
def test_nesting_is_refused_before_anything_is_built(metadata):
    with pytest.raises(FobsError):
        load_frames([metadata])


def peak_of(read):
    tracemalloc.start()
    try:
        with pytest.raises(FobsError) as caught:
            read()
        return tracemalloc.get_traced_memory()[1], caught.value
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "metadata",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x04",
        b"\xdd\x00\x0f\x42\x40" * 60,
        b"\xdf\x00\x0f\x42\x40\x01" * 60,
        b"\xdd\x00\x0f\x42\x40" * 60 + bytes(200_000),
    ],
    ids=["list", "map", "bin", "str", "ext", "lists in lists", "maps in maps", "lists in lists with content"],
)
def test_a_claimed_length_costs_no_memory(metadata):
    peak, _ = peak_of(lambda: load_frames([metadata]))
    assert peak < 8 * 2**20 + 16 * len(metadata)


def test_a_megabyte_of_empty_containers_stays_within_the_limit_of_items():
    count = 3_000_000
    metadata = b"\xdd" + struct.pack(">I", count // 2) + b"\x91\x80" * (count // 2)
    peak, error = peak_of(lambda: load_frames([metadata]))
    assert isinstance(error, LimitError)
    assert peak < 150 * 2**20


def test_repeating_one_frame_for_many_tensors_is_refused():
    mention = ext(7, header("uint8", 100_000))
    peak, _ = peak_of(lambda: load_frames([b"\xdc\x03\xe8" + mention * 1000, bytes(100_000)]))
    assert peak < 2**20


INLINE = 4
MOST_DIMENSIONS = getattr(np, "MAXDIMS", 64)  # 32 before NumPy 2
BAD_ARRAYS = {
    "too few elements": header("float64", 2) + bytes(8),
    "too many elements": header("float64", 1) + bytes(16),
    "a product beyond 64 bits": header("float64", 2**32, 2**32) + bytes(8),
    "a product that wraps to the right size": header("uint8", 2**63, 2, 8) + bytes(8),
    "a negative dimension": header("uint8", 2**64 - 1, 2**64 - 1) + bytes(1),
    "an empty array of impossible shape": header("float64", 0, 2**63),
    "too many dimensions": header("uint8", *[1] * (MOST_DIMENSIONS + 1)) + bytes(1),
    "strings whose size wraps to the right one": header("U1073741825", 1) + bytes(4),
    "a header longer than the data": struct.pack("<HB", 500, 0) + b"uint8",
    "a header without room for its dimensions": struct.pack("<HB", 8, 3) + b"uint8",
    "a header of nothing": b"\x00\x00",
    "no header": b"",
    "no dtype": header("", 1) + bytes(1),
    "objects": header("object", 1) + bytes(8),
    "objects by letter": header("O", 1) + bytes(8),
    "a structure": header("i4,O", 1) + bytes(12),
    "strings without width": header("U0", 2**60),
    "a dtype that is no ASCII": struct.pack("<HBQ", 13, 1, 1) + b"\xff\xfe" + bytes(1),
}


@pytest.mark.parametrize("data", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
@pytest.mark.parametrize("code", [3, 4, 6])
def test_an_array_that_cannot_be_is_refused(code, data):
    metadata = b"\xc8" + struct.pack(">HB", len(data), code) + data
    with pytest.raises(DecodeError):
        load_frames([metadata])


def test_a_scalar_with_dimensions_is_refused():
    with pytest.raises(DecodeError, match="a scalar with shape"):
        load_frames([ext(3, header("uint8", 1) + b"\x01")])


HEAD = head("tuple")
STRAY = {
    "alone": HEAD,
    "second in a list": b"\x92\x01" + HEAD,
    "in an object": b"\x92" + HEAD + HEAD,
    "as a key": b"\x81" + HEAD + b"\x01",
    "as a value": b"\x81\x01" + HEAD,
    "beside an object": b"\x92\x91" + HEAD + HEAD,
}


@pytest.mark.parametrize("metadata", STRAY.values(), ids=STRAY)
def test_a_head_that_begins_no_object_is_refused(metadata):
    with pytest.raises(DecodeError):
        load_frames([metadata])


def packed(name, *state):
    return bytes([0x91 + len(state)]) + head(name) + b"".join(dump_frames(item)[0] for item in state)


MALFORMED = {
    "a list as a key": b"\x81\x90\x01",
    "a list in a set": packed("set", []),
    "an array as a key": b"\x81" + ext(4, header("uint8", 1) + b"\x01") + b"\x01",
    "a reserved byte": b"\xc1",
    "an unknown extension": ext(99, b""),
    "broken UTF-8": b"\xa2\xff\xfe",
    "a surrogate in UTF-8": b"\xa3\xed\xa0\x80",
    "a timestamp beyond the calendar": b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**62),
    "a timestamp of a wrong length": b"\xd4\xff\x01",
    "an ordered dict without its last value": packed("OrderedDict", 1),
    "an ordered dict with a list as a key": packed("OrderedDict", [], 1),
    "a date beyond the calendar": packed("date", 10_000, 1, 1),
    "a date of 70 bits": packed("date", 2**70, 1, 1),
    "a date of floats": packed("date", 2024.0, 1, 1),
    "a date as pickle gives it": packed("date", b"\x07\xe8\x02\xff"),
    "a datetime as pickle gives it": packed("datetime", bytes(10), 0, None),
    "a datetime with a fold of 2": packed("datetime", 2024, 1, 1, 0, 0, 0, 0, 2, None),
    "a datetime in a zone of text": packed("datetime", 2024, 1, 1, 0, 0, 0, 0, 0, "UTC"),
    "a datetime of nothing": packed("datetime"),
    "a time without numbers": packed("time", 0, None),
    "a timedelta beyond its range": packed("timedelta", 10**10, 0, 0),
    "a timezone of a number": packed("timezone", 1),
    "a complex of text": packed("complex", "1+1j", 1.0),
    "a decimal of nonsense": packed("Decimal", "1.2.3"),
    "a decimal of a tuple": packed("Decimal", (0, (1,), 10**9)),
    "a UUID of 15 bytes": packed("UUID", bytes(15)),
    "a path of bytes": packed("path.posix", b"/"),
    "a member that is none": packed("flare.ParamsType", "FULLER"),
    "a member of a list": packed("flare.ParamsType", []),
    "a model of too few parts": packed("flare.FLModel", "FULL", {}),
    "a model with a list for params": packed("flare.FLModel", "FULL", [], None, None, 0, 0, 0, {}),
    "a model with an array for its type": packed("flare.FLModel", np.ones(1), {}, None, None, 0, 0, 0, {}),
    "a model with text for a round": packed("flare.FLModel", None, None, None, None, "0", 0, 0, {}),
    "a model with a negative round": packed("flare.FLModel", None, None, None, None, -1, 0, 0, {}),
    "a task with a text for a flag": packed("flare.Task", "train", {}, 0, None, "no"),
    "a task with a number for a name": packed("flare.Task", 1, FLModel(), 0, None, False),
}


@pytest.mark.parametrize("metadata", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_value_is_refused(metadata):
    with pytest.raises(DecodeError):
        load_frames([metadata])


CONTAINERS = {
    "empty": b"",
    "of another format": b"PK\x03\x04" + bytes(60),
    "of another version": b"FOBS\x02" + bytes(11),
    "without frames": b"FOBS\x01" + bytes(11),
    "of more frames than bytes": b"FOBS\x01\0\0\0" + struct.pack("<Q", 2**61) + bytes(100),
    "with a frame beyond its end": b"FOBS\x01\0\0\0" + struct.pack("<QQ", 1, 2**64 - 1) + b"\xc0",
    "with frames of impossible sum": b"FOBS\x01\0\0\0" + struct.pack("<QQQ", 2, 2**63, 2**63) + b"\xc0",
}


@pytest.mark.parametrize("data", CONTAINERS.values(), ids=CONTAINERS)
def test_a_string_of_bytes_that_holds_no_frames_is_refused(data):
    with pytest.raises(DecodeError):
        loads(data)


def test_huge_integers_and_decimals_are_read_in_linear_time():
    digits = "9" * 2_000_000
    assert loads(dumps(2**8_000_000)).bit_length() == 8_000_001
    assert (
        len(
            load_frames([b"\x92" + head("Decimal") + b"\xdb" + struct.pack(">I", len(digits)) + digits.encode()])
            .as_tuple()
            .digits
        )
        == 2_000_000
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\x03\0\0", "an array header of 3 bytes says that it has 3"),
        (b"\x30\0\0float32", "an array header of 10 bytes says that it has 48"),
        (b"\xff\xff\0float32", "an array header of 10 bytes says that it has 65535"),
        (header("float32", *[1] * (MOST_DIMENSIONS + 1)), f"cannot hold {MOST_DIMENSIONS + 1} dimensions"),
        (b"\x0b\0\x01" + b"\1" * 8, "an array header of 11 bytes cannot hold 1 dimensions"),
        (b"\x0a\0\x01float32", "an array header of 10 bytes cannot hold 1 dimensions"),
        (b"\x0a\0\0floa\xe932", "unknown array dtype 'floa\ufffd32'"),
    ],
)
def test_a_header_that_cannot_be_is_refused_for_its_reason(said, reason):
    with pytest.raises(DecodeError, match=reason):
        load_frames([b"\xc8" + struct.pack(">HB", len(said), 4) + said])


@pytest.mark.parametrize(
    "state",
    [
        [2026, 1, 2, 3, 4, 5, 6, 0, 7],  # a zone that is none
        [2026, 1, 2, 3, 4, 5, 0, None],  # a number too few
        [2026, 1, 2, 3, 4, 5, 6, 7, 0, None],  # one too many
        [2026, 1, 2, 3, 4, 5, 6, True, None],  # a fold that is none
        [2026, 1, 2, 3, 4, 5, 6.0, 0, None],
        [2026],
    ],
)
def test_a_moment_of_other_parts_is_refused(state):
    with pytest.raises(DecodeError, match=r"a state of .* instead of 7 numbers, fold and timezone|not enough values"):
        load_frames([msgpack_list("datetime", state)])


def msgpack_list(name, state):
    return bytes([0x91 + len(state)]) + head(name) + b"".join(dump_frames(item)[0] for item in state)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("flare.FLModel", [3, None, None, None, None, None, None, None]),
        ("flare.FLModel", ["FULL", None, None, None, None, "x", None, None]),
        ("flare.Task", ["train", 1, 2, "x", False]),
        ("complex", [1, 2.0]),
        ("UUID", ["x"]),
        ("path.posix", [b"x"]),
    ],
)
def test_a_state_of_other_types_is_refused_by_their_names(name, state):
    kinds = ", ".join(type(item).__name__ for item in state)
    with pytest.raises(DecodeError, match=f"{kinds}( instead of|;)"):
        load_frames([msgpack_list(name, state)])
