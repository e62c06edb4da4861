"""Draw the demo's terminal output as docs/demo.svg, the picture in README.md.

Runs hello-pt on a pseudo-terminal and draws the progress bar from the middle of the run, then the final screen. Run it
with the Python of `tools/dev demo`.
Usage: demo_picture.py
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 88  # the width of the longest line, the progress bar
# No web fonts, since pages may forbid images to fetch them.
CODE_FORMAT = """\
<svg viewBox="0 0 {terminal_width} {terminal_height}" xmlns="http://www.w3.org/2000/svg" role="img"
  aria-label="A terminal: the progress bar of tools/dev demo, and its summary with a plot of the accuracy by round">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="100%" height="100%"/></clipPath>{lines}</defs>
<rect width="{terminal_width}" height="{terminal_height}" rx="8" fill="#0d1117"/>
<g transform="translate(24, 8) scale(0.95)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def main() -> int:
    erased, kept = screen(run_on_a_terminal())
    bars = [line for line in erased if "sites" in line and "accuracy" in line]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print("[bold green]$[/] tools/dev demo", highlight=False)
    for line in [bars[len(bars) // 2], *kept]:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    svg = console.export_svg(theme=MONOKAI, code_format=CODE_FORMAT, unique_id="demo")
    (ROOT / "docs" / "demo.svg").write_text(svg, encoding="utf-8")
    return 0


def run_on_a_terminal() -> str:
    """Return everything that hello-pt writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "job.py"],
        cwd=ROOT / "examples" / "hello-world" / "hello-pt",
        env=os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    while chunk := read(ours):
        written += chunk
    if process.wait() != 0:
        raise SystemExit(written.decode("utf-8", "replace"))
    return written.decode("utf-8")


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # on Linux, the other end of the terminal is closed
        return b""


def screen(written: str) -> tuple[list[str], list[str]]:
    """Return the erased and the remaining lines, with their colours."""
    erased, lines = [], [""]
    for part in re.split(r"(\r\n|\n|\r|\x1b\[1A|\x1b\[2K)", written):
        if part in ("\r\n", "\n"):
            lines.append("")
        elif part == "\x1b[2K":
            erased.append(lines[-1])
            lines[-1] = ""
        elif part == "\x1b[1A":
            lines.pop()
        elif part != "\r":
            lines[-1] += re.sub(r"\x1b\[\?25[lh]", "", part)
    return erased, lines[:-1]


if __name__ == "__main__":
    sys.exit(main())
