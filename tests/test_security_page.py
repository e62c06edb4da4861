"""docs/security.md and docs/statistics-privacy.md: each claim names an existing test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHORT = {
    "core": "flare-core",
    "deploy": "flare-deploy",
    "downloader": "flare-tensor-downloader",
    "edge": "flare-edge",
    "flower": "flare-flower",
    "fobs": "flare-fobs",
    "psi": "flare-psi",
    "runtime": "flare-runtime",
    "transport": "flare-transport",
}


def test_every_claim_names_an_existing_test():
    claims, path = 0, Path()
    for match in re.finditer(
        r"(?P<file>[\w/-]+\.py)?::(?P<test>test_\w+)", (ROOT / "docs" / "security.md").read_text()
    ):
        if match["file"]:
            package, _, rest = match["file"].partition("/")
            path = ROOT / "packages" / SHORT[package] / "tests" / rest if package in SHORT else ROOT / match["file"]
        assert f"def {match['test']}(" in path.read_text(), f"{path} has no {match['test']}"
        claims += 1
    assert claims > 50


def test_every_claim_about_the_privacy_of_statistics_names_an_existing_test():
    claims, path = 0, Path()
    for match in re.finditer(
        r"(?P<file>test_privacy_\w+\.py)?::(?P<test>test_\w+)", (ROOT / "docs" / "statistics-privacy.md").read_text()
    ):
        if match["file"]:
            path = ROOT / "packages" / "flare-stats" / "tests" / match["file"]
        assert f"def {match['test']}(" in path.read_text(), f"{path} has no {match['test']}"
        claims += 1
    assert claims > 10
