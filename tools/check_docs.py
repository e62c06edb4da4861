"""Run the runnable snippets of the README files and docs/, and check their output.

A snippet is a fenced block of Markdown; the words after its language define its use:

    ```python runnable                   run it
    ```python file=client.py             write it to a file, for later snippets of the page
    ```python runnable file=job.py       write it to that file and run the file
    ```sh runnable                       run it with `sh -e`; `python` and `flare` are those of this environment

All snippets of a page share one temporary folder and run without FLARE_* variables; other blocks are ignored. A block
of `text` directly after a runnable one is the expected end of its output, in which `…` matches anything within a line.
Usage: check_docs.py [page.md ...]; without pages, README.md, packages/*/README.md and docs/**/*.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<words>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```"
    r"(?:\n\n```text\n(?P<output>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)
TIMEOUT_S = 300
SUFFIXES = {"python": "py", "sh": "sh"}


@dataclass(frozen=True, slots=True)
class Snippet:
    line: int
    language: str
    code: str
    runnable: bool
    file: str | None
    output: str | None


def main(arguments: list[str]) -> int:
    pages = [Path(argument).resolve() for argument in arguments] or default_pages()
    results = [result for page in pages for result in check_page(page)]
    failures = [result for result in results if result]
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(pages)} pages, {len(results)} runnable snippets, {len(failures)} failed")
    return 1 if failures else 0


def default_pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("docs/**/*.md"))]


def check_page(page: Path) -> list[str | None]:
    """Run one page's snippets in order; return an error message or None for each."""
    results: list[str | None] = []
    with tempfile.TemporaryDirectory() as folder:
        for snippet in read_snippets(page.read_text(encoding="utf-8")):
            path = Path(folder, snippet.file or f"line_{snippet.line}.{SUFFIXES.get(snippet.language, 'txt')}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(snippet.code, encoding="utf-8")
            if snippet.runnable:
                where = f"{name_of(page)}:{snippet.line}"
                began = time.monotonic()
                failure = run(path, Path(folder), snippet)
                print(f"{where}: {'failed' if failure else 'ok'} in {time.monotonic() - began:.1f} s", flush=True)
                results.append(f"\n{where}: {failure}" if failure else None)
    return results


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT) if page.is_relative_to(ROOT) else page)


def read_snippets(text: str) -> list[Snippet]:
    """Return the blocks to write or run, in order."""
    snippets = []
    for match in FENCE.finditer(text):
        words = match["words"].split()
        files = [word.removeprefix("file=") for word in words if word.startswith("file=")]
        code = "".join(line.removeprefix(match["indent"]) for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start()) + 1
        if "runnable" in words or files:
            snippets.append(
                Snippet(
                    line, match["language"], code, "runnable" in words, files[0] if files else None, match["output"]
                )
            )
    return snippets


def run(path: Path, folder: Path, snippet: Snippet) -> str | None:
    """Run a file in its page's folder; return an error message if it fails or its output differs."""
    command = ["sh", "-e", str(path)] if snippet.language == "sh" else [sys.executable, str(path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLARE_")}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment.setdefault("OMP_NUM_THREADS", "1")  # output that does not depend on the machine's cores
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"still running after {TIMEOUT_S} s"
    if done.returncode:
        return f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    if snippet.output is not None and not ends_with(done.stdout, snippet.output):
        return f"expected output\n{snippet.output}\nactual output\n{done.stdout}"
    return None


def ends_with(printed: str, expected: str) -> bool:
    """Return True if the last lines match the expected ones, ignoring trailing spaces."""
    lines, last = ([line.rstrip() for line in text.splitlines()] for text in (printed, expected))
    patterns = [".*".join(map(re.escape, line.split("…"))) for line in last]
    return len(lines) >= len(last) and all(map(re.fullmatch, patterns, lines[len(lines) - len(last) :]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
