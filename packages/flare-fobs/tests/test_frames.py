from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from flare_fobs import DecodeError, dump_frames, dumps, load_frames


@pytest.mark.parametrize("dtype", ["f4", ">i8", "M8[ns]", ml_dtypes.bfloat16, "U5"])
def test_a_frame_is_the_memory_of_the_array(dtype):
    array = np.zeros(5000, dtype)
    _, frame = dump_frames({"w": array})
    assert np.shares_memory(np.frombuffer(frame, np.uint8), array)
    assert len(frame) == array.nbytes


def test_a_loaded_array_is_a_view_of_its_frame():
    frames = dump_frames(np.arange(5000.0))
    received = [bytearray(frame) for frame in frames]
    array = load_frames(received)
    assert np.shares_memory(np.frombuffer(received[1], np.uint8), array)


@pytest.mark.parametrize(("kind", "writable"), [(bytearray, True), (bytes, False)])
def test_a_loaded_array_is_writable_where_its_frame_is(kind, writable):
    frames = [kind(frame) for frame in dump_frames(np.zeros(5000))]
    assert load_frames(frames).flags.writeable is writable


def test_a_read_only_array_gives_a_read_only_frame():
    array = np.zeros(5000)
    array.flags.writeable = False
    assert dump_frames(array)[1].readonly


def test_arrays_up_to_four_kibibytes_travel_in_the_metadata():
    small, large = np.zeros(4096, np.uint8), np.zeros(4097, np.uint8)
    assert [len(dump_frames(array)) for array in (small, large)] == [1, 2]


def test_frames_follow_the_order_in_which_arrays_are_met():
    frames = dump_frames({"a": np.full(5000, 1.0), "b": [np.full(5000, 2.0), (np.full(5000, 3.0),)]})
    assert [np.frombuffer(frame)[0] for frame in frames[1:]] == [1.0, 2.0, 3.0]


def test_a_frame_of_any_format_will_do():
    frames = dump_frames(np.arange(5000, dtype=np.int32))
    received = [memoryview(frames[0]), memoryview(np.arange(5000, dtype=np.int32).reshape(50, 100))]
    assert load_frames(received)[4999] == 4999


def test_an_array_kept_from_a_message_keeps_only_its_frame():
    frames = [bytearray(frame) for frame in dump_frames([np.zeros(5000), np.ones(5000)])]
    first = load_frames(frames)[0]
    frames[2].extend(b"still resizable: nothing else looks at it")
    with pytest.raises(BufferError):
        frames[1].extend(b"x")
    assert first.sum() == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda frames: frames[:-1], "the message has 2 frames"),
        (lambda frames: [*frames, b"x"], "3 of 4 frames"),
        (lambda frames: [frames[0], frames[1][:-1], frames[2]], "has 40000 bytes"),
        (lambda frames: [frames[0], memoryview(frames[1])[::-1], frames[2]], "not contiguous"),
        (lambda frames: [], "list index out of range"),
    ],
    ids=["one missing", "one too many", "one too short", "one reversed", "none"],
)
def test_frames_that_do_not_fit_their_metadata_are_refused(change, reason):
    frames = dump_frames([np.zeros(5000), np.zeros(5000)])
    with pytest.raises(DecodeError, match=reason):
        load_frames(change(frames))


def test_buffers_in_one_string_of_bytes_begin_at_multiples_of_64():
    data = dumps(["x" * 7, np.full(5000, 7, np.uint8), np.full(5001, 8, np.uint8)])
    assert data.index(b"\x07" * 5000) % 64 == 0
    assert data.index(b"\x08" * 5001) % 64 == 0


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.float64])
@pytest.mark.parametrize("shape", [(-1,), (50, -1)])
def test_a_frame_is_read_by_its_bytes_whatever_its_items_are(kind, shape):
    array = np.arange(5000.0)
    metadata, frame = dump_frames(array)
    received = memoryview(np.frombuffer(frame, kind).reshape(shape))
    assert np.array_equal(load_frames([metadata, received]), array)
