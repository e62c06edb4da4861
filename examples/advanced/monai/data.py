"""Synthetic scans of three sites, whose scanners differ, as files: images, and masks of the round bodies in them."""

from pathlib import Path

import numpy as np
from monai.data import create_test_image_2d
from PIL import Image

FOLDER = Path("flare-runs", "scans").absolute()
SIZE = 64
SCANNERS = {  # the bodies in a scan, and the grey levels of the background and of the brightest body
    "clinic": {"bodies": {"num_objs": 6, "rad_min": 3, "rad_max": 7, "noise_max": 0.2}, "shades": (0, 255)},
    "hospital": {"bodies": {"num_objs": 3, "rad_min": 6, "rad_max": 14, "noise_max": 0.7}, "shades": (40, 160)},
    "institute": {"bodies": {"num_objs": 4, "rad_min": 4, "rad_max": 10, "noise_max": 0.3}, "shades": (120, 255)},
}
TRAINING, VALIDATION, TEST = 32, 8, 16


def make():
    """Write each site's scans, unless they are there, and return the folder of each."""
    for number, (site, scanner) in enumerate(SCANNERS.items()):
        random = np.random.RandomState(number)
        for name in range(TRAINING + VALIDATION):
            write_scan(FOLDER / site, f"{name:03}.png", *draw(scanner, random))
        for name in range(TEST):  # of the same scanner, but at no site
            write_scan(FOLDER / "test" / site, f"{name:03}.png", *draw(scanner, random))
    return {site: FOLDER / site for site in SCANNERS}


def draw(scanner, random):
    image, mask = create_test_image_2d(SIZE, SIZE, num_seg_classes=1, random_state=random, **scanner["bodies"])
    return np.interp(image, (0, 1), scanner["shades"]), 255 * mask


def write_scan(folder, name, image, mask):
    for kind, pixels in {"images": image, "masks": mask}.items():
        path = folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def scans_in(folder):
    """Return the files of a site's scans, as MONAI's dictionaries."""
    names = sorted(path.name for path in (folder / "images").iterdir())
    return [{"image": folder / "images" / name, "label": folder / "masks" / name} for name in names]
