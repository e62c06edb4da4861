"""README's comparison table matches the measurements in docs/performance.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIGURE = re.compile(r"\d[\d,.]*\d|\d")


def rows(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_every_figure_in_readmes_table_is_in_the_table_of_measurements():
    readme = rows(ROOT / "README.md")
    start = next(index for index, row in enumerate(readme) if row[0].startswith("work, on"))
    table = readme[start + 1 : start + 9]
    measured = rows(ROOT / "docs" / "performance.md")
    assert table[-1][0].startswith("rounds per second of 10 numbers between processes")
    for row in table:
        figures = [set(FIGURE.findall(cell)) for cell in row[1:] if cell]
        assert any(
            all(any(found <= set(FIGURE.findall(cell)) for cell in candidate[1:]) for found in figures)
            for candidate in measured
        ), row
