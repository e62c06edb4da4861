"""QR codes of join links."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import segno
from gateways import serving

from flare_edge.browser.qr import svg, text

LINK = "https://192.0.2.7:8443/#" + "k3Jx_-9" * 8 + "." + "0f" * 32


@pytest.fixture
def modules():
    return [[bool(each) for each in row] for row in segno.make_qr(LINK, error="l").matrix_iter(border=2)]


def test_the_picture_is_one_svg_with_a_margin_and_a_background():
    root = ElementTree.fromstring(svg(LINK))
    assert root.tag.endswith("svg")
    assert int(root.get("width")) == int(root.get("height")) >= 6 * (21 + 8)
    assert "#fff" in svg(LINK)


def test_the_text_has_the_modules_of_the_code(modules):
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in text(LINK).splitlines()]
    read = []
    for line in lines:
        read.append([glyph in "▄ " for glyph in line])  # dark above
        read.append([glyph in "▀ " for glyph in line])  # dark below
    assert read[: len(modules)] == modules
    assert not any(any(row) for row in read[len(modules) :])


def test_an_open_gateway_has_its_link_as_a_picture_for_its_owner_alone(tmp_path):
    with serving(tmp_path) as gateway:
        picture = tmp_path / "join-link.svg"
        assert gateway.join_link in picture.read_text(encoding="utf-8")
        assert picture.stat().st_mode & 0o777 == 0o600
