"""Small colour images of ten classes, and how they are dealt to sites.

CIFAR-10 where a folder of it is given; else tiles cut from ten photographs that come with scikit-image and
scikit-learn, in the same shape, so that the same model runs on both. Images are arrays of bytes, image × row × column
× colour.
"""

from pathlib import Path

import numpy as np

CLASSES = 10
SIZE = 32  # of an image, in pixels on each side
BATCH = 32
LEAST = 10  # images of the smallest site
RECORD = 1 + 3 * SIZE * SIZE  # bytes of an image in a file of CIFAR-10: its label, then all red, all green, all blue


def load_images(folder=None):
    """Training images, training labels, test images, test labels: of CIFAR-10 in ``folder``, else of photographs."""
    return read_cifar10(folder) if folder else cut_photographs()


def load_site(number, sites, alpha, seed, folder=None):
    """The training images and labels of one site, counted from 1."""
    images, labels, _, _ = load_images(folder)
    mine = deal(labels, sites, alpha, seed)[number - 1]
    return images[mine], labels[mine]


def deal(labels, sites, alpha, seed=0):
    """Deal images to sites by a Dirichlet distribution, and return the places of each site's images.

    For each class, the sites' shares are drawn anew: with a large ``alpha`` all are alike, with a small one a few sites
    get nearly all of it. All classes are drawn again until the smallest site has ``LEAST`` images.
    """
    generator = np.random.default_rng(seed)
    for _ in range(1000):
        parts = [[] for _ in range(sites)]
        for label in range(CLASSES):
            members = generator.permutation(np.flatnonzero(labels == label))
            shares = generator.dirichlet([alpha] * sites)
            cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(int)
            for part, piece in zip(parts, np.split(members, cuts), strict=True):
                part.append(piece)
        dealt = [np.sort(np.concatenate(part)) for part in parts]
        if min(map(len, dealt)) >= LEAST:
            return dealt
    raise ValueError(
        f"{len(labels)} images cannot be dealt to {sites} sites with alpha {alpha} such that each gets {LEAST};"
        " take a larger --alpha or fewer --sites"
    )


def batches(images, labels, steps, seed):
    """Draw ``steps`` batches for training: numbers from -1 to 1, half of the images mirrored, and their labels."""
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        rows = generator.integers(len(labels), size=BATCH)
        drawn = scaled(images[rows])
        mirrored = generator.random(BATCH) < 0.5
        drawn[mirrored] = drawn[mirrored, :, ::-1]
        yield drawn, labels[rows]


def scaled(images):
    """Bytes as numbers from -1 to 1."""
    return images.astype("float32") / 127.5 - 1


def read_cifar10(folder):
    """CIFAR-10 from the files of its binary version, in ``folder`` or in ``folder/cifar-10-batches-bin``."""
    folder = Path(folder).expanduser()
    if (folder / "cifar-10-batches-bin").is_dir():
        folder = folder / "cifar-10-batches-bin"
    names = [f"data_batch_{number}.bin" for number in range(1, 6)]
    missing = [name for name in [*names, "test_batch.bin"] if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}; unpack cifar-10-binary.tar.gz, the binary version of CIFAR-10, and give"
            " its folder cifar-10-batches-bin as --data (the Python version holds pickles, which are not read)"
        )
    parts = [read_batch(folder / name) for name in names]
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return images, labels, *read_batch(folder / "test_batch.bin")


def read_batch(path):
    """The images and labels of one file."""
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % RECORD:
        raise ValueError(
            f"{path} has {content.size} bytes, which are no images of {RECORD} bytes each;"
            " unpack cifar-10-binary.tar.gz again"
        )
    records = content.reshape(-1, RECORD)
    labels = records[:, 0].astype("int64")
    if labels.max() >= CLASSES:
        raise ValueError(f"{path} has the label {labels.max()}, but CIFAR-10's go to 9; it is not a file of CIFAR-10")
    colours = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
    return np.ascontiguousarray(colours.transpose(0, 2, 3, 1)), labels


def cut_photographs(training=280, test=50):
    """So many tiles of each of ten photographs; a tile's label says which of them it was cut from.

    A photograph is a stack of bands, each a tile high. Of four bands, three are for training and one is for the test,
    so no pixel is in both. Within training, and within the test, tiles overlap by half.
    """
    generator = np.random.default_rng(0)
    sets = {"training": ([], training), "test": ([], test)}
    for photograph in photographs():
        tiles = {"training": [], "test": []}
        for top in range(0, len(photograph) - SIZE + 1, SIZE // 2):
            bands = {top // SIZE, (top + SIZE - 1) // SIZE}  # a tile lies in one, or half in each of two
            for left in range(0, photograph.shape[1] - SIZE + 1, SIZE // 2):
                tile = photograph[top : top + SIZE, left : left + SIZE]
                if all(band % 4 == 3 for band in bands):
                    tiles["test"].append(tile)
                elif all(band % 4 != 3 for band in bands):
                    tiles["training"].append(tile)
        for name, (chosen, count) in sets.items():
            chosen += [tiles[name][place] for place in generator.permutation(len(tiles[name]))[:count]]
    return [
        array for chosen, count in sets.values() for array in (np.stack(chosen), np.repeat(np.arange(CLASSES), count))
    ]


def photographs():
    """Ten colour photographs, none of which is downloaded."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    return [
        data.astronaut(),
        data.chelsea(),
        data.coffee(),
        data.hubble_deep_field(),
        data.immunohistochemistry(),
        data.retina(),
        data.rocket(),
        data.stereo_motorcycle()[0],
        *load_sample_images().images,  # a Chinese temple, and a flower
    ]
