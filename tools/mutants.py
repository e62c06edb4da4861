"""Mutation tests: break the code, one small change at a time, and check that a test fails.

mutmut creates the changes (mutants) in a copy, .mutants/<package>/, and records which tests call which function. For
each mutant these tests run, up to the first failure, in a forked process that imports the package again, so that code
executed on import is tested too. docs/mutants.md explains the survivors.

Usage: mutants.py [--again] [--jobs N] [package | module ...], as in: mutants.py flare-fobs flare_core.robust
Exits with 1 if fewer than LEAST per cent of a package's mutants are killed.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import deque
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAST = 85  # per cent of a package's mutants that tests must kill

# The packages to mutate, and their modules; an empty list means all modules.
SUBJECTS: dict[str, list[str]] = {
    "flare-core": ["aggregation", "tensor_blocks", "robust", "staleness", "optimizers"],
    "flare-fobs": [],
    "flare-tensor-downloader": [],
}

# Messages are not mutated, since tests check the names and values in a message, not its wording.
SPARED = [r"^\s*(raise|return) \w*Error\(", r"\blog(ger)?\.(debug|info|warning|error)\("]

# Use the same few examples in each run, and do not shrink failing ones.
CONFTEST = """
from hypothesis import Phase

phases = (Phase.explicit, Phase.generate)
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, max_examples=20, phases=phases
)
settings.load_profile("mutants")
"""
PRELOADED = ["hypothesis.extra.numpy", "ml_dtypes", "msgpack", "numpy", "pytest", "safetensors", "torch"]
PRELOADING = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
MARKED = "not slow and not deployed"
LEFT_OUT = ("__pycache__", "test_fuzz.py")  # fuzzing would take seconds for each mutant

# Verdicts by pytest's exit status; 2 means that it could not import the tests.
VERDICTS = {
    0: "survived",
    1: "killed",
    2: "killed",
    5: "no tests",
    -signal.SIGALRM: "timeout",
    -signal.SIGXCPU: "timeout",
    -signal.SIGSEGV: "killed",
    -signal.SIGABRT: "killed",
}
KILLED = {"killed", "timeout"}
BASE_S, FACTOR = 20, 5  # limit of processor time: a base, plus a multiple of the tests' usual time
WAITING = 5  # limit of elapsed time as a multiple of the above, as other work may share the machine


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    module: str
    status: str

    @property
    def is_killed(self) -> bool:
        return self.status in KILLED


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Break the code and check that a test fails.")
    parser.add_argument("subjects", nargs="*", help="packages or modules; default: all")
    parser.add_argument("--again", action="store_true", help="only mutants that survived or timed out last time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    options = parser.parse_args(arguments)
    failed = False
    for package, modules in chosen(options.subjects).items():
        folder = ROOT / ".mutants" / package
        if not options.again:
            shutil.rmtree(folder, ignore_errors=True)
        lay_out(folder, package, modules)
        mutmut(folder, "run", "none", may_fail=True)  # no mutant has this name, so none runs
        judge(folder, [mutant.name for mutant in results(folder) if mutant.status != "killed"], options.jobs)
        failed |= not report(folder, package)
    return int(failed)


def chosen(subjects: list[str]) -> dict[str, list[str]]:
    """Return the requested packages and their modules."""
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
    """Copy a package and the pytest settings to a folder for mutmut."""
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
            "do_not_mutate": ["*/__init__.py"],  # mutmut's additions would change the exported names
            "do_not_mutate_patterns": SPARED,
            "pytest_add_cli_args": ["-m", MARKED, "-p", "no:cacheprovider"],
            "pytest_add_cli_args_test_selection": ["tests"],
            "process_isolation": "forkserver",  # tests and torch start threads
        },
        "tool.pytest.ini_options": {
            **pytest_settings,
            "testpaths": ["tests"],
            "filterwarnings": [*pytest_settings["filterwarnings"], PRELOADING],
        },
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


def mutmut(folder: Path, *arguments: str, may_fail: bool = False) -> str:
    """Run mutmut and return its output."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    process = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    if process.returncode != 0 and not may_fail:
        end = (process.stdout + process.stderr)[-2000:]
        raise SystemExit(f"mutants: 'mutmut {arguments[0]}' ended with {process.returncode} in {folder}\n{end}")
    return process.stdout


def results(folder: Path) -> list[Mutant]:
    """Return all mutants with their verdicts."""
    names = re.findall(r"^ +(\S+): ", mutmut(folder, "results", "--all", "true"), re.MULTILINE)
    if not names:
        raise SystemExit(f"mutants: mutmut made none in {folder}; see 'mutmut run' there")
    path = folder / "verdicts.json"
    verdicts = json.loads(path.read_text()) if path.exists() else {}
    return [Mutant(name, name[: name.index(".x")], verdicts.get(name, "not run")) for name in names]


# Running the tests


def judge(folder: Path, names: list[str], jobs: int) -> None:
    """Run the tests of each mutant, some in parallel, and save the verdicts."""
    for module in PRELOADED:
        importlib.import_module(module)
    stats = json.loads((folder / "mutants" / "mutmut-stats.json").read_text())
    path = folder / "verdicts.json"
    verdicts: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if os.waitstatus_to_exitcode(os.waitpid(start(folder, "none", stats["duration_by_test"]), 0)[1]) != 0:
        raise SystemExit(f"mutants: the tests fail without mutants; run pytest in {folder / 'mutants'}")
    waiting, running = deque(names), dict[int, str]()
    while waiting or running:
        if waiting and len(running) < jobs:
            name = waiting.popleft()
            running[start(folder, name, tests_of(name, stats))] = name
            continue
        pid, status = os.wait()
        verdicts[running.pop(pid)] = VERDICTS.get(os.waitstatus_to_exitcode(status), "crashed")
        path.write_text(json.dumps(verdicts))
        if sys.stdout.isatty():
            print(f"\r{len(waiting) + len(running)} left ", end="", flush=True)


