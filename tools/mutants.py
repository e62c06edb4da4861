"""Break the code on purpose, one small change at a time, and see that a test fails.

mutmut makes the changes (mutants), runs for each the tests that reach the changed function, and remembers how that
went. This file says what is broken, in .mutants/<package>/, and prints what survived; docs/mutants.md explains those.

Usage: mutants.py [--survivors] [--jobs N] [package | module ...], as in: mutants.py flare-fobs flare_core.robust
Exits with 1 if of a package's mutants fewer are killed than LEAST says.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST = 85  # per cent of a package's mutants that tests must kill

# What is broken: a package, and its modules; all if there are none.
SUBJECTS: dict[str, list[str]] = {
    "flare-core": ["aggregation", "robust", "staleness", "optimizers"],
    "flare-fobs": [],
    "flare-tensor-downloader": [],
}

# Messages are not broken: tests pin what a message names, not its words.
SPARED = [r"^\s*(raise|return) \w*Error\(", r"\blog(ger)?\.(debug|info|warning|error)\("]

# The same few examples in each run, and the first that fails will do: what it shrinks to is of no interest here.
CONFTEST = """
from hypothesis import Phase

phases = (Phase.explicit, Phase.generate)
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, max_examples=20, phases=phases
)
settings.load_profile("mutants")
"""
LEFT_OUT = ("__pycache__", "test_fuzz.py")  # fuzzing takes seconds for each mutant; the other tests must do

KILLED = {"killed", "timeout", "segfault"}  # all other ends are survival: nothing has failed


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    module: str
    status: str

    @property
    def is_killed(self) -> bool:
        return self.status in KILLED


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Break the code on purpose, and see that a test fails.")
    parser.add_argument("subjects", nargs="*", help="packages or modules; all if left out")
    parser.add_argument("--survivors", action="store_true", help="only what survived the last time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    options = parser.parse_args(arguments)
    failed = False
    for package, modules in chosen(options.subjects).items():
        folder = ROOT / ".mutants" / package
        if not options.survivors:
            shutil.rmtree(folder, ignore_errors=True)
        lay_out(folder, package, modules)
        names = [mutant.name for mutant in results(folder, package) if not mutant.is_killed]
        if not options.survivors or names:
            mutmut(folder, "run", "--max-children", str(options.jobs), *names)
        failed |= not report(folder, package)
    return int(failed)


def chosen(subjects: list[str]) -> dict[str, list[str]]:
    """The packages that are asked for, and which of their modules."""
    found: dict[str, list[str]] = {}
    for subject in subjects or SUBJECTS:
        top, _, module = subject.partition(".")
        package = top.replace("_", "-")
        if package not in SUBJECTS:
            raise SystemExit(f"mutants: there is no {subject!r}; choose from {', '.join(SUBJECTS)}, or their modules")
        found.setdefault(package, [])
        found[package] += [module] if module else SUBJECTS[package]
    return found


def lay_out(folder: Path, package: str, modules: list[str]) -> None:
    """Copy a package to where mutmut may write, with the settings of pytest that it has here."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "tests"):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(ROOT / "packages" / package / name, folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text() + CONFTEST)
    pytest_settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    only = [f"src/{package.replace('-', '_')}/{module}.py" for module in modules]
    settings = {
        "tool.mutmut": {
            "source_paths": ["src"],
            "also_copy": ["conftest.py"],
            "only_mutate": only,
            "do_not_mutate": ["*/__init__.py"],  # nothing but names, which what mutmut adds would change
            "do_not_mutate_patterns": SPARED,
            "pytest_add_cli_args": ["-m", "not slow and not deployed", "-p", "no:cacheprovider"],
            "pytest_add_cli_args_test_selection": ["tests"],
            "process_isolation": "forkserver",  # tests start threads, and torch does
            "timeout_multiplier": 4.0,
            "timeout_constant": 1.5,
        },
        "tool.pytest.ini_options": {**pytest_settings, "testpaths": ["tests"]},
    }
    lines = []
    for table, entries in settings.items():
        lines += [f"[{table}]", *(f"{key} = {toml(value)}" for key, value in entries.items()), ""]
    (folder / "pyproject.toml").write_text("\n".join(lines))


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return f"'{value}'" if isinstance(value, str) else repr(value)


