"""Write docs/recipes.md from the recipes themselves; with --check, only say whether it is as it should be."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from flare_runtime.cli.recipes import (
    algorithm_of,
    description,
    installed_recipes,
    recipe_arguments,
    recipe_example,
)

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
EXAMPLES = Path(__file__).parent / "recipe_examples"
FRAMEWORKS = ("flare_recipes_np", "flare_recipes_pt", "flare_recipes_tf")
FIRST = FRAMEWORKS[0]
UNLIKE = ("name",)  # has another default in each recipe, which tells nothing
HEAD = """# Recipes

Written by `tools/recipes_page.py` from the recipes themselves; `flare recipe show NAME` prints the same for those that
are installed. [Choosing a recipe](guide/choosing.md) says which is for what.

All arguments are keywords, and mean the same in every recipe that has them. The recipes of `flare_recipes_np`,
`flare_recipes_pt` and `flare_recipes_tf` differ only in the forms of the model that they take, so each is described
once. FedProx is a loss, not a recipe: use `FedAvgRecipe` with a script that adds `ProximalLoss`, of `flare_recipes_pt`
or `flare_recipes_tf`, to its own loss.
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
    classes = {
        (package, name): getattr(importlib.import_module(package), name) for package, name in installed_recipes()
    }
    shared = sorted((name for package, name in classes if package == FIRST), key=lambda name: name != "FedAvgRecipe")
    others = [key for key in classes if key[0] not in FRAMEWORKS]
    arguments = {key: recipe_arguments(cls) for key, cls in classes.items()}
    common = set.intersection(*({each["name"] for each in found} for found in arguments.values()))
    fedavg = arguments[FIRST, "FedAvgRecipe"]
    for each in fedavg:
        if len({one["default"] for found in arguments.values() for one in found if one["name"] == each["name"]}) > 1:
            each["shown"] = "by recipe" if each["name"] in common else f"`{each['default']}`"

    parts = [HEAD, "| recipe | in short | packages |", "|---|---|---|"]
    for name in [*shared, *dict.fromkeys(name for _, name in others if name not in shared)]:
        packages = [package for package, each in classes if each == name]
        summary = _markdown(description(algorithm_of(classes[packages[0], name]))).partition("\n\n")[0]
        short = summary.replace("\n", " ")
        parts.append(f"| [{name}](#{name.lower()}) | {short} | {', '.join(f'`{each}`' for each in packages)} |")
    parts += ["", "## Arguments of all recipes", "", *_rows(fedavg, common)]
    parts += ["", "## Initial models", "", "| package | forms |", "|---|---|"]
    for package in dict.fromkeys(package for package, _ in classes):
        cls = next(cls for (each, _), cls in classes.items() if each == package)
        model = next(each for each in cls.__mro__ if "framework" in each.__dict__)
        parts.append(f"| `{package}` | {_cell(description(model))} |")

    parts += ["", "## Recipes of all frameworks", "", "The examples use NumPy and two files beside them, a model,", ""]
    parts += [*_file("model.py"), "", "and the script of the sites:", "", *_file("client.py")]
    for name in shared:
        known = [each for each in fedavg if name != "FedAvgRecipe" or each["name"] in common]
        parts += _section(FIRST, name, classes[FIRST, name], arguments[FIRST, name], known=known)
    parts += ["", "## Recipes of scikit-learn"]
    for package, name in others:
        parts += _section(package, name, classes[package, name], arguments[package, name], known=fedavg, suffix=package)
    return "\n".join(parts) + "\n"


def _section(
    package: str,
    name: str,
    cls: type,
    arguments: list[dict[str, Any]],
    *,
    known: list[dict[str, Any]],
    suffix: str = "",
) -> list[str]:
    """A recipe's description, its own arguments, and an example with the script that it names."""
    title = f"{suffix}.{name}" if suffix and name == "FedAvgRecipe" else name
    parts = ["", f"### {title}", "", _markdown(description(algorithm_of(cls)))]
    same = {(each["name"], each["default"]) for each in known} | {(each, None) for each in UNLIKE}
    own = {each["name"] for each in arguments if not {(each["name"], each["default"]), (each["name"], None)} & same}
    rows = _rows(arguments, own)
    parts += ["", *rows] if len(rows) > 2 else []
    example = recipe_example(cls)
    script = re.search(r'train_script="([^"]+)"', example)
    assert script is not None, name
    if script[1] != "client.py":
        parts += ["", *_file(script[1])]
    first, _, rest = example.partition("\n")
    ours = "\nfrom model import model" if "=model," in rest else ""
    run = "run = recipe.execute(SimEnv(num_clients=2))"
    return [
        *parts,
        "",
        "```python runnable",
        f"{first}\nfrom flare_runtime import SimEnv{ours}\n{rest}\n{run}",
        "```",
    ]


def _file(name: str) -> list[str]:
    return [f"```python file={name}", (EXAMPLES / name).read_text(encoding="utf-8").rstrip(), "```"]


def _rows(arguments: list[dict[str, Any]], wanted: set[str]) -> list[str]:
    rows = ["| argument | default | meaning |", "|---|---|---|"]
    for each in arguments:
        if each["name"] in wanted:
            default = "required" if each["required"] else each.get("shown", f"`{each['default']}`")
            rows.append(f"| `{each['name']}` | {default} | {_cell(each['help'])} |")
    return rows


def _markdown(text: str) -> str:
    """Docstrings mark code with two quotes, and name classes with a role."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def _cell(text: str) -> str:
    return _markdown(text).replace("\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
