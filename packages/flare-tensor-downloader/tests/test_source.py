"""Where bytes come from: arrays and files, range by range."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import xxhash

from flare_tensor_downloader.source import (
    CHUNK_BYTES,
    ArraySource,
    Entry,
    FileSource,
    array_of,
    digest_of,
    digest_of_pieces,
    offsets_of,
)


@pytest.mark.parametrize(
    ("size", "offsets"),
    [
        (0, [0]),
        (1, [0]),
        (CHUNK_BYTES, [0]),
        (CHUNK_BYTES + 1, [0, CHUNK_BYTES]),
        (3 * CHUNK_BYTES, [0, CHUNK_BYTES, 2 * CHUNK_BYTES]),
    ],
)
def test_ranges_cover_a_tensor_and_an_empty_one_has_one(size, offsets):
    assert list(offsets_of(size)) == offsets


@pytest.mark.parametrize("dtype", [np.float64, np.bool_, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (0, 2), (3, 5)])
def test_an_entry_knows_its_size_and_memory(dtype, shape):
    array = np.ones(shape, dtype)
    source = ArraySource(array)
    entry = Entry("w", source.dtype, source.shape)
    assert (source.nbytes, entry.nbytes, entry.numpy_dtype) == (array.nbytes, array.nbytes, array.dtype)
    assert (entry.empty().shape, entry.empty().dtype) == (shape, array.dtype)
    assert array_of(source, entry) is array


def test_a_range_ends_with_the_tensor_and_says_its_digest():
    array = np.arange(10, dtype=np.uint8)
    source = ArraySource(array)
    for _ in range(2):
        piece, digest = source.read(4, 100)
        assert (bytes(piece), digest) == (bytes(range(4, 10)), xxhash.xxh3_64_intdigest(bytes(range(4, 10))))
    assert source.read(4, 3)[1] == digest_of(b"\4\5\6")  # another range, another digest
    assert np.shares_memory(np.frombuffer(piece, np.uint8), array)


def test_an_array_of_another_order_is_served_in_c_order():
    array = np.arange(6.0).reshape(2, 3).T
    piece, _ = ArraySource(array).read(0, 48)
    assert bytes(piece) == array.tobytes()


def test_the_digest_of_a_tensor_depends_on_dtype_shape_and_every_range():
    array = np.arange(CHUNK_BYTES // 8 + 1, dtype=np.float64)
    digests = [digest_of(array[: CHUNK_BYTES // 8].tobytes()), digest_of(array[CHUNK_BYTES // 8 :].tobytes())]
    expected = digest_of_pieces(digests, "float64", array.shape)
    assert ArraySource(array).digest() == expected
    assert len(expected) == 16
    others = [
        digest_of_pieces(digests, "int64", array.shape),
        digest_of_pieces(digests, "float64", (1, *array.shape)),
        digest_of_pieces(digests[:1], "float64", array.shape),
        digest_of_pieces(digests[::-1], "float64", array.shape),
    ]
    assert len({expected, *others}) == 5


def test_the_digest_of_a_tensor_is_the_same_in_every_version():
    of_range = (1 << 63) + 5
    expected = xxhash.xxh3_128_digest(b"uint8(3,)" + of_range.to_bytes(8, "little"))
    assert digest_of_pieces([of_range], "uint8", (3,)) == expected


def test_a_file_is_read_range_by_range(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    source = FileSource(path)
    assert (source.dtype, source.shape, source.nbytes, source.digest()) == ("uint8", (200,), 200, None)
    piece, digest = source.read(190, 50)
    assert (bytes(piece), digest) == (bytes(range(190, 200)), digest_of(bytes(range(190, 200))))
    assert bytes(source.read(0, 3)[0]) == b"\0\1\2"
    assert array_of(source, Entry("file", "uint8", (200,))).tolist() == list(range(200))
    path.write_bytes(b"abc")
    piece, digest = source.read(1, 50)
    assert (bytes(piece), digest) == (b"bc", digest_of(b"bc"))  # the rest was cut off
    source.close()
    with pytest.raises(ValueError, match="closed"):
        source.read(0, 1)


def test_a_large_file_becomes_one_array(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, CHUNK_BYTES + 7, np.uint8)
    path = tmp_path / "file"
    path.write_bytes(content.tobytes())
    source = FileSource(path)
    assert np.array_equal(array_of(source, Entry("file", "uint8", content.shape)), content)
    source.close()
