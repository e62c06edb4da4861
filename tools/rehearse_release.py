"""Rehearse a release: install and import each package alone, run its README's snippets, and build it from its sdist.

Usage: rehearse_release.py [package ...], by default all; dist/ must hold the files of `nox -s build`.

Flare's own packages come only from dist/, all others from the index. Nothing is uploaded.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
VERSION = (ROOT / "VERSION").read_text().strip()
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
TORCH = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
EXTRAS = {"flare-transport": "[grpc]", "flare-recipes-tf": "[cpu]"}
"""Extras that the README's snippets need."""


def main(arguments: list[str]) -> int:
    projects = {path.parent.name: path for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}
    rows = [rehearse(name, projects) for name in arguments or projects]
    print(f"\n{'package':<24} {'wheel':>7} {'alone':>7} {'brings':>7} {'seconds':>8}  result")
    for row in rows:
        print(row.text)
    if all(row.problem == "" for row in rows):
        print(f"\nAll checks passed. To release: twine upload dist/*-{VERSION}*")
    return 0 if all(row.problem == "" for row in rows) else 1


class Row:
    """The results for one package."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problem = ""
        self.wheel_kb = 0.0
        self.installed_mb = self.distributions = 0
        self.seconds = 0.0

    @property
    def text(self) -> str:
        return (
            f"{self.name:<24} {self.wheel_kb:>4.0f} kB {self.installed_mb:>4} MB {self.distributions:>7}"
            f" {self.seconds:>8.0f}  {self.problem or 'ok'}"
        )


def rehearse(name: str, projects: dict[str, Path]) -> Row:
    """Install one package in a new environment and check it there."""
    row = Row(name)
    began = time.monotonic()
    wheel = wheel_of(name)
    row.wheel_kb = wheel.stat().st_size / 1000
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder, "environment")
        run([sys.executable, "-m", "venv", str(environment)])
        python = str(environment / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        try:
            install(python, name, projects, extras="")
            row.distributions, row.installed_mb = map(int, re.findall(r"\d+", check_installed(python))[:2])
            if name in EXTRAS:
                install(python, name, projects, extras=EXTRAS[name])
            check_installed(python, *closure(name, projects))
            print(
                run([python, str(ROOT / "tools" / "check_docs.py"), str(ROOT / "packages" / name / "README.md")]),
                end="",
            )
            check_sdist(name, Path(folder))
        except RuntimeError as error:
            row.problem = "FAILED"
            print(f"{name}: {error}", file=sys.stderr)
    row.seconds = time.monotonic() - began
    print(row.text, flush=True)
    return row


def install(python: str, name: str, projects: dict[str, Path], *, extras: str) -> None:
    """Install a package and our packages that it depends on from dist/."""
    needed = closure(name, projects, extras.strip("[]"))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    if any("torch" in dependencies(each, projects, "") for each in needed):
        run([*pip, TORCH])  # first: CONTRIBUTING.md says why
    wheels = [f"{each} @ {wheel_of(each).as_uri()}" for each in needed[:-1]]
    run([*pip, *wheels, f"{name}{extras} @ {wheel_of(name).as_uri()}"])
    run([python, "-m", "pip", "check"])


def closure(name: str, projects: dict[str, Path], extra: str = "") -> list[str]:
    """Return our packages that a package depends on, followed by the package itself."""
    found: dict[str, None] = {}
    for each in dependencies(name, projects, extra):
        if each in projects:
            found |= dict.fromkeys(closure(each, projects))
    return [*found, name]


def dependencies(name: str, projects: dict[str, Path], extra: str) -> list[str]:
    project = tomllib.loads(projects[name].read_text(encoding="utf-8"))["project"]
    lines = [*project.get("dependencies", []), *project.get("optional-dependencies", {}).get(extra, [])]
    return [line.split("[")[0].split("=")[0].split(">")[0].split("<")[0].split(";")[0].strip() for line in lines]


def check_installed(python: str, *packages: str) -> str:
    """Check that our packages can be imported; return a line with the number, size and names of distributions."""
    imported = [name.replace("-", "_") for name in packages]
    return run([python, str(ROOT / "tools" / "check_installed.py"), VERSION, *imported])


def check_sdist(name: str, folder: Path) -> None:
    """Build a wheel from the sdist, and check that it has the same files as the one in dist/."""
    sdist = DIST / f"{name.replace('-', '_')}-{VERSION}.tar.gz"
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(sdist)])
    built, wanted = (
        sorted(entry for entry in zipfile.ZipFile(path).namelist() if not entry.endswith("RECORD"))
        for path in (folder / wheel_of(name).name, wheel_of(name))
    )
    if built != wanted:
        raise RuntimeError(f"a wheel built from {sdist.name} differs: {sorted(set(built) ^ set(wanted))}")


def wheel_of(name: str) -> Path:
    return DIST / f"{name.replace('-', '_')}-{VERSION}-py3-none-any.whl"


def run(command: list[str]) -> str:
    """Run a program outside the checkout; return its output.

    Raises:
        RuntimeError: the program failed; holds its output.
    """
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    if not DIST.is_dir():
        sys.exit("dist/ is missing; run: nox -s build")
    sys.exit(main(sys.argv[1:]))
