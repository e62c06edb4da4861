from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stats_runs import run, sites_of

from flare_stats.algebra import Categories, HistogramCounts, Moments, to_numbers
from flare_stats.config import Settings
from flare_stats.privacy import Policy
from flare_stats.site import SiteData
from flare_stats.sources import SourceError, open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, shape in {
        "cat/a.png": (4, 6),
        "cat/b.jpg": (8, 8, 3),
        "dog/c.tiff": (5, 5),
        "dog/d.png": (2, 2, 4),
    }.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    (tmp_path / "images/cat/notes.txt").write_text("no image")
    return tmp_path / "images"


def pixels_of(folder: Path) -> np.ndarray:
    images = [
        np.asarray(Image.open(path)) for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".jpg", ".tiff")
    ]
    return np.concatenate([(image[..., :3] if image.ndim == 3 else image).ravel() for image in images])


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_pixels_have_the_statistics_of_all_images(folder: Path) -> None:
    source = open_source(folder)
    kinds = [(column.name, column.kind) for column in source.features()]
    assert kinds == [
        ("width", "int"),
        ("height", "int"),
        ("channels", "int"),
        ("class", "category"),
        ("brightness", "float"),
        ("contrast", "float"),
        ("pixels", "image"),
    ]
    moments, histogram = Moments(), HistogramCounts(np.linspace(0, 256, 9))
    for chunk in source.chunks(["pixels"], rows=3):
        numbers = to_numbers(chunk.column(0), "image")
        moments.add(numbers)
        histogram.add(numbers)
    pixels = pixels_of(folder)
    assert (moments.count, moments.sum, moments.min, moments.max) == (
        len(pixels),
        pixels.sum(),
        pixels.min(),
        pixels.max(),
    )
    assert histogram.counts.tolist() == np.histogram(pixels, histogram.edges)[0].tolist()


def test_each_image_is_a_row_with_its_size_channels_and_class(folder: Path) -> None:
    (chunk,) = open_source(folder, columns=["width", "height", "channels", "class"]).chunks()
    assert [tuple(row.values()) for row in chunk.to_pylist()] == [
        *[(6, 4, 1, "cat"), (8, 8, 3, "cat")],
        *[(5, 5, 1, "dog"), (2, 2, 4, "dog")],
    ]
    balance = Categories()
    balance.add(chunk.column("class"))
    assert balance.counts == {"cat": 2, "dog": 2}


def test_brightness_and_contrast_are_those_of_each_image(folder: Path) -> None:
    (chunk,) = open_source(folder).chunks(["contrast", "brightness"])
    images = [np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.*")) if path.suffix != ".txt"]
    colours = [image[..., :3] if image.ndim == 3 else image for image in images]
    assert chunk.column("brightness").to_pylist() == pytest.approx([image.mean() for image in colours])
    assert chunk.column("contrast").to_pylist() == pytest.approx([image.std() for image in colours])


def test_images_in_the_folder_itself_have_no_class(folder: Path) -> None:
    assert "class" not in [column.name for column in open_source(folder / "cat").features()]


def test_files_that_are_no_images_are_skipped_and_counted(folder: Path) -> None:
    whole = (folder / "cat/a.png").read_bytes()
    (folder / "cat/cut.png").write_bytes(whole[:50])
    (folder / "dog/text.jpg").write_text("not an image")
    (folder / "dog/empty.gif").write_bytes(b"")
    source = open_source(folder)
    assert sum(chunk.num_rows for chunk in source.chunks()) == 4
    assert source.skipped == 3


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("1", [0, 255]),
        ("L", [0, 200]),
        ("P", [0, 0, 0, 1, 2, 3]),
        ("I;16", [0, 60_000]),
        ("F", [0.0, 1.5]),
        ("LA", [0, 9]),
    ],
)
def test_images_of_each_mode_have_the_values_of_their_colours(mode: str, values: list[float], tmp_path: Path) -> None:
    if mode == "P":
        image = Image.new("P", (2, 1))
        image.putpalette([0, 0, 0, 1, 2, 3])
        image.putpixel((1, 0), 1)
    elif mode == "LA":
        image = Image.fromarray(np.array([[[0, 7], [9, 7]]], np.uint8))
    else:
        dtype = {"1": bool, "L": np.uint8, "I;16": np.uint16, "F": np.float32}[mode]
        image = Image.fromarray(np.array([values], dtype))
    assert image.mode == mode
    image.save(tmp_path / ("image.tiff" if mode == "F" else "image.png"))
    (chunk,) = open_source(tmp_path).chunks(["pixels"])
    assert to_numbers(chunk.column(0)).values.tolist() == values


def test_a_folder_without_images_or_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="neither images nor tables"):
        open_source(tmp_path)


ASKED = {"count": {}, "mean": {}, "histogram": {"pixels": {"bins": 8}}, "balance": {"class": {}}}


@pytest.mark.parametrize("masked", [False, True])
def test_a_run_over_folders_of_images_counts_images_and_their_pixels(
    masked: bool, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "second")
    asked = {**ASKED, "categories": {"class": {"values": ["cat", "dog"]}}}
    sites = {name: {"scans": str(path)} for name, path in (("one", folder), ("two", tmp_path / "second"))}
    statistics, _, _, _ = run(sites_of(sites, masked=masked), asked, masked=masked)
    found = {name: of["Global"]["scans"] for name, of in statistics["pixels"].items()}
    assert found["count"] == 8
    counts, edges = np.histogram(np.tile(pixels_of(folder), 2), 8, (0, 256))
    assert found["histogram"] == [
        [low, high, count] for (low, high), count in zip(pairwise(edges), counts.tolist(), strict=True)
    ]
    assert statistics["class"]["balance"]["Global"]["scans"] == {"cat": 0.5, "dog": 0.5}


def test_noise_that_hides_one_value_cannot_hide_an_image(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "privacy.toml").write_text(
        '[differential_privacy]\nmechanism = "laplace"\nepsilon = 1.0\ntotal_epsilon = 9.0\n'
        "[features.pixels]\nbounds = [0, 255]\n"
    )
    policy = Policy.open(tmp_path / "local", run="run", folder=tmp_path, sources={"scans": str(folder)})
    site = SiteData("one", {"scans": str(folder)}, Settings.parse(ASKED), policy)
    summary = site.summarize({"pixels": "image"}, b"")
    assert "histogram" not in summary["datasets"]["scans"]["pixels"]
    ((_, feature, statistic, rule),) = summary["refused"]
    assert (feature, statistic) == ("pixels", "histogram")
    assert "one image is in many bins" in rule
