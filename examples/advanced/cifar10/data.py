"""Small colour images of ten classes, and their split among sites.

The images are CIFAR-10 if its folder is given, otherwise tiles of the same shape cut from ten photographs that ship
with scikit-image and scikit-learn. Images are arrays of bytes: image × row × column × colour.
"""

from pathlib import Path

import numpy as np

CLASSES = 10
SIZE = 32  # height and width of an image in pixels
BATCH = 32
LEAST = 10  # images at the smallest site
RECORD = 1 + 3 * SIZE * SIZE  # bytes per image in a CIFAR-10 file: the label, then the red, green and blue planes


def load_images(folder=None):
    """Return training images and labels, then test images and labels, of CIFAR-10 in ``folder`` or of photographs."""
    return read_cifar10(folder) if folder else cut_photographs()


def load_site(number, sites, alpha, seed, folder=None):
    """Return the training images and labels of one site, numbered from 1."""
    images, labels, _, _ = load_images(folder)
    mine = deal(labels, sites, alpha, seed)[number - 1]
    return images[mine], labels[mine]


def deal(labels, sites, alpha, seed=0):
    """Split images among sites by a Dirichlet distribution, and return the indices of each site's images.

    The sites' shares are drawn for each class: a large ``alpha`` makes them similar, a small one gives nearly all of a
    class to a few sites. The draw is repeated until the smallest site has ``LEAST`` images.
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
        f"{len(labels)} images cannot be split among {sites} sites with alpha {alpha} so that each gets {LEAST};"
        " use a larger --alpha or fewer --sites"
    )


def batches(images, labels, steps, seed):
    """Yield ``steps`` random training batches: images scaled to -1 to 1, half of them mirrored, and their labels."""
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        rows = generator.integers(len(labels), size=BATCH)
        drawn = scaled(images[rows])
        mirrored = generator.random(BATCH) < 0.5
        drawn[mirrored] = drawn[mirrored, :, ::-1]
        yield drawn, labels[rows]


def scaled(images):
    """Convert bytes to numbers from -1 to 1."""
    return images.astype("float32") / 127.5 - 1


def read_cifar10(folder):
    """Read CIFAR-10's binary version from ``folder`` or ``folder/cifar-10-batches-bin``."""
    folder = Path(folder).expanduser()
    if (folder / "cifar-10-batches-bin").is_dir():
        folder = folder / "cifar-10-batches-bin"
    names = [f"data_batch_{number}.bin" for number in range(1, 6)]
    missing = [name for name in [*names, "test_batch.bin"] if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}; unpack cifar-10-binary.tar.gz, the binary version of CIFAR-10, and pass its"
            " folder cifar-10-batches-bin as --data (the Python version is not supported, as it holds pickles)"
        )
    parts = [read_batch(folder / name) for name in names]
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return images, labels, *read_batch(folder / "test_batch.bin")


def read_batch(path):
    """Read the images and labels of one file."""
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % RECORD:
        raise ValueError(
            f"{path} has {content.size} bytes, not a multiple of {RECORD} for its images;"
            " unpack cifar-10-binary.tar.gz again"
        )
    records = content.reshape(-1, RECORD)
    labels = records[:, 0].astype("int64")
    if labels.max() >= CLASSES:
        raise ValueError(f"{path} has the label {labels.max()}, but CIFAR-10's go to 9; it is not a CIFAR-10 file")
    colours = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
    return np.ascontiguousarray(colours.transpose(0, 2, 3, 1)), labels


def cut_photographs(training=280, test=50):
    """Cut ``training`` and ``test`` tiles from each of ten photographs; a tile's label is the photograph's number.

    A photograph is a stack of bands, each as high as a tile. Of every four bands, three are for training and one is for
    the test, so the two sets share no pixels. Within a set, tiles overlap by half.
    """
    generator = np.random.default_rng(0)
    sets = {"training": ([], training), "test": ([], test)}
    for photograph in photographs():
        tiles = {"training": [], "test": []}
        for top in range(0, len(photograph) - SIZE + 1, SIZE // 2):
            bands = {top // SIZE, (top + SIZE - 1) // SIZE}  # a tile covers one band or two halves
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
    """Return ten colour photographs without downloading any."""
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
