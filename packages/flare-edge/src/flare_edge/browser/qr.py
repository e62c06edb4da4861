"""QR codes of join links, by segno: as a picture for a page or a folder, and as text for a terminal."""

from __future__ import annotations

import io

import segno


def svg(link: str) -> str:
    """Return a QR code as an SVG document: dark on white with its margin, so that it is read in dark pages, too."""
    out = io.BytesIO()
    segno.make_qr(link, error="m").save(out, kind="svg", scale=6, border=4, dark="#000", light="#fff", title=link)
    return out.getvalue().decode("utf-8")


def text(link: str) -> str:
    """Return a QR code made of block characters, two rows of modules in a line, for a terminal of any colours."""
    code = segno.make_qr(link, error="l")
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=2)]
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    glyphs = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    lines = (
        "".join(glyphs[upper, lower] for upper, lower in zip(above, below, strict=True))
        for above, below in zip(rows[::2], rows[1::2], strict=True)
    )
    return "\n".join(f"\x1b[97;40m{line}\x1b[0m" for line in lines) + "\n"