def tests_of(name: str, stats: Any) -> dict[str, float]:
    """Return the tests that call the mutant's function, with their durations.

    Code that runs on import appears to be called only by the first test, although others depend on it. So all tests
    run for functions that only one test calls.
    """
    called = stats["tests_by_mangled_function_name"].get(name.rpartition("__mutmut_")[0], [])
    everything = stats["duration_by_test"]
    return everything if len(called) <= 1 else {test: everything[test] for test in called if test in everything}


def start(folder: Path, name: str, tests: dict[str, float]) -> int:
    """Start a process that runs the tests on a mutant, fast ones first; return its id."""
    pid = os.fork()
    if pid:
        return pid
    limit_s = BASE_S + int(FACTOR * sum(tests.values()))
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
    signal.alarm(WAITING * limit_s)  # neither signal is handled, so both end the process
    os.chdir(folder / "mutants")
    os.environ |= {"MUTANT_UNDER_TEST": name, "OMP_NUM_THREADS": "1"}
    sys.path.insert(0, str(folder / "mutants" / "src"))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    arguments = ["--rootdir=.", "--tb=no", "-x", "-q", "-m", MARKED, "-p", "no:cacheprovider", "-o", "timeout=0"]
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    os._exit(int(pytest.main([*arguments, *files], plugins=[Chosen(tests)])))


class Chosen:
    """A pytest plugin that runs only some tests, fast ones first."""

    def __init__(self, tests: dict[str, float]) -> None:
        self.tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.tests), key=lambda item: self.tests[item.nodeid]
        )


# What is printed


def report(folder: Path, package: str) -> bool:
    """Print the table and the survivors; return True if enough mutants were killed."""
    mutants = results(folder)
    print(f"\n{'module':<48} mutants  killed  of them by time  survived  per cent")
    for module in dict.fromkeys(mutant.module for mutant in mutants):
        print_row(module, [mutant for mutant in mutants if mutant.module == module])
    print_row(package, mutants)
    print()
    for mutant in mutants:
        if not mutant.is_killed:
            print(described(folder, mutant))
    enough = sum(mutant.is_killed for mutant in mutants) * 100 >= LEAST * len(mutants)
    if not enough:
        print(f"\n{package}: less than {LEAST} % killed; write the tests that are missing")
    return enough


def print_row(name: str, mutants: list[Mutant]) -> None:
    count = len(mutants)
    killed = sum(mutant.is_killed for mutant in mutants)
    by_time = sum(mutant.status == "timeout" for mutant in mutants)
    share = 100 * killed / count if count else 100.0
    print(f"{name:<48} {count:>7}  {killed:>6}  {by_time:>15}  {count - killed:>8}  {share:>8.1f}")


def described(folder: Path, mutant: Mutant) -> str:
    """Describe a survivor in one line: its place and the change."""
    path = Path("src", *mutant.module.split(".")).with_suffix(".py")
    diff = diff_of(folder, mutant.name, path)
    before, after = (" ".join(line[1:].strip() for line in diff if line.startswith(sign)) for sign in "-+")
    function = re.sub(r"__mutmut_\d+$", "", mutant.name.removeprefix(f"{mutant.module}.x")).strip("ǁ").replace("ǁ", ".")
    function = function if "ǁ" in mutant.name else function[1:]  # mutmut prefixes functions with x_
    first = next((line[1:] for line in diff if line.startswith("-")), "")
    line = next((n for n, text in lines_of(folder / path, function) if text.strip() == first.strip()), 0)
    end = "" if mutant.status == "survived" else f"  [{mutant.status}]"
    return f"{'/'.join(path.parts[1:])}:{line} {function}: {marked(before, after)}{end}"


def marked(before: str, after: str) -> str:
    """Return the line with the change marked as ``⟦was → is⟧``."""
    old, new = (re.findall(r"\w+|\W", text) for text in (before, after))
    start = common(old, new)
    end = common(old[start:][::-1], new[start:][::-1])
    was, now = ("".join(words[start : len(words) - end]) for words in (old, new))
    return f"{''.join(old[:start])}⟦{was} → {now}⟧{''.join(old[len(old) - end :])}"


def common(words: list[str], others: list[str]) -> int:
    """Return the number of equal words at the start."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False))
    return sum(1 for _ in same)


def diff_of(folder: Path, name: str, path: Path) -> list[str]:
    """Return the changed lines of one mutant."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    with chdir(folder):
        return [line for line in get_diff_for_mutant(name, path=path).splitlines() if line[:3] not in ("---", "+++")]


def lines_of(path: Path, function: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a function or method."""
    text = path.read_text()
    names = function.split(".")
    node: ast.AST = ast.parse(text)
    for name in names:
        *_, node = (child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == name)
    for number, line in enumerate(text.splitlines(), 1):
        if node.lineno <= number <= node.end_lineno:
            yield number, line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
