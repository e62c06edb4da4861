"""Keep the table of NVIDIA FLARE's names: docs/nvflare-names.md.

The names are those that the public examples of some releases import, scripts and notebooks, counted from checkouts and
kept in packages/flare-nvflare/tests/example_names.json. The table says of each what flare-nvflare has in its place, as
found in its source.

Usage: nvflare_names.py scan RELEASE=CHECKOUT ...   count the names in checkouts
       nvflare_names.py [--check]                   write the table, or check that it is current
"""

from __future__ import annotations

import ast
import json
import runpy
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "packages" / "flare-nvflare" / "src"
NAMES = ROOT / "packages" / "flare-nvflare" / "tests" / "example_names.json"
PAGE = ROOT / "docs" / "nvflare-names.md"
SAME, ADAPTED, MISSING, UNKNOWN = "same", "adapted", "not provided", "unknown"


def scan(checkout: Path) -> Counter[str]:
    """Count the files of the examples that import each name; a module that is imported as a whole is a name, too."""
    found: Counter[str] = Counter()
    for path in sorted((checkout / "examples").rglob("*")):
        if path.suffix == ".py":
            texts = [path.read_text(encoding="utf-8", errors="replace")]
        elif path.suffix == ".ipynb":
            cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
            texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        else:
            continue
        found.update({name for text in texts for name in imported(text)})
    return found


def imported(text: str) -> Iterator[str]:
    """Yield the names of NVIDIA FLARE that a source imports."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("!", "%"))]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "nvflare")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nvflare" and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def standing(name: str) -> tuple[str, str]:
    """Return what there is for a name: SAME and Flare's object, ADAPTED, or MISSING and what to use instead."""
    if file_of(name) is not None:
        return ADAPTED, ""
    module, _, last = name.rpartition(".")
    if file_of(module) is not None and last in defined(module):
        return defined(module)[last]
    for length in range(len(name.split(".")), 1, -1):
        if (advice := missing().get(".".join(name.split(".")[:length]))) is not None:
            return MISSING, advice
    return UNKNOWN, ""


def file_of(module: str) -> Path | None:
    """Return the file of a module of the package."""
    path = SOURCE.joinpath(*module.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


@cache
def constants() -> dict[str, Any]:
    """Return what the module with the names that are not provided defines; it imports nothing."""
    return runpy.run_path(str(file_of("nvflare._flare.missing")))


def missing() -> dict[str, str]:
    """Return the names that are known not to be provided, and what to use instead."""
    found: dict[str, str] = constants()["MISSING"]
    return found


@cache
def defined(module: str) -> dict[str, tuple[str, str]]:
    """Return the standing of each name that a module of the package defines or imports."""
    path = file_of(module)
    assert path is not None
    found: dict[str, tuple[str, str]] = {}
    texts = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found[name] = ADAPTED, ""
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                texts[name] = text
                found[name] = ADAPTED, ""
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as names):
                found |= _lazy(names, texts)
                found[name] = ADAPTED, ""
            case ast.Assign(targets=[ast.Tuple()], value=ast.Call(func=ast.Name(id="lazy"), args=[_, *tables])):
                for table, is_missing in zip(tables, (False, True), strict=False):
                    if isinstance(table, ast.Dict):
                        found |= _lazy(table, texts, is_missing=is_missing)
            case ast.Assign(targets=targets):
                found |= {each.id: (ADAPTED, "") for each in targets if isinstance(each, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = ADAPTED, ""
            case ast.ImportFrom(module=str(source), names=names):
                for alias in names:
                    found[alias.asname or alias.name] = _from(f"{source}.{alias.name}")
    return found


def _lazy(table: ast.Dict, texts: dict[str, str], *, is_missing: bool = False) -> dict[str, tuple[str, str]]:
    """Return the standing of the names in a table of names that are imported when they are used."""
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            continue
        text = _text(value, texts)
        if is_missing or " " in text:
            found[key.value] = MISSING, text
        else:
            module, _, other = text.partition(":")
            found[key.value] = _from(f"{module}.{other or key.value}")
    return found


def _text(value: ast.expr, texts: dict[str, str]) -> str:
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return str(constants().get(name, ""))
        case ast.JoinedStr(values=parts):
            return "".join(
                texts[part.value.id] if isinstance(part, ast.FormattedValue) else part.value  # type: ignore[attr-defined]  # a name or text
                for part in parts
            )
    return ""


def _from(source: str) -> tuple[str, str]:
    if source.startswith("flare_"):
        return SAME, source
    if source.startswith("nvflare."):
        return standing(source)
    return ADAPTED, ""


def page() -> str:
    """Return the text of the table."""
    names: dict[str, dict[str, int]] = json.loads(NAMES.read_text(encoding="utf-8"))
    releases = sorted({release for counts in names.values() for release in counts})
    rows, totals = [], {release: Counter() for release in releases}
    for name in sorted(names):
        kind, text = standing(name)
        for release in names[name]:
            totals[release][kind] += 1
        said = f"`{text}`" if kind == SAME else text or ("use the newer names of the guide" if kind == UNKNOWN else "")
        used = max(names[name].values())
        shown = kind if kind != UNKNOWN else MISSING
        rows.append(f"| `{name}` | {used} | {shown} | {said} |")
    summary = [
        f"| {release} | {total.total()} | {total[SAME]} | {total[ADAPTED]} | {total[MISSING] + total[UNKNOWN]}"
        f" | {(total[SAME] + total[ADAPTED]) / total.total():.1%} |"
        for release, total in totals.items()
    ]
    return "\n".join(
        [
            "# Names of NVIDIA FLARE",
            "",
            "The names that the public examples of NVIDIA FLARE import, and what",
            "[flare-nvflare](../packages/flare-nvflare/README.md) provides for each. *Same*: one of Flare's own",
            "objects. *Adapted*: an object with the same interface, on top of Flare's own. *Not provided*: importing",
            "it raises an error with the advice in the last column. *Files* is the number of example files that",
            "import the name, in the release where it is highest. [Migrating](migration.md) shows how to move to",
            "Flare's own names.",
            "`tools/nvflare_names.py` writes this page.",
            "",
            "| examples of | names | same | adapted | not provided | provided |",
            "|---|---|---|---|---|---|",
            *summary,
            "",
            "| name | files | status | Flare's object, or advice |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    if sys.argv[1:2] == ["scan"]:
        found: dict[str, dict[str, int]] = {}
        for argument in sys.argv[2:]:
            release, _, checkout = argument.partition("=")
            for name, count in scan(Path(checkout)).items():
                found.setdefault(name, {})[release] = count
        NAMES.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")
        return
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        raise SystemExit("docs/nvflare-names.md is not current; run python tools/nvflare_names.py")


if __name__ == "__main__":
    main()