def mutmut(folder: Path, *arguments: str) -> str:
    """Run mutmut; return what it prints. In a terminal, it shows how far it is while it runs the tests."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    is_shown = arguments[0] == "run" and sys.stdout.isatty()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, cwd=folder, env=env, text=True, stdout=None if is_shown else subprocess.PIPE)
    if process.returncode != 0:
        end = (process.stdout or "")[-2000:]
        raise SystemExit(f"mutants: 'mutmut {arguments[0]}' ended with {process.returncode} in {folder}\n{end}")
    return process.stdout or ""


def results(folder: Path, package: str) -> list[Mutant]:
    """What became of each mutant; nothing if there are none yet."""
    if not (folder / "mutants").exists():
        return []
    pairs = re.findall(r"^ +(\S+): (.+)$", mutmut(folder, "results", "--all", "true"), re.MULTILINE)
    return [Mutant(name, name[: name.index(".x")], status) for name, status in pairs]


def report(folder: Path, package: str) -> bool:
    """Print the table and the survivors; return whether enough were killed."""
    mutants = results(folder, package)
    counts = Counter((mutant.module, mutant.is_killed) for mutant in mutants)
    print(f"\n{'module':<52} mutants  killed  survived  per cent")
    for module in dict.fromkeys(mutant.module for mutant in mutants):
        print_row(module, counts[module, True], counts[module, False])
    killed = sum(mutant.is_killed for mutant in mutants)
    print_row(package, killed, len(mutants) - killed)
    print()
    for mutant in mutants:
        if not mutant.is_killed:
            print(described(folder, mutant))
    enough = killed * 100 >= LEAST * len(mutants)
    if not enough:
        print(f"\n{package}: less than {LEAST} % killed; write the tests that are missing")
    return enough


def print_row(name: str, killed: int, survived: int) -> None:
    count = killed + survived
    print(f"{name:<52} {count:>7}  {killed:>6}  {survived:>8}  {100 * killed / count if count else 100:>8.1f}")


def described(folder: Path, mutant: Mutant) -> str:
    """A survivor in one line: where it is, what was there, what it was changed to."""
    path = Path("src", *mutant.module.split(".")).with_suffix(".py")
    diff = diff_of(folder, mutant.name, path)
    before, after = (" ".join(line[1:].strip() for line in diff if line.startswith(sign)) for sign in "-+")
    function = re.sub(r"__mutmut_\d+$", "", mutant.name.removeprefix(f"{mutant.module}.x")).strip("ǁ").replace("ǁ", ".")
    function = function if "ǁ" in mutant.name else function[1:]  # of a function, x_ is put before its name
    first = next((line[1:] for line in diff if line.startswith("-")), "")
    line = next((n for n, text in lines_of(folder / path, function) if text.strip() == first.strip()), 0)
    end = "" if mutant.status == "survived" else f"  [{mutant.status}]"
    return f"{'/'.join(path.parts[1:])}:{line} {function}: {marked(before, after)}{end}"


def marked(before: str, after: str) -> str:
    """The line, with what was changed as ``⟦was → is⟧``."""
    old, new = (re.findall(r"\w+|\W", text) for text in (before, after))
    start = common(old, new)
    end = common(old[start:][::-1], new[start:][::-1])
    was, now = ("".join(words[start : len(words) - end]) for words in (old, new))
    return f"{''.join(old[:start])}⟦{was} → {now}⟧{''.join(old[len(old) - end :])}"


def common(words: list[str], others: list[str]) -> int:
    """How many words at the start are the same."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False))
    return sum(1 for _ in same)


def diff_of(folder: Path, name: str, path: Path) -> list[str]:
    """The changed lines of one mutant."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    with chdir(folder):
        return [line for line in get_diff_for_mutant(name, path=path).splitlines() if line[:3] not in ("---", "+++")]


def lines_of(path: Path, function: str) -> Iterator[tuple[int, str]]:
    """The lines of a function or method, with their numbers."""
    text = path.read_text()
    names = function.split(".")
    node: ast.AST = ast.parse(text)
    for name in names:
        node = next(child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == name)
    for number, line in enumerate(text.splitlines(), 1):
        if node.lineno <= number <= node.end_lineno:
            yield number, line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
