"""The data of the example cifar10: how images are read, cropped and distributed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).parents[1] / "examples" / "advanced" / "cifar10" / "data.py"
NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def load_module():
    spec = importlib.util.spec_from_file_location("cifar10_example_data", DATA)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


data = load_module()
LABELS = np.arange(1000) % 10


@given(
    sites=st.integers(1, 10),
    alpha=st.floats(0.3, 1000),
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(60, 150), min_size=10, max_size=10),
)
def test_every_image_is_assigned_to_one_site(sites, alpha, seed, counts):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), counts))
    dealt = data.deal(labels, sites, alpha, seed)
    assert len(dealt) == sites
    assert np.array_equal(np.sort(np.concatenate(dealt)), np.arange(len(labels)))
    assert min(map(len, dealt)) >= data.LEAST


def test_the_distribution_depends_only_on_the_seed():
    first, again, other = (data.deal(LABELS, 5, 0.3, seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def test_a_smaller_alpha_is_more_uneven():
    def largest_share(alpha):
        """Return the share of a site's most common class; the mean over sites and seeds."""
        deals = [data.deal(LABELS, 5, alpha, seed) for seed in range(10)]
        return np.mean([np.bincount(LABELS[mine]).max() / len(mine) for dealt in deals for mine in dealt])

    assert largest_share(0.1) > largest_share(1) > largest_share(100)
    assert largest_share(1e6) == pytest.approx(0.1, abs=0.01)


def test_an_impossible_distribution_says_what_to_change():
    with pytest.raises(ValueError, match="larger --alpha or fewer --sites"):
        data.deal(LABELS, 200, 0.1)


def test_batches_are_scaled_and_the_same_for_the_same_seed():
    images = np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(40)
    mirrored = 0
    first, second = (data.batches(images, labels, 3, seed=[0, 1]) for _ in range(2))
    for (x, y), (again, _) in zip(first, second, strict=True):
        assert np.array_equal(x, again)
        assert x.dtype == np.float32
        for drawn, original in zip(x, data.scaled(images[y]), strict=True):
            mirrored += not np.array_equal(drawn, original)
            assert np.array_equal(drawn, original) or np.array_equal(drawn[:, ::-1], original)
    assert 0 < mirrored < 3 * data.BATCH
    assert data.scaled(np.array([0, 255], np.uint8)).tolist() == [-1, 1]


def cifar10_bytes(images, labels):
    """Return a file as described on CIFAR-10's page: per image the label, then red, green and blue, row by row."""
    records = []
    for image, label in zip(images, labels, strict=True):
        records.append(bytes([label]))
        records += [
            bytes(image[row, column, colour] for row in range(32) for column in range(32)) for colour in range(3)
        ]
    return b"".join(records)


@pytest.fixture
def cifar10(tmp_path):
    """A folder with two images per file, and its contents."""
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(12, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(10, size=12)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for place, name in enumerate(NAMES):
        rows = slice(2 * place, 2 * place + 2)
        (folder / name).write_bytes(cifar10_bytes(images[rows], labels[rows]))
    return folder, images, labels


@pytest.mark.parametrize("parent", [False, True])
def test_the_binary_version_of_cifar10_is_read(cifar10, parent):
    folder, images, labels = cifar10
    got = data.load_images(str(folder.parent if parent else folder))
    for array, wanted in zip(got, (images[:10], labels[:10], images[10:], labels[10:]), strict=True):
        assert np.array_equal(array, wanted)
    assert got[0].dtype == np.uint8


def test_a_site_gets_its_part_of_cifar10(cifar10, monkeypatch):
    folder, _, labels = cifar10
    monkeypatch.setattr(data, "LEAST", 1)
    sites = [data.load_site(number, 2, 1.0, 0, folder) for number in (1, 2)]
    assert sorted(label for _, mine in sites for label in mine) == sorted(labels[:10])
    assert sum(len(mine) for mine, _ in sites) == 10


def test_another_folder_says_which_files_to_get(cifar10):
    folder, _, _ = cifar10
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_3.bin; unpack cifar-10-binary.tar.gz.*pickles"):
        data.load_images(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes"), (bytes(3072), "3072 bytes"), (b"\x0a" + bytes(3072), "label 10, but CIFAR-10's go to 9")],
)
def test_a_damaged_file_is_named(cifar10, content, message):
    folder, _, _ = cifar10
    (folder / "test_batch.bin").write_bytes(content)
    with pytest.raises(ValueError, match=rf"test_batch.bin has .*{message}"):
        data.load_images(folder)


def test_photographs_are_cropped_to_the_shape_of_cifar10():
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    images, labels, test_images, test_labels = data.load_images()
    assert images.shape == (2800, 32, 32, 3)
    assert test_images.shape == (500, 32, 32, 3)
    assert images.dtype == test_images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [280] * 10
    assert np.bincount(test_labels).tolist() == [50] * 10
    assert all(map(np.array_equal, (images, test_images), (data.load_images()[place] for place in (0, 2))))


def test_no_pixel_is_in_training_and_test(monkeypatch):
    """In a photograph with unique pixel values, no value is on both sides."""
    pixels = np.arange(300 * 451 * 3, dtype=np.int64).reshape(300, 451, 3)
    monkeypatch.setattr(data, "photographs", lambda: [pixels] * 10)
    images, _, test_images, _ = data.cut_photographs()
    assert not set(images[:280].ravel()) & set(test_images[:50].ravel())
