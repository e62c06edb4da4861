"""Write docs/recipes.md from the recipes themselves; with --check, only say whether it is as it should be."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path

from flare_runtime.cli.recipes import installed_recipes, recipe_arguments, recipe_summary

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
HEAD = """# Available recipes

Written by `tools/recipes_page.py` from the recipes themselves; `flare recipe show NAME` prints the same for those that
are installed. All arguments are keywords, and mean the same in every recipe that has them.

FedProx is a loss, not a recipe: `FedAvgRecipe` with a script that adds `ProximalLoss`, of `flare_recipes_pt` or
`flare_recipes_tf`, to its own.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/recipes_page.py", description=(__doc__ or "").partition(";")[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = page()
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(
        "docs/recipes.md is not what the recipes say; run tools/recipes_page.py in an environment that has all of them"
    )
    return 1


def page() -> str:
    """The whole page."""
    by_package: dict[str, list[str]] = {}
    for package, name in installed_recipes():
        by_package.setdefault(package, []).append(name)
    classes = {
        (package, name): getattr(importlib.import_module(package), name)
        for package, names in by_package.items()
        for name in names
    }
    common = set.intersection(*({each["name"] for each in recipe_arguments(cls)} for cls in classes.values()))
    first = next(cls for (_, name), cls in classes.items() if name == "FedAvgRecipe")
    parts = [HEAD, "| recipe | packages |", "|---|---|"]
    for name in sorted({name for _, name in classes}):
        packages = [f"`{package}`" for package, each in classes if each == name]
        parts.append(f"| {name} | {', '.join(packages)} |")
    parts += ["", "## Arguments of all recipes", "", *_rows(recipe_arguments(first), common)]
    for package, names in by_package.items():
        parts += ["", f"## {package}"]
        for name in names:
            own = recipe_arguments(classes[package, name])
            parts += ["", f"### {name}", "", _markdown(recipe_summary(classes[package, name])), ""]
            rows = _rows(own, {each["name"] for each in own} - common)
            parts += [*rows, ""] if len(rows) > 2 else []
            parts += _snippet(package, name, own)
    return "\n".join(parts) + "\n"


def _rows(arguments: list[dict[str, str]], wanted: set[str]) -> list[str]:
    rows = ["| argument | default | meaning |", "|---|---|---|"]
    for each in arguments:
        if each["name"] in wanted:
            default = "required" if each["required"] else f"`{each['default']}`"
            meaning = _markdown(each["help"]).replace("|", "\\|")
            rows.append(f"| `{each['name']}` | {default} | {meaning} |")
    return rows


def _markdown(text: str) -> str:
    """Docstrings mark code with two quotes, and name classes with a role."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def _snippet(package: str, name: str, arguments: list[dict[str, str]]) -> list[str]:
    required = [each["name"] for each in arguments if each["required"]]
    values = {"min_clients": "2", "train_script": '"client.py"'}
    given = ", ".join(f"{each}={values.get(each, '...')}" for each in [*required, "initial_model"])
    return ["```python", f"from {package} import {name}", "", f"recipe = {name}({given})", "```"]


if __name__ == "__main__":
    sys.exit(main())
