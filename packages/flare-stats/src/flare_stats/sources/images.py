"""Folders of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flare_stats.sources.source import CHUNK, Column, SourceError, chosen, note_skipped

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
PIXELS = 1 << 21  # of a chunk, about
SIZES: list[Column] = [Column("width", "int"), Column("height", "int"), Column("channels", "int")]
OF_PIXELS: list[Column] = [Column("brightness", "float"), Column("contrast", "float"), Column("pixels", "image")]


class ImageFolder:
    """The images of a folder and of the folders in it, one a row.

    Columns are ``width`` and ``height`` in pixels, ``channels``, ``pixels`` (of kind ``"image"``: each value of each
    channel but transparency, 0 to 255 in images of 8 bits; of the first frame where there are several), their mean and
    standard deviation as ``brightness`` and ``contrast``, and ``class``, the name of the folder that an image lies in,
    where none lies in `folder` itself.

    A file that is no image, or is cut off, is skipped and counted. Where only sizes are read, no image is decoded.

    Args:
        folder: with files that end in .png, .jpg, .tiff, .bmp, .gif, .webp, .pgm or .ppm.

    Raises:
        SourceError: there is none, or Pillow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import PIL.Image  # noqa: F401 - asked for before a run begins
        except ImportError as error:
            raise SourceError("reading images needs Pillow: pip install flare-stats[images]") from error
        self.skipped = 0
        self._folder = folder
        self._files = image_files(folder)
        if not self._files:
            raise SourceError(f"{folder} holds no image; endings of images are {', '.join(ENDINGS)}")

    def features(self) -> list[Column]:
        by_class = all(file.parent != self._folder for file in self._files)
        return [*SIZES, *([Column("class", "category")] if by_class else []), *OF_PIXELS]

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK) -> Iterator[pa.RecordBatch]:
        names = chosen([column.name for column in self.features()], columns, str(self._folder))
        decode = any(column.name in names for column in OF_PIXELS)
        skipped = pixels = 0
        images: list[dict[str, Any]] = []
        for file in self._files:
            image = _read(file, decode=decode)
            if image is None:
                skipped += 1
                continue
            images.append(image)
            pixels += len(image["pixels"])
            if len(images) == rows or pixels >= PIXELS:
                yield _batch(images, names)
                images, pixels = [], 0
        if images:
            yield _batch(images, names)
        self.skipped = note_skipped(self._folder, skipped, self.skipped)


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder and of the folders in it, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def _read(file: Path, *, decode: bool) -> dict[str, Any] | None:
    """The columns of one image; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            row = {"channels": len(image.getbands()), "class": file.parent.name, "pixels": np.empty(0, np.uint8)}
            row["width"], row["height"] = image.size
            if decode:
                row["pixels"] = pixels = _pixels(image)
                row["brightness"], row["contrast"] = float(pixels.mean()), float(pixels.std())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return row


def _pixels(image: Any) -> np.ndarray[Any, Any]:
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    values: np.ndarray[Any, Any] = np.asarray(image)
    return values[..., :-1].reshape(-1) if "A" in image.getbands() else values.reshape(-1)


def _batch(images: list[dict[str, Any]], names: list[str]) -> pa.RecordBatch:
    arrays = {name: pa.array([image[name] for image in images]) for name in names if name != "pixels"}
    if "pixels" in names:
        ends = np.cumsum([0, *(len(image["pixels"]) for image in images)])
        values = np.concatenate([image["pixels"] for image in images])
        arrays["pixels"] = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(values))
    return pa.RecordBatch.from_arrays([arrays[name] for name in names], names)
